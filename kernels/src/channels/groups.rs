//! Convolutions in groups with sixteen output channels to a vector: a lane has inputs of its own.

use super::product::{ChannelConvolution, ChannelOperands};
use super::{Part, channel_layout};
use crate::im2col::Tap;
use crate::simd::Simd;
use crate::tile::{split, with_size};
use crate::{LANES, Layout};
use std::array::from_fn;

/// Multiply-adds that one costs where sixteen lanes are gathered for it.
const GATHERED: usize = 12;

/// The lanes of a panel of outputs.
struct Lanes<'a> {
    /// The first input channel of each lane's group, and how many there are.
    first: [usize; LANES],
    channels: usize,
    /// Whether lane by lane they are those of one panel of the input: no gathering.
    aligned: bool,
    input: Layout,
    x: &'a [f32],
    weights: &'a [[f32; LANES]],
    bias: [f32; LANES],
}

impl ChannelConvolution {
    /// What a multiply-add of a vector costs.
    pub(super) fn cost_of_product(&self) -> usize {
        let (groups, input) = (self.convolution.groups(), self.convolution.input());
        let channels = [input, self.convolution.output()].map(|layout| layout.channels());
        if groups == 1 || channels == [groups; 2] { 1 } else { GATHERED }
    }

    /// A part of the output of a convolution in groups: panel by panel, region by region.
    pub(super) fn in_groups<S: Simd>(
        &self,
        s: S,
        operands: &ChannelOperands<'_>,
        part: &Part,
        y: &mut [f32],
    ) {
        let output = self.convolution.output();
        let layout = channel_layout(operands.images, output.channels(), output.size());
        for panel in part.panels.clone() {
            let lanes = self.lanes(operands, panel);
            let y = &mut y[(panel - part.panels.start) * layout.block_len()..];
            self.each_row(operands.images, &part.lines, &layout, |taps, from, [to, count]| {
                let step = self.convolution.window().stride[1].wrapping_mul(LANES);
                for (column, n) in split(count, 4) {
                    let from = from + column * step;
                    let y = &mut y[to + column * LANES..][..n * LANES];
                    with_size!(N = n, of 1 2 3 4 => s.vectorize(#[inline(always)] || {
                        let sums = lanes.chains::<S, N>(s, taps, from, step);
                        for (y, sum) in y.as_chunks_mut().0.iter_mut().zip(sums) {
                            s.store(y, operands.epilogue.apply(s, sum));
                        }
                    }));
                }
            });
        }
    }

    fn lanes<'a>(&self, operands: &ChannelOperands<'a>, panel: usize) -> Lanes<'a> {
        let (input, output) = (self.convolution.input(), self.convolution.output());
        let of_group = [input, output].map(|l| l.channels() / self.convolution.groups());
        // Lanes beyond the last output do as it does.
        let last = output.channels() - 1;
        let first = from_fn(|lane| (panel * LANES + lane).min(last) / of_group[1] * of_group[0]);
        let taps = self.convolution.taps();
        let weights = &operands.weights.as_chunks().0[panel * taps..][..taps];
        let bias = operands.bias.map_or([0.0; LANES], |bias| bias.as_chunks().0[panel]);
        let layout = channel_layout(operands.images, input.channels(), input.size());
        let (aligned, channels) = (of_group == [1, 1], of_group[0]);
        Lanes { first, channels, aligned, input: layout, x: operands.x, weights, bias }
    }
}

impl Lanes<'_> {
    /// The chains of `N` neighbours of a row, whose first taps lie at `from` and steps after it.
    #[inline(always)]
    fn chains<S: Simd, const N: usize>(
        &self,
        s: S,
        taps: &[Tap],
        from: usize,
        step: usize,
    ) -> [S::Vector; N] {
        let mut sums = [s.load(&self.bias); N];
        let taps_of_channel = self.weights.len() / self.channels;
        for channel in 0..self.channels {
            let mut places = [0; LANES];
            for lane in 0..LANES {
                let c = self.first[lane] + channel;
                places[lane] = c / LANES * self.input.block_len() + c % LANES;
            }
            for tap in taps {
                let w = s.load(&self.weights[channel * taps_of_channel + tap.w as usize / LANES]);
                for n in 0..N {
                    let at = from + n * step + tap.x as usize;
                    let mut lanes = [0.0; LANES];
                    if self.aligned {
                        lanes.copy_from_slice(&self.x[places[0] + at..][..LANES]);
                    } else {
                        for lane in 0..LANES {
                            lanes[lane] = self.x[places[lane] + at];
                        }
                    }
                    sums[n] = s.mul_add(w, s.load(&lanes), sums[n]);
                }
            }
        }
        sums
    }
}
