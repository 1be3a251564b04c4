//! The forward product and the data gradient, strip by strip.
//!
//! Strips are independent, so each part takes as many whole ones as the others. What remains is cut by
//! sixteens of output channels: the strip's input is then transformed by each part that needs it.

use super::pairs::input_pairs;
use super::transform::{input_tiles, output_tiles};
use super::{ELEMENTS, SIDE, Strips, Winograd, matrix};
use crate::implicit_gemm::implicit_gemm_rows;
use crate::isa::{dispatch, dispatch_bf16};
use crate::team::{Cores, Cost, Shared, share};
use crate::{Epilogue, LANES, Operands, Precision, Start};
use std::ops::Range;

/// Y = epilogue(start + W ∗ X): [`implicit_gemm`](crate::implicit_gemm) on the forward im2col matrix of the
/// same convolution, but for rounding. `weights` are those of [`winograd_weights`](crate::winograd_weights);
/// `scratch` is room for at least one part, [`Winograd::scratch_of`], and there are no more parts than that.
///
/// # Panics
/// If a slice has not the length that the plan says.
pub fn winograd<'t>(
    cores: impl Into<Cores<'t>>,
    plan: &Winograd,
    operands: Operands<'_>,
    scratch: &mut [f32],
    y: &mut [f32],
) {
    plan.check(operands.x.len(), y.len(), scratch.len());
    let operands = Operands { weights: plan.weights_of(operands.weights, false), ..operands };
    let parts = plan.parts(&plan.forward, scratch.len());
    Product { strips: &plan.forward, operands, flipped: false, parts }.run(
        cores.into(),
        scratch,
        y,
    );
}

/// dX = epilogue(start + Wᵀ · dY), where `x` of the operands is dY: [`implicit_gemm`](crate::implicit_gemm)
/// on the im2col matrix of the data gradient, but for rounding. The rest is as for [`winograd`].
///
/// # Panics
/// If a slice has not the length that the plan says.
pub fn winograd_data_gradient<'t>(
    cores: impl Into<Cores<'t>>,
    plan: &Winograd,
    operands: Operands<'_>,
    scratch: &mut [f32],
    dx: &mut [f32],
) {
    plan.check(dx.len(), operands.x.len(), scratch.len());
    let operands = Operands { weights: plan.weights_of(operands.weights, true), ..operands };
    let parts = plan.parts(&plan.data, scratch.len());
    Product { strips: &plan.data, operands, flipped: true, parts }.run(cores.into(), scratch, dx);
}

/// A convolution with its transformed weights.
struct Product<'a> {
    strips: &'a Strips,
    operands: Operands<'a>,
    /// Whether the kernels are to be turned around.
    flipped: bool,
    /// The most parts that there is room for.
    parts: usize,
}

/// How the strips of a batch are cut: each part does `whole` strips, then its share of the others,
/// of which each is `cuts` jobs.
struct Cut {
    parts: usize,
    whole: usize,
    rest: usize,
    cuts: usize,
}

impl Cut {
    /// Of so many strips with outputs in so many sixteens of channels.
    fn new(strips: usize, sixteens: usize, parts: usize) -> Cut {
        let (whole, rest) = (strips / parts, strips % parts);
        // Of the work of a strip, a tenth is the transform of its input.
        let time = |cuts: &usize| (rest * cuts).div_ceil(parts) * (9 * 1000 / cuts + 1000);
        let cuts = (1..=sixteens.max(1)).min_by_key(time).unwrap_or(1);
        Cut { parts, whole, rest, cuts }
    }

    /// The jobs of a part: a strip, and which cut of it.
    fn jobs(&self, part: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let (first, cuts) = (self.parts * self.whole, self.cuts);
        let whole = (part * self.whole..(part + 1) * self.whole).map(|strip| (strip, 0, 1));
        let rest = share(self.rest * cuts, part, self.parts);
        whole.chain(rest.map(move |job| (first + job / cuts, job % cuts, cuts)))
    }
}

