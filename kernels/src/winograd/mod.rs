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
//! 1×1 convolution, done by [`implicit_gemm`], and for its weights as in [`linear_weight_gradient`](crate::linear_weight_gradient). Sixteen
//! images to a vector, the transforms are additions of whole vectors.
//!
//! Both gradients are of the same kind. The data gradient is the convolution of dY with the flipped
//! kernel, whose transform is that of the kernel with the indices 0 and 3 exchanged; the
//! weight gradient is `Gᵀ [ Σ (A dy Aᵀ) ⊙ (Bᵀ d B) ] G`.
//!
//! ```text
//! for each strip of tiles             some rows, or a part of one where planes are wide
//!   transform the strip's input       4×4 tiles, zeros for padding, to [16][channels][tiles]
//!   for each of the sixteen elements  implicit_gemm over channels
//!   transform the strip's output      to 2×2 tiles
//! ```
//! In [bfloat16](crate::bf16) the transforms are those of `f32`, and the sixteen elements, of the weights too, are
//! rounded when they are written: pairs of channels for the forward product and the data gradient, pairs of images for
//! the weight gradient. Beside the exact product of operands that are not rounded, y and both gradients have relative
//! errors (all together, uniform operands, 32 to 128 channels) of 4·10⁻³, where im2col in bfloat16 has 2·10⁻³.
//!
//! The sum over channels is in their order, that over tiles (weight gradient) in groups whose bounds
//! follow from the shape, so the bits depend on the layer and the batch alone.

mod channels;
mod gradient;
mod pairs;
mod product;
mod transform;
mod weights;

use crate::im2col::Im2col;
use crate::linear_weight_gradient::KC;
use crate::team::share;
use crate::{Convolution, LANES, Layout, PaddingMode, Precision, Window};
pub use channels::{ChannelStrip, ChannelWinograd};
pub use gradient::winograd_weight_gradient;
pub use product::{winograd, winograd_data_gradient};
use std::ops::Range;
pub use weights::winograd_weights;

/// Elements of a transformed tile along one axis, and of the tile.
const SIDE: usize = 4;
const ELEMENTS: usize = SIDE * SIDE;

/// Floats that the transformed operands of a strip should have at most, 512 KB: with more they
/// leave the second-level cache, with less the products are too narrow.
const STRIP: usize = 1 << 17;

/// Floats that those of a single row of tiles may have before the row is cut.
const LONGEST: usize = 4 * STRIP;

/// With fewer channels the transforms cost more than the products save.
const LEAST_CHANNELS: usize = 32;

/// The plan of a convolution by Winograd's method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winograd {
    convolution: Convolution,
    precision: Precision,
    forward: Strips,
    data: Strips,
    weight: Strips,
}

/// A product and how it is cut into strips.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Strips {
    /// The convolution: for the data gradient, that of dY with the flipped kernel.
    convolution: Convolution,
    /// Rows and columns of tiles of a plane.
    tiles: [usize; 2],
    /// Rows of tiles of a strip, a divisor of those of a plane.
    rows: usize,
    /// Pieces of a row of tiles, more than one only where a strip is one row.
    pieces: usize,
    /// The product of one element over a strip, for each size that strips have.
    products: Vec<Im2col>,
}

