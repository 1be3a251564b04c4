//! Plain row-major matrix product.
//!
//! ```text
//!     C  ←  α · op(A) · op(B)  +  β · C          op(X) = X or Xᵀ
//!    m×n       m×k     k×n
//! ```
//!
//! A tile of C, MR rows by NR vectors of sixteen columns, lives in registers while the sum runs. One
//! step of the sum loads NR vectors of B, broadcasts MR elements of A and does MR · NR multiply-adds.
//!
//! ```text
//!                              n
//!                   ┌──────┬────────┬──────┐
//!                   │      ┊ strip  ┊      │     loop 3: for each MC rows of A and C
//!                 k │      ┊ of B   ┊      │       loop 4: for each KC of k
//!                   │      ┊ KC×NR  ┊      │         loops 5, 2: for each strip of NR vectors
//!                   └──────┴────────┴──────┘           loop 1: for each MR rows
//!           k                                            for each step of k
//!     ┌───────────┐ ┌──────┬────────┬──────┐               tile of C += column of A · row of B
//!   m │┄┄┄┄┄┄┄┄┄┄┄│ │      ┊┄┄┄┄┄┄┄┄┊      │
//!     │  MR×KC    │ │      ┊  tile  ┊      │
//!     │┄┄┄┄┄┄┄┄┄┄┄│ │      ┊┄┄┄┄┄┄┄┄┊      │
//!     └───────────┘ └──────┴────────┴──────┘
//! ```
//!
//! The numbers are those of the five loops around the micro-kernel in F. Van Zee and R. van de Geijn,
//! "BLIS: A Framework for Rapidly Instantiating BLAS Functionality" (2015), after K. Goto and R. van de
//! Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): 5 over n by NC, 4 over k by KC,
//! 3 over m by MC, 2 over n by NR, 1 over m by MR. Two things are simpler here. *A is not packed*: its elements are broadcast
//! one by one from wherever they are, and eight rows are few enough streams for the prefetcher and
//! few enough lines for one set of the first-level cache, should the stride be a power of two.
//! Packing A was measured to cost 5 % at 256 columns and to gain nothing up to 2048. *B is
//! packed one strip at a time*, and only where that helps, so that the only buffer is one strip, on
//! the stack: there is no scratch memory to pass, and NC is NR.

mod pack;
mod tile;

use crate::isa::dispatch;
use crate::simd::Simd;
use crate::{Isa, LANES};
use pack::StripCopy;
use tile::{MOST_ROWS, Run};

/// Length of a block of the sum, of which the longest strip of B is 48 KB: it comes from the first
/// two levels of cache while a tile of C is read and written once in 256 steps. Longer blocks
/// measured no faster. It is the same on every path, because it decides the order of sums.
const KC: usize = 256;

/// Rows of A that meet every strip of B before the next rows do: MC × KC floats are 512 KB, half of
/// a second-level cache. 256 measured 1 % slower at 1024 columns, 2048 rows 5 to 10 %.
const MC: usize = 512;

/// Vectors of a strip. With 24 accumulators a tile is 8 rows × 3 vectors: 11 loads for 24
/// multiply-adds, where a processor does two of each in a cycle. 12 × 2 is 14 for 24, and wants more
/// rows than addresses can be had for. Paths with few registers have tiles of one vector.
const fn strip_vectors<S: Simd>() -> usize {
    if S::ACCUMULATORS >= MOST_ROWS * MOST_VECTORS { MOST_VECTORS } else { 1 }
}

/// The widest strip of any path.
const MOST_VECTORS: usize = 3;

/// Rows of a full tile.
const fn tile_rows<S: Simd>() -> usize {
    let rows = S::ACCUMULATORS / strip_vectors::<S>();
    if rows < MOST_ROWS { rows } else { MOST_ROWS }
}

/// Rows of A above which a strip of B is copied, by the first tile that reads it: the tiles after
/// it are spared the cache and page-table misses of a far stride, which was 4 % at 512 columns.
const COPY_ABOVE: usize = 64;

/// Sizes and factors of a product: C ← α · op(A) · op(B) + β · C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    /// Rows of op(A) and C.
    pub m: usize,
    /// Columns of op(B) and C.
    pub n: usize,
    /// Columns of op(A), rows of op(B).
    pub k: usize,
    /// Factor of the product; where it is zero, A and B are not read.
    pub alpha: f32,
    /// Factor of C; where it is zero, C is written without being read.
    pub beta: f32,
}

