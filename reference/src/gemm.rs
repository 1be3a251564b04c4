//! The general matrix product.

use crate::Real;

/// How a factor of [`gemm`] lies in its slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Whether the slice holds the transpose of the factor.
    pub transposed: bool,
    /// From one stored row to the next; at least a row's length.
    pub leading: usize,
}

impl Operand {
    /// The place of the factor's element (`row`, `column`).
    fn index(&self, row: usize, column: usize) -> usize {
        if self.transposed { column * self.leading + row } else { row * self.leading + column }
    }

    /// Refuses rows that overlap, of a factor of `rows × columns`.
    fn check(&self, name: &str, rows: usize, columns: usize) {
        let length = if self.transposed { rows } else { columns };
        assert!(self.leading >= length, "{name}: rows of {length} every {}", self.leading);
    }
}

/// The shape of a matrix product: `a` is `m × k`, `b` is `k × n`, `c` is `m × n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// Rows of `a` and `c`.
    pub m: usize,
    /// Columns of `b` and `c`.
    pub n: usize,
    /// Columns of `a`, rows of `b`.
    pub k: usize,
    /// The left factor.
    pub a: Operand,
    /// The right factor.
    pub b: Operand,
    /// From one row of `c` to the next; at least `n`. What lies between is left alone.
    pub leading: usize,
}

impl Gemm {
    /// Dense row-major matrices.
    #[must_use]
    pub fn new(m: usize, n: usize, k: usize) -> Gemm {
        let row_major = |leading| Operand { transposed: false, leading };
        Gemm { m, n, k, a: row_major(k), b: row_major(n), leading: n }
    }

    /// The same where `a`'s slice holds, densely, its transpose `k × m`.
    #[must_use]
    pub fn transpose_a(self) -> Gemm {
        Gemm { a: Operand { transposed: true, leading: self.m }, ..self }
    }

    /// The same where `b`'s slice holds, densely, its transpose `n × k`.
    #[must_use]
    pub fn transpose_b(self) -> Gemm {
        Gemm { b: Operand { transposed: true, leading: self.k }, ..self }
    }
}

/// `c[i][j] ← alpha · Σ_p a[i][p] · b[p][j] + beta · c[i][j]`, where `a` and `b` are the factors
/// after transposition. With `beta = 0` the old `c` is not read: it may hold anything, even NaN.
/// An empty sum (`k = 0`) is zero. A slice may be longer than its matrix.
pub fn gemm<T: Real>(shape: &Gemm, alpha: T, a: &[T], b: &[T], beta: T, c: &mut [T]) {
    shape.a.check("a", shape.m, shape.k);
    shape.b.check("b", shape.k, shape.n);
    assert!(shape.leading >= shape.n, "c: rows of {} every {}", shape.n, shape.leading);
    for i in 0..shape.m {
        for j in 0..shape.n {
            let mut sum = T::ZERO;
            for p in 0..shape.k {
                sum += a[shape.a.index(i, p)] * b[shape.b.index(p, j)];
            }
            let c = &mut c[i * shape.leading + j];
            *c = if beta == T::ZERO { alpha * sum } else { alpha * sum + beta * *c };
        }
    }
}
