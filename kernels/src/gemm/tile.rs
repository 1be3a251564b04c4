//! The inner loops: tiles of C in registers.

use super::{strip_vectors, tile_rows};
use crate::LANES;
use crate::simd::Simd;

/// A run of tiles one below the other, all of one shape, against one strip of B.
pub(super) struct Run {
    /// Steps of the sum.
    pub(super) depth: usize,
    /// Element (i, p) of A is `a_row · i + a_step · p` further.
    pub(super) a: *const f32,
    pub(super) a_row: usize,
    pub(super) a_step: usize,
    /// Row p of the strip is `b_step · p` further.
    pub(super) b: *const f32,
    pub(super) b_step: usize,
    /// Where to copy the strip, row after row.
    pub(super) keep: Option<*mut f32>,
    /// Row i of C is `c_row · i` further.
    pub(super) c: *mut f32,
    pub(super) c_row: usize,
    /// Columns of C in the last vector of the strip, 1 to 16.
    pub(super) last: usize,
    pub(super) alpha: f32,
    pub(super) beta: f32,
}

/// Rows of the tallest tile. Eight rows are two groups of four: an address is a base plus 0, 1, 2 or
/// 3 strides, so that two bases and two strides reach all of A without arithmetic.
pub(super) const MOST_ROWS: usize = 2 * ROWS_PER_BASE;

/// Rows of A to a base address.
const ROWS_PER_BASE: usize = 4;

/// Computes `count` tiles of `height` rows by `width` vectors, at most [`MOST_ROWS`] and
/// `S::ACCUMULATORS` in all.
///
/// # Safety
/// A holds `count · height` rows of `depth` elements, B (and what keeps it) `depth` rows of `width`
/// vectors, and C `count · height` rows of `width` vectors, the last of them `last` long.
pub(super) unsafe fn run<S: Simd>(s: S, [height, width]: [usize; 2], count: usize, run: &Run) {
    macro_rules! shapes {
        ($($vectors:literal: $($rows:literal)*;)*) => {
            match (width, height) {
                // SAFETY: the caller's promise.
                $($(($vectors, $rows) => unsafe { tile::<S, $rows, $vectors>(s, count, run) },)*)*
                _ => unreachable!("no tile of {height} rows by {width} vectors"),
            }
        };
    }
    shapes! {
        1: 1 2 3 4 5 6 7 8;
        2: 1 2 3 4 5 6 7 8;
        3: 1 2 3 4 5 6 7 8;
    }
}

/// As [`run`].
unsafe fn tile<S: Simd, const MR: usize, const NR: usize>(s: S, count: usize, run: &Run) {
    // Sizes that never occur on this path are not compiled for it.
    if const { MR > tile_rows::<S>() || NR > strip_vectors::<S>() } {
        unreachable!("a tile of {MR} × {NR} on this path");
    }
    s.vectorize(
        #[inline(always)]
        || {
            // Loop 1.
            for tile in 0..count {
                // SAFETY: the caller of `run` has `count · MR` rows of A and C.
                unsafe {
                    let sums = sum::<S, MR, NR>(s, run.a.add(tile * MR * run.a_row), run);
                    let c = run.c.add(tile * MR * run.c_row);
                    if run.beta == 0.0 {
                        finish::<S, MR, NR, false>(s, sums, c, run);
                    } else {
                        finish::<S, MR, NR, true>(s, sums, c, run);
                    }
                }
            }
        },
    )
}

/// One tile of A · B: each element one chain, in the order of k.
#[inline(always)]
unsafe fn sum<S: Simd, const MR: usize, const NR: usize>(
    s: S,
    a: *const f32,
    run: &Run,
) -> [[S::Vector; NR]; MR] {
    let Run { depth, a_row, a_step, mut b, b_step, mut keep, .. } = *run;
    let mut groups = [a, a.wrapping_add(ROWS_PER_BASE.wrapping_mul(a_row))];
    let mut sums = [[s.zero(); NR]; MR];
    // The micro-kernel.
    for _ in 0..depth {
        // SAFETY: the caller of `run` has `depth` rows of `NR` vectors in B and in `keep`, and as
        // many elements in `MR` rows of A.
        unsafe {
            let mut columns = [s.zero(); NR];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = s.load_at(b.add(j * LANES));
                if let Some(keep) = keep {
                    s.store_at(keep.add(j * LANES), *column);
                }
            }
            // Row by row, the compiler would derive each address from the last: a chain of additions
            // that takes longer than the multiply-adds of a narrow tile.
            for row in 0..ROWS_PER_BASE {
                for (group, base) in groups.iter().enumerate() {
                    let i = group * ROWS_PER_BASE + row;
                    if i < MR {
                        let weight = s.splat(*base.add(row * a_row));
                        for j in 0..NR {
                            sums[i][j] = s.mul_add(weight, columns[j], sums[i][j]);
                        }
                    }
                }
            }
        }
        groups = groups.map(|group| group.wrapping_add(a_step));
        b = b.wrapping_add(b_step);
        keep = keep.map(|keep| keep.wrapping_add(NR * LANES));
    }
    sums
}

/// C ← α · sums + β · C for one tile, where C is read or not.
#[inline(always)]
unsafe fn finish<S: Simd, const MR: usize, const NR: usize, const READ: bool>(
    s: S,
    sums: [[S::Vector; NR]; MR],
    c: *mut f32,
    run: &Run,
) {
    let Run { c_row, last, .. } = *run;
    let (alpha, beta) = (s.splat(run.alpha), s.splat(run.beta));
    for (i, row) in sums.iter().enumerate() {
        for (j, sum) in row.iter().enumerate() {
            // SAFETY: the caller of `run` has `MR` rows of C, of `NR` vectors, the last of them
            // `last` long.
            unsafe {
                let at = c.add(i * c_row + j * LANES);
                if j + 1 < NR || last == LANES {
                    let old = if READ { s.mul(beta, s.load_at(at)) } else { s.zero() };
                    s.store_at(at, combine::<S, READ>(s, alpha, *sum, old));
                } else {
                    let part = std::slice::from_raw_parts_mut(at, last);
                    let old = if READ { s.mul(beta, s.load_partial(part)) } else { s.zero() };
                    s.store_partial(part, combine::<S, READ>(s, alpha, *sum, old));
                }
            }
        }
    }
}

/// α · sum + old, or α · sum alone (which may be −0).
#[inline(always)]
fn combine<S: Simd, const READ: bool>(
    s: S,
    alpha: S::Vector,
    sum: S::Vector,
    old: S::Vector,
) -> S::Vector {
    if READ { s.mul_add(alpha, sum, old) } else { s.mul(alpha, sum) }
}
