//! Y = W · X over the im2col view: every forward and data-gradient product of the engine.
//!
//! ```text
//! y[m][j] = epilogue( start[m] + Σ_t w[m][t] · X(t, j) )      t in natural order: channel, ky, kx
//! ```
//!
//! Each output is one chain of fused multiply-adds from its start (bias, zero or the value already
//! there) through its taps in order, whatever the tile: hence the bits depend on the layer alone.
//!
//! ```text
//! for each region                    taps × columns without holes
//!   for each tile of columns         N vectors of X, 16 images each …
//!     for each tile of rows          … against M rows of W
//!       for t in taps                M · N chains in registers; weights are broadcast from memory
//! ```
//!
//! Weights are not packed: a broadcast reads them where they lie. Nothing is blocked over t: X of a
//! column tile stays in the second-level cache while all rows of W stream past it.

mod sink;

use crate::isa::{Isa, dispatch};
use crate::patches::{Column, Patches, Rows, Tap};
use crate::simd::Simd;
use crate::tile::with_size;
use crate::{LANES, tile};
use sink::{Plain, Pooled, Sink};

/// Where the chain of an output starts.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// At zero.
    Zero,
    /// At the bias of its row.
    Bias(&'a [f32]),
    /// At the value that the output holds: the product is added to it.
    Output,
}

/// Y = epilogue(start + W · X) on every block of `x`; the epilogue is a ReLU where `relu` is set.
///
/// `weights` are row-major `[outputs][inputs][kh][kw]` for [`forward`] and those of
/// [`transpose_weights`](crate::transpose_weights) for [`data_gradient`]; `x` and `y` are whole batches
/// in the layouts of the convolution.
///
/// [`forward`]: crate::Convolution::forward
/// [`data_gradient`]: crate::Convolution::data_gradient
///
/// # Panics
/// If a slice has not the length that the patches say.
pub fn contract(
    isa: Isa,
    patches: &Patches,
    weights: &[f32],
    x: &[f32],
    start: Start<'_>,
    relu: bool,
    y: &mut [f32],
) {
    let product = Product::new(patches, weights, x, start, relu);
    assert_eq!(y.len(), product.blocks * patches.target.block_len(), "output of a contraction");
    dispatch!(isa, s => product.run(s, Plain { y: y.as_mut_ptr() }))
}

/// Y = max-pool₂ₓ₂(ReLU(b + W · X)) in one pass: the four columns of a tile are the pooling window.
///
/// Values and gradients are those of the separate operations, bit for bit but for the sign of a
/// zero. `masks` gets, densely `[blocks][outputs][pooled pixels]`, four one-hot words per output: bit
/// `i` of word `k` says that image `i` of the block took element `k` of the window, (0,0), (0,1),
/// (1,0), (1,1); all four are clear where the maximum is not above zero. A NaN comes through, and
/// has no gradient.
///
/// # Panics
/// If a slice has not the length that the patches say, or they are not
/// [pooled](crate::Convolution::forward_pooled).
pub fn contract_pooled(
    isa: Isa,
    patches: &Patches,
    weights: &[f32],
    x: &[f32],
    bias: Start<'_>,
    y: &mut [f32],
    masks: &mut [[u16; 4]],
) {
    let product = Product::new(patches, weights, x, bias, true);
    let (target, blocks) = (patches.target, product.blocks);
    assert!(!matches!(bias, Start::Output), "a pooled contraction has no output to start from");
    assert_eq!(patches.columns.len(), 4 * target.pixels(), "patches of a pooled contraction");
    assert_eq!(y.len(), blocks * target.block_len(), "output of a pooled contraction");
    assert_eq!(masks.len(), blocks * target.channels * target.pixels(), "masks of a contraction");
    let sink = Pooled { y: y.as_mut_ptr(), masks: masks.as_mut_ptr(), pixels: target.pixels() };
    dispatch!(isa, s => product.run(s, sink))
}

/// The operands of a contraction, their lengths checked.
struct Product<'a> {
    patches: &'a Patches,
    blocks: usize,
    /// Floats of a block of x, of a block of y and of a plane of y.
    x_block: usize,
    y_block: usize,
    y_plane: usize,
    weights: &'a [f32],
    x: &'a [f32],
    start: Start<'a>,
    relu: bool,
}

/// A tile of the output: rows from `row`, and the block and table entry of each of its `N` columns.
struct Place<'a, const N: usize> {
    taps: &'a [Tap],
    columns: [(usize, Column); N],
    row: usize,
}