/// Some tiles of a plane.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Strips {
    /// `product` makes the im2col matrix of one element's product for so many tiles.
    fn new(convolution: Convolution, product: impl Fn(usize) -> Im2col) -> Strips {
        let (input, output) = (convolution.input(), convolution.output());
        let tiles = output.size().map(|n| n.div_ceil(2));
        let row = tiles[1] * ELEMENTS * (input.channels() + output.channels()) * LANES;
        let fits = |rows: &usize| tiles[0].is_multiple_of(*rows) && rows * row <= STRIP;
        let rows = (1..=tiles[0]).rev().find(fits).unwrap_or(1);
        let groups = tiles[1].div_ceil(KC);
        let pieces = if rows == 1 { row.div_ceil(LONGEST).clamp(1, groups.max(1)) } else { 1 };
        let mut strips = Strips { convolution, tiles, rows, pieces, products: vec![] };
        for piece in 0..pieces {
            let size = strips.strip(piece).tiles();
            if strips.products.iter().all(|p| p.source.pixels() != size) {
                strips.products.push(product(size));
            }
        }
        strips
    }

    /// Floats of the transformed input of a strip, and of the output.
    fn matrices(&self) -> [usize; 2] {
        let most = |layout: fn(&Im2col) -> &Layout| {
            self.products.iter().map(|p| ELEMENTS * matrix(layout(p))).max().unwrap_or(0)
        };
        [most(|p| &p.source), most(|p| &p.target)]
    }

    /// Floats of a row of zeros.
    fn zeros(&self) -> usize {
        self.convolution.input().size()[1] * LANES
    }

    /// How many there are in a plane.
    fn count(&self) -> usize {
        self.tiles[0] / self.rows * self.pieces
    }

    /// A strip of a plane: they are counted row by row. A row is cut between groups of the weight gradient's
    /// sums, which are the same however it is cut.
    fn strip(&self, number: usize) -> Piece {
        let (row, piece) = (number / self.pieces * self.rows, number % self.pieces);
        let groups = self.tiles[1].div_ceil(KC).max(1);
        let share = share(groups, piece, self.pieces);
        let (len, longer) = (self.tiles[1] / groups, self.tiles[1] % groups);
        let start = |group: usize| group * len + group.min(longer);
        Piece { rows: row..row + self.rows, columns: start(share.start)..start(share.end) }
    }

    /// The product of one element over a strip.
    fn product(&self, strip: &Piece) -> &Im2col {
        let tiles = strip.tiles();
        let fits = |product: &&Im2col| product.source.pixels() == tiles;
        self.products.iter().find(fits).expect("a product for every size of strips")
    }

    /// A strip as it lies in the planes of the input and when transformed.
    fn input(&self, strip: &Piece) -> Tiles {
        let (padding, planes) = (self.convolution.window().padding, self.convolution.input());
        let (strip, matrices) = (strip.clone(), self.product(strip).source);
        Tiles { planes, padding, strip, matrices }
    }

    /// The same of the output.
    fn output(&self, strip: &Piece) -> Tiles {
        let planes = self.convolution.output();
        let (strip, matrices) = (strip.clone(), self.product(strip).target);
        Tiles { planes, padding: [0, 0], strip, matrices }
    }

    /// Multiply-adds of all elements of a block.
    fn work(&self) -> usize {
        let [inputs, outputs] =
            [self.convolution.input(), self.convolution.output()].map(|l| l.channels());
        ELEMENTS * inputs * outputs * self.tiles[0] * self.tiles[1]
    }
}

