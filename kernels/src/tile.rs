//! How a product is cut into tiles that fit the registers.

use crate::simd::Simd;

/// Evaluates `$body` with the constant `$name` equal to `$size`, one of `$n`.
macro_rules! with_size {
    ($name:ident = $size:expr, of $($n:literal)+ => $body:expr) => {
        match $size {
            $($n => {
                const $name: usize = $n;
                $body
            })+
            other => unreachable!("a tile of {other}"),
        }
    };
}
pub(crate) use with_size;

/// Cuts `0..total` into the fewest pieces of at most `most`, as equal as can be: a remainder that
/// filled its tile badly would cost as much as a full one.
pub(crate) fn split(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = total.div_ceil(most);
    let mut start = 0;
    (0..pieces).map(move |i| {
        let len = total / pieces + usize::from(i < total % pieces);
        start += len;
        (start - len, len)
    })
}

/// The most rows of a tile with this many columns, when it may have `accumulators`. A row is a
/// stream of weights of its own: more than eight pay only where one column keeps too few chains
/// busy.
pub(crate) const fn max_rows(accumulators: usize, columns: usize) -> usize {
    let streams = if columns == 1 { 12 } else { 8 };
    match accumulators / columns {
        0 => 1,
        rows if rows > streams => streams,
        rows => rows,
    }
}

/// How many columns the tiles of a product should have: the number that keeps most accumulators
/// busy, the larger of equals. For 16 rows on AVX-512 that is 6 (tiles of 4 × 6), for 6 rows 4
/// (6 × 4).
pub(crate) fn columns<S: Simd>(accumulators: usize, rows: usize, columns: usize) -> usize {
    let busy = |n: usize| {
        let tiles = rows.div_ceil(max_rows(accumulators, n)).max(1);
        rows.div_ceil(tiles) * n
    };
    let widest = S::COLUMNS.min(columns);
    if widest <= 1 { 1 } else { (1..=widest).max_by_key(|&n| busy(n)).unwrap_or(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_level_and_complete() {
        for total in 0..100 {
            for most in 1..9 {
                let pieces: Vec<_> = split(total, most).collect();
                assert_eq!(pieces.len(), total.div_ceil(most));
                let mut next = 0;
                for &(start, len) in &pieces {
                    assert_eq!(start, next);
                    assert!(len >= 1 && len <= most);
                    next += len;
                }
                assert_eq!(next, total);
            }
        }
    }
}
