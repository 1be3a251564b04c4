//! The transform of weights, and its transpose for their gradient.

use super::{ELEMENTS, Winograd};
use crate::isa::{dispatch, dispatch_bf16};
use crate::simd::{Arithmetic, Bf16, Simd};
use crate::team::{Cores, Cost, Shared};
use crate::{Convolution, LANES, Precision};
use std::ops::Range;

const TAPS: usize = 9;

/// `G g Gᵀ` of every kernel: from `[outputs][inputs][3][3]` to `[16][outputs][inputs]`; in bfloat16 to
/// `[16][outputs][⌈inputs / 2⌉]`, pairs of inputs, followed by `[16][⌈outputs / 2⌉][inputs]`, pairs of outputs.
///
/// # Panics
/// If a slice has not the length that the plan says.
pub fn winograd_weights<'t>(
    cores: impl Into<Cores<'t>>,
    plan: &Winograd,
    weights: &[f32],
    to: &mut [f32],
) {
    assert_eq!(weights.len(), plan.convolution.weights(), "weights to transform");
    assert_eq!(to.len(), plan.weights(), "transformed weights");
    match plan.precision {
        Precision::F32 => transform_all(cores.into(), plan, weights, to),
        Precision::Bf16 => transform_pairs(cores.into(), plan, weights, to),
    }
}

/// Kernels of an output that are transformed at a time: those of two vectors of inputs.
const KERNELS: usize = 2 * LANES;

/// Those of two outputs at a time, so that both kinds of pairs are there.
fn transform_pairs(cores: Cores<'_>, plan: &Winograd, weights: &[f32], to: &mut [f32]) {
    let [inputs, outputs] =
        [plan.convolution.input(), plan.convolution.output()].map(|l| l.channels());
    let cost = Cost::floats(weights.len() + to.len());
    let (of_inputs, of_outputs) = to.split_at_mut(plan.pairs_of_inputs());
    let matrices = [of_inputs.len() / ELEMENTS, of_outputs.len() / ELEMENTS];
    let [of_inputs, of_outputs] = [of_inputs, of_outputs].map(Shared::new);
    cores.each_range(outputs.div_ceil(2), cost, |range| {
        dispatch_bf16!(cores.isa, (s, a) => a.vectorize(s, #[inline(always)] || {
            for (pair, first) in range.flat_map(|pair| (0..inputs).step_by(KERNELS).map(move |i| (pair, i))) {
                let last = inputs.min(first + KERNELS);
                let mut both = [[[s.zero(); ELEMENTS]; 2]; 2];
                for (o, elements) in (2 * pair..outputs).zip(&mut both) {
                    let kernels = &weights[(o * inputs + first) * TAPS..(o * inputs + last) * TAPS];
                    *elements = elements_of(s, kernels);
                    let row = o * inputs.div_ceil(2);
                    let place = row + first / 2..row + last.div_ceil(2);
                    // SAFETY: each output is one part's.
                    unsafe { store_inputs((s, a), elements, matrices[0], place, of_inputs) };
                }
                for half in 0..2 {
                    let [from, until] = [0, 1].map(|i| last.min(first + (half + i) * LANES));
                    let place = pair * inputs + from..pair * inputs + until;
                    let elements = [&both[0][half], &both[1][half]];
                    // SAFETY: each pair of outputs is one part's.
                    unsafe { store_outputs((s, a), elements, matrices[1], place, of_outputs) };
                }
            }
        }));
    });
}

/// The elements of up to [`KERNELS`] kernels, of which the later half may be missing.
#[inline(always)]
fn elements_of<S: Simd>(s: S, kernels: &[f32]) -> [[S::Vector; ELEMENTS]; 2] {
    let mut elements = [[s.zero(); ELEMENTS]; 2];
    for (elements, kernels) in elements.iter_mut().zip(kernels.chunks(LANES * TAPS)) {
        *elements = transform(s, load_kernels(s, kernels));
    }
    elements
}

/// Elements of one output in pairs of inputs, to a place in each matrix.
///
/// # Safety
/// Nothing else may use these places.
#[inline(always)]
unsafe fn store_inputs<S: Simd, A: Bf16<S>>(
    (s, a): (S, A),
    elements: &[[S::Vector; ELEMENTS]; 2],
    matrix: usize,
    place: Range<usize>,
    to: Shared<'_, f32>,
) {
    for i in 0..ELEMENTS {
        let packed = a.pack_neighbours(s, elements[0][i], elements[1][i]);
        // SAFETY: the caller's promise.
        let to = unsafe { to.slice(i * matrix + place.start..i * matrix + place.end) };
        s.store_partial(to, packed);
    }
}

/// Elements of two outputs in pairs, to a place in each matrix.
///
/// # Safety
/// Nothing else may use these places.
#[inline(always)]
unsafe fn store_outputs<S: Simd, A: Bf16<S>>(
    (s, a): (S, A),
    [even, odd]: [&[S::Vector; ELEMENTS]; 2],
    matrix: usize,
    place: Range<usize>,
    to: Shared<'_, f32>,
) {
    for i in 0..ELEMENTS {
        let packed = a.pack(s, even[i], odd[i]);
        // SAFETY: the caller's promise.
        let to = unsafe { to.slice(i * matrix + place.start..i * matrix + place.end) };
        s.store_partial(to, packed);
    }
}

