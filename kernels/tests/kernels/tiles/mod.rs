//! Winograd's F(2×2, 3×3) in `f64`, tile by tile: the algebra, and with absolute values all through,
//! what its rounding errors are in proportion to.
//!
//! A term of a sum is a product of one value, one weight and their entries in the transforms. Whatever
//! a kernel rounds is a sum of terms, so rounding may change each term by ε/2 of itself as often as it
//! takes part in an operation, and the result by that share of the sum of the terms' absolute values:
//! `|Aᵀ| [ Σ (|G| |g| |Gᵀ|) ⊙ (|Bᵀ| |d| |B|) ] |A|`, or the like for a gradient.

use kernels::Window;
use reference::{Conv, Planes, bfloat16};

type Matrix<const R: usize, const C: usize> = [[f64; C]; R];

/// The matrices `Bᵀ`, `G` and `Aᵀ`.
pub struct Algebra {
    b: Matrix<4, 4>,
    g: Matrix<4, 3>,
    a: Matrix<2, 4>,
    /// Whether elements are rounded to bfloat16.
    in_bf16: bool,
}

pub const WINOGRAD: Algebra = Algebra {
    b: [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]],
    g: [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
    a: [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]],
    in_bf16: false,
};

/// The same with elements in bfloat16.
pub const IN_BF16: Algebra = Algebra { in_bf16: true, ..WINOGRAD };

/// For operands that are absolute values themselves.
pub fn magnitudes() -> Algebra {
    let Algebra { b, g, a, in_bf16 } = WINOGRAD;
    Algebra { b: absolute(b), g: absolute(g), a: absolute(a), in_bf16 }
}

fn absolute<const R: usize, const C: usize>(m: Matrix<R, C>) -> Matrix<R, C> {
    m.map(|row| row.map(f64::abs))
}

fn transposed<const R: usize, const C: usize>(m: &Matrix<R, C>) -> Matrix<C, R> {
    std::array::from_fn(|j| std::array::from_fn(|i| m[i][j]))
}

/// `m x mᵀ`.
fn around<const R: usize, const C: usize>(m: &Matrix<R, C>, x: &Matrix<C, C>) -> Matrix<R, R> {
    let element = |i: usize, j: usize| {
        let row = |k: usize| (0..C).map(|l| x[k][l] * m[j][l]).sum::<f64>();
        (0..C).map(|k| m[i][k] * row(k)).sum()
    };
    std::array::from_fn(|i| std::array::from_fn(|j| element(i, j)))
}

/// `sum += a ⊙ b`.
fn add_products(sum: &mut Matrix<4, 4>, a: &Matrix<4, 4>, b: &Matrix<4, 4>) {
    for (sum, (a, b)) in sum.iter_mut().flatten().zip(a.iter().flatten().zip(b.iter().flatten())) {
        *sum += a * b;
    }
}

/// The square of a plane whose first element would be at `at − padding`; zero outside of the plane.
fn square<const N: usize>(
    planes: &Planes,
    values: &[f64],
    [image, channel]: [usize; 2],
    at: [usize; 2],
    padding: [usize; 2],
) -> Matrix<N, N> {
    let inside = |axis: usize, step: usize| {
        (at[axis] + step).checked_sub(padding[axis]).filter(|place| *place < planes.size[axis])
    };
    std::array::from_fn(|i| {
        std::array::from_fn(|j| match (inside(0, i), inside(1, j)) {
            (Some(y), Some(x)) => values[planes.index(image, channel, [y, x])],
            _ => 0.0,
        })
    })
}

/// Where the 2×2 tiles of a plane begin.
pub fn tiles([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..rows).step_by(2).flat_map(move |y| (0..columns).step_by(2).map(move |x| [y, x]))
}

