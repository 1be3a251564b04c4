//! Y = W · X over the im2col view: every forward and data gradient product of the engine.
//!
//! ```text
//! y[m][j] = epilogue( start[m] + Σ_t w[m][t] · X(t, j) )      t in natural order: channel, ky, kx
//! ```
//!
//! Each output is one chain of fused multiply-adds from its start (bias, zero or the value already
//! there) through its taps in order, whatever the tile: hence the bits depend on the layer alone. In
//! [bfloat16](crate::bf16) taps are pairs of channels, and a step of a chain adds both products.
//!
//! ```text
//! for each region                    taps × columns without holes
//!   for each tile of columns         loops 5 and 2: N vectors of X, 16 images each …
//!     for each tile of rows          loop 1: … against M rows of W
//!       for t in taps                M · N chains in registers; weights are broadcast from memory
//! ```
//!
//! The numbers are those of the five loops of a GEMM (see `gemm`, where they are explained).
//! Its parts are shares of the columns, and of the rows where there are few columns.
//! Weights are not packed: a broadcast reads them where they lie. Nothing is blocked over t: X of a
//! column tile stays in the second-level cache while all rows of W stream past it.

mod ahead;
mod part;
mod sink;

use crate::im2col::{Column, Im2col, Tap, View};
use crate::isa::{Isa, dispatch, dispatch_bf16};
use crate::simd::{Arithmetic, Floats, Simd};
use crate::team::{Cores, Cost, Shared};
use crate::tile::{with_columns, with_rows};
use crate::{Epilogue, LANES, Precision, prefetch, tile};
use ahead::{Ahead, Cursor};
use part::Part;
pub(crate) use part::level;
use sink::{Plain, Pooled, Sink};
use std::ops::Range;

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

/// The operands of a product of weights with activations, `epilogue(start + W · X)`.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// W, in the layout that the product asks for.
    pub weights: &'a [f32],
    /// The activations: blocks of sixteen images, as many as there are.
    pub x: &'a [f32],
    /// Where each chain starts.
    pub start: Start<'a>,
    /// What is applied to each sum.
    pub epilogue: Epilogue,
}

/// Y = epilogue(start + W · X) on every block of `x`.
///
/// `weights` are row-major `[outputs][inputs / groups][kh][kw]` for [`forward`] and those of
/// [`transpose_weights`](crate::transpose_weights) for [`data_gradient`]; `x` and `y` are whole batches
/// in the layouts of the convolution. In bfloat16 `weights` and `x` are pairs, as
/// [`forward_bf16`](crate::Convolution::forward_bf16) and
/// [`data_gradient_bf16`](crate::Convolution::data_gradient_bf16) say.
///
/// [`forward`]: crate::Convolution::forward
/// [`data_gradient`]: crate::Convolution::data_gradient
///
/// # Panics
/// If a slice has not the length that `im2col` says.
pub fn implicit_gemm<'t>(
    cores: impl Into<Cores<'t>>,
    im2col: &Im2col,
    operands: Operands<'_>,
    y: &mut [f32],
) {
    let product = Product::new(im2col, operands);
    im2col.expect("an implicit GEMM", &[View::Forward, View::DataGradient]);
    assert_eq!(y.len(), product.blocks * product.y_block, "output of an implicit GEMM");
    product.groups(cores.into(), Shared::new(y));
}

/// [`implicit_gemm`] of some rows of Y alone, by the calling thread; `y` is the planes of those rows of one block.
pub(crate) fn implicit_gemm_rows(
    isa: Isa,
    im2col: &Im2col,
    operands: Operands<'_>,
    rows: Range<usize>,
    y: &mut [f32],
) {
    let product = Product { rows: rows.clone(), ..Product::new(im2col, operands) };
    im2col.expect("an implicit GEMM", &[View::Forward, View::DataGradient]);
    assert!(rows.start <= rows.end && rows.end <= im2col.target.channels(), "rows");
    assert_eq!(im2col.groups, 1, "groups of a part of a block");
    assert!(product.blocks == 1 && !matches!(operands.start, Start::Bias(_)), "a part of a block");
    assert_eq!(y.len(), rows.len() * product.y_plane, "some rows of an implicit GEMM");
    product.plain(isa.into(), Shared::new(y));
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
/// If a slice has not the length that `im2col` says, or it is not
/// [pooled](crate::Convolution::forward_pooled).
pub fn implicit_gemm_pooled<'t>(
    cores: impl Into<Cores<'t>>,
    im2col: &Im2col,
    weights: &[f32],
    x: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    masks: &mut [[u16; 4]],
) {
    let start = bias.map_or(Start::Zero, Start::Bias);
    let operands = Operands { weights, x, start, epilogue: Epilogue::Relu };
    let product = Product::new(im2col, operands);
    im2col.expect("a pooled implicit GEMM", &[View::ForwardPooled]);
    let target = im2col.target.with_blocks(product.blocks);
    assert_eq!(y.len(), target.len(), "output of a pooled implicit GEMM");
    let outputs = target.blocks() * target.channels() * target.pixels();
    assert_eq!(masks.len(), outputs, "masks of a pooled implicit GEMM");
    product.pooled(cores.into(), y, masks, target.pixels());
}

