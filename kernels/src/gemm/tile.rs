//! The inner loops: tiles of C in registers.

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

/// Rows of a tile of any path. More would be more streams of A than a set of the first-level cache
/// has ways, when the stride is a power of two.
pub(super) const MOST_ROWS: usize = 12;

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
                $($(($vectors, $rows) if $vectors * $rows <= S::ACCUMULATORS => s.vectorize(
                    #[inline(always)]
                    // SAFETY: the caller's promise.
                    || unsafe { tiles::<S, $rows, $vectors>(s, count, run) },
                ),)*)*
                _ => unreachable!("no tile of {height} rows by {width} vectors"),
            }
        };
    }
    shapes! {
        1: 1 2 3 4 5 6 7 8 9 10 11 12;
        2: 1 2 3 4 5 6 7 8 9 10 11 12;
        3: 1 2 3 4 5 6 7 8;
    }
}

/// As [`run`].
#[inline(always)]
unsafe fn tiles<S: Simd, const MR: usize, const NR: usize>(s: S, count: usize, run: &Run) {
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
}

/// One tile of A · B: each element one chain, in the order of k.
#[inline(always)]
unsafe fn sum<S: Simd, const MR: usize, const NR: usize>(
    s: S,
    a: *const f32,
    run: &Run,
) -> [[S::Vector; NR]; MR] {
    let Run { depth, a_row, a_step, b_step, .. } = *run;
    let mut sums = [[s.zero(); NR]; MR];
    let mut fours = [a; MOST_ROWS / 4];
    for (i, four) in fours.iter_mut().enumerate() {
        *four = a.wrapping_add(4 * i * a_row);
    }
    let mut b = run.b;
    let mut keep = run.keep;
    for _ in 0..depth {
        // SAFETY: the caller of `run` has `depth` rows of `NR` vectors in B and in `keep`, and as
        // many elements in `MR` rows of A.
        unsafe {
            let mut columns = [s.zero(); NR];
            for j in 0..NR {
                columns[j] = s.load_at(b.add(j * LANES));
                if let Some(keep) = keep {
                    s.store_at(keep.add(j * LANES), columns[j]);
                }
            }
            for i in 0..MR {
                let weight = s.splat(*fours[i / 4].add(i % 4 * a_row));
                for j in 0..NR {
                    sums[i][j] = s.mul_add(weight, columns[j], sums[i][j]);
                }
            }
            fours = fours.map(|four| four.wrapping_add(a_step));
            b = b.wrapping_add(b_step);
            keep = keep.map(|keep| keep.add(NR * LANES));
        }
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
    for i in 0..MR {
        for j in 0..NR {
            // SAFETY: the caller of `run` has `MR` rows of C, of `NR` vectors, the last of them
            // `last` long.
            unsafe {
                let at = c.add(i * c_row + j * LANES);
                if j + 1 < NR || last == LANES {
                    let sum = s.mul(alpha, sums[i][j]);
                    let sum = if READ { s.mul_add(alpha, sums[i][j], s.mul(beta, s.load_at(at))) } else { sum };
                    s.store_at(at, sum);
                } else {
                    let part = std::slice::from_raw_parts_mut(at, last);
                    let sum = s.mul(alpha, sums[i][j]);
                    let sum = if READ { s.mul_add(alpha, sums[i][j], s.mul(beta, s.load_partial(part))) } else { sum };
                    s.store_partial(part, sum);
                }
            }
        }
    }
}
