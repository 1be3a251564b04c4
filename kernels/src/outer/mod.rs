//! Sums of outer products over images: the weight-gradients of linear layers, and of convolutions
//! with enough outputs.
//!
//! ```text
//! out[m][n] += Σ_columns Σ_images a[m] · b[n]
//! ```
//!
//! Where `correlate` sums the lanes of every accumulator, here a vector holds sixteen *features* n of
//! one image: b is transposed 16×16 in registers, a is broadcast, and no lanes are summed. Each sum
//! is one chain over the images of a group of at most [`GROUP`] columns, in order, then added to what
//! is there.
//!
//! ```text
//! for each group of columns
//!   for each tile of features        N vectors of 16, transposed for the whole group …
//!     for each tile of rows          … against M rows of a
//!       for column, for image        M · N chains in registers
//! ```

mod patches;
pub use patches::outer_patches;

use crate::isa::{Isa, dispatch};
use crate::simd::Simd;
use crate::tile::{self, with_size};
use crate::{LANES, Layout};
use std::mem::MaybeUninit;

/// The most columns whose transposed features are held at a time (16 KB of stack with two vectors of
/// features). More are cut into groups as equal as can be.
pub const GROUP: usize = 8;

/// Adds the weight-gradient of a linear layer to `dw`, row-major `[outputs][inputs]`; its columns are
/// the blocks.
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
    let (a, b) = (Operand { floats: dy, stride: LANES }, Operand { floats: x, stride: LANES });
    let columns = (0..blocks).map(|j| [j * outputs * LANES, j * block]);
    outer_columns(isa, [outputs, inputs], columns, [a, b], dw);
}

/// A matrix of vectors: rows (or features) are so many floats apart, columns anywhere.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub floats: &'a [f32],
    pub stride: usize,
}

