//! The im2col matrix as a view: nothing is copied, two tables of offsets say where its elements are.
//!
//! The im2col matrix X of a convolution has a row per *tap* t (a weight of one output channel) and a
//! column j per output pixel; X(t, j) is the input value that weight t meets at pixel j, one vector
//! of sixteen images. It lies at `x[tap.x + column.x]`, because both the way to a pixel and the way
//! from there to a tap are plain distances.
//!
//! That is true only of taps that fall inside the image. So the matrix is cut into *regions*,
//! rectangles of taps × columns in which every element exists: for a padded 3×3 convolution the
//! interior with all nine taps, four edges with six, four corners with four. No element of a padding
//! is ever read, stored or multiplied, and kernels have no border branches. The same cut serves the
//! data gradient (a pixel meets only the outputs that saw it; with a stride, each phase of pixels has
//! taps of its own) and, by taps instead of columns, the weight gradient.

mod regions;
mod size;

use crate::{Convolution, LANES, Layout, Precision, Window};
use regions::Direction::{Backward, Forward};
pub(crate) use regions::{Class, Direction, classes};
use regions::{Rectangle, positions, weight_regions};
use std::ops::Range;

/// Where a weight's input lies, and the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    /// From a column's input, in floats.
    pub x: u32,
    /// From the start of a row of weights, in floats.
    pub w: u32,
}

/// Where a column's input and output lie, in floats from the start of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub x: u32,
    pub y: u32,
}

/// A rectangle of the matrix without holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub taps: Range<usize>,
    pub columns: Range<usize>,
}

/// The im2col matrix of one layer, as a view of one block of its input; of one group where channels are in groups,
/// as the others are like it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Im2col {
    pub(crate) taps: Vec<Tap>,
    pub(crate) columns: Vec<Column>,
    pub(crate) regions: Vec<Region>,
    /// What the taps read: one block of a group.
    pub(crate) source: Layout,
    /// What the columns write (or, for the weight gradient, read as well): one block of a group.
    pub(crate) target: Layout,
    /// Floats from a row of the weights to the next.
    pub(crate) row: usize,
    /// Floats of the weights of a group.
    pub(crate) weights: usize,
    /// How many groups there are; each has its planes after those of the one before.
    pub(crate) groups: usize,
    /// Of the operands: in bfloat16 channels of the source are pairs.
    pub(crate) precision: Precision,
    view: View,
}

/// Which product a view is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    Forward,
    ForwardPooled,
    DataGradient,
    WeightGradient,
    /// That of the forward product, for a weight gradient in bfloat16: pairs are neighbouring images.
    Neighbours,
}

impl Im2col {
    /// The layout of what a product writes, one block.
    pub fn target(&self) -> Layout {
        Layout::new(self.target.blocks(), self.groups * self.target.channels(), self.target.size())
    }

    /// The layout of what a product reads, one block.
    pub fn source(&self) -> Layout {
        Layout::new(self.source.blocks(), self.groups * self.source.channels(), self.source.size())
    }

    /// Floats, or pairs of bfloat16, of the weights.
    pub fn weights(&self) -> usize {
        self.groups * self.weights
    }

    /// The view of pairs of bfloat16: channels of the source are pairs.
    pub(crate) fn in_bf16(self) -> Im2col {
        Im2col { precision: Precision::Bf16, ..self }
    }

    /// The forward view, of pairs of neighbouring images.
    pub(crate) fn of_neighbours(self) -> Im2col {
        self.expect("a weight gradient in bfloat16", &[View::Forward]);
        Im2col { view: View::Neighbours, ..self.in_bf16() }
    }

    /// Panics unless the view is for the product of this name.
    #[track_caller]
    pub(crate) fn expect(&self, product: &str, views: &[View]) {
        assert!(views.contains(&self.view), "im2col of {product}: made for {:?}", self.view);
    }

