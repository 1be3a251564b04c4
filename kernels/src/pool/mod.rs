//! Pooling: maximum, average, the average of whole planes, and the backward of the max-pool that is
//! fused into a convolution.

mod average;
mod max;
mod unpool;

pub use average::{avg_pool, avg_pool_backward, global_avg_pool, global_avg_pool_backward};
pub use max::{max_pool, max_pool_backward};
pub use unpool::unpool;

use crate::planes::Vector;
use crate::simd::Simd;
use crate::{Layout, Window};

/// The layout of the output.
///
/// # Panics
/// If the window does not fit.
fn pooled(layout: &Layout, window: &Window) -> Layout {
    let Some(size) = window.output(layout.size) else {
        panic!("{window:?} does not fit a plane of {:?}", layout.size)
    };
    Layout { size, ..*layout }
}

/// Every output of a plane, row by row.
fn outputs([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..rows).flat_map(move |y| (0..columns).map(move |x| [y, x]))
}

/// Calls `f` with the place in a plane of `size` of each position inside it that an output sees, in
/// (ky, kx) order. `f` must be `#[inline(always)]`.
#[inline(always)]
fn seen(window: &Window, size: [usize; 2], [oy, ox]: [usize; 2], mut f: impl FnMut(usize)) {
    for ky in 0..window.kernel[0] {
        let Some(y) = window.source(0, oy, ky, size) else { continue };
        for kx in 0..window.kernel[1] {
            let Some(x) = window.source(1, ox, kx, size) else { continue };
            f(y * size[1] + x);
        }
    }
}

#[inline(always)]
fn clear<S: Simd>(s: S, vectors: &mut [Vector]) {
    for v in vectors {
        s.store(v, s.zero());
    }
}
