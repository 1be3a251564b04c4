//! Weights as the data gradient of a convolution meets them.

use crate::isa::dispatch;
use crate::simd::Simd;
use crate::team::{Cores, Cost};
use crate::{Convolution, LANES};

/// The weights `[outputs][inputs][taps]` of a convolution as its data gradient meets them: `to` is
/// `[inputs / 16][outputs][taps][16]`, panels of sixteen inputs (rows of the product), so that a
/// tile finds the weights of its rows in one cache line and the lines one after another. Rows beyond
/// the last input are zero. With groups, group after group.
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
    assert_eq!(to.len(), convolution.transposed_weights(), "transposed weights");
    if weights.is_empty() {
        return;
    }
    let (cores, group) = (cores.into(), convolution.group());
    let of_group = weights.chunks_exact(group.weights());
    for (weights, to) in of_group.zip(to.chunks_exact_mut(group.transposed_weights())) {
        transpose_panels(cores, &group, weights, to);
    }
}

/// A part has some panels.
fn transpose_panels(cores: Cores<'_>, convolution: &Convolution, weights: &[f32], to: &mut [f32]) {
    let (inputs, taps) = (convolution.input().channels(), convolution.window().taps());
    let panel = convolution.output().channels() * taps * LANES;
    let cost = Cost::floats(2 * to.len());
    cores.each_piece(to, panel, cost, |first, to| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for (p, to) in (first / panel..).zip(to.chunks_exact_mut(panel)) {
                for (o, weights) in weights.chunks_exact(inputs * taps).enumerate() {
                    let rows = &weights[p * LANES * taps..inputs.min((p + 1) * LANES) * taps];
                    let to = &mut to.as_chunks_mut().0[o * taps..][..taps];
                    transpose_rows(s, rows, to);
                }
            }
        }));
    });
}

/// At most sixteen rows of `to.len()` floats to columns.
#[inline(always)]
fn transpose_rows<S: Simd>(s: S, rows: &[f32], to: &mut [[f32; LANES]]) {
    let taps = to.len();
    for (i, to) in to.chunks_mut(LANES).enumerate() {
        let mut block = [s.zero(); LANES];
        for (v, row) in block.iter_mut().zip(rows.chunks_exact(taps)) {
            *v = s.load_partial(&row[i * LANES..][..to.len()]);
        }
        for (to, v) in to.iter_mut().zip(s.transpose(block)) {
            s.store(to, v);
        }
    }
}
