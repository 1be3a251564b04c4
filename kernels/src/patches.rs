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
//! data-gradient (a pixel meets only the outputs that saw it; with a stride, each phase of pixels has
//! taps of its own) and, by taps instead of columns, the weight-gradient.

use crate::{LANES, Layout, Window};
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

/// The im2col matrix of one layer, as a view of one block of its input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patches {
    pub(crate) taps: Vec<Tap>,
    pub(crate) columns: Vec<Column>,
    pub(crate) regions: Vec<Region>,
    /// What the taps read: one block.
    pub(crate) source: Layout,
    /// What the columns write (or, for the weight-gradient, read as well): one block.
    pub(crate) target: Layout,
    pub(crate) rows: Rows,
    /// Floats of the weights.
    pub(crate) weights: usize,
}

/// Where the rows of the weights lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Each so many floats after the one before.
    Strided(usize),
    /// In panels of sixteen rows, so many floats each, whose first floats are neighbours.
    Panels(usize),
}

impl Default for Rows {
    fn default() -> Self {
        Rows::Strided(0)
    }
}

impl Patches {
    /// The layout of what a contraction writes, one block.
    pub fn target(&self) -> Layout {
        self.target
    }
}

/// A convolution: one block of its input and of its output, and the window between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// The input, one block.
    pub input: Layout,
    /// The output, one block.
    pub output: Layout,
    /// The sliding window.
    pub window: Window,
}

impl Convolution {
    /// The convolution of `channels` planes of this size to `outputs` planes; `None` if the window
    /// does not fit.
    pub fn new(
        channels: usize,
        size: [usize; 2],
        outputs: usize,
        window: Window,
    ) -> Option<Convolution> {
        let input = Layout::new(1, channels, size);
        let output = Layout::new(1, outputs, window.output(size)?);
        Some(Convolution { input, output, window })
    }

    /// A linear layer: a convolution of one-pixel planes.
    pub fn linear(inputs: usize, outputs: usize) -> Convolution {
        let [input, output] = [inputs, outputs].map(|features| Layout::features(1, features));
        Convolution { input, output, window: Window::new([1, 1]) }
    }

    /// Weights of one output channel.
    pub fn taps(&self) -> usize {
        self.input.channels * self.window.taps()
    }

    /// All weights: `[outputs][inputs][kernel rows][kernel columns]`.
    pub fn weights(&self) -> usize {
        self.output.channels * self.taps()
    }

    /// Floats of the weights as [`transpose_weights`](crate::transpose_weights) lays them out for the
    /// data-gradient: inputs in panels of sixteen.
    pub fn transposed_weights(&self) -> usize {
        self.input.channels.next_multiple_of(LANES) * self.output.channels * self.window.taps()
    }

    /// Multiply-adds per image of the forward product; those that would meet padding are not
    /// counted, as they are not done.
    pub fn multiply_adds(&self) -> usize {
        let along = |axis: usize| {
            let meets = |&(o, k): &(usize, usize)| {
                self.window.source(axis, o, k, self.input.size).is_some()
            };
            let outputs = 0..self.output.size[axis];
            let pairs = outputs.flat_map(|o| (0..self.window.kernel[axis]).map(move |k| (o, k)));
            pairs.filter(meets).count()
        };
        self.input.channels * self.output.channels * along(0) * along(1)
    }

    /// Y = W · X: a column per output pixel.
    pub fn forward(&self) -> Patches {
        self.by_column(Forward, |class_y, class_x| {
            let pixels = positions(class_y, class_x);
            pixels.map(|(pixel, source)| self.column(source, self.output, pixel)).collect()
        })
    }

    /// Y = W · X with columns in fours, the windows of a 2×2 max-pool with stride 2; `y` of each is
    /// the place of the pooled pixel. Pixels of an odd last row or column are left out.
    ///
    /// `None` for a padded convolution, whose windows can straddle regions.
    pub fn forward_pooled(&self) -> Option<Patches> {
        if self.window.padding != [0, 0] {
            return None;
        }
        let pooled = Layout::new(1, self.output.channels, self.output.size.map(|n| n / 2));
        let mut patches = self.by_column(Forward, |_, _| {
            let mut columns = Vec::with_capacity(pooled.pixels() * 4);
            for y in 0..pooled.size[0] {
                for x in 0..pooled.size[1] {
                    for pixel in
                        [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[j, i]| [2 * y + j, 2 * x + i])
                    {
                        let source = [0, 1].map(|axis| pixel[axis] * self.window.stride[axis]);
                        columns.push(self.column(source, pooled, [y, x]));
                    }
                }
            }
            columns
        });
        patches.target = pooled;
        Some(patches)
    }

