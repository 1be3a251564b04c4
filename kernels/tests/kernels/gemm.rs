//! The matrix product against the reference in `f64`, on every SIMD path.

use kernels::{Gemm, Isa, Matrix, MatrixMut, gemm};
use proptest::prelude::*;

/// A matrix with NaN between the end of a row and the start of the next, so that reading there
/// shows.
#[derive(Clone, Debug)]
struct Stored {
    data: Vec<f32>,
    stride: usize,
    transposed: bool,
}

impl Stored {
    /// Random values in [−1, 1); the slice ends with its last row.
    fn random([rows, columns]: [usize; 2], gap: usize, transposed: bool, seed: u64) -> Stored {
        let [rows, columns] = if transposed { [columns, rows] } else { [rows, columns] };
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut data = Vec::new();
        for row in 0..rows {
            data.extend((0..columns).map(|_| next()));
            if row + 1 < rows {
                data.extend(std::iter::repeat_n(f32::NAN, gap));
            }
        }
        Stored { data, stride: columns + gap, transposed }
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix { data: &self.data, stride: self.stride, transposed: self.transposed }
    }

    fn operand(&self) -> reference::Operand {
        reference::Operand { transposed: self.transposed, leading: self.stride }
    }

    fn map(&self, f: impl Fn(f32) -> f64) -> Vec<f64> {
        self.data.iter().map(|x| f(*x)).collect()
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        let [row, column] = if self.transposed { [column, row] } else { [row, column] };
        self.data[row * self.stride + column]
    }
}

/// A product of random matrices.
#[derive(Clone, Debug)]
struct Problem {
    shape: Gemm,
    a: Stored,
    b: Stored,
    /// NaN throughout if β is zero.
    c: Stored,
}

impl Problem {
    fn new(shape: Gemm, gaps: [usize; 3], transposed: [bool; 2], seed: u64) -> Problem {
        let Gemm { m, n, k, .. } = shape;
        let a = Stored::random([m, k], gaps[0], transposed[0], seed);
        let b = Stored::random([k, n], gaps[1], transposed[1], !seed);
        let mut c = Stored::random([m, n], gaps[2], false, seed ^ 0xffff);
        if shape.beta == 0.0 {
            c.data.fill(f32::NAN);
        }
        Problem { shape, a, b, c }
    }

    fn dense(shape: Gemm) -> Problem {
        Problem::new(shape, [0; 3], [false; 2], 1)
    }

    fn run(&self, isa: Isa) -> Vec<f32> {
        let mut c = self.c.data.clone();
        let to = MatrixMut::new(&mut c, self.c.stride);
        gemm(isa, self.shape, self.a.matrix(), self.b.matrix(), to);
        c
    }

    /// Compares every path with the reference, element by element, and checks that nothing was
    /// written between the rows.
    fn check(&self) {
        let Gemm { m, n, k, .. } = self.shape;
        let expected = self.reference(f64::from);
        // k products and k sums, each rounded where there is no fused multiply-add, and the factors.
        let roundings = (2 * k + 4) as f64;
        let norms = self.reference(|x| f64::from(x).abs());
        for isa in Isa::available() {
            for (place, got) in self.run(isa).into_iter().enumerate() {
                let (i, j) = (place / self.c.stride, place % self.c.stride);
                if j >= n {
                    let untouched = got.to_bits() == self.c.data[place].to_bits();
                    assert!(untouched, "{isa}: {m}×{n}×{k} wrote outside, at {place}");
                    continue;
                }
                let want = expected[place];
                let tolerance = roundings * f64::from(f32::EPSILON) / 2.0 * norms[place];
                assert!(
                    (f64::from(got) - want).abs() <= tolerance,
                    "{isa}: {m}×{n}×{k} at ({i}, {j}): {got}, expected {want} ± {tolerance:e}"
                );
            }
        }
    }

    /// The product in `f64`, every number passed through `f` first.
    fn reference(&self, f: impl Fn(f32) -> f64) -> Vec<f64> {
        let Gemm { m, n, k, alpha, beta } = self.shape;
        let (a, b, mut c) = (self.a.map(&f), self.b.map(&f), self.c.map(&f));
        let leading = self.c.stride;
        let shape = reference::Gemm { m, n, k, a: self.a.operand(), b: self.b.operand(), leading };
        reference::gemm(&shape, f(alpha), &a, &b, f(beta), &mut c);
        c
    }

    /// An element in the documented order, with one rounding to a multiply-add.
    fn in_order(&self, i: usize, j: usize) -> f32 {
        let Gemm { k, alpha, beta, .. } = self.shape;
        let blocks = k.div_ceil(256);
        let mut c = if beta == 0.0 { None } else { Some(beta * self.c.at(i, j)) };
        let mut p = 0;
        for block in 0..blocks {
            let mut chain = 0.0;
            for _ in 0..k / blocks + usize::from(block < k % blocks) {
                chain = self.a.at(i, p).mul_add(self.b.at(p, j), chain);
                p += 1;
            }
            c = Some(c.map_or(alpha * chain, |c| alpha.mul_add(chain, c)));
        }
        assert_eq!(p, k);
        c.expect("k is not zero")
    }
}

