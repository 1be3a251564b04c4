//! dW += dY · Xᵀ over images: the weight-gradient of a linear layer.
//!
//! ```text
//! dw[o][i] += Σ_images dy[o] · x[i]
//! ```
//!
//! With one pixel per plane, `correlate` would sum lanes after every few multiply-adds. Instead a
//! vector holds sixteen *inputs* of one image: x is transposed 16×16 in registers, dy is broadcast,
//! and the result lies as dW does. Each output is one chain over the images of a group of [`GROUP`]
//! blocks, in order, then added to dW.

use crate::isa::{Isa, dispatch};
use crate::simd::Simd;
use crate::tile::{self, with_size};
use crate::{LANES, Layout};
use std::mem::MaybeUninit;
use std::ops::Range;

/// The most blocks whose transposed inputs are held at a time (16 KB of stack with two vectors of
/// inputs). A batch of more is cut into groups as equal as can be.
pub const GROUP: usize = 8;

/// Adds the weight-gradient of a linear layer to `dw`, row-major `[outputs][inputs]`.
///
/// `x` holds `[blocks][inputs][16]` and `dy` `[blocks][outputs][16]`; lanes without an image must be
/// zero in `dy` and finite in `x`.
///
/// # Panics
/// If a slice has another length.
pub fn outer(isa: Isa, [outputs, inputs]: [usize; 2], x: &[f32], dy: &[f32], dw: &mut [f32]) {
    assert_eq!(dw.len(), outputs * inputs, "weight-gradient of an outer product");
    if dw.is_empty() {
        return;
    }
    let block = Layout::features(1, inputs).len();
    assert!(x.len().is_multiple_of(block), "input of an outer product");
    let blocks = x.len() / block;
    assert_eq!(dy.len(), Layout::features(blocks, outputs).len(), "gradient of an outer product");
    let (x, dy) = (Columns::new(x, 1, inputs), Columns::new(dy, 1, outputs));
    outer_columns(isa, [outputs, inputs], blocks, x, dy, dw);
}

/// A matrix of vectors, `columns` of them side by side.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    vectors: &'a [[f32; LANES]],
    /// Vectors from one row (input or output) to the next.
    rows: usize,
    /// Vectors from one column (block of images) to the next.
    columns: usize,
}

impl<'a> Columns<'a> {
    /// Rows and columns are so many vectors apart.
    pub(crate) fn new(floats: &'a [f32], rows: usize, columns: usize) -> Columns<'a> {
        Columns { vectors: floats.as_chunks().0, rows, columns }
    }
}

/// [`outer`] of `count` columns that lie anyhow.
pub(crate) fn outer_columns(
    isa: Isa,
    [outputs, inputs]: [usize; 2],
    count: usize,
    x: Columns<'_>,
    dy: Columns<'_>,
    dw: &mut [f32],
) {
    for (first, len) in tile::split(count, GROUP) {
        let blocks = first..first + len;
        let mut product = Outer { outputs, inputs, blocks, x, dy, dw };
        dispatch!(isa, s => product.run(s))
    }
}

/// The most outputs of a tile with this many vectors of inputs.
const fn outputs<S: Simd>(vectors: usize) -> usize {
    let most = S::ACCUMULATORS / vectors;
    if most > 10 { 10 } else { most }
}

/// The product over one group of blocks.
struct Outer<'a> {
    outputs: usize,
    inputs: usize,
    blocks: Range<usize>,
    x: Columns<'a>,
    dy: Columns<'a>,
    dw: &'a mut [f32],
}

/// The inputs of every image of a group, `N` vectors each.
type Transposed<V, const N: usize> = [[MaybeUninit<V>; N]; GROUP * LANES];