    /// Panics unless everything that a product reads or writes by the tables is there: what the
    /// `unsafe` blocks of the products rely on, checked whenever a view is made.
    ///
    /// - x: `tap.x + column.x` and fifteen floats after it lie in a block of the source;
    /// - y: `column.y` and fifteen floats after it lie in the first plane of the target, and the
    ///   other planes follow it;
    /// - w: the weight `tap.w` of every row is a weight.
    fn validated(self) -> Im2col {
        let vector = LANES;
        let target_plane = self.target.plane() * vector;
        let last_row = self.target.channels().saturating_sub(1) * self.row;
        for Region { taps, columns } in &self.regions {
            let (taps, columns) = (&self.taps[taps.clone()], &self.columns[columns.clone()]);
            let most = |offsets: &mut dyn Iterator<Item = u32>| offsets.max().map(|x| x as usize);
            let tap = most(&mut taps.iter().map(|tap| tap.x));
            let column = most(&mut columns.iter().map(|column| column.x));
            if let (Some(tap), Some(column)) = (tap, column) {
                assert!(tap + column + vector <= self.source.block_len(), "an input of {self:?}");
            }
            if let Some(y) = most(&mut columns.iter().map(|column| column.y)) {
                assert!(y + vector <= target_plane, "an output of {self:?}");
            }
            if let Some(w) = most(&mut taps.iter().map(|tap| tap.w)) {
                let rows = self.target.channels();
                assert!(rows == 0 || last_row + w < self.weights, "a weight of {self:?}");
            }
        }
        self
    }
}

impl Convolution {
    /// Y = W · X: a column per output pixel.
    #[must_use]
    pub fn forward(&self) -> Im2col {
        if self.groups() > 1 {
            return Im2col { groups: self.groups(), ..self.group().forward() };
        }
        self.by_column(Forward, |class_y, class_x| {
            let pixels = positions(class_y, class_x);
            pixels
                .map(|(pixel, source)| column(self.input(), source, self.output(), pixel))
                .collect()
        })
    }

    /// Y = W · X with columns in fours, the windows of a 2×2 max-pool with stride 2; `y` of each is
    /// the place of the pooled pixel. Pixels of an odd last row or column are left out.
    ///
    /// `None` for a padded convolution, whose windows can straddle regions, and for one in groups.
    #[must_use]
    pub fn forward_pooled(&self) -> Option<Im2col> {
        if self.options().is_padded() || self.groups() > 1 {
            return None;
        }
        let pooled = self.output().with_size(self.output().size().map(|n| n / 2));
        let mut im2col = self.by_column(Forward, |_, _| {
            let mut columns = Vec::with_capacity(pooled.pixels() * 4);
            for y in 0..pooled.size()[0] {
                for x in 0..pooled.size()[1] {
                    for pixel in
                        [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[j, i]| [2 * y + j, 2 * x + i])
                    {
                        let source = [0, 1].map(|axis| pixel[axis] * self.window().stride[axis]);
                        columns.push(column(self.input(), source, pooled, [y, x]));
                    }
                }
            }
            columns
        });
        (im2col.target, im2col.view) = (pooled, View::ForwardPooled);
        Some(im2col.validated())
    }

    /// dX = Wᵀ · dY: a column per input pixel, whose taps are the outputs that saw it. With one tap
    /// per channel (a linear layer, a 1×1 convolution) the weights are used as they are, otherwise
    /// as [`transpose_weights`](crate::transpose_weights) lays them out.
    #[must_use]
    pub fn data_gradient(&self) -> Im2col {
        if self.groups() > 1 {
            return Im2col { groups: self.groups(), ..self.group().data_gradient() };
        }
        self.by_column(Backward, |class_y, class_x| {
            let pixels = positions(class_y, class_x);
            pixels
                .map(|(pixel, source)| column(self.output(), source, self.input(), pixel))
                .collect()
        })
    }