impl Gemm {
    /// The plain product, C ← op(A) · op(B).
    #[must_use]
    pub fn new(m: usize, n: usize, k: usize) -> Gemm {
        Gemm { m, n, k, alpha: 1.0, beta: 0.0 }
    }
}

/// A row-major matrix to read.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Its rows.
    pub data: &'a [f32],
    /// From the start of one row to the start of the next ("leading dimension").
    pub stride: usize,
    /// Whether the product takes its transpose.
    pub transposed: bool,
}

impl<'a> Matrix<'a> {
    /// A matrix that the product takes as it is.
    #[must_use]
    pub fn new(data: &'a [f32], stride: usize) -> Matrix<'a> {
        Matrix { data, stride, transposed: false }
    }

    /// A matrix whose transpose the product takes; the stride is that of the rows as stored.
    #[must_use]
    pub fn transposed(data: &'a [f32], stride: usize) -> Matrix<'a> {
        Matrix { data, stride, transposed: true }
    }

    /// op(X) without its first rows and columns.
    fn view(&self, top: usize, left: usize) -> View<'a> {
        let (row, column) = if self.transposed { (1, self.stride) } else { (self.stride, 1) };
        View { data: &self.data[top * row + left * column..], row, column }
    }

    /// Panics unless op(X) can have this size.
    fn check(&self, name: &str, rows: usize, columns: usize) {
        let [rows, columns] = if self.transposed { [columns, rows] } else { [rows, columns] };
        check(name, self.data.len(), self.stride, [rows, columns]);
    }
}

/// op(A) or op(B): element (i, j) is at `data[i · row + j · column]`, and one of the steps is 1.
#[derive(Clone, Copy)]
struct View<'a> {
    data: &'a [f32],
    row: usize,
    column: usize,
}

/// A row-major matrix to write.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    /// Its rows.
    pub data: &'a mut [f32],
    /// From the start of one row to the start of the next; what lies between is left alone.
    pub stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// A matrix with rows so far apart.
    #[must_use]
    pub fn new(data: &'a mut [f32], stride: usize) -> MatrixMut<'a> {
        MatrixMut { data, stride }
    }
}

/// Panics unless rows of this length and stride fit into `len` floats.
fn check(name: &str, len: usize, stride: usize, [rows, columns]: [usize; 2]) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(stride >= columns, "{name}: rows of {columns} with a stride of {stride}");
    let needed = (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(columns));
    assert!(
        needed.is_some_and(|needed| needed <= len),
        "{name}: {rows} rows of {columns} with a stride of {stride} in {len} floats"
    );
}

/// C ← α · op(A) · op(B) + β · C for row-major matrices of any size.
///
/// Order of sums: k is cut into ⌈k / 256⌉ blocks of lengths that differ by at most one, the longer
/// ones first. Within a block each element of C is one chain of fused multiply-adds from zero, in
/// the order of k; then C ← fma(α, chain, β · C), where β is 1 from the second block on.
///
/// ```
/// use kernels::{Gemm, Isa, Matrix, MatrixMut, gemm};
///
/// let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 × 3
/// let b = [1.0, 0.0, 2.0, 0.0, 1.0, 1.0]; // 2 × 3, taken as 3 × 2
/// let mut c = [0.0; 4];
/// let (a, b) = (Matrix::new(&a, 3), Matrix::transposed(&b, 3));
/// gemm(Isa::detect(), Gemm::new(2, 2, 3), a, b, MatrixMut::new(&mut c, 2));
/// assert_eq!(c, [7.0, 5.0, 16.0, 11.0]);
/// ```
///
/// # Panics
/// If a stride is smaller than a row, or a slice ends before its matrix does.
pub fn gemm(isa: Isa, shape: Gemm, a: Matrix<'_>, b: Matrix<'_>, c: MatrixMut<'_>) {
    let Gemm { m, n, k, alpha, .. } = shape;
    a.check("A", m, k);
    b.check("B", k, n);
    check("C", c.data.len(), c.stride, [m, n]);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 || alpha == 0.0 {
        return scale(shape, c);
    }
    dispatch!(isa, s => product(s, shape, a, b, c));
}

/// C ← β · C.
fn scale(shape: Gemm, c: MatrixMut<'_>) {
    for row in c.data.chunks_mut(c.stride).take(shape.m) {
        for x in &mut row[..shape.n] {
            *x = if shape.beta == 0.0 { 0.0 } else { shape.beta * *x };
        }
    }
}