/// The operands of an implicit GEMM, their lengths checked.
struct Product<'a> {
    im2col: &'a Im2col,
    blocks: usize,
    /// Floats of a block of x and of a block of y, with all groups, and of a plane of y.
    x_block: usize,
    y_block: usize,
    y_plane: usize,
    /// The rows to compute; y begins with the first.
    rows: Range<usize>,
    /// Whether a block of x and one of y do not fit the second-level cache, so that their lines are asked for ahead.
    large: bool,
    operands: Operands<'a>,
}

/// A tile of the output: rows from `row`, and the block and table entry of each of its `N` columns.
struct Place<'a, const N: usize> {
    taps: &'a [Tap],
    columns: [(usize, Column); N],
    row: usize,
}

impl<const N: usize> Place<'_, N> {
    /// Where the output of the first row is in column `n`, in floats from the first of y.
    #[inline(always)]
    fn output(&self, product: &Product<'_>, n: usize) -> usize {
        let (block, column) = self.columns[n];
        let row = self.row - product.rows.start;
        block * product.y_block + row * product.y_plane + column.y as usize
    }
}

impl<'a> Product<'a> {
    fn new(im2col: &'a Im2col, operands: Operands<'a>) -> Product<'a> {
        let Operands { weights, x, start, .. } = operands;
        let groups = im2col.groups;
        assert_eq!(weights.len(), groups * im2col.weights, "weights of an implicit GEMM");
        let (x_block, target) = (groups * im2col.source.block_len(), &im2col.target);
        assert!(x_block > 0 && x.len().is_multiple_of(x_block), "input of an implicit GEMM");
        if let Start::Bias(bias) = start {
            assert_eq!(bias.len(), groups * target.channels(), "bias of an implicit GEMM");
        }
        let (y_block, y_plane) = (groups * target.block_len(), target.plane() * LANES);
        let blocks = x.len() / x_block;
        let rows = 0..target.channels();
        let large = prefetch::worthwhile(x_block + y_block);
        Product { im2col, blocks, x_block, y_block, y_plane, rows, large, operands }
    }

    /// Group after group; side by side where they are enough for the team.
    fn groups(&self, cores: Cores<'_>, y: Shared<'_, f32>) {
        let groups = self.im2col.groups;
        let of_group = |g: usize, cores| {
            let y = y.from((g * self.im2col.target.block_len()).min(y.len()));
            self.group(g).plain(cores, y);
        };
        if groups < cores.size() || groups == 1 {
            return (0..groups).for_each(|g| of_group(g, cores));
        }
        let work: usize = self.im2col.regions.iter().map(|region| self.work(region)).sum();
        let cost = Cost::products(groups * work * self.rows.len());
        cores.each_range(groups, cost, |range| range.for_each(|g| of_group(g, cores.isa.into())));
    }

    /// The product of one group.
    fn group(&self, g: usize) -> Product<'a> {
        let (im2col, rows) = (self.im2col, self.rows.clone());
        let Operands { weights, x, start, epilogue } = self.operands;
        let start = match start {
            Start::Bias(bias) => Start::Bias(&bias[g * rows.len()..][..rows.len()]),
            Start::Zero | Start::Output => start,
        };
        let weights = &weights[g * im2col.weights..][..im2col.weights];
        let x = &x[(g * im2col.source.block_len()).min(x.len())..];
        Product { rows, operands: Operands { weights, x, start, epilogue }, ..*self }
    }

    fn plain(&self, cores: Cores<'_>, y: Shared<'_, f32>) {
        match self.im2col.precision {
            Precision::F32 => dispatch!(cores.isa, s => self.plain_parts(cores, (s, Floats), y)),
            Precision::Bf16 => dispatch_bf16!(cores.isa, (s, step) => {
                self.plain_parts(cores, (s, step), y);
            }),
        }
    }

    fn plain_parts<S: Simd, A: Arithmetic<S>>(
        &self,
        cores: Cores<'_>,
        (s, arithmetic): (S, A),
        y: Shared<'_, f32>,
    ) {
        let grid = self.grid::<S, A, Plain>((s, arithmetic), cores);
        cores.run(grid.parts(), |part| {
            self.run((s, arithmetic), Plain { y: y.pointer() }, &grid.part(part));
        });
    }

    fn pooled(&self, cores: Cores<'_>, y: &mut [f32], masks: &mut [[u16; 4]], pixels: usize) {
        let (y, masks) = (Shared::new(y), Shared::new(masks));
        dispatch!(cores.isa, s => {
            let grid = self.grid::<_, _, Pooled>((s, Floats), cores);
            cores.run(grid.parts(), |part| {
                let sink = Pooled { y: y.pointer(), masks: masks.pointer(), pixels };
                self.run((s, Floats), sink, &grid.part(part));
            });
        })
    }

    /// How many columns the tiles of a region have that has so many.
    fn width<S: Simd, A: Arithmetic<S>, K: Sink>(&self, count: usize) -> usize {
        let columns = || tile::columns_up_to(A::COLUMNS, A::ACCUMULATORS, self.rows.len(), count);
        K::WIDTH.unwrap_or_else(columns)
    }

    fn run<S: Simd, A: Arithmetic<S>, K: Sink>(&self, path: (S, A), sink: K, part: &Part) {
        let (rows, mut before) = (self.rows_of(part), 0);
        if rows.is_empty() {
            return;
        }
        for region in &self.im2col.regions {
            let taps = &self.im2col.taps[region.taps.clone()];
            let table = &self.im2col.columns[region.columns.clone()];
            let width = self.width::<S, A, K>(table.len() * self.blocks);
            let columns = self.columns_of(region, before, width, part);
            before += self.work(region);
            if columns.is_empty() {
                continue;
            }
            let mut cursor = Cursor::new(table, columns.start);
            // More taps than one to a plane read neighbouring lines, which the processor foresees.
            let steps_over_planes = self.large && taps.len() == self.im2col.source.channels();
            // Loops 5 and 2, of one stride: NC = NR = N vectors.
            for (from, n) in tile::split(columns.len(), width) {
                with_columns!(N = n => {
                    let tile = cursor.take();
                    // The last tile may be narrower, and is not asked for then.
                    let next = steps_over_planes && from + 2 * N <= columns.len();
                    let next = next.then_some(cursor);
                    self.rows::<S, A, K, N>(path, sink, taps, tile, next, rows.clone());
                });
            }
        }
    }

    /// All row tiles of `N` columns, while the inputs of the next `N` are asked for.
    fn rows<S: Simd, A: Arithmetic<S>, K: Sink, const N: usize>(
        &self,
        path: (S, A),
        sink: K,
        taps: &[Tap],
        columns: [(usize, Column); N],
        next: Option<Cursor<'_>>,
        rows: Range<usize>,
    ) {
        let most = tile::max_rows(A::ACCUMULATORS, N);
        let mut ahead =
            next.map(|next| Ahead::<N>::new(self, next, taps, rows.len().div_ceil(most)));
        // Loop 1, MR = M. Loops 4 and 3 have one step each: neither taps nor rows are blocked.
        for (row, m) in tile::split(rows.len(), most) {
            let place = Place { taps, columns, row: rows.start + row };
            if self.large {
                ahead.iter_mut().for_each(Ahead::request);
                sink.prefetch(self, &place, m);
            }
            with_rows!(M = m => self.tile::<S, A, K, M, N>(path, sink, &place));
        }
    }

    #[inline(always)]
    fn tile<S: Simd, A: Arithmetic<S>, K: Sink, const M: usize, const N: usize>(
        &self,
        (s, arithmetic): (S, A),
        sink: K,
        place: &Place<'_, N>,
    ) {
        // Sizes that never occur on this path are not compiled for it.
        if const { M <= tile::max_rows(A::ACCUMULATORS, N) && fits::<S, A, K>(N) } {
            arithmetic.vectorize(
                s,
                #[inline(always)]
                // SAFETY: `Product::new` asserted that x is whole blocks of the source and the weights
                // are those of the view, the public functions that y (and masks) are as many blocks of
                // the target, all with every group, and `group` left out those of the groups before, in products that `Layout` keeps from overflowing;
                // `Im2col::validated`, that every entry of the tables lies inside a block and the
                // weights; and `run` takes `place` from the tables and rows of the target.
                || unsafe {
                    let mut x = [self.operands.x.as_ptr(); N];
                    for n in 0..N {
                        let (block, column) = place.columns[n];
                        x[n] = x[n].add(block * self.x_block + column.x as usize);
                    }
                    let stride = self.im2col.row;
                    let weights = self.operands.weights[place.row * stride..].as_ptr();
                    let mut sums: [[S::Vector; N]; M] = sink.start(s, self, place);
                    if !matches!(self.operands.start, Start::Zero) {
                        for m in 0..M {
                            for n in 0..N {
                                sums[m][n] = arithmetic.start(s, sums[m][n]);
                            }
                        }
                    }
                    chains((s, arithmetic), place.taps, weights, stride, x, &mut sums);
                    sink.finish(s, self, place, &sums);
                },
            );
        } else {
            unreachable!("a tile of {M} × {N} on this path");
        }
    }
}

/// Whether tiles of so many columns occur.
const fn fits<S: Simd, A: Arithmetic<S>, K: Sink>(columns: usize) -> bool {
    match K::WIDTH {
        Some(width) => columns == width,
        None => tile::occurs::<S>(A::ACCUMULATORS, 1, columns) && columns <= A::COLUMNS,
    }
}

/// The heart of it: `M · N` chains, one step each per tap.
///
/// # Safety
/// For every tap, `x[n] + tap.x` must be readable for sixteen floats and `weights + m · stride + tap.w`
/// for one.
#[inline(always)]
unsafe fn chains<S: Simd, A: Arithmetic<S>, const M: usize, const N: usize>(
    (s, arithmetic): (S, A),
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
                    sums[m][n] = arithmetic.step(s, w, v[n], sums[m][n]);
                }
            }
        }
    }
}
