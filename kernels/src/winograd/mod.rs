//! 3×3 convolutions by Winograd's minimal filtering: sixteen multiplications where im2col has
//! thirty-six.
//!
//! A 2×2 tile of the output sees a 4×4 tile `d` of the input. With the kernel `g`,
//! ```text
//! y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//!
//!      1  0 −1  0          1    0   0
//! Bᵀ = 0  1  1  0     G =  ½    ½   ½     Aᵀ = 1  1  1  0
//!      0 −1  1  0          ½   −½   ½          0  1 −1 −1
//!      0  1  0 −1          0    0   1
//! ```
//! (Lavin & Gray, *Fast Algorithms for Convolutional Neural Networks*, 2015, F(2×2, 3×3)). Summed
//! over channels, each of the sixteen elements is a matrix product of its own, channels × tiles: a
//! 1×1 convolution, done by [`contract`], and for its weights as in [`outer`](crate::outer). Sixteen
//! images to a vector, the transforms are additions of whole vectors.
//!
//! Both gradients are of the same kind. The data-gradient is the convolution of dY with the flipped
//! kernel, whose transform is that of the kernel with the indices 0 and 3 exchanged; the
//! weight-gradient is `Gᵀ [ Σ (A dy Aᵀ) ⊙ (Bᵀ d B) ] G`.
//!
//! ```text
//! for each strip of rows of tiles
//!   transform the strip's input       4×4 tiles, zeros for padding, to [16][channels][tiles]
//!   for each of the sixteen elements  contract over channels
//!   transform the strip's output      to 2×2 tiles
//! ```
//! The sum over channels is in their order, that over tiles (weight-gradient) strip by strip, so the
//! bits depend on the layer and the batch alone.

mod transform;
mod weights;

use crate::isa::dispatch;
use crate::outer::{Operand, outer_columns};
use crate::patches::{Convolution, Patches};
use crate::{Isa, LANES, Layout, Start, Window, contract};
use std::ops::Range;
use transform::{Epilogue, gradient_tiles, input_tiles, output_tiles};
pub use weights::winograd_weights;

/// Elements of a transformed tile along one axis, and of the tile.
const SIDE: usize = 4;
const ELEMENTS: usize = SIDE * SIDE;

/// Floats that the transformed operands of a strip should have at most, 512 KB: with more they
/// leave the second-level cache, with less the products are too narrow.
const STRIP: usize = 1 << 17;

/// With fewer channels the transforms cost more than the products save.
const LEAST_CHANNELS: usize = 32;

/// A convolution that is done by transforms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winograd {
    convolution: Convolution,
    forward: Strips,
    data: Strips,
}

/// A product and how it is cut into strips.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Strips {
    /// The convolution: for the data-gradient, that of dY with the flipped kernel.
    convolution: Convolution,
    /// Rows and columns of tiles of a plane.
    tiles: [usize; 2],
    /// Rows of tiles of a strip, a divisor of those of a plane.
    rows: usize,
    /// The product of one element over a strip.
    product: Patches,
}

impl Strips {
    /// `product` makes the patches of one element's product for so many tiles.
    fn new(convolution: Convolution, product: impl Fn(usize) -> Patches) -> Strips {
        let Convolution { input, output, .. } = convolution;
        let tiles = output.size.map(|n| n.div_ceil(2));
        let row = tiles[1] * ELEMENTS * (input.channels + output.channels) * LANES;
        let fits = |rows: &usize| tiles[0].is_multiple_of(*rows) && rows * row <= STRIP;
        let rows = (1..=tiles[0]).rev().find(fits).unwrap_or(1);
        Strips { convolution, tiles, rows, product: product(rows * tiles[1]) }
    }

    /// Floats of the transformed input and output of a strip, and of a row of zeros.
    fn scratch(&self) -> usize {
        let Patches { source, target, .. } = &self.product;
        ELEMENTS * (matrix(source) + matrix(target)) + self.convolution.input.size[1] * LANES
    }

    /// Rows of tiles of each strip of a plane.
    fn of_a_plane(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.tiles[0]).step_by(self.rows).map(|first| first..first + self.rows)
    }

    /// The tiles of some rows as they lie in the planes of the input and when transformed.
    fn input(&self, rows: Range<usize>) -> Tiles<'_> {
        let Convolution { input, window, .. } = &self.convolution;
        let (padding, matrices) = (window.padding, &self.product.source);
        Tiles { planes: input, padding, rows, columns: self.tiles[1], matrices }
    }

    /// The same of the output.
    fn output(&self, rows: Range<usize>) -> Tiles<'_> {
        let matrices = &self.product.target;
        let planes = &self.convolution.output;
        Tiles { planes, padding: [0, 0], rows, columns: self.tiles[1], matrices }
    }
}

