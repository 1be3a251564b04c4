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
            _ => unreachable!("a tile of a size that is not compiled"),
        }
    };
}
pub(crate) use with_size;

/// The most columns of a tile of any path, and the most rows: the sizes that are compiled.
const MOST_COLUMNS: usize = 6;
const MOST_ROWS: usize = 12;

/// [`with_size`] for the columns of a tile.
macro_rules! with_columns {
    ($name:ident = $size:expr => $body:expr) => {
        $crate::tile::with_size!($name = $size, of 1 2 3 4 5 6 => $body)
    };
}
pub(crate) use with_columns;

/// [`with_size`] for the rows of a tile.
macro_rules! with_rows {
    ($name:ident = $size:expr => $body:expr) => {
        $crate::tile::with_size!($name = $size, of 1 2 3 4 5 6 7 8 9 10 11 12 => $body)
    };
}
pub(crate) use with_rows;

/// Whether `M × N` is a tile of a path with so many accumulators. Fails to compile where the path
/// asks for tiles that are not compiled.
pub(crate) const fn occurs<S: Simd>(accumulators: usize, rows: usize, columns: usize) -> bool {
    assert!(S::COLUMNS <= MOST_COLUMNS, "wider tiles than `with_columns` has");
    assert!(max_rows(accumulators, 1) <= MOST_ROWS, "taller tiles than `with_rows` has");
    rows <= max_rows(accumulators, columns) && columns <= S::COLUMNS
}

/// Cuts `0..total` into the fewest pieces of at most `most`, as equal as can be: a remainder that
/// filled its tile badly would cost as much as a full one.
#[inline(always)]
pub(crate) fn split(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = total.div_ceil(most);
    let (least, longer) = (total / pieces.max(1), total % pieces.max(1));
    let mut start = 0;
    (0..pieces).map(move |i| {
        let len = least + usize::from(i < longer);
        start += len;
        (start - len, len)
    })
}

/// The most rows of a tile with this many columns, when it may have `accumulators`. A row is a
/// stream of weights of its own: more than eight pay only where one column keeps too few chains
/// busy.
pub(crate) const fn max_rows(accumulators: usize, columns: usize) -> usize {
    let streams = if columns == 1 { MOST_ROWS } else { 8 };
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
    columns_up_to(S::COLUMNS, accumulators, rows, columns)
}

/// [`columns`], of which a tile has at most `widest`.
pub(crate) fn columns_up_to(
    widest: usize,
    accumulators: usize,
    rows: usize,
    columns: usize,
) -> usize {
    let busy = |n: usize| {
        let tiles = rows.div_ceil(max_rows(accumulators, n)).max(1);
        rows.div_ceil(tiles) * n
    };
    let widest = widest.min(columns);
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
