//! Pooling: maximum, average, the average of whole planes, and the backward of the max-pool that is
//! fused into a convolution.

mod average;
mod max;
mod unpool;

pub use average::{avg_pool, avg_pool_backward, global_avg_pool, global_avg_pool_backward};
pub(crate) use max::{larger, take};
pub use max::{max_pool, max_pool_backward};
pub use unpool::unpool;

use crate::planes::Vector;
use crate::simd::Simd;
use crate::{Layout, Window};
use std::ops::Range;

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

/// The taps of output `o` that see a position inside, along an axis.
fn inside(window: &Window, axis: usize, o: usize, size: [usize; 2]) -> Range<usize> {
    let [kernel, stride, padding, dilation] =
        [window.kernel, window.stride, window.padding, window.dilation].map(|pair| pair[axis]);
    // Positions are counted from the start of the padding.
    let (start, end) = (o * stride, padding + size[axis]);
    let first = if start < padding { (padding - start).div_ceil(dilation) } else { 0 };
    let all = start + (kernel - 1) * dilation < end;
    let last = if all { kernel } else { end.saturating_sub(start).div_ceil(dilation) };
    first..last
}

/// Calls `f` with the place in a plane of `size` of each position inside it that an output sees, in
/// (ky, kx) order. `f` must be `#[inline(always)]`.
#[inline(always)]
fn seen(window: &Window, size: [usize; 2], [oy, ox]: [usize; 2], mut f: impl FnMut(usize)) {
    let columns = inside(window, 1, ox, size);
    for ky in inside(window, 0, oy, size) {
        let y = oy * window.stride[0] + ky * window.dilation[0] - window.padding[0];
        for kx in columns.clone() {
            let x = ox * window.stride[1] + kx * window.dilation[1] - window.padding[1];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_inside_are_those_with_a_source() {
        for case in 0..4usize.pow(5) {
            let digit = |place: u32| case / 4usize.pow(place) % 4;
            let window = Window {
                kernel: [digit(0) + 1, 1],
                stride: [digit(1) + 1, 1],
                padding: [digit(2), 0],
                dilation: [digit(3) + 1, 1],
            };
            let size = [digit(4) + 1, 1];
            for o in 0..window.output(size).map_or(0, |output| output[0]) {
                let taps = 0..window.kernel[0];
                let sources = taps.filter(|k| window.source(0, o, *k, size).is_some());
                assert!(inside(&window, 0, o, size).eq(sources), "{window:?} {size:?} {o}");
            }
        }
    }
}