/// Rows of tiles: where they lie in planes, and where when transformed.
struct Tiles<'a> {
    planes: &'a Layout,
    /// Zeros before the first row and column of a plane.
    padding: [usize; 2],
    rows: Range<usize>,
    /// Tiles of a row.
    columns: usize,
    /// One element of the tiles of a strip, `[channels][tiles]`.
    matrices: &'a Layout,
}

/// Floats from one element's matrix to the next: never a multiple of eight vectors, as in
/// [`Layout`].
fn matrix(layout: &Layout) -> usize {
    let len = layout.block_len();
    if len.is_multiple_of(8 * LANES) { len + LANES } else { len }
}

impl Winograd {
    /// Whether a convolution is better done so than by im2col: 3×3, without stride or dilation, and
    /// with enough channels.
    pub fn applies(convolution: &Convolution) -> bool {
        let Convolution { input, output, window } = convolution;
        let plain = Window { padding: [0, 0], ..*window } == Window::new([3, 3]);
        let padded = window.padding.iter().all(|&p| p <= 2);
        plain && padded && input.channels.min(output.channels) >= LEAST_CHANNELS
    }

    /// The plan of a convolution to which it [applies](Winograd::applies), or `None`.
    pub fn new(convolution: &Convolution) -> Option<Winograd> {
        if !Winograd::applies(convolution) {
            return None;
        }
        let Convolution { input, output, window } = *convolution;
        let window = Window { padding: window.padding.map(|p| 2 - p), ..window };
        let backward = Convolution { input: output, output: input, window };
        let element = |tiles| {
            let one = Window::new([1, 1]);
            let product = Convolution::new(input.channels, [1, tiles], output.channels, one);
            product.expect("a window of one pixel fits")
        };
        Some(Winograd {
            convolution: *convolution,
            forward: Strips::new(*convolution, |tiles| element(tiles).forward()),
            data: Strips::new(backward, |tiles| element(tiles).data_gradient()),
        })
    }

    /// Floats of the transformed weights.
    pub fn weights(&self) -> usize {
        ELEMENTS * self.channels()
    }

    /// Floats of room that each of the products needs.
    pub fn scratch(&self) -> usize {
        let sums = self.weights();
        self.data.scratch().max(self.forward.scratch() + sums)
    }

    /// Input times output channels.
    fn channels(&self) -> usize {
        self.convolution.input.channels * self.convolution.output.channels
    }

    #[track_caller]
    fn check(&self, x: usize, y: usize, scratch: usize) {
        let Convolution { input, output, .. } = &self.convolution;
        let blocks = x / input.block_len().max(1);
        assert_eq!(x, blocks * input.block_len(), "input of a convolution");
        assert_eq!(y, blocks * output.block_len(), "output of a convolution");
        assert_eq!(scratch, self.scratch(), "scratch of a convolution");
    }
}

/// Y = start + W ∗ X, then a ReLU where `relu` is set: [`contract`] on the forward patches of the same
/// convolution, but for rounding. `weights` are those of [`winograd_weights`].
///
/// # Panics
/// If a slice has not the length that the plan says.
#[expect(clippy::too_many_arguments, reason = "the operands of a convolution")]
pub fn winograd(
    isa: Isa,
    plan: &Winograd,
    weights: &[f32],
    x: &[f32],
    start: Start<'_>,
    relu: bool,
    scratch: &mut [f32],
    y: &mut [f32],
) {
    plan.check(x.len(), y.len(), scratch.len());
    assert_eq!(weights.len(), plan.weights(), "transformed weights");
    let epilogue = Epilogue { start, relu };
    let product = Product { strips: &plan.forward, weights, flipped: false, epilogue };
    product.run(isa, x, scratch, y);
}

/// dX = start + Wᵀ · dY: [`contract`] on the patches of the data-gradient, but for rounding.
///
/// # Panics
/// If a slice has not the length that the plan says.
pub fn winograd_data_gradient(
    isa: Isa,
    plan: &Winograd,
    weights: &[f32],
    dy: &[f32],
    start: Start<'_>,
    scratch: &mut [f32],
    dx: &mut [f32],
) {
    plan.check(dx.len(), dy.len(), scratch.len());
    assert_eq!(weights.len(), plan.weights(), "transformed weights");
    let epilogue = Epilogue { start, relu: false };
    let product = Product { strips: &plan.data, weights, flipped: true, epilogue };
    product.run(isa, dy, scratch, dx);
}

