//! Average pooling and global average pooling.

use super::{clear, outputs, pooled, seen};
use crate::isa::{Isa, dispatch};
use crate::planes::{Vector, plane_sum, planes, planes_mut};
use crate::pointwise::put;
use crate::simd::Simd;
use crate::{Layout, Store, Window};

/// `y[p]` = the sum of `x[p · stride + k · dilation − padding]` over the positions of the window
/// inside the plane, in (ky, kx) order, divided by the number of taps: positions in the padding
/// count (PyTorch's `count_include_pad`).
///
/// `x` is of `layout`, `y` of the same channels with the window's output size.
///
/// # Panics
/// If the window does not fit, or a length is not that of its layout.
pub fn avg_pool(isa: Isa, x: &[f32], layout: &Layout, window: &Window, y: &mut [f32]) {
    let output = pooled(layout, window);
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(y.len(), output.len(), "length of y, and of its layout");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let taps = s.splat(window.taps() as f32);
        for (x, y) in planes(x, layout).zip(planes_mut(y, &output)) {
            for (y, at) in y.iter_mut().zip(outputs(output.size)) {
                let mut sum = s.zero();
                seen(window, layout.size, at, #[inline(always)] |i| sum = s.add(sum, s.load(&x[i])));
                s.store(y, s.div(sum, taps));
            }
        }
    }));
}

/// Each input gets `dy / taps` of every output that saw it, in the order of the outputs.
///
/// `dx` is of `layout`, `dy` of the output's. The unused vectors of `dx` are left alone.
///
/// # Panics
/// If the window does not fit, or a length is not that of its layout.
pub fn avg_pool_backward(
    isa: Isa,
    dy: &[f32],
    layout: &Layout,
    window: &Window,
    dx: &mut [f32],
    store: Store,
) {
    let output = pooled(layout, window);
    assert_eq!(dy.len(), output.len(), "length of dy, and of its layout");
    assert_eq!(dx.len(), layout.len(), "length of dx, and of its layout");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let taps = s.splat(window.taps() as f32);
        for (dy, dx) in planes(dy, &output).zip(planes_mut(dx, layout)) {
            if store == Store::Overwrite {
                clear(s, dx);
            }
            for (dy, at) in dy.iter().zip(outputs(output.size)) {
                let share = s.div(s.load(dy), taps);
                seen(window, layout.size, at, #[inline(always)] |i| {
                    put(s, &mut dx[i], share, Store::Accumulate)
                });
            }
        }
    }));
}

/// `y[c]` = the sum of plane `c` of `x` divided by its pixels. The sum is that of even rows plus
/// that of odd rows, each in order.
///
/// `x` is of `layout`, `y` holds the features of its channels.
///
/// # Panics
/// If a length is not that of its layout.
pub fn global_avg_pool(isa: Isa, x: &[f32], layout: &Layout, y: &mut [f32]) {
    let output = Layout::features(layout.blocks, layout.channels);
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(y.len(), output.len(), "length of y, and of its layout");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let pixels = s.splat(layout.pixels() as f32);
        for (x, y) in planes(x, layout).zip(y.as_chunks_mut().0) {
            s.store(y, s.div(plane_sum(s, x, layout.size[1]), pixels));
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
    let output = Layout::features(layout.blocks, layout.channels);
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
