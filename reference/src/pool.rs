//! Max-pooling, average pooling, global average pooling.

use crate::Real;
use crate::planes::{Planes, grid, seen};
use kernels::{Pool, Window};

/// The planes of the output.
fn through(planes: &Planes, pool: &Pool) -> Planes {
    let size = pool.output(planes.size);
    Planes { size: size.unwrap_or_else(|| panic!("{pool:?} on {planes:?}")), ..*planes }
}

/// Visits every pair (place in the output, place in the input) that a pool joins: for each output, its
/// taps in (ky, kx) order, without those in the padding.
fn pairs(planes: &Planes, pool: &Pool, mut visit: impl FnMut(usize, usize)) {
    let output = through(planes, pool);
    for image in 0..planes.images {
        for channel in 0..planes.channels {
            for at in grid(output.size) {
                for from in window_of(planes, pool, output.size, at) {
                    visit(output.index(image, channel, at), planes.index(image, channel, from));
                }
            }
        }
    }
}

/// The pixels that an output sees.
fn window_of(planes: &Planes, pool: &Pool, outputs: [usize; 2], at: [usize; 2]) -> Vec<[usize; 2]> {
    match pool {
        Pool::Sliding { window, .. } => {
            grid(window.kernel).filter_map(|tap| seen(window, at, tap, planes.size)).collect()
        }
        Pool::Adaptive(_) => {
            let inside = |axis: usize, i: usize| {
                let (o, n, m) = (at[axis], outputs[axis], planes.size[axis]);
                // ⌊o m / n⌋ ≤ i < ⌈(o + 1) m / n⌉.
                (o * m) / n <= i && i * n < (o + 1) * m
            };
            grid(planes.size).filter(|[y, x]| inside(0, *y) && inside(1, *x)).collect()
        }
        _ => unreachable!("no other pool"),
    }
}

/// What the mean of an output's window is divided by: the pixels that it sees, or where padding counts also those of
/// the padding; never what lies beyond.
fn divisors<T: Real>(planes: &Planes, pool: &Pool) -> Vec<T> {
    let output = through(planes, pool);
    let count = |at: [usize; 2]| match pool {
        Pool::Sliding { window, count_padding: true, .. } => {
            let padded = [0, 1].map(|axis| planes.size[axis] + 2 * window.padding[axis]);
            let bare = Window { padding: [0, 0], ..*window };
            grid(window.kernel).filter(|tap| seen(&bare, at, *tap, padded).is_some()).count()
        }
        _ => window_of(planes, pool, output.size, at).len().max(1),
    };
    let plane: Vec<T> = grid(output.size).map(|at| T::from_usize(count(at))).collect();
    plane.repeat(planes.images * planes.channels)
}

/// For each output of [`max_pool2d`], the place in `x` of the element that it takes; `None` for a
/// window with nothing inside the input.
///
/// It is the first of the largest in (ky, kx) order. NaN counts as larger than everything, another
/// NaN before it included: of several NaNs the last is taken, as in PyTorch.
pub fn max_pool2d_sources<T: Real>(
    planes: &Planes,
    pool: impl Into<Pool>,
    x: &[T],
) -> Vec<Option<usize>> {
    planes.check("x", x);
    let pool = pool.into();
    let mut sources: Vec<Option<usize>> = vec![None; through(planes, &pool).len()];
    pairs(planes, &pool, |i, j| {
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
pub fn max_pool2d<T: Real>(planes: &Planes, pool: impl Into<Pool>, x: &[T]) -> Vec<T> {
    let sources = max_pool2d_sources(planes, pool, x);
    sources.iter().map(|source| source.map_or(T::NEG_INFINITY, |j| x[j])).collect()
}

/// Each `dy` goes to the element that its output took (see [`max_pool2d_sources`]).
pub fn max_pool2d_backward<T: Real>(
    planes: &Planes,
    pool: impl Into<Pool>,
    x: &[T],
    dy: &[T],
) -> Vec<T> {
    let pool = pool.into();
    through(planes, &pool).check("dy", dy);
    let mut dx = vec![T::ZERO; x.len()];
    for (source, dy) in max_pool2d_sources(planes, pool, x).iter().zip(dy) {
        if let Some(j) = source {
            dx[*j] += *dy;
        }
    }
    dx
}

/// The mean of what each output sees: of a window, `1/taps · Σ_k x[n][c][p · stride + k · dilation − padding]` with
/// zeros outside the input, which count unless the pool says otherwise (PyTorch's `count_include_pad`).
///
/// From `[images][channels][size]` to `[images][channels][output size]`.
pub fn avg_pool2d<T: Real>(planes: &Planes, pool: impl Into<Pool>, x: &[T]) -> Vec<T> {
    planes.check("x", x);
    let pool = pool.into();
    let divisors = divisors::<T>(planes, &pool);
    let mut y = vec![T::ZERO; divisors.len()];
    pairs(planes, &pool, |i, j| y[i] += x[j]);
    y.iter().zip(divisors).map(|(sum, divisor)| *sum / divisor).collect()
}

/// Each `dy`, divided by what its mean was, goes to every element inside its window.
pub fn avg_pool2d_backward<T: Real>(planes: &Planes, pool: impl Into<Pool>, dy: &[T]) -> Vec<T> {
    let pool = pool.into();
    through(planes, &pool).check("dy", dy);
    let divisors = divisors::<T>(planes, &pool);
    let mut dx = vec![T::ZERO; planes.len()];
    pairs(planes, &pool, |i, j| dx[j] += dy[i] / divisors[i]);
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
