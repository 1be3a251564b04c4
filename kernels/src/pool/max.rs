//! Max-pooling.

use super::{Pool, clear, seen, windows};
use crate::isa::{Isa, dispatch};
use crate::planes::{Vector, planes, planes_mut};
use crate::pointwise::put;
use crate::simd::Simd;
use crate::{Layout, Store, Window};

/// The window that nearly every network pools with; it has loops of its own.
const HALVING: Window =
    Window { kernel: [2; 2], stride: [2; 2], padding: [0; 2], dilation: [1; 2] };

/// `y[p]` = the largest of what output `p` of the [`Pool`] sees of the plane, of a [`Window`] that is
/// `x[p · stride + k · dilation − padding]` over the positions `k` that are inside; of equal ones (0 and −0) the first in (ky, kx) order; NaN if
/// one of them is NaN; −∞ if there is none.
///
/// `x` is of `layout`, `y` of the same channels with the pool's output size.
///
/// # Panics
/// If the pool does not fit, or a length is not that of its layout.
pub fn max_pool(isa: Isa, x: &[f32], layout: &Layout, pool: impl Into<Pool>, y: &mut [f32]) {
    run(isa, x, layout, pool.into(), y);
}

fn run(isa: Isa, x: &[f32], layout: &Layout, pool: Pool, y: &mut [f32]) {
    let output = pool.through(layout);
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(y.len(), output.len(), "length of y, and of its layout");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        for (x, y) in planes(x, layout).zip(planes_mut(y, &output)) {
            if pool == HALVING.into() {
                halve(s, x, layout.size()[1], y, output.size()[1]);
            } else {
                forward(s, x, &Planes { pool, input: layout.size(), output: output.size() }, y);
            }
        }
    }));
}

/// Gives the gradient of each output to the one input that it took, found again by comparing `x`
/// with `y`: the first in (ky, kx) order that equals `y` (the first inside the plane if `y` is NaN).
/// An input that several outputs took gets their sum, in the order of the outputs.
///
/// `x` and `dx` are of `layout`, `y` and `dy` of the output's; `[x, y]` are input and output of
/// [`max_pool`]. The unused vectors of `dx` are left alone.
///
/// # Panics
/// If the pool does not fit, or a length is not that of its layout.
pub fn max_pool_backward(
    isa: Isa,
    [x, y]: [&[f32]; 2],
    dy: &[f32],
    layout: &Layout,
    pool: impl Into<Pool>,
    dx: &mut [f32],
    store: Store,
) {
    run_backward(isa, [x, y], dy, layout, pool.into(), dx, store);
}

fn run_backward(
    isa: Isa,
    [x, y]: [&[f32]; 2],
    dy: &[f32],
    layout: &Layout,
    pool: Pool,
    dx: &mut [f32],
    store: Store,
) {
    let output = pool.through(layout);
    assert_eq!([x.len(), dx.len()], [layout.len(); 2], "lengths of x and dx, and of their layout");
    assert_eq!([y.len(), dy.len()], [output.len(); 2], "lengths of y and dy, and of their layout");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let outputs = planes(y, &output).zip(planes(dy, &output));
        for ((x, dx), y) in planes(x, layout).zip(planes_mut(dx, layout)).zip(outputs) {
            if pool == HALVING.into() {
                halve_backward(s, x, layout.size()[1], y, output.size()[1], dx, store);
            } else {
                let planes = Planes { pool, input: layout.size(), output: output.size() };
                backward(s, &planes, x, y, dx, store);
            }
        }
    }));
}

/// The larger of what came before and `x`: what came before if they are equal, NaN if one is.
#[inline(always)]
pub(crate) fn larger<S: Simd>(s: S, before: S::Vector, x: S::Vector) -> S::Vector {
    s.select(s.unordered(x, x), x, s.max(x, before))
}

/// A pool between the planes of an input and an output of these sizes.
struct Planes {
    pool: Pool,
    input: [usize; 2],
    output: [usize; 2],
}

#[inline(always)]
fn forward<S: Simd>(s: S, x: &[Vector], planes: &Planes, y: &mut [Vector]) {
    let Planes { pool, input, output } = planes;
    windows(
        pool,
        *input,
        *output,
        #[inline(always)]
        |number, window| {
            let mut max = s.splat(f32::NEG_INFINITY);
            seen(
                window,
                input[1],
                #[inline(always)]
                |i| max = larger(s, max, s.load(&x[i])),
            );
            s.store(&mut y[number], max);
        },
    );
}

/// Pairs of rows of `x` become rows of `y`, pairs of their columns its columns.
#[inline(always)]
fn halve<S: Simd>(s: S, x: &[Vector], width: usize, y: &mut [Vector], half: usize) {
    for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(half)) {
        let (top, bottom) = x.split_at(width);
        let squares = top.as_chunks().0.iter().zip(bottom.as_chunks().0);
        for (y, ([a, b], [c, d])) in y.iter_mut().zip(squares) {
            let above = larger(s, s.load(a), s.load(b));
            let below = larger(s, s.load(c), s.load(d));
            s.store(y, larger(s, above, below));
        }
    }
}

/// What is left of a gradient passes from input to input of the window; the first that is not below
/// `y` takes it.
#[inline(always)]
pub(crate) fn take<S: Simd>(s: S, x: S::Vector, y: S::Vector, left: &mut S::Vector) -> S::Vector {
    let below = s.gt(y, x);
    let taken = s.select(below, s.zero(), *left);
    *left = s.keep(below, *left);
    taken
}

type Outputs<'a> = (&'a [Vector], &'a [Vector]);

#[inline(always)]
fn backward<S: Simd>(
    s: S,
    planes: &Planes,
    x: &[Vector],
    (y, dy): Outputs,
    dx: &mut [Vector],
    store: Store,
) {
    if store == Store::Overwrite {
        clear(s, dx);
    }
    let Planes { pool, input, output } = planes;
    windows(
        pool,
        *input,
        *output,
        #[inline(always)]
        |number, window| {
            let (y, mut left) = (s.load(&y[number]), s.load(&dy[number]));
            seen(
                window,
                input[1],
                #[inline(always)]
                |i| {
                    let taken = take(s, s.load(&x[i]), y, &mut left);
                    put(s, &mut dx[i], taken, Store::Accumulate);
                },
            );
        },
    );
}

#[inline(always)]
fn halve_backward<S: Simd>(
    s: S,
    x: &[Vector],
    width: usize,
    (y, dy): Outputs,
    half: usize,
    dx: &mut [Vector],
    store: Store,
) {
    // Squares leave out the last row or column where their number is odd.
    if store == Store::Overwrite && dx.len() != 4 * dy.len() {
        clear(s, dx);
    }
    let rows = x.chunks_exact(2 * width).zip(dx.chunks_exact_mut(2 * width));
    for ((x, dx), (y, dy)) in rows.zip(y.chunks_exact(half).zip(dy.chunks_exact(half))) {
        let (top, bottom) = x.split_at(width);
        let squares = top.as_chunks().0.iter().zip(bottom.as_chunks().0);
        let (top, bottom) = dx.split_at_mut(width);
        let gradients = top.as_chunks_mut().0.iter_mut().zip(bottom.as_chunks_mut().0);
        let squares = squares.zip(gradients).zip(y.iter().zip(dy));
        for ((([a, b], [c, d]), ([da, db], [dc, dd])), (y, dy)) in squares {
            let (y, mut left) = (s.load(y), s.load(dy));
            for (x, dx) in [(a, da), (b, db), (c, dc), (d, dd)] {
                put(s, dx, take(s, s.load(x), y, &mut left), store);
            }
        }
    }
}
