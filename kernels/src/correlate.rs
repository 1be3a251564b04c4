//! dW += dY · Xᵀ over the im2col view: the weight-gradient of a convolution.
//!
//! ```text
//! dw[m][t] += Σ_j Σ_lanes dy[m][j] · X(t, j)
//! ```
//!
//! Each sum is one chain of fused multiply-adds per lane over a *band* of at most [`BAND`] columns
//! (blocks in order, pixels in order within a block), then the sum of its sixteen lanes by halving,
//! added to dW. Bands keep the rows of dY and X that a tile runs over in the caches; their length is a
//! constant, so the order of the sum depends on the layer alone.
//!
//! ```text
//! for each region, for each band of its columns
//!   for each tile of taps            N rows of X …
//!     for each tile of rows          … against M rows of dY
//!       for j in band                M · N chains in registers
//!       sum the lanes, add to dW
//! ```

use crate::isa::{Isa, dispatch};
use crate::patches::{Patches, Region};
use crate::simd::Simd;
use crate::tile::with_size;
use crate::{LANES, tile};

/// Columns (vectors) per band: 3½ rows of a 28×28 plane, half a plane of 14×14, two of 7×7. Twice as
/// many lose up to 5 points of the FMA peak to the first-level cache; half, as many to the sums.
pub const BAND: usize = 98;

/// Rows of dY (output channels) that stay in the second-level cache, a band of them being 32 × 98
/// vectors of 64 bytes, 200 KB, while the taps stream past.
const ROWS: usize = 32;

/// Adds the weight-gradient of a convolution to `dw`, row-major `[outputs][inputs][kh][kw]`.
///
/// `patches` are those of [`weight_gradient`](crate::Convolution::weight_gradient), `x` is the
/// input and `dy` the gradient of the output, whole batches; lanes without an image must be zero in
/// `dy` and finite in `x`.
///
/// # Panics
/// If a slice has not the length that the patches say.
pub fn correlate(isa: Isa, patches: &Patches, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let block = patches.source.block_len();
    assert!(block > 0 && x.len().is_multiple_of(block), "input of a correlation");
    let blocks = x.len() / block;
    assert_eq!(dy.len(), blocks * patches.target.block_len(), "output gradient of a correlation");
    assert_eq!(dw.len(), patches.weights, "weight-gradient of a correlation");
    let row = dw.len() / patches.target.channels.max(1);
    let mut correlation = Correlation { patches, blocks, row, x, dy, dw };
    dispatch!(isa, s => correlation.run(s))
}

/// Both operands are vectors here, and both wait in registers: 4 × 5 fits where 4 × 6 would spill.
const fn accumulators<S: Simd>() -> usize {
    S::ACCUMULATORS * 5 / 6
}

struct Correlation<'a> {
    patches: &'a Patches,
    blocks: usize,
    /// Weights of one output channel.
    row: usize,
    x: &'a [f32],
    dy: &'a [f32],
    dw: &'a mut [f32],
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

impl Correlation<'_> {
    fn run<S: Simd>(&mut self, s: S) {
        let patches = self.patches;
        let rows = patches.target.channels;
        for region in &patches.regions {
            let width = tile::columns::<S>(accumulators::<S>(), rows, region.taps.len());
            for (from, len) in tile::split(region.columns.len() * self.blocks, BAND) {
                for (first, rows) in tile::split(rows, ROWS) {
                    for (tap, n) in tile::split(region.taps.len(), width) {
                        let place = Place { region, row: first, tap, from, to: from + len };
                        with_size!(N = n, of 1 2 3 4 5 6 => self.rows::<S, N>(s, place, rows));
                    }
                }
            }
        }
    }

    /// The row tiles of one tile of taps, over `rows` rows.
    fn rows<S: Simd, const N: usize>(&mut self, s: S, mut place: Place<'_>, rows: usize) {
        let first = place.row;
        for (row, m) in tile::split(rows, tile::max_rows(accumulators::<S>(), N)) {
            place.row = first + row;
            with_size!(M = m, of 1 2 3 4 5 6 7 8 9 10 11 12 => self.tile::<S, M, N>(s, &place));
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(&mut self, s: S, place: &Place<'_>) {
        // Sizes that `split` never gives on this path are not compiled for it.
        if const { M <= tile::max_rows(accumulators::<S>(), N) && N <= S::COLUMNS } {
            s.vectorize(
                #[inline(always)]
                || {
                    // SAFETY: `correlate` asserted the lengths; the tables of `Patches` stay inside
                    // one block of the layouts they were made from, `place` is inside the region.
                    let sums = unsafe { self.chains::<S, M, N>(s, place) };
                    self.add_lanes(s, place, sums);
                },
            );
        } else {
            unreachable!("a tile of {M} × {N} on this path");
        }
    }

    /// The chains of a tile over its band.
    ///
    /// # Safety
    /// The lengths are asserted and `place` is inside them.
    #[inline(always)]
    unsafe fn chains<S: Simd, const M: usize, const N: usize>(
        &self,
        s: S,
        place: &Place<'_>,
    ) -> [[S::Vector; N]; M] {
        let (source, target) = (&self.patches.source, &self.patches.target);
        let columns = &self.patches.columns[place.region.columns.clone()];
        let taps = &self.patches.taps[place.region.taps.clone()][place.tap..place.tap + N];
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
                let x = self.x.as_ptr().add(block * source.block_len());
                let mut x = [x; N];
                for n in 0..N {
                    x[n] = x[n].add(taps[n].x as usize);
                }
                let dy = self.dy.as_ptr().add(block * target.block_len() + place.row * plane);
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
        &mut self,
        s: S,
        place: &Place<'_>,
        sums: [[S::Vector; N]; M],
    ) {
        let taps = &self.patches.taps[place.region.taps.clone()][place.tap..place.tap + N];
        let mut totals = [[0.0; LANES]; 2];
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
                self.dw[w] += totals[at / LANES][at % LANES];
            }
        }
    }
}