/// [`outer`] of columns that lie anyhow: the places of each in `a` and `b`.
pub(crate) fn outer_columns(
    isa: Isa,
    [rows, features]: [usize; 2],
    mut columns: impl ExactSizeIterator<Item = [usize; 2]>,
    [a, b]: [Operand<'_>; 2],
    out: &mut [f32],
) {
    for (_, len) in tile::split(columns.len(), GROUP) {
        let group = Group::new(columns.by_ref().take(len));
        let row = |m: usize| [m * a.stride, m * features];
        dispatch!(isa, s => group.run(s, rows, row, features, [a.floats, b.floats], b.stride, out));
    }
}

/// The places of some columns in both operands.
struct Group {
    a: [usize; GROUP],
    b: [usize; GROUP],
    len: usize,
}

/// The features of every image of a group, `N` vectors each.
type Transposed<V, const N: usize> = [[MaybeUninit<V>; N]; GROUP * LANES];

/// The most rows of a tile with this many vectors of features: a row is an address, and there are
/// fewer registers for addresses than for sums.
const fn rows<S: Simd>(vectors: usize) -> usize {
    let most = S::ACCUMULATORS / vectors;
    match vectors {
        2 if !wide::<S>() => 0,
        _ if most > 10 => 10,
        _ => most,
    }
}

/// Whether there are registers for two vectors of features.
const fn wide<S: Simd>() -> bool {
    S::ACCUMULATORS >= 24
}

impl Group {
    fn new(columns: impl Iterator<Item = [usize; 2]>) -> Group {
        let mut group = Group { a: [0; GROUP], b: [0; GROUP], len: 0 };
        for [a, b] in columns {
            (group.a[group.len], group.b[group.len]) = (a, b);
            group.len += 1;
        }
        group
    }

    /// Adds the products of the group's columns. `row` tells where each row lies in `a` and where
    /// its sums lie in `out`, one after the other; features are `stride` floats apart in `b`.
    #[expect(clippy::too_many_arguments, reason = "operands of a product and their places")]
    fn run<S: Simd>(
        &self,
        s: S,
        count: usize,
        row: impl Fn(usize) -> [usize; 2],
        features: usize,
        [a, b]: [&[f32]; 2],
        stride: usize,
        out: &mut [f32],
    ) {
        let mut first = 0;
        while first < features {
            let vectors = if wide::<S>() && features - first > LANES { 2 } else { 1 };
            let width = (features - first).min(vectors * LANES);
            with_size!(N = vectors, of 1 2 => {
                let mut t: Transposed<S::Vector, N> = [[const { MaybeUninit::uninit() }; N]; _];
                s.vectorize(
                    #[inline(always)]
                    || self.transpose(s, &b[first * stride..], stride, width, &mut t),
                );
                for (m, len) in tile::split(count, rows::<S>(N)) {
                    with_size!(M = len, of 1 2 3 4 5 6 7 8 9 10 => {
                        let mut places = [[0; 2]; M];
                        for (i, place) in places.iter_mut().enumerate() {
                            *place = row(m + i);
                            place[1] += first;
                        }
                        self.tile::<S, M, N>(s, a, places, &t, width, out);
                    });
                }
            });
            first += width;
        }
    }

    /// Turns vectors of images into vectors of features; those beyond `width` are zero.
    #[inline(always)]
    fn transpose<S: Simd, const N: usize>(
        &self,
        s: S,
        b: &[f32],
        stride: usize,
        width: usize,
        to: &mut Transposed<S::Vector, N>,
    ) {
        for (column, place) in self.b[..self.len].iter().enumerate() {
            for n in 0..N {
                let mut rows = [s.zero(); LANES];
                for (i, row) in (n * LANES..width).zip(&mut rows) {
                    let vector = b[place + i * stride..].first_chunk();
                    *row = s.load(vector.expect("a whole vector"));
                }
                for (image, row) in s.transpose(rows).into_iter().enumerate() {
                    to[column * LANES + image][n].write(row);
                }
            }
        }
    }

    /// `M` rows at their places in `a` and `out`.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &self,
        s: S,
        a: &[f32],
        places: [[usize; 2]; M],
        b: &Transposed<S::Vector, N>,
        width: usize,
        out: &mut [f32],
    ) {
        // Sizes that `split` never gives on this path are not compiled for it.
        if const { M > rows::<S>(N) } {
            unreachable!("a tile of {M} × {N} on this path");
        }
        let columns = &self.a[..self.len];
        let end = columns.iter().max().map_or(0, |last| last + LANES);
        let mut rows = [a.as_ptr(); M];
        for (row, [place, _]) in rows.iter_mut().zip(places) {
            *row = a[place..][..end].as_ptr();
        }
        s.vectorize(
            #[inline(always)]
            || {
                // SAFETY: each row is followed by the floats up to the end of its last column, and
                // `transpose` wrote the images of every column.
                let sums = unsafe { chains(s, rows, columns, b) };
                for (m, [_, place]) in places.into_iter().enumerate() {
                    let out = &mut out[place..][..width];
                    let (whole, rest) = out.as_chunks_mut();
                    for (out, sum) in whole.iter_mut().zip(sums[m]) {
                        s.store(out, s.add(s.load(out), sum));
                    }
                    if !rest.is_empty() {
                        s.store_partial(rest, s.add(s.load_partial(rest), sums[m][N - 1]));
                    }
                }
            },
        );
    }
}

/// The heart of it: `M · N` chains over the images of some columns.
///
/// # Safety
/// `rows[m] + columns[j]` must be readable for sixteen floats, and `b` be written for every column.
#[inline(always)]
unsafe fn chains<S: Simd, const M: usize, const N: usize>(
    s: S,
    rows: [*const f32; M],
    columns: &[usize],
    b: &Transposed<S::Vector, N>,
) -> [[S::Vector; N]; M] {
    let mut sums = [[s.zero(); N]; M];
    for (column, b) in columns.iter().zip(b.as_chunks::<LANES>().0) {
        for image in 0..LANES {
            // SAFETY: the caller's promise.
            unsafe {
                let mut v = [s.zero(); N];
                for n in 0..N {
                    v[n] = b[image][n].assume_init();
                }
                for m in 0..M {
                    let g = s.splat(*rows[m].add(column + image));
                    for n in 0..N {
                        sums[m][n] = s.mul_add(g, v[n], sums[m][n]);
                    }
                }
            }
        }
    }
    sums
}