/// The paths with fused multiply-add.
fn fused() -> Vec<Isa> {
    Isa::available().into_iter().filter(|isa| isa.name() != "portable").collect()
}

/// Mostly small, with the sizes of blocks and their neighbours.
fn around_blocks() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![6 => 0usize..70, 1 => 94usize..99, 1 => 126usize..131, 1 => 254usize..259]
}

fn factor() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0f32), Just(1.0), Just(-1.0), -2.0f32..2.0]
}

prop_compose! {
    fn problem(size: impl Strategy<Value = usize> + Clone)(
        [m, n, k] in prop::array::uniform3(size),
        [alpha, beta] in prop::array::uniform2(factor()),
        gaps in prop_oneof![Just([0; 3]), prop::array::uniform3(0usize..20)],
        transposed in prop::array::uniform2(any::<bool>()),
        seed in any::<u64>(),
    ) -> Problem {
        Problem::new(Gemm { m, n, k, alpha, beta }, gaps, transposed, seed)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn small_products(problem in problem(around_blocks())) {
        problem.check();
    }

    #[test]
    fn paths_agree_bit_for_bit(problem in problem(around_blocks())) {
        let bits = |isa| problem.run(isa).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        for pair in fused().windows(2) {
            prop_assert_eq!(bits(pair[0]), bits(pair[1]), "{} and {}", pair[0], pair[1]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn large_products(problem in problem(100usize..600)) {
        problem.check();
    }
}

/// Every height of tile and width of strip, with and without a partial vector.
#[test]
fn every_tile() {
    for m in 1..20 {
        for n in [1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 96, 101] {
            let beta = if m % 2 == 0 { 0.5 } else { 0.0 };
            let shape = Gemm { beta, ..Gemm::new(m, n, 3) };
            Problem::new(shape, [0, 0, n % 3], [m % 3 == 0, n % 4 == 1], m as u64).check();
        }
    }
}

/// More rows than a block of A has, and strips that the first tile copies.
#[test]
fn many_rows() {
    for (m, n, k) in [(513, 48, 20), (1100, 50, 3), (1030, 17, 260)] {
        Problem::new(Gemm::new(m, n, k), [1, 2, 3], [false; 2], 7).check();
    }
}

#[test]
fn sums_are_in_the_documented_order() {
    for (k, alpha, beta) in [(1, 1.0, 0.0), (256, 0.7, 0.0), (257, 1.0, 1.0), (700, -1.3, 0.4)] {
        let problem = Problem::dense(Gemm { m: 9, n: 50, k, alpha, beta });
        for isa in fused() {
            for (place, got) in problem.run(isa).iter().enumerate() {
                let want = problem.in_order(place / 50, place % 50);
                assert_eq!(got.to_bits(), want.to_bits(), "{isa}: {got}, expected {want}");
            }
        }
    }
}

#[test]
fn without_products_c_is_scaled() {
    let nan = [f32::NAN; 4];
    for isa in Isa::available() {
        for (k, alpha) in [(0, 1.0), (2, 0.0)] {
            for (beta, want) in [(0.0, 0.0), (1.0, 3.0), (-2.0, -6.0)] {
                let mut c = [3.0, 3.0, 9.0, 3.0, 3.0];
                let (a, b) = (Matrix::new(&nan, 2), Matrix::new(&nan, 2));
                let shape = Gemm { m: 2, n: 2, k, alpha, beta };
                gemm(isa, shape, a, b, MatrixMut::new(&mut c, 3));
                assert_eq!(c, [want, want, 9.0, want, want]);
            }
        }
    }
}

#[test]
fn nan_and_infinity_reach_their_row_and_column_alone() {
    let mut problem = Problem::dense(Gemm::new(10, 21, 5));
    problem.a.data[2 * 5 + 1] = f32::NAN;
    problem.b.data[4 * 21 + 20] = f32::INFINITY;
    for isa in Isa::available() {
        for (place, got) in problem.run(isa).iter().enumerate() {
            let reached = place / 21 == 2 || place % 21 == 20;
            assert_eq!(!got.is_finite(), reached, "{isa}: {place}");
        }
    }
}

/// C of 3 × 5 from slices of these lengths with these strides.
fn product_of([a, b, c]: [usize; 3], [stride_a, stride_b, stride_c]: [usize; 3]) {
    let (a, b, mut c) = (vec![0.0; a], vec![0.0; b], vec![0.0; c]);
    let (a, b) = (Matrix::new(&a, stride_a), Matrix::transposed(&b, stride_b));
    gemm(Isa::detect(), Gemm::new(3, 5, 4), a, b, MatrixMut::new(&mut c, stride_c));
}

#[test]
fn slices_that_just_suffice() {
    product_of([12, 20, 15], [4, 4, 5]);
}

#[test]
#[should_panic(expected = "A: 3 rows of 4 with a stride of 4 in 11 floats")]
fn a_too_short() {
    product_of([11, 20, 15], [4, 4, 5]);
}

#[test]
#[should_panic(expected = "B: rows of 4 with a stride of 3")]
fn stride_below_a_row() {
    product_of([12, 20, 15], [4, 3, 5]);
}

#[test]
#[should_panic(expected = "C: 3 rows of 5 with a stride of 6 in 16 floats")]
fn c_too_short() {
    product_of([12, 20, 16], [4, 4, 6]);
}
