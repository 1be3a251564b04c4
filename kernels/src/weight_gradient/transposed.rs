//! The weight gradient of a convolution as a sum of outer products.

use super::taps_of;
use crate::im2col::{Im2col, View};
use crate::isa::{dispatch, dispatch_bf16};
use crate::linear_weight_gradient::{Group, KC, Operand};
use crate::simd::{Floats, Simd};
use crate::team::{Cores, Cost, Shared, share};
use crate::{Convolution, LANES, Precision, tile};
use std::ops::Range;

impl Convolution {
    /// Whether [`weight_gradient_transposed`] is faster than [`weight_gradient`](crate::weight_gradient): most of two vectors of
    /// outputs are used, there are taps enough to pay for transposing them, and neighbouring columns
    /// share inputs, which strides prevent. It has no groups.
    pub fn suits_transposed_gradient(&self) -> bool {
        let outputs = self.output().channels();
        let filled = 4 * outputs >= 3 * outputs.next_multiple_of(2 * LANES);
        filled && self.groups() == 1 && self.taps() >= 4 * LANES && self.window().stride == [1, 1]
    }

    /// The view by which [`weight_gradient_transposed`] multiplies in [bfloat16](crate::round_to_bf16), of `x` as
    /// [`pack_neighbours`](crate::pack_neighbours) lays it out.
    ///
    /// # Panics
    /// If it has groups.
    #[must_use]
    pub fn weight_gradient_bf16(&self) -> Im2col {
        assert_eq!(self.groups(), 1, "groups of a convolution in bfloat16");
        self.forward().of_neighbours()
    }
}

/// Adds the weight gradient of a convolution to `dw`, row-major `[outputs][inputs][kh][kw]`, as
/// [`weight_gradient`](crate::weight_gradient) does, but with vectors of outputs: rows are the taps of a region,
/// columns its pixels.
///
/// `im2col` is that of [`forward`](crate::Convolution::forward), or of
/// [`weight_gradient_bf16`](crate::Convolution::weight_gradient_bf16), `x` is the input and `dy` the
/// gradient of the output, whole batches; lanes without an image must be zero in `dy` and finite in
/// `x`. `scratch` is room for [`Im2col::transposed_gradient`] floats.
///
/// # Panics
/// If a slice has not the length that `im2col` says, or it has groups.
pub fn weight_gradient_transposed<'t>(
    cores: impl Into<Cores<'t>>,
    im2col: &Im2col,
    [x, dy]: [&[f32]; 2],
    scratch: &mut [f32],
    dw: &mut [f32],
) {
    let view = match im2col.precision {
        Precision::F32 => View::Forward,
        Precision::Bf16 => View::Neighbours,
    };
    im2col.expect("a transposed weight gradient", &[view]);
    let block = x_block(im2col);
    assert!(block > 0 && x.len().is_multiple_of(block), "input of a weight gradient");
    let (target, blocks) = (&im2col.target, x.len() / block);
    assert_eq!(im2col.groups, 1, "groups of a transposed weight gradient");
    assert_eq!(dy.len(), target.with_blocks(blocks).len(), "output gradient of a weight gradient");
    assert_eq!(dw.len(), im2col.weights, "weight gradient");
    assert_eq!(scratch.len(), im2col.transposed_gradient(), "scratch of a weight gradient");
    if !dw.is_empty() {
        run_parts(cores.into(), im2col, [x, dy], scratch, dw);
    }
}

/// Numbers in a float of x.
fn numbers(im2col: &Im2col) -> usize {
    match im2col.precision {
        Precision::F32 => 1,
        Precision::Bf16 => 2,
    }
}

/// Floats of a block of x.
fn x_block(im2col: &Im2col) -> usize {
    im2col.source.block_len() / numbers(im2col)
}

/// Floats of a second-level cache that sums, or inputs, may take: 512 KB.
const CACHED: usize = 1 << 17;

/// Weights and outputs whose sums are added to at a time, where their inputs fit the second-level cache: 64 KB, of which half
/// are in the first-level cache. On small planes sums are loaded and stored for every sixteen products, and there is not
/// much x to read again for other outputs. With fewer weights dy is turned around too often.
const SMALL: [usize; 2] = [512, 2 * LANES];

/// Weights and outputs whose sums are added to at a time: otherwise all outputs of as many weights as fit the second-level
/// cache, where more regions than one, and all blocks, find them.
fn at_a_time(im2col: &Im2col, blocks: usize, taps: usize) -> [usize; 2] {
    let (source, outputs) = (&im2col.source, im2col.target.channels());
    let channels = (SMALL[0].min(taps) * source.channels()).div_ceil(taps);
    if channels * source.plane() * LANES * blocks / numbers(im2col) <= CACHED {
        return SMALL;
    }
    [(CACHED / outputs.next_multiple_of(LANES)).max(4 * LANES), outputs]
}

