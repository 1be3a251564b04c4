//! The im2col matrix of an image, materialised: what the SIMD kernels only look at through tables.

use crate::Real;
use crate::planes::{Planes, check_len, grid, seen};
use kernels::Window;

/// Visits every pair (place in the columns, place in the image) that are one value.
fn pairs(planes: &Planes, window: &Window, mut visit: impl FnMut(usize, usize)) {
    let output = planes.through(window);
    for image in 0..planes.images {
        for channel in 0..planes.channels {
            for (tap, k) in grid(window.kernel).enumerate() {
                let row = (image * planes.channels + channel) * window.taps() + tap;
                for (position, at) in grid(output.size).enumerate() {
                    if let Some(from) = seen(window, at, k, planes.size) {
                        let column = row * output.pixels() + position;
                        visit(column, planes.index(image, channel, from));
                    }
                }
            }
        }
    }
}

/// `columns[n][(c, k)][p] = x[n][c][p · stride + k · dilation − padding]`, zero outside the input.
///
/// From `[images][channels][size]` to `[images][channels · taps][output pixels]`: PyTorch's
/// `unfold`. The convolution of an image is the matrix product of the weights, as
/// `[outputs][channels · taps]`, with its columns.
pub fn im2col<T: Real>(planes: &Planes, window: &Window, x: &[T]) -> Vec<T> {
    planes.check("x", x);
    let mut columns = vec![T::ZERO; columns_len(planes, window)];
    pairs(planes, window, |i, j| columns[i] = x[j]);
    columns
}

/// The adjoint of [`im2col`], PyTorch's `fold`: each pixel is the sum of its copies in the columns.
///
/// From `[images][channels · taps][output pixels]` to `[images][channels][size]`.
pub fn col2im<T: Real>(planes: &Planes, window: &Window, columns: &[T]) -> Vec<T> {
    check_len("columns", columns, columns_len(planes, window));
    let mut x = vec![T::ZERO; planes.len()];
    pairs(planes, window, |i, j| x[j] += columns[i]);
    x
}

fn columns_len(planes: &Planes, window: &Window) -> usize {
    planes.through(window).len() * window.taps()
}
