//! Pooling: maximum, average, the average of whole planes, and the backward of the max-pool that is
//! fused into a convolution.

mod average;
mod max;
mod plan;
mod unpool;

pub use average::{avg_pool, avg_pool_backward, global_avg_pool, global_avg_pool_backward};
pub(crate) use max::{larger, take};
pub use max::{max_pool, max_pool_backward};
pub use plan::Pool;
pub use unpool::unpool;

use crate::planes::Vector;
use crate::simd::Simd;
use plan::Span;

/// Calls `f` with the number of each output of a plane, row by row, and the rows and columns that it sees. `f` must be
/// `#[inline(always)]`.
#[inline(always)]
fn windows(
    pool: &Pool,
    input: [usize; 2],
    output: [usize; 2],
    mut f: impl FnMut(usize, [Span; 2]),
) {
    let mut number = 0;
    for y in 0..output[0] {
        let rows = pool.span(0, y, input[0]);
        for x in 0..output[1] {
            f(number, [rows, pool.span(1, x, input[1])]);
            number += 1;
        }
    }
}

/// Calls `f` with the place in a plane `width` wide of each position that an output sees, in (ky, kx) order. `f` must
/// be `#[inline(always)]`.
#[inline(always)]
fn seen([rows, columns]: [Span; 2], width: usize, mut f: impl FnMut(usize)) {
    for y in rows.positions() {
        for x in columns.positions() {
            f(y * width + x);
        }
    }
}

#[inline(always)]
fn clear<S: Simd>(s: S, vectors: &mut [Vector]) {
    for v in vectors {
        s.store(v, s.zero());
    }
}