    /// dW = dY · Xᵀ: `x` of a column is its input, `y` its place in dY.
    #[must_use]
    pub fn weight_gradient(&self) -> Im2col {
        if self.groups() > 1 {
            return Im2col { groups: self.groups(), ..self.group().weight_gradient() };
        }
        let mut im2col = self.empty(Forward);
        im2col.view = View::WeightGradient;
        let Window { kernel: [kh, kw], dilation, .. } = self.window();
        for Rectangle { kernel, pixels } in weight_regions(self) {
            let (taps, columns) = (im2col.taps.len(), im2col.columns.len());
            let first = kernel[0];
            for c in 0..self.input().channels() {
                for &[ky, kx] in &kernel {
                    // From where the region's first kernel position lies.
                    let way = [(ky - first[0]) * dilation[0], (kx - first[1]) * dilation[1]];
                    let x = self.input().offset(c, way);
                    let w = (c * kh + ky) * kw + kx;
                    im2col.taps.push(Tap { x: table_offset(x), w: table_offset(w) });
                }
            }
            for pixel in pixels {
                let source = [0, 1].map(|axis| {
                    let size = self.input().size();
                    let at = self.options().source(axis, pixel[axis], first[axis], size);
                    at.expect("a region holds pixels whose taps exist")
                });
                im2col.columns.push(column(self.input(), source, self.output(), pixel));
            }
            im2col.regions.push(Region {
                taps: taps..im2col.taps.len(),
                columns: columns..im2col.columns.len(),
            });
        }
        im2col.validated()
    }

    /// The matrix cut by classes of columns; `columns` lists those of a class of rows and a class of
    /// columns.
    fn by_column(
        &self,
        direction: Direction,
        columns: impl Fn(&Class, &Class) -> Vec<Column>,
    ) -> Im2col {
        let mut im2col = self.empty(direction);
        let untransposed = direction == Backward && self.window().taps() == 1;
        let [rows, cols] = [0, 1].map(|axis| classes(self, direction, axis));
        for class_y in &rows {
            for class_x in &cols {
                let (first_tap, first_column) = (im2col.taps.len(), im2col.columns.len());
                for c in 0..im2col.source.channels() {
                    for &(ky, dy) in &class_y.taps {
                        for &(kx, dx) in &class_x.taps {
                            let [kh, kw] = self.window().kernel;
                            let tap = (c * kh + ky) * kw + kx;
                            // With one tap weights are not transposed: a row of the product is a column of theirs.
                            let w = if untransposed { tap * self.input().channels() } else { tap };
                            let x = im2col.source.offset(c, [dy, dx]);
                            im2col.taps.push(Tap { x: table_offset(x), w: table_offset(w) });
                        }
                    }
                }
                im2col.columns.extend(columns(class_y, class_x));
                im2col.regions.push(Region {
                    taps: first_tap..im2col.taps.len(),
                    columns: first_column..im2col.columns.len(),
                });
            }
        }
        im2col.validated()
    }

    fn empty(&self, direction: Direction) -> Im2col {
        let (source, target, view) = match direction {
            Forward => (self.input(), self.output(), View::Forward),
            Backward => (self.output(), self.input(), View::DataGradient),
        };
        let row = match direction {
            Forward => self.taps(),
            Backward if self.window().taps() == 1 => 1,
            Backward => self.output().channels() * self.window().taps(),
        };
        let weights = self.weights();
        let (groups, precision) = (1, Precision::F32);
        let (taps, columns, regions) = (vec![], vec![], vec![]);
        Im2col { taps, columns, regions, source, target, row, weights, groups, precision, view }
    }
}

/// The column of a pixel `y` of the target, whose first source is the pixel `x`.
fn column(source: Layout, x: [usize; 2], target: Layout, y: [usize; 2]) -> Column {
    Column { x: table_offset(source.offset(0, x)), y: table_offset(target.offset(0, y)) }
}

/// An offset as the tables hold it.
fn table_offset(offset: usize) -> u32 {
    u32::try_from(offset).expect("a block of one layer is below 2³² floats")
}

const _: () = assert!(LANES == 16);

#[cfg(test)]
mod tests;
