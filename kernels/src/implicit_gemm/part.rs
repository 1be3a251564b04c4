//! The parts of a product: shares of its columns, and of its rows.

use super::Product;
use super::sink::Sink;
use crate::im2col::Region;
use crate::simd::{Arithmetic, Simd};
use crate::team::{Cores, Cost, share};
use crate::tile;
use std::ops::Range;

/// How many shares the columns and the rows have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    columns: usize,
    rows: usize,
    /// Taps of all columns.
    work: usize,
}

/// Which share of the columns and which of the rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    column: usize,
    row: usize,
    of: Grid,
}

impl Grid {
    pub fn parts(&self) -> usize {
        self.columns * self.rows
    }

    pub fn part(&self, number: usize) -> Part {
        Part { column: number / self.rows, row: number % self.rows, of: *self }
    }
}

/// The grid of at most `parts` shares in which the largest has the fewest tiles: shares of the columns
/// cost nothing, those of the rows read x again.
pub(crate) fn level(parts: usize, columns: usize, rows: usize) -> [usize; 2] {
    let grids = (1..=parts.min(rows.max(1))).map(|r| [(parts / r).clamp(1, columns.max(1)), r]);
    let cost = |&[c, r]: &[usize; 2]| columns.div_ceil(c) * rows.div_ceil(r) * (32 + r);
    grids.min_by_key(cost).unwrap_or([1, 1])
}

/// Rows of most tiles.
const TILE: usize = 4;

/// A column of a region costs its taps, and to begin and end.
const ENDS: usize = 4;

impl Product<'_> {
    /// How the product is cut for a team.
    pub(super) fn grid<S: Simd, A: Arithmetic<S>, K: Sink>(
        &self,
        _: (S, A),
        cores: Cores<'_>,
    ) -> Grid {
        if cores.size() == 1 {
            return Grid { columns: 1, rows: 1, work: 0 };
        }
        let rows = self.rows.len();
        let (mut tiles, mut width, mut work) = (0, 1, 0);
        for region in &self.im2col.regions {
            work += self.work(region);
            let count = region.columns.len() * self.blocks;
            let of_region = self.width::<S, A, K>(count);
            tiles += count.div_ceil(of_region);
            width = width.max(of_region);
        }
        let height = tile::max_rows(A::ACCUMULATORS, width);
        // As `rows_of` cuts them, so that no share is empty.
        let row_tiles = rows.div_ceil(height.max(TILE));
        let cost = Cost::products(work * rows);
        let parts = cores.parts(tiles * row_tiles, cost);
        let [columns, rows] = level(parts, tiles, row_tiles);
        Grid { columns, rows, work }
    }

    /// Taps of all columns of a region.
    pub(super) fn work(&self, region: &Region) -> usize {
        (region.taps.len() + ENDS) * region.columns.len() * self.blocks
    }

    /// A part's columns of a region, counted through all blocks; they begin with a tile. `before` is the work
    /// of the regions before it.
    pub(super) fn columns_of(
        &self,
        region: &Region,
        before: usize,
        width: usize,
        part: &Part,
    ) -> Range<usize> {
        let (number, of) = (part.column, part.of.columns);
        let count = region.columns.len() * self.blocks;
        if of == 1 {
            return 0..count;
        }
        let bound = |share: usize| {
            let work = part.of.work / of * share;
            let column = work.saturating_sub(before) / (region.taps.len() + ENDS);
            if share == of { count } else { column.next_multiple_of(width).min(count) }
        };
        bound(number)..bound(number + 1)
    }

    /// A part's rows.
    pub(super) fn rows_of(&self, part: &Part) -> Range<usize> {
        if part.of.rows == 1 {
            return self.rows.clone();
        }
        // In fours, the height of most tiles.
        let tiles = share(self.rows.len().div_ceil(TILE), part.row, part.of.rows);
        let bound = |tile: usize| self.rows.end.min(self.rows.start + tile * TILE);
        bound(tiles.start)..bound(tiles.end)
    }
}