/// A part has some weights of every output.
fn run_parts(
    cores: Cores<'_>,
    im2col: &Im2col,
    inputs: [&[f32]; 2],
    scratch: &mut [f32],
    dw: &mut [f32],
) {
    let blocks = inputs[0].len() / x_block(im2col);
    let outputs = im2col.target.channels();
    let (taps, width) = (dw.len() / outputs, outputs.next_multiple_of(LANES));
    let products = im2col.regions.iter().map(|r| r.taps.len() * r.columns.len());
    let work = products.sum::<usize>() * blocks * width / numbers(im2col);
    let parts = cores.parts(taps.div_ceil(10), Cost::products(work));
    let [most_weights, most_outputs] = at_a_time(im2col, blocks, taps);
    let (scratch, dw) = (Shared::new(scratch), Shared::new(dw));
    cores.run(parts, |part| {
        let own = share(taps, part, parts);
        for (first, len) in tile::split(own.len(), most_weights) {
            let weights = own.start + first..own.start + first + len;
            for first in (0..outputs).step_by(most_outputs) {
                let features = first..outputs.min(first + most_outputs);
                let (at, room) = (own.start * width, features.len().next_multiple_of(LANES) * len);
                // SAFETY: these weights are one part's, with room for every output.
                let sums = unsafe { scratch.slice(at..at + room) };
                sums.fill(0.0);
                add_regions(cores, im2col, inputs, &weights, &features, sums);
                dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
                    // SAFETY: as above.
                    unsafe { add_transposed(s, sums, [&features, &weights], taps, dw) }
                }));
            }
        }
    });
}

/// The sums of some weights over all regions, blocks and columns.
fn add_regions(
    cores: Cores<'_>,
    im2col: &Im2col,
    [x, dy]: [&[f32]; 2],
    weights: &Range<usize>,
    features: &Range<usize>,
    sums: &mut [f32],
) {
    let (target, x_block, numbers) = (&im2col.target, x_block(im2col), numbers(im2col));
    let width = features.len().next_multiple_of(LANES);
    for region in &im2col.regions {
        let taps = &im2col.taps[region.taps.clone()][taps_of(im2col, region, weights)];
        let columns = &im2col.columns[region.columns.clone()];
        let row =
            |m: usize| [taps[m].x as usize / numbers, (taps[m].w as usize - weights.start) * width];
        for block in 0..x.len() / x_block {
            let x = &x[block * x_block..][..x_block];
            let dy = &dy[block * target.block_len()..][..target.block_len()];
            for (first, len) in tile::split(columns.len(), KC * numbers) {
                let columns = &columns[first..first + len];
                let places = columns.iter().map(|c| [c.x as usize / numbers, c.y as usize]);
                let group = Group::new(places);
                let stride = target.plane() * LANES;
                let dy = &dy[features.start * stride..];
                let (rows, dy) =
                    ((taps.len(), &row), Operand { floats: dy, count: features.len(), stride });
                match im2col.precision {
                    Precision::F32 => {
                        dispatch!(cores.isa, s => group.run((s, Floats), rows, x, dy, sums));
                    }
                    Precision::Bf16 => {
                        dispatch_bf16!(cores.isa, (s, step) => group.run((s, step), rows, x, dy, sums));
                    }
                }
            }
        }
    }
}

impl Im2col {
    /// Floats of the weight gradient as [`weight_gradient_transposed`] sums it, `[weights of an output][outputs]`
    /// with the outputs filled up to whole vectors.
    pub fn transposed_gradient(&self) -> usize {
        let outputs = self.target.channels();
        self.weights / outputs.max(1) * outputs.next_multiple_of(LANES)
    }
}

/// `dw[o][t] += sums[t][o]` for some of the taps, where a row of `sums` is whole vectors.
///
/// # Safety
/// Nothing else may use these taps of `dw`.
#[inline(always)]
unsafe fn add_transposed<S: Simd>(
    s: S,
    sums: &[f32],
    [outputs, weights]: [&Range<usize>; 2],
    taps: usize,
    dw: Shared<'_, f32>,
) {
    let width = outputs.len().next_multiple_of(LANES);
    for first_output in outputs.clone().step_by(LANES) {
        for first in weights.clone().step_by(LANES) {
            let last = weights.end.min(first + LANES);
            let mut block = [s.zero(); LANES];
            for (t, v) in (first..last).zip(&mut block) {
                let at = (t - weights.start) * width + first_output - outputs.start;
                *v = s.load_partial(&sums[at..][..LANES]);
            }
            let block = s.transpose(block);
            for (o, sum) in (first_output..outputs.end).zip(block) {
                // SAFETY: the caller's promise.
                let part = unsafe { dw.slice(o * taps + first..o * taps + last) };
                s.store_partial(part, s.add(s.load_partial(part), sum));
            }
        }
    }
}
