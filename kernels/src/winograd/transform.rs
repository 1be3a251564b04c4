//! The transforms of activations: additions of vectors, tile by tile.

use super::{ELEMENTS, SIDE, Tiles, matrix};
use crate::planes::Vector;
use crate::simd::Simd;
use crate::streaming::Streaming;
use crate::team::Shared;
use crate::{Epilogue, LANES, Operands, Start};
use std::ops::Range;

/// Where the elements of the tiles of a strip lie.
pub(super) struct Elements<'a> {
    first: Shared<'a, f32>,
    /// Floats of an element: of sixteen images, or of eight pairs.
    pub(super) vector: usize,
    /// Elements from one matrix to the next.
    pub(super) stride: usize,
    pub(super) tiles: &'a Tiles,
}

impl<'a> Elements<'a> {
    fn new(tiles: &'a Tiles, to: Shared<'a, f32>) -> Self {
        Elements::of_vectors(tiles, LANES, to)
    }

    /// Elements of so many floats.
    pub(super) fn of_vectors(tiles: &'a Tiles, vector: usize, to: Shared<'a, f32>) -> Self {
        let stride = matrix(&tiles.matrices) / LANES;
        let last = (ELEMENTS - 1) * stride + tiles.matrices.block_len() / LANES;
        assert!(last * vector <= to.len(), "room for the transforms of a strip");
        assert!(tiles.strip.tiles() <= tiles.matrices.pixels(), "room for the tiles of a strip");
        Elements { first: to, vector, stride, tiles }
    }

    /// The first element of the first tile of a row of a channel.
    #[inline(always)]
    pub(super) fn row(&self, channel: usize, n: usize) -> *mut f32 {
        assert!(channel < self.tiles.matrices.channels() && n < self.tiles.strip.rows.len());
        let row = channel * self.tiles.matrices.plane() + n * self.tiles.strip.columns.len();
        // SAFETY: `of_vectors` asserted room for the planes of all channels, and in each for the tiles of the strip.
        unsafe { self.first.pointer().add(row * self.vector) }
    }
}

/// `Bᵀ d B` of every 4×4 tile of some channels, to `[16][channels][tiles]`; rows outside of the planes
/// are `zeros`.
///
/// # Safety
/// Nothing else may use the places of these channels in `v` meanwhile.
pub(super) unsafe fn input_tiles<S: Simd>(
    s: S,
    tiles: &Tiles,
    channels: Range<usize>,
    [x, zeros]: [&[f32]; 2],
    v: Shared<'_, f32>,
) {
    let elements = Elements::new(tiles, v);
    s.vectorize(
        #[inline(always)]
        || {
            let (x, zeros): (&[Vector], &[Vector]) = (x.as_chunks().0, zeros.as_chunks().0);
            for channel in channels {
                let plane = &x[channel * tiles.planes.plane()..][..tiles.planes.pixels()];
                for (n, row) in tiles.strip.rows.clone().enumerate() {
                    let lines = lines_of(tiles, plane, zeros, row);
                    // SAFETY: the caller's promise.
                    unsafe { input_row(s, &elements, lines, elements.row(channel, n)) };
                }
            }
        },
    );
}

/// The four rows of a plane that a row of tiles sees.
#[inline(always)]
pub(super) fn lines_of<'a>(
    tiles: &Tiles,
    plane: &'a [Vector],
    zeros: &'a [Vector],
    row: usize,
) -> [&'a [Vector]; SIDE] {
    let [height, width] = tiles.planes.size();
    let mut lines = [zeros; SIDE];
    for (i, line) in lines.iter_mut().enumerate() {
        let y = (2 * row + i).wrapping_sub(tiles.padding[0]);
        *line = if y < height { &plane[y * width..] } else { zeros };
        *line = &line[..width];
    }
    lines
}