impl Product<'_> {
    fn run(&self, cores: Cores<'_>, scratch: &mut [f32], y: &mut [f32]) {
        let convolution = &self.strips.convolution;
        let (input, output) = (convolution.input(), convolution.output());
        if let Start::Bias(bias) = self.operands.start {
            assert_eq!(bias.len(), output.channels(), "bias of a convolution");
        }
        let blocks = self.operands.x.len() / input.block_len().max(1);
        let (strips, sixteens) = (blocks * self.strips.count(), output.channels().div_ceil(LANES));
        let cost = Cost::products(blocks * self.strips.work());
        let parts = cores.parts(strips * sixteens, cost).min(self.parts);
        let cut = Cut::new(strips, sixteens, parts);
        let (zeros, scratch) = scratch.split_at_mut(self.strips.zeros());
        zeros.fill(0.0);
        let room: usize = self.strips.matrices().iter().sum();
        let (zeros, y, scratch) = (&*zeros, Shared::new(y), Shared::new(scratch));
        cores.run(parts, |part| {
            // SAFETY: each part has a place of its own in the room.
            let room = unsafe { scratch.slice(part * room..(part + 1) * room) };
            let mut transformed = None;
            for (strip, cut, cuts) in cut.jobs(part) {
                let cut = share(sixteens, cut, cuts);
                let channels = cut.start * LANES..output.channels().min(cut.end * LANES);
                self.strip(cores, strip, channels, (transformed != Some(strip), zeros), room, y);
                transformed = Some(strip);
            }
        });
    }

    /// Some output channels of a strip, counted through all blocks; `input` says whether its input is
    /// still to be transformed.
    fn strip(
        &self,
        cores: Cores<'_>,
        number: usize,
        channels: Range<usize>,
        (input, zeros): (bool, &[f32]),
        room: &mut [f32],
        y: Shared<'_, f32>,
    ) {
        let strips = self.strips;
        let (block, strip) = (number / strips.count(), strips.strip(number % strips.count()));
        let product = strips.product(&strip);
        let (v_matrix, m_plane) = (matrix(&product.source), product.target.plane() * LANES);
        let m_matrix = matrix(&product.target);
        let (v, m) = room.split_at_mut(strips.matrices()[0]);
        if input {
            let x_block = strips.convolution.input().block_len();
            let x = &self.operands.x[block * x_block..][..x_block];
            let from = strips.input(&strip);
            let all = 0..from.matrices.channels();
            let v = Shared::new(v);
            match product.precision {
                // SAFETY: `v` is this part's alone.
                Precision::F32 => dispatch!(cores.isa, s => unsafe {
                    input_tiles(s, &from, all, [x, zeros], v);
                }),
                // SAFETY: as above.
                Precision::Bf16 => dispatch_bf16!(cores.isa, (s, a) => unsafe {
                    input_pairs((s, a), &from, all, [x, zeros], v);
                }),
            }
        }
        for element in 0..ELEMENTS {
            let v = &v[element * v_matrix..][..product.source.block_len()];
            let m = &mut m[element * m_matrix..][..channels.len() * m_plane];
            let weights = self.weights_of(element);
            let operands = Operands { weights, x: v, start: Start::Zero, epilogue: Epilogue::None };
            implicit_gemm_rows(cores.isa, product, operands, channels.clone(), m);
        }
        let to = strips.output(&strip);
        let first = block * strips.convolution.output().block_len();
        // SAFETY: no other part has these channels of this strip.
        dispatch!(cores.isa, s => unsafe {
            output_tiles(s, &to, channels.clone(), m, &self.operands, (first, y));
        });
    }

    /// The matrix of weights of an element.
    fn weights_of(&self, element: usize) -> &[f32] {
        let [i, j] = [element / SIDE, element % SIDE].map(|index| match index {
            0 | 3 if self.flipped => 3 - index,
            _ => index,
        });
        let matrix = self.operands.weights.len() / ELEMENTS;
        &self.operands.weights[(SIDE * i + j) * matrix..][..matrix]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every sixteen of every strip is done once.
    #[test]
    fn jobs_are_level_and_complete() {
        for (strips, sixteens) in [(1, 2), (4, 16), (7, 8), (14, 4), (28, 4), (14, 3)] {
            for parts in 1..20 {
                let cut = Cut::new(strips, sixteens, parts);
                let mut done = vec![0; strips * sixteens];
                for part in 0..parts {
                    for (strip, number, cuts) in cut.jobs(part) {
                        share(sixteens, number, cuts).for_each(|c| done[strip * sixteens + c] += 1);
                    }
                }
                assert!(done.iter().all(|n| *n == 1), "{strips} {sixteens} {parts}: {done:?}");
            }
        }
    }
}