    /// dX = Wᵀ · dY: a column per input pixel, whose taps are the outputs that saw it. With one tap
    /// per channel (a linear layer, a 1×1 convolution) the weights are used as they are, otherwise
    /// as [`transpose_weights`](crate::transpose_weights) lays them out.
    pub fn data_gradient(&self) -> Patches {
        self.by_column(Backward, |class_y, class_x| {
            let pixels = positions(class_y, class_x);
            let swapped = Convolution { input: self.output, ..*self };
            pixels.map(|(pixel, source)| swapped.column(source, self.input, pixel)).collect()
        })
    }

    /// dW = dY · Xᵀ: `x` of a column is its input, `y` its place in dY.
    pub fn weight_gradient(&self) -> Patches {
        let mut patches = self.empty(Forward);
        let [kh, kw] = self.window.kernel;
        // Where a kernel position lies, as if the image began at its first.
        let reach =
            |[ky, kx]: [usize; 2]| [ky * self.window.dilation[0], kx * self.window.dilation[1]];
        for Rectangle { kernel, pixels } in weight_regions(self) {
            let (taps, columns) = (patches.taps.len(), patches.columns.len());
            let first = kernel[0];
            for c in 0..self.input.channels {
                for &[ky, kx] in &kernel {
                    let x =
                        self.input.offset(c, reach([ky, kx])) - self.input.offset(0, reach(first));
                    let w = (c * kh + ky) * kw + kx;
                    patches.taps.push(Tap { x: small(x), w: small(w) });
                }
            }
            for pixel in pixels {
                let source = [0, 1].map(|axis| {
                    let at = self.window.source(axis, pixel[axis], first[axis], self.input.size);
                    at.expect("a region holds pixels whose taps exist")
                });
                patches.columns.push(self.column(source, self.output, pixel));
            }
            patches.regions.push(Region {
                taps: taps..patches.taps.len(),
                columns: columns..patches.columns.len(),
            });
        }
        patches
    }

    /// The matrix cut by classes of columns; `columns` lists those of a class of rows and a class of
    /// columns.
    fn by_column(
        &self,
        direction: Direction,
        columns: impl Fn(&Class, &Class) -> Vec<Column>,
    ) -> Patches {
        let mut patches = self.empty(direction);
        let [rows, cols] = [0, 1].map(|axis| classes(self, direction, axis));
        for class_y in &rows {
            for class_x in &cols {
                let (first_tap, first_column) = (patches.taps.len(), patches.columns.len());
                for c in 0..patches.source.channels {
                    for &(ky, dy) in &class_y.taps {
                        for &(kx, dx) in &class_x.taps {
                            let [kh, kw] = self.window.kernel;
                            let tap = (c * kh + ky) * kw + kx;
                            let w = match (direction, patches.rows) {
                                (Forward, _) => tap,
                                (Backward, Rows::Panels(_)) => tap * LANES,
                                (Backward, Rows::Strided(_)) => tap * self.input.channels,
                            };
                            let x = patches.source.offset(c, [dy, dx]);
                            patches.taps.push(Tap { x: small(x), w: small(w) });
                        }
                    }
                }
                patches.columns.extend(columns(class_y, class_x));
                patches.regions.push(Region {
                    taps: first_tap..patches.taps.len(),
                    columns: first_column..patches.columns.len(),
                });
            }
        }
        patches
    }

    fn empty(&self, direction: Direction) -> Patches {
        let (source, target) = match direction {
            Forward => (self.input, self.output),
            Backward => (self.output, self.input),
        };
        let (rows, weights) = match direction {
            Forward => (Rows::Strided(self.taps()), self.weights()),
            Backward if self.window.taps() == 1 => (Rows::Strided(1), self.weights()),
            Backward => {
                let panel = self.output.channels * self.window.taps() * LANES;
                (Rows::Panels(panel), self.transposed_weights())
            }
        };
        Patches { taps: vec![], columns: vec![], regions: vec![], source, target, rows, weights }
    }