impl Outer<'_> {
    fn run<S: Simd>(&mut self, s: S) {
        // Two vectors of inputs and twelve outputs where there are registers for it.
        let wide = const { S::ACCUMULATORS >= 24 };
        let mut input = 0;
        while input < self.inputs {
            if wide && self.inputs - input > LANES {
                self.inputs::<S, 2>(s, input);
                input += 2 * LANES;
            } else {
                self.inputs::<S, 1>(s, input);
                input += LANES;
            }
        }
    }

    /// All outputs against `N` vectors of inputs from `input`.
    fn inputs<S: Simd, const N: usize>(&mut self, s: S, input: usize) {
        let mut x: Transposed<S::Vector, N> = [[const { MaybeUninit::uninit() }; N]; GROUP * LANES];
        s.vectorize(
            #[inline(always)]
            || self.transpose(s, input, &mut x),
        );
        for (output, m) in tile::split(self.outputs, outputs::<S>(N)) {
            let at = [output, input];
            with_size!(M = m, of 1 2 3 4 5 6 7 8 9 10 11 12 => self.tile::<S, M, N>(s, at, &x));
        }
    }

    /// Turns vectors of images into vectors of inputs; inputs beyond the last are zero.
    #[inline(always)]
    fn transpose<S: Simd, const N: usize>(
        &self,
        s: S,
        input: usize,
        x: &mut Transposed<S::Vector, N>,
    ) {
        for (group, block) in self.blocks.clone().enumerate() {
            for n in 0..N {
                let first = input + n * LANES;
                let mut rows = [s.zero(); LANES];
                for (i, row) in (first..self.inputs).zip(&mut rows) {
                    *row = s.load(&self.x.vectors[block * self.x.columns + i * self.x.rows]);
                }
                for (image, row) in s.transpose(rows).into_iter().enumerate() {
                    x[group * LANES + image][n].write(row);
                }
            }
        }
    }

    /// Outputs `output .. output + M`.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &mut self,
        s: S,
        [output, input]: [usize; 2],
        x: &Transposed<S::Vector, N>,
    ) {
        // Sizes that `split` never gives on this path are not compiled for it.
        if const { M > outputs::<S>(N) } {
            unreachable!("a tile of {M} × {N} on this path");
        }
        s.vectorize(
            #[inline(always)]
            || {
                let mut sums = [[s.zero(); N]; M];
                for (group, block) in self.blocks.clone().enumerate() {
                    let dy = &self.dy.vectors[block * self.dy.columns + output * self.dy.rows..];
                    let (dy, stride) = (&dy[..(M - 1) * self.dy.rows + 1], self.dy.rows * LANES);
                    let dy = dy.as_ptr().cast::<f32>();
                    let x = &x[group * LANES..][..LANES];
                    for image in 0..LANES {
                        // SAFETY: `transpose` wrote the images of every block of the group, and
                        // the slice of dY that was just taken holds `M` rows.
                        unsafe {
                            let mut v = [s.zero(); N];
                            for n in 0..N {
                                v[n] = x[image][n].assume_init();
                            }
                            for m in 0..M {
                                let g = s.splat(*dy.add(m * stride + image));
                                for n in 0..N {
                                    sums[m][n] = s.mul_add(g, v[n], sums[m][n]);
                                }
                            }
                        }
                    }
                }
                let dw = &mut self.dw[output * self.inputs..][..M * self.inputs];
                if input + N * LANES <= self.inputs {
                    for m in 0..M {
                        for n in 0..N {
                            // SAFETY: `dw` is `M` rows, and row `m` holds the vector.
                            unsafe {
                                let to = dw.as_mut_ptr().add(m * self.inputs + input + n * LANES);
                                s.store_at(to, s.add(s.load_at(to), sums[m][n]));
                            }
                        }
                    }
                } else {
                    for (row, sums) in dw.chunks_exact_mut(self.inputs).zip(sums) {
                        for (part, sum) in row[input..].chunks_mut(LANES).zip(sums) {
                            s.store_partial(part, s.add(s.load_partial(part), sum));
                        }
                    }
                }
            },
        );
    }
}
