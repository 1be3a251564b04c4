//! The sums of a channel: see the module above for their order.

use super::{Affine, BatchNorm, Channel};
use crate::planes::{Vector, in_chains, valid_lanes};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn channel_mean<S: Simd>(s: S, op: &BatchNorm, x: &[Vector], channel: usize) -> f32 {
    mean_of(
        s,
        op,
        op.channel(x, channel),
        #[inline(always)]
        |x, sum| s.add(sum, x),
    )
}

#[inline(always)]
pub(super) fn channel_variance<S: Simd>(
    s: S,
    op: &BatchNorm,
    x: &[Vector],
    channel: usize,
    mean: f32,
) -> f32 {
    let mean = s.splat(mean);
    mean_of(
        s,
        op,
        op.channel(x, channel),
        #[inline(always)]
        |x, sum| {
            let deviation = s.sub(x, mean);
            s.mul_add(deviation, deviation, sum)
        },
    )
}

/// The mean over a channel of what `term` adds to a sum for each value; `term` must be `#[inline(always)]`.
#[inline(always)]
fn mean_of<S: Simd>(
    s: S,
    op: &BatchNorm,
    x: Channel<'_>,
    term: impl Fn(S::Vector, S::Vector) -> S::Vector,
) -> f32 {
    let [sum] = over_blocks(
        s,
        op,
        #[inline(always)]
        |block| {
            let x = x.plane(block);
            in_chains::<S, 1, 4>(
                s,
                x.len(),
                #[inline(always)]
                |i, [sum]| [term(s.load(&x[i]), sum)],
            )
        },
    );
    sum / op.count()
}

/// `Σ g · x̂` and `Σ g`.
#[inline(always)]
pub(super) fn channel_gradients<S: Simd>(
    s: S,
    op: &BatchNorm,
    affine: &Affine<S>,
    [x, dy]: [Channel<'_>; 2],
) -> [f32; 2] {
    over_blocks(
        s,
        op,
        #[inline(always)]
        |block| {
            let [x, dy] = [x, dy].map(|t| t.plane(block));
            in_chains::<S, 2, 2>(
                s,
                x.len(),
                #[inline(always)]
                |i, [dot, sum]| {
                    let [deviation, g] = affine.through(s, &x[i], &dy[i]);
                    [s.mul_add(g, s.mul(deviation, affine.inverse), dot), s.add(sum, g)]
                },
            )
        },
    )
}

/// Adds the sums that `plane` gives for each block, lane by lane where there is an image, then over
/// the lanes. `plane` must be `#[inline(always)]`.
#[inline(always)]
fn over_blocks<S: Simd, const N: usize>(
    s: S,
    op: &BatchNorm,
    plane: impl Fn(usize) -> [S::Vector; N],
) -> [f32; N] {
    let mut totals = [s.zero(); N];
    for block in 0..op.layout.blocks() {
        let valid = s.mask(valid_lanes(op.images, block));
        for (total, sum) in totals.iter_mut().zip(plane(block)) {
            *total = s.add(*total, s.keep(valid, sum));
        }
    }
    let mut sums = [0.0; N];
    for (sum, total) in sums.iter_mut().zip(totals) {
        *sum = s.sum(total);
    }
    sums
}