/// One row of tiles. Neighbours share two columns, so a column is transformed once.
///
/// # Safety
/// `v` must be a row of the elements, which nothing else uses.
#[inline(always)]
unsafe fn input_row<S: Simd>(
    s: S,
    elements: &Elements<'_>,
    lines: [&[Vector]; SIDE],
    mut v: *mut f32,
) {
    let Elements { stride, tiles, .. } = elements;
    let mut at = (2 * tiles.strip.columns.start).wrapping_sub(tiles.padding[1]);
    let (mut a, mut b) = (column(s, lines, at), column(s, lines, at.wrapping_add(1)));
    for _ in tiles.strip.columns.clone() {
        at = at.wrapping_add(2);
        let (c, d) = (column(s, lines, at), column(s, lines, at.wrapping_add(1)));
        for i in 0..SIDE {
            // SAFETY: the tile is one of the row, and `Elements::new` asserted room for all elements.
            unsafe {
                let v = v.add(SIDE * i * stride * LANES);
                s.store_at(v, s.sub(a[i], c[i]));
                s.store_at(v.add(stride * LANES), s.add(b[i], c[i]));
                s.store_at(v.add(2 * stride * LANES), s.sub(c[i], b[i]));
                s.store_at(v.add(3 * stride * LANES), s.sub(b[i], d[i]));
            }
        }
        (a, b) = (c, d);
        // SAFETY: the next tile of the row, or its end.
        v = unsafe { v.add(LANES) };
    }
}

/// `Bᵀ d` of a column; zeros outside of the plane.
#[inline(always)]
pub(super) fn column<S: Simd>(s: S, lines: [&[Vector]; SIDE], x: usize) -> [S::Vector; SIDE] {
    if x >= lines[0].len() {
        return [s.zero(); SIDE];
    }
    let mut d = [s.zero(); SIDE];
    for i in 0..SIDE {
        d[i] = s.load(&lines[i][x]);
    }
    [s.sub(d[0], d[2]), s.add(d[1], d[2]), s.sub(d[2], d[1]), s.sub(d[1], d[3])]
}