fn transform_all(cores: Cores<'_>, plan: &Winograd, weights: &[f32], to: &mut [f32]) {
    let [inputs, outputs] =
        [plan.convolution.input(), plan.convolution.output()].map(|l| l.channels());
    let matrix = to.len() / ELEMENTS;
    let cost = Cost::floats(weights.len() + to.len());
    let to = Shared::new(to);
    cores.each_range(outputs, cost, |range| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for o in range {
                let weights = &weights[o * inputs * TAPS..][..inputs * TAPS];
                for (i, kernels) in weights.chunks(LANES * TAPS).enumerate() {
                    let elements = transform(s, load_kernels(s, kernels));
                    let (at, len) = (o * inputs + i * LANES, kernels.len() / TAPS);
                    for (element, value) in elements.into_iter().enumerate() {
                        let at = element * matrix + at;
                        // SAFETY: each output is one part's.
                        s.store_partial(unsafe { to.slice(at..at + len) }, value);
                    }
                }
            }
        }));
    });
}

/// Adds `Gᵀ du G` to the gradient of every kernel.
pub(super) fn gradient(cores: Cores<'_>, convolution: &Convolution, du: &[f32], dw: &mut [f32]) {
    assert_eq!(dw.len(), convolution.weights(), "weight gradient");
    let inputs = convolution.input().channels();
    let matrix = du.len() / ELEMENTS;
    let cost = Cost::floats(dw.len() + du.len());
    cores.each_piece(dw, (inputs * TAPS).max(1), cost, |first, dw| {
        let first = first / TAPS;
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for (o, dw) in dw.chunks_exact_mut(inputs * TAPS).enumerate() {
                for (i, dw) in dw.chunks_mut(LANES * TAPS).enumerate() {
                    let (at, len) = (first + o * inputs + i * LANES, dw.len() / TAPS);
                    let mut elements = [s.zero(); ELEMENTS];
                    for (element, value) in elements.iter_mut().enumerate() {
                        *value = s.load_partial(&du[element * matrix + at..][..len]);
                    }
                    add_kernels(s, transpose(s, elements), dw);
                }
            }
        }));
    });
}

/// Up to sixteen kernels, one per lane.
#[inline(always)]
fn load_kernels<S: Simd>(s: S, kernels: &[f32]) -> [S::Vector; TAPS] {
    let mut rows = [s.zero(); LANES];
    for (row, kernel) in rows.iter_mut().zip(kernels.chunks_exact(TAPS)) {
        *row = s.load_partial(kernel);
    }
    let taps = s.transpose(rows);
    let mut g = [s.zero(); TAPS];
    g.copy_from_slice(&taps[..TAPS]);
    g
}

#[inline(always)]
fn add_kernels<S: Simd>(s: S, g: [S::Vector; TAPS], dw: &mut [f32]) {
    let mut taps = [s.zero(); LANES];
    taps[..TAPS].copy_from_slice(&g);
    let rows = s.transpose(taps);
    for (kernel, row) in dw.chunks_exact_mut(TAPS).zip(rows) {
        s.store_partial(kernel, s.add(s.load_partial(kernel), row));
    }
}

/// `G g Gᵀ`.
#[inline(always)]
fn transform<S: Simd>(s: S, g: [S::Vector; TAPS]) -> [S::Vector; ELEMENTS] {
    let mut rows = [[s.zero(); 4]; 3];
    for i in 0..3 {
        rows[i] = widen(s, [g[3 * i], g[3 * i + 1], g[3 * i + 2]]);
    }
    let mut elements = [s.zero(); ELEMENTS];
    for j in 0..4 {
        let column = widen(s, [rows[0][j], rows[1][j], rows[2][j]]);
        for i in 0..4 {
            elements[4 * i + j] = column[i];
        }
    }
    elements
}

/// `G g`.
#[inline(always)]
fn widen<S: Simd>(s: S, [a, b, c]: [S::Vector; 3]) -> [S::Vector; 4] {
    let half = s.splat(0.5);
    let (outer, inner) = (s.mul(half, s.add(a, c)), s.mul(half, b));
    [a, s.add(outer, inner), s.sub(outer, inner), c]
}

/// `Gᵀ u G`.
#[inline(always)]
fn transpose<S: Simd>(s: S, u: [S::Vector; ELEMENTS]) -> [S::Vector; TAPS] {
    let mut rows = [[s.zero(); 3]; 4];
    for i in 0..4 {
        rows[i] = narrow(s, [u[4 * i], u[4 * i + 1], u[4 * i + 2], u[4 * i + 3]]);
    }
    let mut g = [s.zero(); TAPS];
    for j in 0..3 {
        let column = narrow(s, [rows[0][j], rows[1][j], rows[2][j], rows[3][j]]);
        for i in 0..3 {
            g[3 * i + j] = column[i];
        }
    }
    g
}

/// `Gᵀ u`.
#[inline(always)]
fn narrow<S: Simd>(s: S, u: [S::Vector; 4]) -> [S::Vector; 3] {
    let half = s.splat(0.5);
    let outer = s.mul(half, s.add(u[1], u[2]));
    [s.add(u[0], outer), s.mul(half, s.sub(u[1], u[2])), s.add(outer, u[3])]
}