impl Algebra {
    /// A transformed tile as it is multiplied.
    fn elements<const R: usize>(&self, m: &Matrix<4, R>, x: &Matrix<R, R>) -> Matrix<4, 4> {
        let elements: Matrix<4, 4> = around(m, x);
        let round = |x: f64| if self.in_bf16 { f64::from(bfloat16(x as f32)) } else { x };
        elements.map(|row| row.map(round))
    }

    /// `G g Gᵀ` of every kernel.
    pub fn weights(&self, w: &[f64]) -> Vec<Matrix<4, 4>> {
        let kernel = |g: &[f64; 9]| std::array::from_fn(|i| std::array::from_fn(|j| g[3 * i + j]));
        w.as_chunks().0.iter().map(|g| self.elements(&self.g, &kernel(g))).collect()
    }

    /// `y = w ∗ x`.
    pub fn forward(&self, conv: &Conv, w: &[f64], x: &[f64]) -> Vec<f64> {
        let (input, output, padding) = (conv.input(), conv.output(), conv.window().padding);
        let mut y = vec![0.0; output.len()];
        let u = self.weights(w);
        for image in 0..conv.images {
            for [row, column] in tiles(output.size) {
                let v = |channel| square(&input, x, [image, channel], [row, column], padding);
                let v: Vec<_> = (0..conv.inputs).map(|c| self.elements(&self.b, &v(c))).collect();
                for (channel, u) in u.chunks_exact(conv.inputs).enumerate() {
                    let mut m = [[0.0; 4]; 4];
                    u.iter().zip(&v).for_each(|(u, v)| add_products(&mut m, u, v));
                    let tile: Matrix<2, 2> = around(&self.a, &m);
                    for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                        if row + i < output.size[0] && column + j < output.size[1] {
                            y[output.index(image, channel, [row + i, column + j])] = tile[i][j];
                        }
                    }
                }
            }
        }
        y
    }

    /// `dx`: the convolution of dy with the flipped kernels.
    pub fn data_gradient(&self, conv: &Conv, w: &[f64], dy: &[f64]) -> Vec<f64> {
        let Conv { images, inputs, outputs, .. } = *conv;
        let window = conv.window();
        let window = Window { padding: window.padding.map(|p| 2 - p), ..window };
        let size = conv.output().size;
        let backward =
            Conv { images, inputs: outputs, outputs: inputs, size, options: window.into() };
        let kernel = |i: usize, o: usize| w[(o * inputs + i) * 9..][..9].iter().rev().copied();
        let flipped = (0..inputs).flat_map(|i| (0..outputs).flat_map(move |o| kernel(i, o)));
        self.forward(&backward, &flipped.collect::<Vec<_>>(), dy)
    }

    /// `dw`: `Gᵀ [ Σ (A dy Aᵀ) ⊙ (Bᵀ d B) ] G`.
    pub fn weight_gradient(&self, conv: &Conv, x: &[f64], dy: &[f64]) -> Vec<f64> {
        let (input, output, padding) = (conv.input(), conv.output(), conv.window().padding);
        let mut sums = vec![[[0.0; 4]; 4]; conv.outputs * conv.inputs];
        for image in 0..conv.images {
            for at in tiles(output.size) {
                let square_of = |channel| square(&input, x, [image, channel], at, padding);
                let v = |channel| self.elements(&self.b, &square_of(channel));
                let v: Vec<_> = (0..conv.inputs).map(v).collect();
                for (o, sums) in sums.chunks_exact_mut(conv.inputs).enumerate() {
                    let dy: Matrix<2, 2> = square(&output, dy, [image, o], at, [0, 0]);
                    let dy = self.elements(&transposed(&self.a), &dy);
                    sums.iter_mut().zip(&v).for_each(|(sum, v)| add_products(sum, &dy, v));
                }
            }
        }
        let kernels = sums.iter().map(|sum| around(&transposed(&self.g), sum));
        kernels.flat_map(|kernel: Matrix<3, 3>| kernel.into_iter().flatten()).collect()
    }
}