impl<'a> Product<'a> {
    fn new(
        patches: &'a Patches,
        weights: &'a [f32],
        x: &'a [f32],
        start: Start<'a>,
        relu: bool,
    ) -> Product<'a> {
        assert_eq!(weights.len(), patches.weights, "weights of a contraction");
        let (x_block, target) = (patches.source.block_len(), &patches.target);
        assert!(x_block > 0 && x.len().is_multiple_of(x_block), "input of a contraction");
        if let Start::Bias(bias) = start {
            assert_eq!(bias.len(), target.channels, "bias of a contraction");
        }
        let (y_block, y_plane) = (target.block_len(), target.plane() * LANES);
        let blocks = x.len() / x_block;
        Product { patches, blocks, x_block, y_block, y_plane, weights, x, start, relu }
    }

    fn run<S: Simd, K: Sink>(&self, s: S, sink: K) {
        let rows = self.patches.target.channels;
        for region in &self.patches.regions {
            let taps = &self.patches.taps[region.taps.clone()];
            let table = &self.patches.columns[region.columns.clone()];
            let count = table.len() * self.blocks;
            let width =
                K::WIDTH.unwrap_or_else(|| tile::columns::<S>(S::ACCUMULATORS, rows, count));
            let mut columns =
                (0..self.blocks).flat_map(|block| table.iter().map(move |column| (block, *column)));
            for (_, n) in tile::split(count, width) {
                with_size!(N = n, of 1 2 3 4 5 6 => {
                    let next = |_| columns.next().expect("a tile per column");
                    self.rows::<S, K, N>(s, sink, taps, std::array::from_fn(next));
                });
            }
        }
    }

    /// All row tiles of `N` columns.
    fn rows<S: Simd, K: Sink, const N: usize>(
        &self,
        s: S,
        sink: K,
        taps: &[Tap],
        columns: [(usize, Column); N],
    ) {
        for (row, m) in self.row_tiles(tile::max_rows(S::ACCUMULATORS, N)) {
            let place = Place { taps, columns, row };
            with_size!(M = m, of 1 2 3 4 5 6 7 8 9 10 11 12 => self.tile::<S, K, M, N>(s, sink, &place));
        }
    }

    /// First row and height of each tile of rows; none reaches across panels.
    fn row_tiles(&self, most: usize) -> impl Iterator<Item = (usize, usize)> {
        let rows = self.patches.target.channels;
        let panel = match self.patches.rows {
            Rows::Strided(_) => rows,
            Rows::Panels(_) => LANES,
        };
        (0..rows).step_by(panel).flat_map(move |first| {
            let tiles = tile::split(panel.min(rows - first), most);
            tiles.map(move |(row, m)| (first + row, m))
        })
    }

    /// The first weight of a row, and the distance to that of the next.
    #[inline(always)]
    fn weights_of(&self, row: usize) -> (*const f32, usize) {
        let (at, stride) = match self.patches.rows {
            Rows::Strided(stride) => (row * stride, stride),
            Rows::Panels(panel) => (row / LANES * panel + row % LANES, 1),
        };
        (self.weights[at..].as_ptr(), stride)
    }

    #[inline(always)]
    fn tile<S: Simd, K: Sink, const M: usize, const N: usize>(
        &self,
        s: S,
        sink: K,
        place: &Place<'_, N>,
    ) {
        // Sizes that never occur on this path are not compiled for it.
        if const { M <= tile::max_rows(S::ACCUMULATORS, N) && fits::<S, K>(N) } {
            s.vectorize(
                #[inline(always)]
                // SAFETY: `Product::new` and the public functions asserted the lengths; the tables
                // of `Patches` stay inside one block of the layouts they were made from, and `run`
                // keeps `place` inside the tables and the rows.
                || unsafe {
                    let mut x = [self.x.as_ptr(); N];
                    for n in 0..N {
                        let (block, column) = place.columns[n];
                        x[n] = x[n].add(block * self.x_block + column.x as usize);
                    }
                    let (weights, stride) = self.weights_of(place.row);
                    let mut sums: [[S::Vector; N]; M] = sink.start(s, self, place);
                    chains(s, place.taps, weights, stride, x, &mut sums);
                    sink.finish(s, self, place, &sums);
                },
            );
        } else {
            unreachable!("a tile of {M} × {N} on this path");
        }
    }
}

const fn fits<S: Simd, K: Sink>(columns: usize) -> bool {
    match K::WIDTH {
        Some(width) => columns == width,
        None => columns <= S::COLUMNS,
    }
}

/// The heart of it: `M · N` chains, one fused multiply-add each per tap.
///
/// # Safety
/// For every tap, `x[n] + tap.x` must be readable for sixteen floats and `weights + m · stride + tap.w`
/// for one.
#[inline(always)]
unsafe fn chains<S: Simd, const M: usize, const N: usize>(
    s: S,
    taps: &[Tap],
    weights: *const f32,
    stride: usize,
    x: [*const f32; N],
    sums: &mut [[S::Vector; N]; M],
) {
    for tap in taps {
        // SAFETY: the caller's promise.
        unsafe {
            let mut v = [s.zero(); N];
            for n in 0..N {
                v[n] = s.load_at(x[n].add(tap.x as usize));
            }
            for m in 0..M {
                let w = s.splat(*weights.add(m * stride + tap.w as usize));
                for n in 0..N {
                    sums[m][n] = s.mul_add(w, v[n], sums[m][n]);
                }
            }
        }
    }
}
