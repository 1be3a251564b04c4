//! Sums of outer products over images: the weight gradients of linear layers, and of convolutions
//! with enough outputs.
//!
//! ```text
//! out[m][n] += Σ_columns Σ_images a[m] · b[n]
//! ```
//!
//! Where `weight_gradient` sums the lanes of every accumulator, here a vector holds sixteen *features* n of
//! one image: b is transposed 16×16 in registers, a is broadcast, and no lanes are summed. Each sum
//! is one chain over the images of a group of at most [`KC`] columns, in order, then added to what
//! is there.
//!
//! ```text
//! for each group of columns
//!   for each tile of features        N vectors of 16, transposed for the whole group …
//!     for each tile of rows          … against M rows of a
//!       for column, for image        M · N chains in registers
//! ```
//!
//! In [bfloat16](crate::bf16) a step is of two images, 2i and 2i + 1: b is rounded when it is transposed, a is
//! [packed](crate::pack_neighbours), and a group has up to 2 · [`KC`] columns.

use crate::isa::dispatch;
use crate::simd::{Arithmetic, Floats, Simd};
use crate::team::{Cores, Cost};
use crate::tile::{self, with_size};
use crate::{LANES, Layout};
use std::mem::MaybeUninit;

/// The most columns whose transposed features are held at a time (16 KB of stack with two vectors of
/// features). More are cut into groups as equal as can be.
pub const KC: usize = 8;

/// Adds the weight gradient of a linear layer to `dw`, row-major `[outputs][inputs]`; its columns are
/// the blocks.
///
/// `x` holds `[blocks][inputs][16]` and `dy` `[blocks][outputs][16]`; lanes without an image must be
/// zero in `dy` and finite in `x`.
///
/// # Panics
/// If a slice has another length.
pub fn linear_weight_gradient<'t>(
    cores: impl Into<Cores<'t>>,
    [outputs, inputs]: [usize; 2],
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    let weights = outputs.checked_mul(inputs);
    assert_eq!(Some(dw.len()), weights, "weights of a linear weight gradient");
    if dw.is_empty() {
        return;
    }
    let block = Layout::features(1, inputs).len();
    assert!(x.len().is_multiple_of(block), "input of a linear weight gradient");
    let blocks = x.len() / block;
    let dy_len = Layout::features(blocks, outputs).len();
    assert_eq!(dy.len(), dy_len, "output gradient of a linear weight gradient");
    let a = Operand { floats: dy, count: outputs, stride: LANES };
    let b = Operand { floats: x, count: inputs, stride: LANES };
    rank_k_update(cores.into(), blocks, [a, b], dw);
}

/// A matrix of vectors: `count` rows (or features) are so many floats apart, columns anywhere.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub floats: &'a [f32],
    pub count: usize,
    pub stride: usize,
}

/// Adds the products of as many columns, each of which lies whole before the next; a part has some rows.
fn rank_k_update(cores: Cores<'_>, columns: usize, [a, b]: [Operand<'_>; 2], out: &mut [f32]) {
    let work = columns * LANES * a.count * b.count.div_ceil(LANES);
    // Each part turns b around, which is worth a few rows.
    let unit = b.count * rows_of_a_tile(a.count);
    cores.each_piece(out, unit, Cost::products(work), |first, out| {
        let rows = first / b.count;
        let count = out.len() / b.count;
        let row = |m: usize| [(rows + m) * a.stride, m * b.count];
        let place = |j: usize| [j * a.count * LANES, j * b.count * LANES];
        // Loop 4: the sum in blocks of KC columns.
        for (first, len) in tile::split(columns, KC) {
            let group = Group::new((first..first + len).map(place));
            dispatch!(cores.isa, s => group.run((s, Floats), (count, &row), a.floats, b, out));
        }
    });
}

/// Rows that a part should have whole multiples of.
fn rows_of_a_tile(rows: usize) -> usize {
    rows.min(10)
}

/// The places of some columns in both operands, at most [`KC`] for each number in a lane.
pub(crate) struct Group {
    a: [usize; 2 * KC],
    b: [usize; 2 * KC],
    len: usize,
}

/// The features of every image of a group, or pair of images, `N` vectors each.
type Transposed<V, const N: usize> = [[MaybeUninit<V>; N]; KC * LANES];

/// The most rows of a tile with this many vectors of features: a row is an address, and there are
/// fewer registers for addresses than for sums.
const fn rows<S: Simd, A: Arithmetic<S>>(vectors: usize) -> usize {
    let most = A::ACCUMULATORS / vectors;
    match vectors {
        2 if !wide::<S>() => 0,
        // Of pairs the compiler loads more of a row ahead.
        1 if A::NUMBERS == 2 && most > 8 => 8,
        _ if most > 10 => 10,
        _ => most,
    }
}

/// Whether there are registers for two vectors of features.
const fn wide<S: Simd>() -> bool {
    S::ACCUMULATORS >= 24
}

