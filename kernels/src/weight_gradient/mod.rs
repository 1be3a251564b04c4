//! dW += dY · Xᵀ over the im2col view: the weight gradient of a convolution.
//!
//! ```text
//! dw[m][t] += Σ_j Σ_lanes dy[m][j] · X(t, j)
//! ```
//!
//! Each sum is one chain of fused multiply-adds per lane over a block of at most [`KC`] columns
//! (blocks in order, pixels in order within a block), then the sum of its sixteen lanes by halving,
//! added to dW. Blocks keep the rows of dY and X that a tile runs over in the caches; their length is a
//! constant, so the order of the sum depends on the layer alone.
//!
//! ```text
//! for each region, for each KC of its columns
//!   for each tile of taps            N rows of X …
//!     for each tile of rows          … against M rows of dY
//!       for j in block               M · N chains in registers
//!       sum the lanes, add to dW
//! ```

mod transposed;

pub use transposed::weight_gradient_transposed;

use crate::im2col::{Im2col, Region, View};
use crate::implicit_gemm::level;
use crate::isa::dispatch;
use crate::simd::Simd;
use crate::team::{Cores, Cost, Shared, share};
use crate::tile::{with_columns, with_rows};
use crate::{LANES, tile};
use std::ops::Range;

/// Columns (vectors) per band: 3½ rows of a 28×28 plane, half a plane of 14×14, two of 7×7. Twice as
/// many lose up to 5 points of the FMA peak to the first-level cache; half, as many to the sums.
const KC: usize = 98;

/// Rows of dY (output channels) that stay in the second-level cache, a block of them being 32 × 98
/// vectors of 64 bytes, 200 KB, while the taps stream past.
const MC: usize = 32;

/// Adds the weight gradient of a convolution to `dw`, row-major `[outputs][inputs][kh][kw]`.
///
/// `im2col` is that of [`weight_gradient`](crate::Convolution::weight_gradient), `x` is the
/// input and `dy` the gradient of the output, whole batches; lanes without an image must be zero in
/// `dy` and finite in `x`.
///
/// # Panics
/// If a slice has not the length that `im2col` says.
pub fn weight_gradient<'t>(
    cores: impl Into<Cores<'t>>,
    im2col: &Im2col,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    im2col.expect("a weight gradient", &[View::WeightGradient]);
    let groups = im2col.groups;
    let [x_block, dy_block] = [im2col.source, im2col.target].map(|l| groups * l.block_len());
    assert!(x_block > 0 && x.len().is_multiple_of(x_block), "input of a weight gradient");
    let blocks = x.len() / x_block;
    assert_eq!(dy.len(), blocks * dy_block, "output gradient of a weight gradient");
    assert_eq!(dw.len(), groups * im2col.weights, "weight gradient");
    let row = im2col.weights / im2col.target.channels().max(1);
    let dw = Shared::new(dw);
    let product = WeightGradient { im2col, blocks, x_block, dy_block, row, x, dy, dw };
    product.groups(cores.into());
}

/// Both operands are vectors here, and both wait in registers: 4 × 5 fits where 4 × 6 would spill.
const fn accumulators<S: Simd>() -> usize {
    S::ACCUMULATORS * 5 / 6
}

/// Vectors that hold the totals of a tile, one float for each accumulator.
const TOTALS: usize = 2;

/// Whether there are tiles of `M × N` on this path: those must fit [`TOTALS`].
const fn occurs<S: Simd>(rows: usize, columns: usize) -> bool {
    let occurs = tile::occurs::<S>(accumulators::<S>(), rows, columns);
    assert!(!occurs || rows * columns <= TOTALS * LANES, "a tile with more sums than totals");
    occurs
}

struct WeightGradient<'a> {
    im2col: &'a Im2col,
    blocks: usize,
    /// Floats of a block of x and of dy, with all groups.
    x_block: usize,
    dy_block: usize,
    /// Weights of one output channel.
    row: usize,
    x: &'a [f32],
    dy: &'a [f32],
    dw: Shared<'a, f32>,
}

