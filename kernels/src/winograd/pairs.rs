//! The transforms of activations in bfloat16: those of `f32`, rounded when they are written.

use super::transform::{Elements, lines_of, pixel, spread};
use super::{ELEMENTS, SIDE, Tiles};
use crate::LANES;
use crate::planes::Vector;
use crate::simd::{Bf16, Simd};
use crate::team::Shared;
use std::ops::Range;

/// `Bᵀ d B` of every 4×4 tile of some pairs of channels, to `[16][pairs][tiles]`; rows outside of the planes, and the
/// partner of a last odd channel, are `zeros`.
///
/// # Safety
/// Nothing else may use the places of these pairs in `v` meanwhile.
pub(super) unsafe fn input_pairs<S: Simd, A: Bf16<S>>(
    (s, a): (S, A),
    tiles: &Tiles,
    pairs: Range<usize>,
    [x, zeros]: [&[f32]; 2],
    v: Shared<'_, f32>,
) {
    let elements = Elements::of_vectors(tiles, LANES, v);
    a.vectorize(
        s,
        #[inline(always)]
        || {
            let (x, zeros): (&[Vector], &[Vector]) = (x.as_chunks().0, zeros.as_chunks().0);
            for pair in pairs {
                let first = 2 * pair;
                let even = &x[first * tiles.planes.plane()..][..tiles.planes.pixels()];
                let is_whole = first + 1 < tiles.planes.channels();
                let odd = first + usize::from(is_whole);
                let odd = &x[odd * tiles.planes.plane()..][..tiles.planes.pixels()];
                for (n, row) in tiles.strip.rows.clone().enumerate() {
                    let even = lines_of(tiles, even, zeros, row);
                    let odd =
                        if is_whole { lines_of(tiles, odd, zeros, row) } else { [zeros; SIDE] };
                    // SAFETY: the caller's promise.
                    unsafe { input_row((s, a), &elements, [even, odd], elements.row(pair, n)) };
                }
            }
        },
    );
}

/// One row of tiles of two channels: row after row of their elements, because those of both channels at once are more
/// than there are registers.
///
/// # Safety
/// `v` must be a row of the elements, which nothing else uses.
#[inline(always)]
unsafe fn input_row<S: Simd, A: Bf16<S>>(
    path: (S, A),
    elements: &Elements<'_>,
    [even, odd]: [[&[Vector]; SIDE]; 2],
    v: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let lines = [[even[0], even[2]], [odd[0], odd[2]]];
        elements_row::<S, A, false>(path, elements, (0, lines), v);
        let lines = [[even[1], even[2]], [odd[1], odd[2]]];
        elements_row::<S, A, true>(path, elements, (1, lines), v);
        let lines = [[even[2], even[1]], [odd[2], odd[1]]];
        elements_row::<S, A, false>(path, elements, (2, lines), v);
        let lines = [[even[1], even[3]], [odd[1], odd[3]]];
        elements_row::<S, A, false>(path, elements, (3, lines), v);
    }
}

/// Row `i` of the elements, whose `Bᵀ d` is the sum of two lines of each channel, or their difference. Neighbours share
/// two columns, so a column is joined once.
///
/// # Safety
/// As for [`input_row`].
#[inline(always)]
unsafe fn elements_row<S: Simd, A: Bf16<S>, const SUM: bool>(
    (s, arithmetic): (S, A),
    elements: &Elements<'_>,
    (i, lines): (usize, [[&[Vector]; 2]; 2]),
    v: *mut f32,
) {
    let Elements { stride, tiles, .. } = elements;
    let width = tiles.planes.size()[1];
    // SAFETY: `Elements` has room for all elements.
    let mut v = unsafe { v.add(SIDE * i * stride * LANES) };
    let mut at = (2 * tiles.strip.columns.start).wrapping_sub(tiles.padding[1]);
    let mut a = column::<S, SUM>(s, &lines, at, width);
    let mut b = column::<S, SUM>(s, &lines, at.wrapping_add(1), width);
    for _ in tiles.strip.columns.clone() {
        at = at.wrapping_add(2);
        let c = column::<S, SUM>(s, &lines, at, width);
        let d = column::<S, SUM>(s, &lines, at.wrapping_add(1), width);
        let mut both = [[s.zero(); SIDE]; 2];
        for n in 0..2 {
            both[n] = [s.sub(a[n], c[n]), s.add(b[n], c[n]), s.sub(c[n], b[n]), s.sub(b[n], d[n])];
        }
        for j in 0..SIDE {
            let packed = arithmetic.pack(s, both[0][j], both[1][j]);
            // SAFETY: the tile is one of the row, and `Elements` has room for all elements.
            unsafe { s.store_at(v.add(j * stride * LANES), packed) };
        }
        (a, b) = (c, d);
        // SAFETY: the next tile of the row, or its end.
        v = unsafe { v.add(LANES) };
    }
}

