//! Max-pooling, average pooling, global average pooling.

use super::Real;
use super::planes::{Planes, grid, seen};
use crate::Window;

/// Visits every pair (place in the output, place in the input) that a window joins: for each
/// output, its taps in (ky, kx) order, without those in the padding.
fn pairs(planes: &Planes, window: &Window, mut visit: impl FnMut(usize, usize)) {
    let output = planes.through(window);
    for image in 0..planes.images {
        for channel in 0..planes.channels {
            for at in grid(output.size) {
                for tap in grid(window.kernel) {
                    if let Some(from) = seen(window, at, tap, planes.size) {
                        visit(output.index(image, channel, at), planes.index(image, channel, from));
                    }
                }
            }
        }
    }
}

/// For each output of [`max_pool2d`], the place in `x` of the element that it takes; `None` for a
/// window with nothing inside the input.
///
/// It is the first of the largest in (ky, kx) order. NaN counts as larger than everything, another
/// NaN before it included: of several NaNs the last is taken, as in PyTorch.
pub fn max_pool2d_sources<T: Real>(
    planes: &Planes,
    window: &Window,
    x: &[T],
) -> Vec<Option<usize>> {
    planes.check("x", x);
    let mut sources: Vec<Option<usize>> = vec![None; planes.through(window).len()];
    pairs(planes, window, |i, j| {
        if sources[i].is_none_or(|best| x[j] > x[best] || x[j].is_nan()) {
            sources[i] = Some(j);
        }
    });
    sources
}

/// `y[n][c][p] = max_k x[n][c][p · stride + k · dilation − padding]` over the positions inside the
/// input: padding is left out, not zero. NaN if one of them is NaN; −∞ if there is none.
///
/// From `[images][channels][size]` to `[images][channels][output size]`.
pub fn max_pool2d<T: Real>(planes: &Planes, window: &Window, x: &[T]) -> Vec<T> {
    let sources = max_pool2d_sources(planes, window, x);
    sources.iter().map(|source| source.map_or(T::NEG_INFINITY, |j| x[j])).collect()
}

/// Each `dy` goes to the element that its output took (see [`max_pool2d_sources`]).
pub fn max_pool2d_backward<T: Real>(planes: &Planes, window: &Window, x: &[T], dy: &[T]) -> Vec<T> {
    planes.through(window).check("dy", dy);
    let mut dx = vec![T::ZERO; x.len()];
    for (source, dy) in max_pool2d_sources(planes, window, x).iter().zip(dy) {
        if let Some(j) = source {
            dx[*j] += *dy;
        }
    }
    dx
}

/// `y[n][c][p] = 1/taps · Σ_k x[n][c][p · stride + k · dilation − padding]`, with zeros outside the
/// input that count (PyTorch's `count_include_pad`, and its only way with a divisor of all taps).
///
/// From `[images][channels][size]` to `[images][channels][output size]`.
pub fn avg_pool2d<T: Real>(planes: &Planes, window: &Window, x: &[T]) -> Vec<T> {
    planes.check("x", x);
    let taps = T::from_usize(window.taps());
    let mut y = vec![T::ZERO; planes.through(window).len()];
    pairs(planes, window, |i, j| y[i] += x[j]);
    y.iter().map(|sum| *sum / taps).collect()
}

/// Each `dy`, divided by the taps, goes to every element inside its window.
pub fn avg_pool2d_backward<T: Real>(planes: &Planes, window: &Window, dy: &[T]) -> Vec<T> {
    planes.through(window).check("dy", dy);
    let taps = T::from_usize(window.taps());
    let mut dx = vec![T::ZERO; planes.len()];
    pairs(planes, window, |i, j| dx[j] += dy[i] / taps);
    dx
}

/// `y[n][c] = 1/pixels · Σ_p x[n][c][p]`.
///
/// From `[images][channels][size]` to `[images][channels]`.
pub fn global_avg_pool2d<T: Real>(planes: &Planes, x: &[T]) -> Vec<T> {
    planes.check("x", x);
    let mut y = vec![T::ZERO; planes.images * planes.channels];
    for (j, x) in x.iter().enumerate() {
        y[j / planes.pixels()] += *x;
    }
    y.iter().map(|sum| *sum / T::from_usize(planes.pixels())).collect()
}

/// `dx[n][c][p] = dy[n][c] / pixels`.
pub fn global_avg_pool2d_backward<T: Real>(planes: &Planes, dy: &[T]) -> Vec<T> {
    Planes { size: [1, 1], ..*planes }.check("dy", dy);
    let pixels = planes.pixels();
    (0..planes.len()).map(|j| dy[j / pixels] / T::from_usize(pixels)).collect()
}