/// `epilogue(start + Aᵀ m A)` of every tile of some channels, to the tile's place in `y`, of which the
/// block begins at `first`. `m` begins with the first of these channels.
///
/// # Safety
/// Nothing else may use these channels of the strip in `y` meanwhile.
pub(super) unsafe fn output_tiles<S: Simd>(
    s: S,
    tiles: &Tiles,
    channels: Range<usize>,
    m: &[f32],
    operands: &Operands<'_>,
    (first, y): (usize, Shared<'_, f32>),
) {
    let [height, width] = tiles.planes.size();
    let columns = 2 * tiles.strip.columns.start..width.min(2 * tiles.strip.columns.end);
    let (elements, row) = (tiles.elements(), tiles.strip.columns.len());
    // What is read first is in the caches.
    let reads = matches!(operands.start, Start::Output);
    let streaming = if reads { Streaming::NEVER } else { Streaming::new(y.pointer(), y.len()) };
    s.vectorize(
        #[inline(always)]
        || {
            let m: &[Vector] = m.as_chunks().0;
            for (i, channel) in channels.enumerate() {
                let start = match operands.start {
                    Start::Zero => Some(s.zero()),
                    Start::Bias(bias) => Some(s.splat(bias[channel])),
                    Start::Output => None,
                };
                for (n, y_row) in tiles.strip.rows.clone().enumerate() {
                    let tile = i * tiles.matrices.plane() + n * row;
                    let lines = [2 * y_row, 2 * y_row + 1].map(|line| {
                        let columns = if line < height { columns.clone() } else { 0..0 };
                        let line = first + tiles.planes.offset(channel, [line.min(height - 1), 0]);
                        let place = line + columns.start * LANES..line + columns.end * LANES;
                        // SAFETY: the caller's promise; the two lines are not the same.
                        unsafe { y.slice(place) }.as_chunks_mut().0
                    });
                    let m = (&m[tile..], &elements, row);
                    // SAFETY: `streaming` is of `y`.
                    unsafe { output_row(s, m, start, (operands.epilogue, streaming), lines) };
                }
            }
            streaming.finish(s);
        },
    );
}

/// One row of tiles: two rows of a plane, or the last one. `elements` says how many vectors after the first element of
/// a tile each of its elements lies.
///
/// # Safety
/// `streaming` must be never, or of the output that the lines are of.
#[inline(always)]
pub(super) unsafe fn output_row<S: Simd>(
    s: S,
    (m, elements, tiles): (&[Vector], &[usize; ELEMENTS], usize),
    start: Option<S::Vector>,
    (epilogue, streaming): (Epilogue, Streaming),
    [upper, lower]: [&mut [Vector]; 2],
) {
    assert!(elements.iter().all(|first| first + tiles <= m.len()), "elements of a row of tiles");
    for tile in 0..tiles {
        let mut halves = [[s.zero(); SIDE]; 2];
        for j in 0..SIDE {
            let mut column = [s.zero(); SIDE];
            for i in 0..SIDE {
                // SAFETY: the assertion above.
                column[i] = s.load(unsafe { m.get_unchecked(elements[SIDE * i + j] + tile) });
            }
            [halves[0][j], halves[1][j]] = fold(s, column);
        }
        for (line, half) in [&mut *upper, &mut *lower].into_iter().zip(halves) {
            for (x, sum) in fold(s, half).into_iter().enumerate() {
                if let Some(y) = line.get_mut(2 * tile + x) {
                    let value = s.add(start.unwrap_or(s.load(y)), sum);
                    // SAFETY: the caller's promise; pixels are whole vectors.
                    unsafe { streaming.store(s, y, epilogue.apply(s, value)) };
                }
            }
        }
    }
}

/// `Aᵀ m`.
#[inline(always)]
fn fold<S: Simd>(s: S, m: [S::Vector; SIDE]) -> [S::Vector; 2] {
    [s.add(m[0], s.add(m[1], m[2])), s.sub(s.sub(m[1], m[2]), m[3])]
}

/// `A dy Aᵀ` of every 2×2 tile of some channels, to `[16][channels][tiles]`; what lies outside of the
/// planes is zero.
///
/// # Safety
/// Nothing else may use the places of these channels in `g` meanwhile.
pub(super) unsafe fn gradient_tiles<S: Simd>(
    s: S,
    tiles: &Tiles,
    channels: Range<usize>,
    dy: &[f32],
    g: Shared<'_, f32>,
) {
    let [height, width] = tiles.planes.size();
    let elements = Elements::new(tiles, g);
    s.vectorize(
        #[inline(always)]
        || {
            let dy: &[Vector] = dy.as_chunks().0;
            for channel in channels {
                let plane = &dy[channel * tiles.planes.plane()..][..tiles.planes.pixels()];
                for (n, row) in tiles.strip.rows.clone().enumerate() {
                    let lines = &plane[2 * row * width..height.min(2 * row + 2) * width];
                    // SAFETY: the caller's promise.
                    unsafe { gradient_row(s, &elements, lines, elements.row(channel, n)) };
                }
            }
        },
    );
}

/// One row of tiles.
///
/// # Safety
/// `g` must be a row of the elements, which nothing else uses.
#[inline(always)]
unsafe fn gradient_row<S: Simd>(s: S, elements: &Elements<'_>, lines: &[Vector], mut g: *mut f32) {
    let Elements { stride, tiles, .. } = elements;
    let (upper, lower) = lines.split_at(tiles.planes.size()[1]);
    for tile in tiles.strip.columns.clone() {
        let left = spread(s, pixel(s, upper, 2 * tile), pixel(s, lower, 2 * tile));
        let right = spread(s, pixel(s, upper, 2 * tile + 1), pixel(s, lower, 2 * tile + 1));
        for i in 0..SIDE {
            for (j, value) in spread(s, left[i], right[i]).into_iter().enumerate() {
                // SAFETY: the tile is one of the row, and `Elements::new` asserted room for all elements.
                unsafe { s.store_at(g.add((SIDE * i + j) * stride * LANES), value) };
            }
        }
        // SAFETY: the next tile of the row, or its end.
        g = unsafe { g.add(LANES) };
    }
}

/// `A` times a column of two.
#[inline(always)]
pub(super) fn spread<S: Simd>(s: S, a: S::Vector, b: S::Vector) -> [S::Vector; SIDE] {
    [a, s.add(a, b), s.sub(a, b), s.sub(s.zero(), b)]
}

/// A pixel of a row; zero outside of it.
#[inline(always)]
pub(super) fn pixel<S: Simd>(s: S, line: &[Vector], x: usize) -> S::Vector {
    match line.get(x) {
        Some(vector) => s.load(vector),
        None => s.zero(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use crate::winograd::Piece;

    /// Rows of tiles are written by pointer.
    #[test]
    #[should_panic(expected = "room for the tiles of a strip")]
    fn a_strip_of_more_tiles_than_its_matrices_is_refused() {
        let strip = Piece { rows: 0..2, columns: 0..2 };
        let [planes, matrices] = [[4, 4], [1, 3]].map(|size| Layout::new(1, 1, size));
        let tiles = Tiles { planes, padding: [1, 1], strip, matrices };
        let mut room = vec![0.0; 2 * ELEMENTS * matrix(&matrices)];
        Elements::new(&tiles, Shared::new(&mut room));
    }
}
