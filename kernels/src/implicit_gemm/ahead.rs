//! The columns of a product one after the other, and requests for those of the next tile.

use super::Product;
use crate::im2col::{Column, Tap};
use crate::prefetch::{Cache, prefetch};
use std::array;
use std::slice::Chunks;

/// The next column of a region, through all blocks.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    table: &'a [Column],
    block: usize,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// From a column on, of those of all blocks.
    pub fn new(table: &'a [Column], column: usize) -> Cursor<'a> {
        Cursor { table, block: column / table.len(), at: column % table.len() }
    }

    /// The block and the entry of the table of each of the next `N` columns.
    pub fn take<const N: usize>(&mut self) -> [(usize, Column); N] {
        array::from_fn(|_| {
            if self.at == self.table.len() {
                (self.block, self.at) = (self.block + 1, 0);
            }
            self.at += 1;
            (self.block, self.table[self.at - 1])
        })
    }
}

/// The inputs of the `N` columns of the next tile, which come into the second-level cache while the rows of a tile are
/// computed: a share of their taps along with each tile of rows.
pub(super) struct Ahead<'a, const N: usize> {
    inputs: [*const f32; N],
    shares: Chunks<'a, Tap>,
}

impl<'a, const N: usize> Ahead<'a, N> {
    /// Of the columns from one on, which meet these taps, in so many shares, one at least.
    pub fn new(
        product: &Product<'_>,
        mut columns: Cursor<'_>,
        taps: &'a [Tap],
        shares: usize,
    ) -> Ahead<'a, N> {
        let x = product.operands.x.as_ptr();
        let input = |(block, column): (usize, Column)| {
            x.wrapping_add(block * product.x_block + column.x as usize)
        };
        let inputs = columns.take().map(input);
        Ahead { inputs, shares: taps.chunks(taps.len().div_ceil(shares).max(1)) }
    }

    /// Requests the next share.
    pub fn request(&mut self) {
        for tap in self.shares.next().unwrap_or_default() {
            for input in self.inputs {
                prefetch(input.wrapping_add(tap.x as usize), Cache::Second);
            }
        }
    }
}
