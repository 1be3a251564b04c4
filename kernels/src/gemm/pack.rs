//! A copy of a strip of B in the order in which tiles read it: KC rows of whole vectors.

use super::{KC, MOST_VECTORS, View};
use crate::LANES;
use crate::simd::Simd;
use std::mem::MaybeUninit;

/// Room for one strip. The vectors of a strip of `width` lie one after the other, row by row.
#[repr(align(64))]
pub(super) struct StripCopy([MaybeUninit<[f32; LANES]>; KC * MOST_VECTORS]);

impl StripCopy {
    #[inline(always)]
    pub(super) fn new() -> StripCopy {
        StripCopy([const { MaybeUninit::uninit() }; KC * MOST_VECTORS])
    }

    pub(super) fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }

    /// Copies `rows` of `columns` of B. What fills the last vector is never stored into C: it may be
    /// anything that the slice holds, or zero where it ends.
    pub(super) fn pack<S: Simd>(&mut self, s: S, b: View<'_>, [rows, columns]: [usize; 2]) {
        s.vectorize(
            #[inline(always)]
            || {
                let width = columns.div_ceil(LANES);
                for vector in 0..width {
                    let left = vector * LANES;
                    let to = &mut self.0[vector..];
                    let from = &b.data[left * b.column..];
                    let columns = LANES.min(columns - left);
                    if b.column == 1 {
                        pack_rows(s, from, b.row, [rows, columns], to, width);
                    } else {
                        pack_columns(s, from, b.column, [rows, columns], to, width);
                    }
                }
            },
        )
    }
}

type Vectors = [MaybeUninit<[f32; LANES]>];

/// One vector of each row of B.
#[inline(always)]
fn pack_rows<S: Simd>(
    s: S,
    from: &[f32],
    stride: usize,
    [rows, columns]: [usize; 2],
    to: &mut Vectors,
    width: usize,
) {
    for row in 0..rows {
        store(s, &mut to[row * width], load(s, &from[row * stride..], columns));
    }
}

/// One vector of each row of B, which is a column as stored: blocks of 16 × 16 are transposed.
#[inline(always)]
fn pack_columns<S: Simd>(
    s: S,
    from: &[f32],
    stride: usize,
    [rows, columns]: [usize; 2],
    to: &mut Vectors,
    width: usize,
) {
    for row in (0..rows).step_by(LANES) {
        let rows = LANES.min(rows - row);
        let mut block = [s.zero(); LANES];
        for (column, vector) in block.iter_mut().enumerate().take(columns) {
            *vector = load(s, &from[column * stride + row..], rows);
        }
        for (i, vector) in s.transpose(block).into_iter().enumerate().take(rows) {
            store(s, &mut to[(row + i) * width], vector);
        }
    }
}

/// The first `count` values, and after them whatever the slice has.
#[inline(always)]
fn load<S: Simd>(s: S, from: &[f32], count: usize) -> S::Vector {
    match from.first_chunk() {
        Some(sixteen) => s.load(sixteen),
        None => s.load_partial(&from[..count]),
    }
}

#[inline(always)]
fn store<S: Simd>(s: S, to: &mut MaybeUninit<[f32; LANES]>, v: S::Vector) {
    // SAFETY: `to` has room for sixteen values, which may be written without being read.
    unsafe { s.store_at(to.as_mut_ptr().cast(), v) }
}
