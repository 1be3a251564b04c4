//! The gradients of a depthwise convolution.

use super::sweep::{Segment, Sweep};
use super::{Depthwise, plane, run};
use crate::im2col::Tap;
use crate::isa::dispatch;
use crate::simd::Simd;
use crate::team::{Cores, Shared};
use crate::tile::{self, with_size};
use crate::{Epilogue, LANES, Store};
use std::ops::Range;

/// What the gradients of a depthwise convolution are computed from.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseTensors<'a> {
    /// The weights, `[outputs][kh][kw]`.
    pub weights: &'a [f32],
    /// The input.
    pub x: &'a [f32],
    /// The gradient of the output; lanes without an image are zero.
    pub dy: &'a [f32],
}

/// Adds the gradient of the weights to `dw`, and writes that of the input to `dx`, or adds it, where it is wanted;
/// whole batches. Lanes without an image must be zero in `dy` and finite in `x`.
///
/// # Panics
/// If a slice has not the length that the plan says.
pub fn depthwise_gradients<'t>(
    cores: impl Into<Cores<'t>>,
    plan: &Depthwise,
    tensors: DepthwiseTensors<'_>,
    dw: &mut [f32],
    dx: Option<(&mut [f32], Store)>,
) {
    let DepthwiseTensors { weights, x, dy } = tensors;
    let blocks = plan.blocks(x.len(), dy.len(), weights.len());
    assert_eq!(dw.len(), weights.len(), "weight gradient of a depthwise convolution");
    let store = dx.as_ref().map(|(_, store)| *store);
    let dx = dx.map(|(dx, _)| {
        assert_eq!(dx.len(), x.len(), "data gradient of a depthwise convolution");
        Shared::new(dx)
    });
    let (cores, dw) = (cores.into(), Shared::new(dw));
    let taps = plan.convolution.window().taps();
    let backward = dx.is_some().then(|| plan.backward());
    let gradients = Gradients { plan, backward, taps, blocks, tensors, dw, dx, store };
    // A part has some input channels, with the weights of their outputs.
    cores.each_range(plan.convolution.input().channels(), plan.cost(2 * blocks), |channels| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for channel in channels {
                // SAFETY: each channel is one part's.
                unsafe { gradients.of_channel(s, channel) };
            }
        }));
    });
}

struct Gradients<'a> {
    plan: &'a Depthwise,
    /// From the input to the outputs, where its gradient is wanted.
    backward: Option<&'a Sweep>,
    /// Of a channel.
    taps: usize,
    blocks: usize,
    tensors: DepthwiseTensors<'a>,
    dw: Shared<'a, f32>,
    dx: Option<Shared<'a, f32>>,
    store: Option<Store>,
}

impl Gradients<'_> {
    /// Both gradients of a plane of every block, while it is in the caches.
    ///
    /// # Safety
    /// No other thread may have the channel.
    #[inline(always)]
    unsafe fn of_channel<S: Simd>(&self, s: S, channel: usize) {
        let Gradients { plan, tensors, .. } = self;
        let (input, output) = (plan.convolution.input(), plan.convolution.output());
        let (multiplier, taps) = (plan.multiplier(), self.taps);
        let (x_plane, y_plane) = (plane(input), plane(output));
        let outputs = channel * multiplier..(channel + 1) * multiplier;
        let weights = outputs.start * taps..outputs.end * taps;
        for block in 0..self.blocks {
            let x = block * input.block_len() + channel * x_plane;
            let dy = block * output.block_len() + outputs.start * y_plane;
            let dy = &tensors.dy[dy..][..multiplier * y_plane];
            // SAFETY: the weights of the channel are those of no other.
            let dw = unsafe { self.dw.slice(weights.clone()) };
            for (dw, dy) in dw.chunks_exact_mut(taps).zip(dy.chunks_exact(y_plane)) {
                add_weights(s, &plan.forward, &tensors.x[x..][..x_plane], dy, dw);
            }
            if let (Some(dx), Some(store), Some(backward)) = (&self.dx, self.store, self.backward) {
                let begin = (store == Store::Overwrite).then_some(0.0);
                // SAFETY: nor is its plane.
                let dx = unsafe { dx.slice(x..x + x_plane) };
                let weights = &tensors.weights[weights.clone()];
                run(s, backward, weights, dy, begin, Epilogue::None, dx);
            }
        }
    }
}

/// Adds what one plane of each gives to the gradient of the weights of one output.
///
/// # Panics
/// If a slice has not the length that the sweep says.
#[inline(always)]
fn add_weights<S: Simd>(s: S, sweep: &Sweep, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    assert!([dw.len(), x.len(), dy.len()] == sweep.lengths, "a plane of a sweep");
    for (first, dw) in (0..).step_by(LANES).zip(dw.chunks_mut(LANES)) {
        let mut totals = [s.zero(); LANES];
        let weights = first..first + dw.len();
        for segment in &sweep.segments {
            let taps = taps_of(&sweep.taps[segment.taps.clone()], &weights);
            for (at, n) in tile::split(taps.len(), const { most::<S>() }) {
                with_size!(N = n, of 1 2 3 4 5 6 7 8 9 => {
                    if const { N <= most::<S>() } {
                        let taps = taps[at..at + N].as_array().expect("so many taps");
                        // SAFETY: the lengths are asserted to be those of the sweep, whose segments lie inside them
                        // by `Sweep::validated`.
                        let sums = unsafe { chains::<S, N>(s, taps, segment, x, dy) };
                        for n in 0..N {
                            let total = &mut totals[(taps[n].w as usize - first) % LANES];
                            *total = s.add(*total, sums[n]);
                        }
                    }
                });
            }
        }
        let mut sums = [0.0; LANES];
        s.store(&mut sums, s.sums(totals));
        for (dw, sum) in dw.iter_mut().zip(sums) {
            *dw += sum;
        }
    }
}

/// How many taps have a chain at the same time: those of a 3×3 kernel, or as many as fit into the registers.
const fn most<S: Simd>() -> usize {
    if S::ACCUMULATORS < 9 { S::ACCUMULATORS } else { 9 }
}

/// The taps of these weights; taps are in their order.
#[inline(always)]
fn taps_of<'a>(taps: &'a [Tap], weights: &Range<usize>) -> &'a [Tap] {
    if weights.start == 0 && taps.last().is_none_or(|tap| (tap.w as usize) < weights.end) {
        return taps;
    }
    let bound = |w: usize| taps.partition_point(|tap| (tap.w as usize) < w);
    &taps[bound(weights.start)..bound(weights.end)]
}

/// The chains of some taps over a segment.
///
/// # Safety
/// `x` and `dy` must have the lengths of the sweep that the taps and the segment are of.
#[inline(always)]
unsafe fn chains<S: Simd, const N: usize>(
    s: S,
    taps: &[Tap; N],
    segment: &Segment,
    x: &[f32],
    dy: &[f32],
) -> [S::Vector; N] {
    let mut sums = [s.zero(); N];
    // SAFETY: the caller's promise.
    unsafe {
        let mut from = [x.as_ptr().add(segment.x); N];
        for n in 0..N {
            from[n] = from[n].add(taps[n].x as usize);
        }
        let dy = dy.as_ptr().add(segment.y);
        for i in 0..segment.count {
            let g = s.load_at(dy.add(i * segment.y_step));
            for n in 0..N {
                sums[n] = s.mul_add(g, s.load_at(from[n].add(i * segment.x_step)), sums[n]);
            }
        }
    }
    sums
}
