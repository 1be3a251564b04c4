//! The weight-gradient of a convolution as a sum of outer products.

use super::{GROUP, Group};
use crate::isa::{Isa, dispatch};
use crate::patches::Patches;
use crate::simd::Simd;
use crate::{Convolution, LANES, tile};

impl Convolution {
    /// Whether [`outer_patches`] is the faster way to its weight-gradient: most of two vectors of
    /// outputs are used, there are taps enough to pay for transposing them, and neighbouring columns
    /// share inputs, which strides prevent.
    pub fn suits_outer(&self) -> bool {
        let outputs = self.output.channels;
        let filled = 4 * outputs >= 3 * outputs.next_multiple_of(2 * LANES);
        filled && self.taps() >= 4 * LANES && self.window.stride == [1, 1]
    }
}

/// Adds the weight-gradient of a convolution to `dw`, row-major `[outputs][inputs][kh][kw]`, as
/// [`correlate`](crate::correlate) does, but with vectors of outputs: rows are the taps of a region,
/// columns its pixels.
///
/// `patches` are those of [`forward`](crate::Convolution::forward), `x` is the input and `dy` the
/// gradient of the output, whole batches; lanes without an image must be zero in `dy` and finite in
/// `x`. `scratch` is room for [`Patches::transposed_gradient`] floats.
///
/// # Panics
/// If a slice has not the length that the patches say.
pub fn outer_patches(
    isa: Isa,
    patches: &Patches,
    [x, dy]: [&[f32]; 2],
    scratch: &mut [f32],
    dw: &mut [f32],
) {
    let (source, target) = (&patches.source, &patches.target);
    assert!(x.len().is_multiple_of(source.block_len().max(1)), "input of a weight-gradient");
    let blocks = x.len() / source.block_len().max(1);
    assert_eq!(dy.len(), blocks * target.block_len(), "output gradient of a weight-gradient");
    assert_eq!(dw.len(), patches.weights, "weight-gradient");
    assert_eq!(scratch.len(), patches.transposed_gradient(), "scratch of a weight-gradient");
    scratch.fill(0.0);
    let (outputs, width) = (target.channels, target.channels.next_multiple_of(LANES));
    for region in &patches.regions {
        let taps = &patches.taps[region.taps.clone()];
        let columns = &patches.columns[region.columns.clone()];
        let row = |m: usize| [taps[m].x as usize, taps[m].w as usize * width];
        for block in 0..blocks {
            let x = &x[block * source.block_len()..][..source.block_len()];
            let dy = &dy[block * target.block_len()..][..target.block_len()];
            for (first, len) in tile::split(columns.len(), GROUP) {
                let columns = &columns[first..first + len];
                let group = Group::new(columns.iter().map(|c| [c.x as usize, c.y as usize]));
                let stride = target.plane() * LANES;
                dispatch!(isa, s => {
                    group.run(s, taps.len(), row, outputs, [x, dy], stride, scratch)
                });
            }
        }
    }
    dispatch!(isa, s => s.vectorize(#[inline(always)] || add_transposed(s, scratch, width, dw)));
}

impl Patches {
    /// Floats of the weight-gradient as [`outer_patches`] sums it, `[weights of an output][outputs]`
    /// with the outputs filled up to whole vectors.
    pub fn transposed_gradient(&self) -> usize {
        let outputs = self.target.channels;
        self.weights / outputs.max(1) * outputs.next_multiple_of(LANES)
    }
}

/// `dw[o][t] += sums[t][o]`, where a row of `sums` is `width` floats.
#[inline(always)]
fn add_transposed<S: Simd>(s: S, sums: &[f32], width: usize, dw: &mut [f32]) {
    let taps = sums.len() / width.max(1);
    for (o, rows) in dw.chunks_mut(LANES * taps).enumerate() {
        for first in (0..taps).step_by(LANES) {
            let mut block = [s.zero(); LANES];
            for (t, v) in (first..taps).zip(&mut block) {
                *v = s.load_partial(&sums[t * width + o * LANES..][..LANES]);
            }
            let block = s.transpose(block);
            for (row, sum) in rows.chunks_exact_mut(taps).zip(block) {
                let part = &mut row[first..taps.min(first + LANES)];
                s.store_partial(part, s.add(s.load_partial(part), sum));
            }
        }
    }
}