    fn column(&self, source: [usize; 2], target: Layout, pixel: [usize; 2]) -> Column {
        Column { x: small(self.input.offset(0, source)), y: small(target.offset(0, pixel)) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From a pixel of the output to the pixels of the input that it sees.
    Forward,
    /// From a pixel of the input to the pixels of the output that saw it.
    Backward,
}
use Direction::{Backward, Forward};

/// Positions along one axis that meet the same taps at the same distances.
#[derive(Debug, PartialEq, Eq)]
struct Class {
    /// Kernel index, and distance of its source from the first source.
    taps: Vec<(usize, usize)>,
    /// Position, and its first source.
    positions: Vec<(usize, usize)>,
}

/// The classes of the positions along an axis, in order of their first members.
fn classes(conv: &Convolution, direction: Direction, axis: usize) -> Vec<Class> {
    let (window, input, output) = (&conv.window, conv.input.size, conv.output.size);
    let positions = if direction == Forward { output[axis] } else { input[axis] };
    let mut classes: Vec<Class> = vec![];
    for position in 0..positions {
        let source = |k: usize| match direction {
            Forward => window.source(axis, position, k, input),
            Backward => {
                let shifted =
                    (position + window.padding[axis]).checked_sub(k * window.dilation[axis])?;
                let o = shifted / window.stride[axis];
                (shifted % window.stride[axis] == 0 && o < output[axis]).then_some(o)
            }
        };
        let met: Vec<(usize, usize)> =
            (0..window.kernel[axis]).filter_map(|k| Some((k, source(k)?))).collect();
        let first = met.iter().map(|&(_, at)| at).min().unwrap_or(0);
        let taps: Vec<_> = met.iter().map(|&(k, at)| (k, at - first)).collect();
        match classes.iter_mut().find(|class| class.taps == taps) {
            Some(class) => class.positions.push((position, first)),
            None => classes.push(Class { taps, positions: vec![(position, first)] }),
        }
    }
    classes
}

/// Every pixel of a class of rows and a class of columns, with its first source.
fn positions(y: &Class, x: &Class) -> impl Iterator<Item = ([usize; 2], [usize; 2])> {
    y.positions
        .iter()
        .flat_map(move |&(py, sy)| x.positions.iter().map(move |&(px, sx)| ([py, px], [sy, sx])))
}

/// Kernel positions, and output pixels that meet each of them inside the image.
struct Rectangle {
    kernel: Vec<[usize; 2]>,
    pixels: Vec<[usize; 2]>,
}

/// The regions of the weight-gradient, for every channel alike.
///
/// Where most pixels meet every tap, those pixels (the *core*) with all taps are the first region,
/// and what remains follows tap by tap; otherwise each kernel position has all its pixels in one
/// region. Fewer regions are fewer sums over lanes; a core lets a tile's taps share cache lines.
fn weight_regions(conv: &Convolution) -> Vec<Rectangle> {
    let Convolution { window, input, output, .. } = conv;
    let [kh, kw] = window.kernel;
    let kernel: Vec<[usize; 2]> = (0..kh).flat_map(|ky| (0..kw).map(move |kx| [ky, kx])).collect();
    let meets = |pixel: [usize; 2], k: [usize; 2]| {
        (0..2).all(|axis| window.source(axis, pixel[axis], k[axis], input.size).is_some())
    };
    let pixels = (0..output.size[0]).flat_map(|y| (0..output.size[1]).map(move |x| [y, x]));
    let (mut core, mut rim): (Vec<_>, Vec<_>) =
        pixels.partition(|&pixel| kernel.iter().all(|&k| meets(pixel, k)));
    let products = conv.multiply_adds() / (input.channels * output.channels).max(1);
    let mut regions = vec![];
    if 2 * core.len() * kernel.len() >= products || input.channels < 4 {
        regions.push(Rectangle { kernel: kernel.clone(), pixels: core });
    } else {
        core.append(&mut rim);
        rim = core;
    }
    for k in kernel {
        let pixels = rim.iter().copied().filter(|&pixel| meets(pixel, k)).collect();
        regions.push(Rectangle { kernel: vec![k], pixels });
    }
    regions.retain(|region| !region.pixels.is_empty());
    regions
}

/// An offset as the tables hold it.
fn small(offset: usize) -> u32 {
    u32::try_from(offset).expect("a block of one layer is below 2³² floats")
}

const _: () = assert!(LANES == 16);

#[cfg(test)]
mod tests;