/// A convolution with its transformed weights.
struct Product<'a> {
    strips: &'a Strips,
    weights: &'a [f32],
    /// Whether the kernels are to be turned around.
    flipped: bool,
    epilogue: Epilogue<'a>,
}

impl Product<'_> {
    fn run(&self, isa: Isa, x: &[f32], scratch: &mut [f32], y: &mut [f32]) {
        let Strips { convolution: Convolution { input, output, .. }, product, .. } = self.strips;
        if let Start::Bias(bias) = self.epilogue.start {
            assert_eq!(bias.len(), output.channels, "bias of a convolution");
        }
        let (v_matrix, m_matrix) = (matrix(&product.source), matrix(&product.target));
        let (zeros, scratch) = scratch.split_at_mut(input.size[1] * LANES);
        let (v, m) = scratch.split_at_mut(ELEMENTS * v_matrix);
        zeros.fill(0.0);
        let blocks = x.chunks_exact(input.block_len()).zip(y.chunks_exact_mut(output.block_len()));
        for (x, y) in blocks {
            for rows in self.strips.of_a_plane() {
                let from = self.strips.input(rows.clone());
                dispatch!(isa, s => input_tiles(s, &from, [x, zeros], v));
                for element in 0..ELEMENTS {
                    let v = &v[element * v_matrix..][..product.source.block_len()];
                    let m = &mut m[element * m_matrix..][..product.target.block_len()];
                    contract(isa, product, self.weights_of(element), v, Start::Zero, false, m);
                }
                let to = self.strips.output(rows);
                dispatch!(isa, s => output_tiles(s, &to, m, self.epilogue, y));
            }
        }
    }

    /// The matrix of weights of an element.
    fn weights_of(&self, element: usize) -> &[f32] {
        let [i, j] = [element / SIDE, element % SIDE].map(|index| match index {
            0 | 3 if self.flipped => 3 - index,
            _ => index,
        });
        let matrix = self.weights.len() / ELEMENTS;
        &self.weights[(SIDE * i + j) * matrix..][..matrix]
    }
}

/// dW += dY · Xᵀ: [`correlate`](crate::correlate) of the same convolution, but for rounding. Lanes
/// without an image must be zero in `dy` and finite in `x`.
///
/// # Panics
/// If a slice has not the length that the plan says.
pub fn winograd_weight_gradient(
    isa: Isa,
    plan: &Winograd,
    x: &[f32],
    dy: &[f32],
    scratch: &mut [f32],
    dw: &mut [f32],
) {
    plan.check(x.len(), dy.len(), scratch.len());
    let strips = &plan.forward;
    let Convolution { input, output, .. } = &plan.convolution;
    let (source, target) = (&strips.product.source, &strips.product.target);
    let (v_matrix, g_matrix) = (matrix(source), matrix(target));
    let (du, scratch) = scratch.split_at_mut(plan.weights());
    let (zeros, scratch) = scratch.split_at_mut(input.size[1] * LANES);
    let (v, g) = scratch.split_at_mut(ELEMENTS * v_matrix);
    du.fill(0.0);
    zeros.fill(0.0);
    let blocks = x.chunks_exact(input.block_len()).zip(dy.chunks_exact(output.block_len()));
    for (x, dy) in blocks {
        for rows in strips.of_a_plane() {
            let (of_x, of_dy) = (strips.input(rows.clone()), strips.output(rows));
            dispatch!(isa, s => {
                input_tiles(s, &of_x, [x, zeros], v);
                gradient_tiles(s, &of_dy, dy, g);
            });
            for (element, du) in du.chunks_exact_mut(plan.channels()).enumerate() {
                let v =
                    Operand { floats: &v[element * v_matrix..], stride: source.plane() * LANES };
                let g =
                    Operand { floats: &g[element * g_matrix..], stride: target.plane() * LANES };
                let columns = (0..source.pixels()).map(|tile| [tile * LANES; 2]);
                outer_columns(isa, [output.channels, input.channels], columns, [g, v], du);
            }
        }
    }
    weights::gradient(isa, &plan.convolution, du, dw);
}