/// The outer loops, for sizes that are not zero and matrices that hold them.
fn product<S: Simd>(s: S, shape: Gemm, a: Matrix<'_>, b: Matrix<'_>, c: MatrixMut<'_>) {
    let mut copy = StripCopy::new();
    // Loop 3.
    for (top, rows) in Split::new(shape.m, MC).parts() {
        let tiles = Split::new(rows, tile_rows::<S>());
        // Loop 4.
        for (start, depth) in Split::new(shape.k, KC).parts() {
            let beta = if start == 0 { shape.beta } else { 1.0 };
            let vectors = shape.n.div_ceil(LANES);
            // Loops 5 and 2: NC = NR.
            for (vector, width) in Split::new(vectors, strip_vectors::<S>()).parts() {
                let left = vector * LANES;
                let columns = (shape.n - left).min(width * LANES);
                let c = MatrixMut::new(&mut c.data[top * c.stride + left..], c.stride);
                let part = Gemm { m: rows, n: columns, k: depth, beta, ..shape };
                strip(s, part, tiles, a.view(top, start), b.view(start, left), c, &mut copy);
            }
        }
    }
}

/// The product of some rows of A and one strip of B.
fn strip<S: Simd>(
    s: S,
    Gemm { m, n, k, alpha, beta }: Gemm,
    tiles: Split,
    a: View<'_>,
    b: View<'_>,
    c: MatrixMut<'_>,
    copy: &mut StripCopy,
) {
    let width = n.div_ceil(LANES);
    let whole_vectors = b.column == 1 && n == width * LANES;
    if !whole_vectors {
        copy.pack(s, b, [k, n]);
    }
    let keep = whole_vectors && m > COPY_ABOVE;
    for (row, count, height) in tiles.runs(keep) {
        let first = row == 0;
        let in_place = whole_vectors && (first || !keep);
        let run = Run {
            depth: k,
            a: a.data[row * a.row..].as_ptr(),
            a_row: a.row,
            a_step: a.column,
            b: if in_place { b.data.as_ptr() } else { copy.as_ptr() },
            b_step: if in_place { b.row } else { width * LANES },
            keep: (keep && first).then(|| copy.as_mut_ptr()),
            c: c.data[row * c.stride..].as_mut_ptr(),
            c_row: c.stride,
            last: n - (width - 1) * LANES,
            alpha,
            beta,
        };
        // SAFETY: `gemm` asserted that A, B and C hold the sizes of which this is a part; the copy
        // has been packed, or is kept by the first of these runs, which is a single tile.
        unsafe { tile::run(s, [height, width], count, &run) };
    }
}

/// A total cut into the fewest parts that are not longer than `most`, their lengths as equal as can
/// be, the longer ones first.
#[derive(Clone, Copy)]
struct Split {
    parts: usize,
    length: usize,
    longer: usize,
}

impl Split {
    fn new(total: usize, most: usize) -> Split {
        let parts = total.div_ceil(most);
        Split { parts, length: total / parts, longer: total % parts }
    }

    /// Start and length of each part.
    fn parts(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.parts).map(move |i| {
            (i * self.length + i.min(self.longer), self.length + usize::from(i < self.longer))
        })
    }

    /// Start, number and length of the parts of each run of equal ones, the very first by itself if
    /// so asked.
    fn runs(self, alone: bool) -> impl Iterator<Item = (usize, usize, usize)> {
        let long = self.length + usize::from(self.longer > 0);
        let longs = if self.longer > 0 { self.longer } else { self.parts };
        let alone = usize::from(alone);
        let mut start = 0;
        [(alone, long), (longs - alone, long), (self.parts - longs, self.length)]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(move |(count, length)| {
                let at = start;
                start += count * length;
                (at, count, length)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_runs_cover_the_total() {
        for total in 1..100 {
            for most in 1..30 {
                let split = Split::new(total, most);
                let mut end = 0;
                for (start, length) in split.parts() {
                    assert!(start == end && (1..=most).contains(&length));
                    end += length;
                }
                assert_eq!(end, total);
                for alone in [false, true] {
                    let mut end = 0;
                    for (i, (start, count, length)) in split.runs(alone).enumerate() {
                        assert!(start == end && (1..=most).contains(&length));
                        assert!(i > 0 || !alone || count == 1);
                        end += count * length;
                    }
                    assert_eq!(end, total);
                }
            }
        }
    }
}
