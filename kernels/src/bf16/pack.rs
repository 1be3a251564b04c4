//! Operands rounded to bfloat16, two that follow each other in a sum to a lane.

use crate::isa::dispatch_bf16;
use crate::planes::Vector;
use crate::simd::{Arithmetic, Bf16, Simd};
use crate::team::{Cores, Cost};
use crate::transpose::ROWS;
use crate::{Convolution, LANES, Layout};

/// Activations for the product with weights: pairs of channels, `[blocks][⌈channels / 2⌉][rows][columns][16]`
/// ([`Layout::pairs`]), the even channel in the lower half; the last pair of an odd number has a zero. The unused
/// vectors of planes are left alone.
///
/// # Panics
/// If a slice has not the length of its layout.
pub fn pack_pairs<'t>(cores: impl Into<Cores<'t>>, layout: Layout, x: &[f32], to: &mut [f32]) {
    let pairs = layout.pairs();
    assert_eq!(x.len(), layout.len(), "activations to pack");
    assert_eq!(to.len(), pairs.len(), "packed activations");
    let (cores, plane) = (cores.into(), layout.plane() * LANES);
    let cost = Cost::vectors(layout.len() / LANES + pairs.len() / LANES);
    cores.each_piece(to, plane.max(1), cost, |first, to| {
        let first = first / plane;
        dispatch_bf16!(cores.isa, (s, a) => a.vectorize(s, #[inline(always)] || {
            for (i, to) in to.chunks_exact_mut(plane).enumerate() {
                let (block, pair) = ((first + i) / pairs.channels(), (first + i) % pairs.channels());
                let x = &x[block * layout.block_len() + 2 * pair * plane..];
                let odd: &[f32] = if 2 * pair + 1 < layout.channels() { &x[plane..2 * plane] } else { &[] };
                pack_plane((s, a), [&x[..plane], odd].map(|x| x.as_chunks().0), to, layout.pixels());
            }
        }));
    });
}

/// The pixels of a pair of planes; the second may be empty, for zeros.
#[inline(always)]
fn pack_plane<S: Simd, A: Bf16<S>>(
    (s, a): (S, A),
    [even, odd]: [&[Vector]; 2],
    to: &mut [f32],
    pixels: usize,
) {
    let to: &mut [Vector] = to.as_chunks_mut().0;
    if odd.is_empty() {
        for (to, even) in to[..pixels].iter_mut().zip(even) {
            s.store(to, a.pack(s, s.load(even), s.zero()));
        }
    } else {
        for ((to, even), odd) in to[..pixels].iter_mut().zip(even).zip(odd) {
            s.store(to, a.pack(s, s.load(even), s.load(odd)));
        }
    }
}

/// Activations for the weight gradient: the sixteen images of a vector as eight pairs, in half the floats. Any number
/// of whole vectors, in order.
///
/// # Panics
/// If `x` is not whole vectors, or `to` not half as long.
pub fn pack_neighbours<'t>(cores: impl Into<Cores<'t>>, x: &[f32], to: &mut [f32]) {
    let (vectors, rest) = x.as_chunks::<LANES>();
    assert!(rest.is_empty() && 2 * to.len() == x.len(), "activations to pack, and packed");
    let cores = cores.into();
    let cost = Cost::floats(x.len() + to.len());
    cores.each_piece(to, LANES, cost, |first, to| {
        let vectors = &vectors[2 * first / LANES..];
        dispatch_bf16!(cores.isa, (s, a) => a.vectorize(s, #[inline(always)] || {
            let (whole, rest) = to.as_chunks_mut();
            for (to, [first, second]) in whole.iter_mut().zip(vectors.as_chunks::<2>().0) {
                s.store(to, a.pack_neighbours(s, s.load(first), s.load(second)));
            }
            if !rest.is_empty() {
                let last = s.load(&vectors[2 * whole.len()]);
                s.store_partial(rest, a.pack_neighbours(s, last, s.zero()));
            }
        }));
    });
}