impl Group {
    pub(crate) fn new(columns: impl Iterator<Item = [usize; 2]>) -> Group {
        let mut group = Group { a: [0; 2 * KC], b: [0; 2 * KC], len: 0 };
        for [a, b] in columns {
            (group.a[group.len], group.b[group.len]) = (a, b);
            group.len += 1;
        }
        group
    }

    /// Adds the products of the group's columns. `row` tells where each of `count` rows lies in `a`,
    /// and where its sums lie in `out`, one after the other.
    pub(crate) fn run<S: Simd, A: Arithmetic<S>>(
        &self,
        path: (S, A),
        (count, row): (usize, &impl Fn(usize) -> [usize; 2]),
        a: &[f32],
        Operand { floats: b, count: features, stride }: Operand<'_>,
        out: &mut [f32],
    ) {
        assert!(self.len <= KC * A::NUMBERS, "columns of a group");
        let (s, mut first) = (path.0, 0);
        // Loops 5 and 2: NC = NR = N vectors of features.
        while first < features {
            let vectors = if wide::<S>() && features - first > LANES { 2 } else { 1 };
            let width = (features - first).min(vectors * LANES);
            with_size!(N = vectors, of 1 2 => {
                let mut t: Transposed<S::Vector, N> = [[const { MaybeUninit::uninit() }; N]; _];
                path.1.vectorize(
                    s,
                    #[inline(always)]
                    || self.transpose(path, &b[first * stride..], stride, width, &mut t),
                );
                // Loop 1: MR = M rows.
                for (m, len) in tile::split(count, rows::<S, A>(N)) {
                    with_size!(M = len, of 1 2 3 4 5 6 7 8 9 10 => {
                        let mut places = [[0; 2]; M];
                        for (i, place) in places.iter_mut().enumerate() {
                            *place = row(m + i);
                            place[1] += first;
                        }
                        self.tile::<S, A, M, N>(path, a, places, &t, width, out);
                    });
                }
            });
            first += width;
        }
    }

    /// Turns vectors of images into vectors of features, of each image or pair of images; those beyond `width` are
    /// zero.
    #[inline(always)]
    fn transpose<S: Simd, A: Arithmetic<S>, const N: usize>(
        &self,
        (s, arithmetic): (S, A),
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
                let images = s.transpose(rows);
                for i in 0..LANES / A::NUMBERS {
                    let [low, high] = [A::NUMBERS * i, A::NUMBERS * (i + 1) - 1];
                    let features = arithmetic.pack(s, images[low], images[high]);
                    to[column * (LANES / A::NUMBERS) + i][n].write(features);
                }
            }
        }
    }

    /// `M` rows at their places in `a` and `out`.
    #[inline(always)]
    fn tile<S: Simd, A: Arithmetic<S>, const M: usize, const N: usize>(
        &self,
        (s, arithmetic): (S, A),
        a: &[f32],
        places: [[usize; 2]; M],
        b: &Transposed<S::Vector, N>,
        width: usize,
        out: &mut [f32],
    ) {
        // Sizes that `split` never gives on this path are not compiled for it.
        if const { M > rows::<S, A>(N) } {
            unreachable!("a tile of {M} × {N} on this path");
        }
        let columns = &self.a[..self.len];
        let end = columns.iter().max().map_or(0, |last| last + LANES / A::NUMBERS);
        let mut rows = [a.as_ptr(); M];
        for (row, [place, _]) in rows.iter_mut().zip(places) {
            *row = a[place..][..end].as_ptr();
        }
        arithmetic.vectorize(
            s,
            #[inline(always)]
            || {
                // SAFETY: each row was sliced above up to the end of its last column, and
                // `transpose` wrote the images of every column of this group.
                let sums = unsafe { chains((s, arithmetic), rows, columns, b) };
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
/// `rows[m] + columns[j]` must be readable for sixteen floats, or as many pairs as make sixteen numbers, and `b` be
/// written for every column.
#[inline(always)]
unsafe fn chains<S: Simd, A: Arithmetic<S>, const M: usize, const N: usize>(
    (s, arithmetic): (S, A),
    rows: [*const f32; M],
    columns: &[usize],
    b: &Transposed<S::Vector, N>,
) -> [[S::Vector; N]; M] {
    let mut sums = [[s.zero(); N]; M];
    for (column, b) in columns.iter().zip(b.chunks_exact(LANES / A::NUMBERS)) {
        for image in 0..LANES / A::NUMBERS {
            // SAFETY: the caller's promise.
            unsafe {
                let mut v = [s.zero(); N];
                for n in 0..N {
                    v[n] = b[image][n].assume_init();
                }
                for m in 0..M {
                    let g = s.splat(*rows[m].add(column + image));
                    for n in 0..N {
                        sums[m][n] = arithmetic.step(s, g, v[n], sums[m][n]);
                    }
                }
            }
        }
    }
    sums
}