impl Piece {
    fn tiles(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

/// A strip of tiles: where they lie in planes, and where when transformed.
struct Tiles {
    planes: Layout,
    /// Zeros before the first row and column of a plane.
    padding: [usize; 2],
    strip: Piece,
    /// One element of the tiles of a strip, `[channels][tiles]`.
    matrices: Layout,
}

impl Tiles {
    /// How many vectors after the first element of a tile each of its elements lies.
    fn elements(&self) -> [usize; ELEMENTS] {
        let stride = matrix(&self.matrices) / LANES;
        std::array::from_fn(|element| element * stride)
    }
}

/// Floats from one element's matrix to the next: never a multiple of eight vectors, as in
/// [`Layout`].
fn matrix(layout: &Layout) -> usize {
    let len = layout.block_len();
    if len.is_multiple_of(8 * LANES) { len + LANES } else { len }
}

impl Winograd {
    /// Whether Winograd's method suits a convolution better than im2col: 3×3, without stride, dilation or groups,
    /// padded with zeros, with enough channels, and with fewer multiplications. Im2col leaves out those with padding,
    /// so on planes of up to 3×3 it needs no more than Winograd's method.
    pub fn applies(convolution: &Convolution) -> bool {
        let (input, output) = (convolution.input(), convolution.output());
        let window = convolution.window();
        let plain = Window { padding: [0, 0], ..window } == Window::new([3, 3]);
        let options = convolution.options();
        let padded = window.padding.iter().chain(&options.padding_after).all(|&p| p <= 2);
        let plain = plain && options.groups == 1 && options.padding_mode == PaddingMode::Zeros;
        let enough = input.channels().min(output.channels()) >= LEAST_CHANNELS;
        // Multiplications for each pair of channels.
        let [rows, columns] = output.size().map(|n| n.div_ceil(2));
        let fewer = ELEMENTS * rows * columns < convolution.met(0) * convolution.met(1);
        plain && padded && enough && fewer
    }

    /// The plan of a convolution to which it [applies](Winograd::applies), or `None`.
    pub fn new(convolution: &Convolution) -> Option<Winograd> {
        Winograd::with_precision(convolution, Precision::F32)
    }

    /// The same, for products in this precision.
    pub fn with_precision(convolution: &Convolution, precision: Precision) -> Option<Winograd> {
        if !Winograd::applies(convolution) {
            return None;
        }
        let [inputs, outputs] = [convolution.input(), convolution.output()].map(|l| l.channels());
        let backward = convolution.reversed(convolution.window().padding.map(|p| 2 - p));
        let element = |tiles| {
            let one = Window::new([1, 1]);
            let product = Convolution::new(inputs, [1, tiles], outputs, one);
            product.expect("a window of one pixel fits")
        };
        let (forward, data) = match precision {
            Precision::F32 => (
                Strips::new(*convolution, |tiles| element(tiles).forward()),
                Strips::new(backward, |tiles| element(tiles).data_gradient()),
            ),
            Precision::Bf16 => (
                Strips::new(*convolution, |tiles| element(tiles).forward_bf16()),
                Strips::new(backward, |tiles| element(tiles).data_gradient_bf16()),
            ),
        };
        let weight = Strips::new(*convolution, |tiles| element(tiles).forward());
        Some(Winograd { convolution: *convolution, precision, forward, data, weight })
    }

    /// Floats of the transformed weights: in bfloat16, of pairs of inputs, then of pairs of outputs.
    pub fn weights(&self) -> usize {
        match self.precision {
            Precision::F32 => ELEMENTS * self.channels(),
            Precision::Bf16 => self.pairs_of_inputs() + self.pairs_of_outputs(),
        }
    }

    /// Floats of the transformed weights in pairs of inputs, for the forward product.
    fn pairs_of_inputs(&self) -> usize {
        let (input, output) = (self.convolution.input(), self.convolution.output());
        ELEMENTS * output.channels() * input.pairs().channels()
    }

    /// Floats of those in pairs of outputs, for the data gradient.
    fn pairs_of_outputs(&self) -> usize {
        let (input, output) = (self.convolution.input(), self.convolution.output());
        ELEMENTS * output.pairs().channels() * input.channels()
    }

    /// Those of the transformed weights that a product meets.
    fn weights_of<'a>(&self, weights: &'a [f32], backward: bool) -> &'a [f32] {
        assert_eq!(weights.len(), self.weights(), "transformed weights");
        match (self.precision, backward) {
            (Precision::F32, _) => weights,
            (Precision::Bf16, false) => &weights[..self.pairs_of_inputs()],
            (Precision::Bf16, true) => &weights[self.pairs_of_inputs()..],
        }
    }

    /// Floats of room that each of the products needs to be done in one part.
    pub fn scratch(&self) -> usize {
        self.scratch_of(1)
    }

    /// Floats of room for a product in as many parts.
    pub fn scratch_of(&self, parts: usize) -> usize {
        let of = |strips: &Strips| strips.zeros() + parts * strips.matrices().iter().sum::<usize>();
        let of_weight = of(&self.weight) + ELEMENTS * self.channels();
        of(&self.data).max(of(&self.forward)).max(of_weight)
    }

    /// How many parts there is room for.
    fn parts(&self, strips: &Strips, scratch: usize) -> usize {
        (scratch - strips.zeros()) / strips.matrices().iter().sum::<usize>().max(1)
    }

    /// Input times output channels.
    fn channels(&self) -> usize {
        self.convolution.input().channels() * self.convolution.output().channels()
    }

    #[track_caller]
    fn check(&self, x: usize, y: usize, scratch: usize) {
        let (input, output) = (self.convolution.input(), self.convolution.output());
        let blocks = x / input.block_len().max(1);
        assert_eq!(x, input.with_blocks(blocks).len(), "input of a convolution");
        assert_eq!(y, output.with_blocks(blocks).len(), "output of a convolution");
        assert!(scratch >= self.scratch(), "scratch of a convolution");
    }
}
