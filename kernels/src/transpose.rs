//! Weights as the data gradient of a convolution meets them.

use crate::isa::dispatch;
use crate::simd::Simd;
use crate::team::{Cores, Cost};
use crate::{Convolution, LANES};

/// The weights `[outputs][inputs][taps]` of a convolution as its data gradient meets them, `[inputs][outputs][taps]`: a
/// row of the product for each input. With groups, group after group.
///
/// # Panics
/// If the lengths are not those of the convolution.
pub fn transpose_weights<'t>(
    cores: impl Into<Cores<'t>>,
    convolution: &Convolution,
    weights: &[f32],
    to: &mut [f32],
) {
    assert_eq!(weights.len(), convolution.weights(), "weights to transpose");
    assert_eq!(to.len(), convolution.weights(), "transposed weights");
    if weights.is_empty() {
        return;
    }
    let (cores, group) = (cores.into(), convolution.group());
    let of_group = weights.chunks_exact(group.weights());
    for (weights, to) in of_group.zip(to.chunks_exact_mut(group.weights())) {
        transpose_group(cores, &group, weights, to);
    }
}

/// Rows of the result that are written together: their weights are neighbours in those of each output.
pub(crate) const ROWS: usize = 16;

/// A part has some rows.
fn transpose_group(cores: Cores<'_>, group: &Convolution, weights: &[f32], to: &mut [f32]) {
    let (inputs, taps) = (group.input().channels(), group.window().taps());
    let row = group.output().channels() * taps;
    let cost = Cost::floats(2 * to.len());
    cores.each_piece(to, ROWS * row, cost, |first, to| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for (block, to) in to.chunks_mut(ROWS * row).enumerate() {
                let input = first / row + block * ROWS;
                for (o, weights) in weights.chunks_exact(inputs * taps).enumerate() {
                    let rows = to.chunks_exact_mut(row);
                    for (to, weights) in rows.zip(weights[input * taps..].chunks_exact(taps)) {
                        copy(s, weights, &mut to[o * taps..][..taps]);
                    }
                }
            }
        }));
    });
}

/// Copies so few floats that a call of `memcpy` would take longer.
#[inline(always)]
fn copy<S: Simd>(s: S, from: &[f32], to: &mut [f32]) {
    for (from, to) in from.chunks(LANES).zip(to.chunks_mut(LANES)) {
        s.store_partial(to, s.load_partial(from));
    }
}
