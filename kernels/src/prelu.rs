//! PReLU: a leaky ReLU whose slopes are trained.

use crate::isa::dispatch;
use crate::planes::{Vector, in_chains};
use crate::pointwise::put;
use crate::simd::Simd;
use crate::team::{Cores, Cost, Shared};
use crate::{LANES, Layout, Store};
use std::ops::Range;

/// `y = x` where `x > 0`, else the slope of the channel times `x`. The unused vectors of `y` are left alone.
///
/// `slopes` holds one slope for all channels or one for each.
///
/// # Panics
/// If a length is not that of `layout`, or `slopes` has another.
pub fn prelu<'t>(
    cores: impl Into<Cores<'t>>,
    x: &[f32],
    layout: &Layout,
    slopes: &[f32],
    y: &mut [f32],
) {
    check(layout, &[x.len(), y.len()], slopes);
    by_planes(cores.into(), layout, slopes, [x, x], Store::Overwrite, y);
}

/// The backward of [`prelu`]: `dx = dy` where `x > 0`, else the slope times `dy`, and added to the gradient of a slope
/// the sum of `dy · x` where it was used.
///
/// The sum of a channel: for each block, pixel `i` goes to chain `i mod 4` of four chains, which are added by halving,
/// then the pixels that do not fill all chains in order; then the blocks in order; then the lanes by halving. Lanes
/// beyond the images count too: gradients are zero there. One slope for all gets the sums of the channels in order.
/// `sums` is room for one float per channel. The unused vectors of `dx` are left alone.
///
/// # Panics
/// If a length is not that of `layout` or its channels, or `slopes` or `dslopes` has another.
pub fn prelu_backward<'t>(
    cores: impl Into<Cores<'t>>,
    [x, dy]: [&[f32]; 2],
    layout: &Layout,
    slopes: &[f32],
    (dslopes, sums): (&mut [f32], &mut [f32]),
    dx: Option<(&mut [f32], Store)>,
) {
    let cores = cores.into();
    check(layout, &[x.len(), dy.len()], slopes);
    assert_eq!(dslopes.len(), slopes.len(), "slopes, and their gradients");
    assert_eq!(sums.len(), layout.channels(), "length of sums, and channels");
    if let Some((dx, store)) = dx {
        check(layout, &[dx.len()], slopes);
        by_planes(cores, layout, slopes, [x, dy], store, dx);
    }
    slope_sums(cores, [x, dy], layout, sums);
    let count = dslopes.len();
    for (channel, sum) in sums.iter().enumerate() {
        dslopes[if count == 1 { 0 } else { channel }] += sum;
    }
}

#[track_caller]
fn check(layout: &Layout, lengths: &[usize], slopes: &[f32]) {
    for len in lengths {
        assert_eq!(*len, layout.len(), "length of a tensor, and of its layout");
    }
    let (count, channels) = (slopes.len(), layout.channels());
    assert!(count == 1 || count == channels, "{count} slopes for {channels} channels");
}

/// `v` where `x > 0`, else the slope times `v`. A part has some planes.
fn by_planes(
    cores: Cores<'_>,
    layout: &Layout,
    slopes: &[f32],
    [x, v]: [&[f32]; 2],
    store: Store,
    y: &mut [f32],
) {
    let (channels, y) = (layout.channels(), Shared::new(y));
    cores.each_range(layout.blocks() * channels, Cost::floats(3 * x.len()), |planes| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            let [x, v] = [x, v].map(|t| t.as_chunks::<LANES>().0);
            for plane in planes {
                let slope = s.splat(slopes[if slopes.len() == 1 { 0 } else { plane % channels }]);
                let place = vectors(layout, plane);
                // SAFETY: each plane is one part's.
                let y = unsafe { y.slice(place.start * LANES..place.end * LANES) };
                let inputs = x[place.clone()].iter().zip(&v[place]);
                for ((x, v), y) in inputs.zip(y.as_chunks_mut().0) {
                    let (x, v) = (s.load(x), s.load(v));
                    put(s, y, s.select(s.gt(x, s.zero()), v, s.mul(slope, v)), store);
                }
            }
        }));
    });
}

/// The vectors of a plane, counted through all blocks.
#[inline(always)]
fn vectors(layout: &Layout, plane: usize) -> Range<usize> {
    let start = plane * layout.plane();
    start..start + layout.pixels()
}

/// A part has some channels.
fn slope_sums(cores: Cores<'_>, [x, dy]: [&[f32]; 2], layout: &Layout, sums: &mut [f32]) {
    cores.each_piece(sums, 1, Cost::floats(2 * x.len()), |first, sums| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            let [x, dy] = [x, dy].map(|t| t.as_chunks::<LANES>().0);
            for (channel, sum) in (first..).zip(sums) {
                let mut total = s.zero();
                for block in 0..layout.blocks() {
                    let place = vectors(layout, block * layout.channels() + channel);
                    total = s.add(total, used(s, &x[place.clone()], &dy[place]));
                }
                *sum = s.sum(total);
            }
        }));
    });
}

/// The sum of `dy · x` where not `x > 0`, lane by lane.
#[inline(always)]
fn used<S: Simd>(s: S, x: &[Vector], dy: &[Vector]) -> S::Vector {
    let [sum] = in_chains::<S, 1, 4>(
        s,
        x.len(),
        #[inline(always)]
        |i, [sum]| {
            let x = s.load(&x[i]);
            let left = s.select(s.gt(x, s.zero()), s.zero(), x);
            [s.mul_add(s.load(&dy[i]), left, sum)]
        },
    );
    sum
}