/// The weights `[outputs][inputs][taps]` of a convolution as its forward product meets them: pairs of inputs,
/// `[outputs][⌈inputs / 2⌉][taps]`.
///
/// # Panics
/// If the lengths are not those of the convolution and of [`forward_bf16`](Convolution::forward_bf16).
pub fn pack_weights<'t>(
    cores: impl Into<Cores<'t>>,
    convolution: &Convolution,
    weights: &[f32],
    to: &mut [f32],
) {
    let (inputs, taps) = (convolution.input().channels(), convolution.window().taps());
    let row = inputs.div_ceil(2) * taps;
    assert_eq!(weights.len(), convolution.weights(), "weights to pack");
    assert_eq!(to.len(), convolution.output().channels() * row, "packed weights");
    let cores = cores.into();
    let cost = Cost::floats(2 * weights.len());
    cores.each_piece(to, row.max(1), cost, |first, to| {
        let weights = &weights[first / row * inputs * taps..];
        dispatch_bf16!(cores.isa, (s, a) => a.vectorize(s, #[inline(always)] || {
            let rows = weights.chunks_exact(inputs * taps);
            for (weights, to) in rows.zip(to.chunks_exact_mut(row)) {
                if taps == 1 {
                    pack_row((s, a), weights, to);
                    continue;
                }
                for (pair, to) in weights.chunks(2 * taps).zip(to.chunks_exact_mut(taps)) {
                    let (even, odd) = pair.split_at(taps);
                    pack_rows((s, a), [even, odd], to);
                }
            }
        }));
    });
}

/// Neighbours become pairs; the last may be alone.
#[inline(always)]
fn pack_row<S: Simd, A: Bf16<S>>((s, a): (S, A), row: &[f32], to: &mut [f32]) {
    for (row, to) in row.chunks(2 * LANES).zip(to.chunks_mut(LANES)) {
        let (first, second) = row.split_at(row.len().min(LANES));
        s.store_partial(to, a.pack_neighbours(s, s.load_partial(first), s.load_partial(second)));
    }
}

/// Two rows become one of pairs; the second may be empty, for zeros.
#[inline(always)]
fn pack_rows<S: Simd, A: Bf16<S>>((s, a): (S, A), [even, odd]: [&[f32]; 2], to: &mut [f32]) {
    for (i, to) in to.chunks_mut(LANES).enumerate() {
        let at = i * LANES;
        let odd = if odd.is_empty() { odd } else { &odd[at..][..to.len()] };
        let even = s.load_partial(&even[at..][..to.len()]);
        s.store_partial(to, a.pack(s, even, s.load_partial(odd)));
    }
}

/// The weights `[outputs][inputs][taps]` of a convolution as its data gradient meets them: pairs of outputs,
/// `[inputs][⌈outputs / 2⌉][taps]`, or `[⌈outputs / 2⌉][inputs]` where there is one tap.
///
/// # Panics
/// If the lengths are not those of the convolution and of
/// [`data_gradient_bf16`](Convolution::data_gradient_bf16).
pub fn pack_weights_transposed<'t>(
    cores: impl Into<Cores<'t>>,
    convolution: &Convolution,
    weights: &[f32],
    to: &mut [f32],
) {
    let (inputs, taps) = (convolution.input().channels(), convolution.window().taps());
    let pairs = convolution.output().channels().div_ceil(2);
    assert_eq!(weights.len(), convolution.weights(), "weights to pack");
    assert_eq!(to.len(), inputs * pairs * taps, "packed weights");
    if to.is_empty() {
        return;
    }
    let (cores, cost) = (cores.into(), Cost::floats(2 * weights.len()));
    let outputs = weights.chunks(2 * inputs * taps).map(|pair| pair.split_at(inputs * taps));
    if taps == 1 {
        return cores.each_piece(to, inputs, cost, |first, to| {
            dispatch_bf16!(cores.isa, (s, a) => a.vectorize(s, #[inline(always)] || {
                let outputs = outputs.clone().skip(first / inputs);
                for ((even, odd), to) in outputs.zip(to.chunks_exact_mut(inputs)) {
                    pack_rows((s, a), [even, odd], to);
                }
            }));
        });
    }
    let row = pairs * taps;
    cores.each_piece(to, ROWS * row, cost, |first, to| {
        dispatch_bf16!(cores.isa, (s, a) => a.vectorize(s, #[inline(always)] || {
            for (block, to) in to.chunks_mut(ROWS * row).enumerate() {
                let input = first / row + block * ROWS;
                for (pair, (even, odd)) in outputs.clone().enumerate() {
                    for (i, to) in (input * taps..).step_by(taps).zip(to.chunks_exact_mut(row)) {
                        let odd = if odd.is_empty() { odd } else { &odd[i..][..taps] };
                        let to = &mut to[pair * taps..][..taps];
                        pack_rows((s, a), [&even[i..][..taps], odd], to);
                    }
                }
            }
        }));
    });
}
