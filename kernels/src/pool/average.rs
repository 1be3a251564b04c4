//! Average pooling and global average pooling.

use super::{Pool, Span, clear, seen, windows};
use crate::isa::{Isa, dispatch};
use crate::planes::{Vector, plane_sum, planes, planes_mut};
use crate::pointwise::put;
use crate::simd::Simd;
use crate::{Layout, Store};

/// `y[p]` = the sum of what output `p` of the [`Pool`] sees of the plane, in (ky, kx) order, divided by what it counts:
/// of a [`Window`](crate::Window), `x[p · stride + k · dilation − padding]` over the positions `k` inside the plane, divided by the
/// number of taps, so that positions in the padding count (PyTorch's `count_include_pad`).
///
/// `x` is of `layout`, `y` of the same channels with the pool's output size.
///
/// # Panics
/// If the pool does not fit, or a length is not that of its layout.
pub fn avg_pool(isa: Isa, x: &[f32], layout: &Layout, pool: impl Into<Pool>, y: &mut [f32]) {
    run(isa, x, layout, pool.into(), y);
}

fn run(isa: Isa, x: &[f32], layout: &Layout, pool: Pool, y: &mut [f32]) {
    let output = pool.through(layout);
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(y.len(), output.len(), "length of y, and of its layout");
    let [input, output_size] = [layout.size(), output.size()];
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        for (x, y) in planes(x, layout).zip(planes_mut(y, &output)) {
            windows(&pool, input, output_size, #[inline(always)] |number, window| {
                let mut sum = s.zero();
                seen(window, input[1], #[inline(always)] |i| sum = s.add(sum, s.load(&x[i])));
                s.store(&mut y[number], s.div(sum, s.splat(divisor(window))));
            });
        }
    }));
}

/// Each input gets `dy`, divided as in [`avg_pool`], of every output that saw it, in the order of the outputs.
///
/// `dx` is of `layout`, `dy` of the output's. The unused vectors of `dx` are left alone.
///
/// # Panics
/// If the pool does not fit, or a length is not that of its layout.
pub fn avg_pool_backward(
    isa: Isa,
    dy: &[f32],
    layout: &Layout,
    pool: impl Into<Pool>,
    dx: &mut [f32],
    store: Store,
) {
    run_backward(isa, dy, layout, pool.into(), dx, store);
}

fn run_backward(isa: Isa, dy: &[f32], layout: &Layout, pool: Pool, dx: &mut [f32], store: Store) {
    let output = pool.through(layout);
    assert_eq!(dy.len(), output.len(), "length of dy, and of its layout");
    assert_eq!(dx.len(), layout.len(), "length of dx, and of its layout");
    let [input, output_size] = [layout.size(), output.size()];
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        for (dy, dx) in planes(dy, &output).zip(planes_mut(dx, layout)) {
            if store == Store::Overwrite {
                clear(s, dx);
            }
            windows(&pool, input, output_size, #[inline(always)] |number, window| {
                let share = s.div(s.load(&dy[number]), s.splat(divisor(window)));
                seen(window, input[1], #[inline(always)] |i| {
                    put(s, &mut dx[i], share, Store::Accumulate)
                });
            });
        }
    }));
}

/// What a mean of the values of a window is divided by.
#[inline(always)]
fn divisor([rows, columns]: [Span; 2]) -> f32 {
    (rows.divisor * columns.divisor) as f32
}

/// `y[c]` = the sum of plane `c` of `x` divided by its pixels. The sum is that of even rows plus
/// that of odd rows, each in order.
///
/// `x` is of `layout`, `y` holds the features of its channels.
///
/// # Panics
/// If a length is not that of its layout.
pub fn global_avg_pool(isa: Isa, x: &[f32], layout: &Layout, y: &mut [f32]) {
    let output = Layout::features(layout.blocks(), layout.channels());
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(y.len(), output.len(), "length of y, and of its layout");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let pixels = s.splat(layout.pixels() as f32);
        for (x, y) in planes(x, layout).zip(y.as_chunks_mut().0) {
            s.store(y, s.div(plane_sum(s, x, layout.size()[1]), pixels));
        }
    }));
}

/// Every pixel of plane `c` of `dx` gets `dy[c] / pixels`.
///
/// `dx` is of `layout`, `dy` holds the features of its channels. The unused vectors of `dx` are left
/// alone.
///
/// # Panics
/// If a length is not that of its layout.
pub fn global_avg_pool_backward(
    isa: Isa,
    dy: &[f32],
    layout: &Layout,
    dx: &mut [f32],
    store: Store,
) {
    let output = Layout::features(layout.blocks(), layout.channels());
    assert_eq!(dy.len(), output.len(), "length of dy, and of its layout");
    assert_eq!(dx.len(), layout.len(), "length of dx, and of its layout");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let pixels = s.splat(layout.pixels() as f32);
        for (dy, dx) in dy.as_chunks().0.iter().zip(planes_mut(dx, layout)) {
            fill(s, dx, s.div(s.load(dy), pixels), store);
        }
    }));
}

#[inline(always)]
fn fill<S: Simd>(s: S, to: &mut [Vector], v: S::Vector, store: Store) {
    for to in to {
        put(s, to, v, store);
    }
}