/// Some rows and some weights of each row: what a part computes.
struct Part {
    rows: Range<usize>,
    weights: Range<usize>,
}

/// The taps of a region whose weights are some of a row; taps are in the order of their weights.
pub(crate) fn taps_of(im2col: &Im2col, region: &Region, weights: &Range<usize>) -> Range<usize> {
    let taps = &im2col.taps[region.taps.clone()];
    let bound = |w: usize| taps.partition_point(|tap| (tap.w as usize) < w);
    bound(weights.start)..bound(weights.end)
}

/// A tile of dW: rows from `row`, taps of `region` from `tap`, over columns `from .. to` of the
/// region (counted through all blocks).
struct Place<'a> {
    region: &'a Region,
    row: usize,
    tap: usize,
    from: usize,
    to: usize,
}

impl<'a> WeightGradient<'a> {
    /// Group after group; side by side where they are enough for the team.
    fn groups(&self, cores: Cores<'_>) {
        let groups = self.im2col.groups;
        if groups < cores.size() || groups == 1 {
            return (0..groups).for_each(|g| self.group(g).run_parts(cores));
        }
        let cost = Cost::products(groups * self.work() * 6 / 5);
        cores.each_range(groups, cost, |range| {
            range.for_each(|g| self.group(g).run_parts(cores.isa.into()));
        });
    }

