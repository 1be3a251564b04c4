//! The planes of a tensor, as vectors.

use crate::simd::Simd;
use crate::{LANES, Layout};

/// One value of sixteen images.
pub(crate) type Vector = [f32; LANES];

/// The used vectors of each plane.
pub(crate) fn planes<'a>(x: &'a [f32], layout: &Layout) -> impl Iterator<Item = &'a [Vector]> {
    let pixels = layout.pixels();
    x.as_chunks().0.chunks_exact(layout.plane()).map(move |plane| &plane[..pixels])
}

/// The used vectors of each plane, to be written.
pub(crate) fn planes_mut<'a>(
    x: &'a mut [f32],
    layout: &Layout,
) -> impl Iterator<Item = &'a mut [Vector]> {
    let pixels = layout.pixels();
    x.as_chunks_mut().0.chunks_exact_mut(layout.plane()).map(move |plane| &mut plane[..pixels])
}

/// The lanes of a block that hold one of the first `images` images; bit `i` is lane `i`.
pub(crate) fn valid_lanes(images: usize, block: usize) -> u16 {
    match images.saturating_sub(block * LANES) {
        lanes @ 0..LANES => (1 << lanes) - 1,
        _ => u16::MAX,
    }
}

/// The sum, lane by lane, of the pixels of a plane `width` wide: even rows and odd rows apart. (Two
/// chains of additions hide some of each other's latency, and [`crate::unpool`] can add in the same
/// order.)
#[inline(always)]
pub(crate) fn plane_sum<S: Simd>(s: S, plane: &[Vector], width: usize) -> S::Vector {
    if let [pixel] = plane {
        return s.load(pixel);
    }
    let (mut even, mut odd) = (s.zero(), s.zero());
    for rows in plane.chunks(2 * width.max(1)) {
        let (first, second) = rows.split_at(width);
        if second.is_empty() {
            for v in first {
                even = s.add(even, s.load(v));
            }
        } else {
            for (v, w) in first.iter().zip(second) {
                even = s.add(even, s.load(v));
                odd = s.add(odd, s.load(w));
            }
        }
    }
    s.add(even, odd)
}

/// `N` sums over `0..len`, each in `CHAINS` chains that hide the latency of additions from each
/// other; `step` adds one term to a chain of each and must be `#[inline(always)]`.
#[inline(always)]
pub(crate) fn in_chains<S: Simd, const N: usize, const CHAINS: usize>(
    s: S,
    len: usize,
    step: impl Fn(usize, [S::Vector; N]) -> [S::Vector; N],
) -> [S::Vector; N] {
    let mut chains = [[s.zero(); N]; CHAINS];
    let whole = len / CHAINS * CHAINS;
    for start in (0..whole).step_by(CHAINS) {
        for (k, chain) in chains.iter_mut().enumerate() {
            *chain = step(start + k, *chain);
        }
    }
    let mut width = CHAINS / 2;
    while width > 0 {
        let (low, high) = chains[..2 * width].split_at_mut(width);
        for (a, b) in low.iter_mut().flatten().zip(high.iter().flatten()) {
            *a = s.add(*a, *b);
        }
        width /= 2;
    }
    let mut sums = chains[0];
    for i in whole..len {
        sums = step(i, sums);
    }
    sums
}