/// A column of two lines of both channels, joined; zeros outside of the plane.
#[inline(always)]
fn column<S: Simd, const SUM: bool>(
    s: S,
    lines: &[[&[Vector]; 2]; 2],
    x: usize,
    width: usize,
) -> [S::Vector; 2] {
    let mut joined = [s.zero(); 2];
    if x < width {
        for n in 0..2 {
            let (first, second) = (s.load(&lines[n][0][x]), s.load(&lines[n][1][x]));
            joined[n] = if SUM { s.add(first, second) } else { s.sub(first, second) };
        }
    }
    joined
}

/// Floats of an element of sixteen images in pairs.
const HALF: usize = LANES / 2;

/// `A dy Aᵀ` of every 2×2 tile of some channels, to `[16][channels][tiles]` of eight pairs of images; what lies
/// outside of the planes is zero.
///
/// # Safety
/// Nothing else may use the places of these channels in `g` meanwhile.
pub(super) unsafe fn gradient_pairs<S: Simd, A: Bf16<S>>(
    (s, a): (S, A),
    tiles: &Tiles,
    channels: Range<usize>,
    dy: &[f32],
    g: Shared<'_, f32>,
) {
    let [height, width] = tiles.planes.size();
    let elements = Elements::of_vectors(tiles, HALF, g);
    a.vectorize(
        s,
        #[inline(always)]
        || {
            let dy: &[Vector] = dy.as_chunks().0;
            for channel in channels {
                let plane = &dy[channel * tiles.planes.plane()..][..tiles.planes.pixels()];
                for (n, row) in tiles.strip.rows.clone().enumerate() {
                    let lines = &plane[2 * row * width..height.min(2 * row + 2) * width];
                    // SAFETY: the caller's promise.
                    unsafe { gradient_row((s, a), &elements, lines, elements.row(channel, n)) };
                }
            }
        },
    );
}

/// One row of tiles, two at a time: their elements are neighbours, and fill a vector.
///
/// # Safety
/// `g` must be a row of the elements, which nothing else uses.
#[inline(always)]
unsafe fn gradient_row<S: Simd, A: Bf16<S>>(
    (s, a): (S, A),
    elements: &Elements<'_>,
    lines: &[Vector],
    mut g: *mut f32,
) {
    let Elements { stride, tiles, .. } = elements;
    let (upper, lower) = lines.split_at(tiles.planes.size()[1]);
    let columns = tiles.strip.columns.clone();
    for tile in columns.clone().step_by(2) {
        let is_whole = tile + 1 < columns.end;
        let first = gradient_tile(s, [upper, lower], tile);
        let second = gradient_tile(s, [upper, lower], tile + 1);
        for element in 0..ELEMENTS {
            let packed = a.pack_neighbours(s, first[element], second[element]);
            // SAFETY: the tile, and the next where there is one, are of the row, and `Elements` has room for all
            // elements.
            unsafe {
                let to = g.add(element * stride * HALF);
                if is_whole {
                    s.store_at(to, packed);
                } else {
                    s.store_partial(std::slice::from_raw_parts_mut(to, HALF), packed);
                }
            }
        }
        // SAFETY: the tile after the next, or the end of the row.
        g = unsafe { g.add(if is_whole { LANES } else { HALF }) };
    }
}

/// `A dy Aᵀ` of one tile.
#[inline(always)]
fn gradient_tile<S: Simd>(
    s: S,
    [upper, lower]: [&[Vector]; 2],
    tile: usize,
) -> [S::Vector; ELEMENTS] {
    let left = spread(s, pixel(s, upper, 2 * tile), pixel(s, lower, 2 * tile));
    let right = spread(s, pixel(s, upper, 2 * tile + 1), pixel(s, lower, 2 * tile + 1));
    let mut elements = [s.zero(); ELEMENTS];
    for i in 0..SIDE {
        let row = spread(s, left[i], right[i]);
        elements[SIDE * i..][..SIDE].copy_from_slice(&row);
    }
    elements
}