    /// The product of one group.
    fn group(&self, g: usize) -> WeightGradient<'a> {
        let im2col = self.im2col;
        WeightGradient {
            x: &self.x[(g * im2col.source.block_len()).min(self.x.len())..],
            dy: &self.dy[(g * im2col.target.block_len()).min(self.dy.len())..],
            dw: self.dw.from(g * im2col.weights),
            ..*self
        }
    }

    /// Multiply-adds of vectors of a group.
    fn work(&self) -> usize {
        let products = |r: &Region| r.taps.len() * r.columns.len() * self.blocks;
        let of_row: usize = self.im2col.regions.iter().map(products).sum();
        of_row * self.im2col.target.channels()
    }

    /// Every part by the team: shares of the weights of a row, and of the rows.
    fn run_parts(&self, cores: Cores<'_>) {
        let rows = self.im2col.target.channels();
        // Tiles are about five by four; a region of single taps has one for each input.
        let tiles = [self.row.div_ceil(5), rows.div_ceil(4)];
        let parts = cores.parts(tiles[0] * tiles[1], Cost::products(self.work() * 6 / 5));
        let [columns, heights] = level(parts, tiles[0], tiles[1]);
        cores.run(columns * heights, |part| {
            let part = Part {
                rows: share(rows, part % heights, heights),
                weights: share(self.row, part / heights, columns),
            };
            dispatch!(cores.isa, s => self.run(s, &part));
        });
    }

    fn run<S: Simd>(&self, s: S, part: &Part) {
        let im2col = self.im2col;
        let rows = part.rows.len();
        for region in &im2col.regions {
            let taps = taps_of(im2col, region, &part.weights);
            if taps.is_empty() {
                continue;
            }
            let width = tile::columns::<S>(accumulators::<S>(), rows, taps.len());
            // Loop 4: the sum in blocks.
            for (from, len) in tile::split(region.columns.len() * self.blocks, KC) {
                // Loop 3.
                for (first, rows) in tile::split(rows, MC) {
                    let row = part.rows.start + first;
                    // Loops 5 and 2: NC = NR = N.
                    for (tap, n) in tile::split(taps.len(), width) {
                        let tap = taps.start + tap;
                        let place = Place { region, row, tap, from, to: from + len };
                        with_columns!(N = n => self.rows::<S, N>(s, place, rows));
                    }
                }
            }
        }
    }

    /// The row tiles of one tile of taps, over `rows` rows.
    fn rows<S: Simd, const N: usize>(&self, s: S, mut place: Place<'_>, rows: usize) {
        let first = place.row;
        // Loop 1: MR = M.
        for (row, m) in tile::split(rows, tile::max_rows(accumulators::<S>(), N)) {
            place.row = first + row;
            with_rows!(M = m => self.tile::<S, M, N>(s, &place));
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(&self, s: S, place: &Place<'_>) {
        // Sizes that `split` never gives on this path are not compiled for it.
        if const { occurs::<S>(M, N) } {
            s.vectorize(
                #[inline(always)]
                || {
                    // SAFETY: `weight_gradient` asserted that x is whole blocks of the source and dy as
                    // many of the target, of all groups, and `group` left out those of the groups before, in products that `Layout` keeps from overflowing;
                    // `Im2col::validated`, that every entry of the tables lies inside a block; and
                    // `run` takes `place` from the region and the rows of the target.
                    let sums = unsafe { self.chains::<S, M, N>(s, place) };
                    self.add_lanes(s, place, sums);
                },
            );
        } else {
            unreachable!("a tile of {M} × {N} on this path");
        }
    }

    /// The chains of a tile over its block.
    ///
    /// # Safety
    /// The lengths are asserted and `place` is inside them.
    #[inline(always)]
    unsafe fn chains<S: Simd, const M: usize, const N: usize>(
        &self,
        s: S,
        place: &Place<'_>,
    ) -> [[S::Vector; N]; M] {
        let target = &self.im2col.target;
        let columns = &self.im2col.columns[place.region.columns.clone()];
        let taps = &self.im2col.taps[place.region.taps.clone()][place.tap..place.tap + N];
        let plane = target.plane() * LANES;
        let mut sums = [[s.zero(); N]; M];
        let mut j = place.from;
        while j < place.to {
            // The columns of one block.
            let (block, first) = (j / columns.len(), j % columns.len());
            let run = &columns[first..columns.len().min(first + place.to - j)];
            j += run.len();
            // SAFETY: the caller's promise.
            unsafe {
                let x = self.x.as_ptr().add(block * self.x_block);
                let mut x = [x; N];
                for n in 0..N {
                    x[n] = x[n].add(taps[n].x as usize);
                }
                let dy = self.dy.as_ptr().add(block * self.dy_block + place.row * plane);
                for column in run {
                    let mut g = [s.zero(); M];
                    for m in 0..M {
                        g[m] = s.load_at(dy.add(m * plane + column.y as usize));
                    }
                    for n in 0..N {
                        let v = s.load_at(x[n].add(column.x as usize));
                        for m in 0..M {
                            sums[m][n] = s.mul_add(g[m], v, sums[m][n]);
                        }
                    }
                }
            }
        }
        sums
    }

    /// Adds the lanes of each accumulator to its weight's gradient.
    #[inline(always)]
    fn add_lanes<S: Simd, const M: usize, const N: usize>(
        &self,
        s: S,
        place: &Place<'_>,
        sums: [[S::Vector; N]; M],
    ) {
        let taps = &self.im2col.taps[place.region.taps.clone()][place.tap..place.tap + N];
        let mut totals = [[0.0; LANES]; TOTALS];
        for (half, totals) in totals.iter_mut().enumerate().take((M * N).div_ceil(LANES)) {
            let mut rows = [s.zero(); LANES];
            for i in 0..LANES.min(M * N - half * LANES) {
                let at = half * LANES + i;
                rows[i] = sums[at / N][at % N];
            }
            s.store(totals, s.sums(rows));
        }
        for m in 0..M {
            for n in 0..N {
                let at = m * N + n;
                let w = (place.row + m) * self.row + taps[n].w as usize;
                // SAFETY: each weight of each row is one part's.
                let dw = unsafe { self.dw.slice(w..w + 1) };
                dw[0] += totals[at / LANES][at % LANES];
            }
        }
    }
}
