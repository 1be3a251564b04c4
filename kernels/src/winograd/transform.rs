//! The transforms of activations: additions of vectors, tile by tile.

use super::{ELEMENTS, SIDE, Tiles, matrix};
use crate::activation::relu;
use crate::planes::Vector;
use crate::simd::Simd;
use crate::{LANES, Start};

/// What becomes of an output.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<'a> {
    pub start: Start<'a>,
    pub relu: bool,
}

/// `Bᵀ d B` of every 4×4 tile, to `[16][channels][tiles]`; rows outside of the planes are `zeros`.
pub(super) fn input_tiles<S: Simd>(
    s: S,
    tiles: &Tiles<'_>,
    [x, zeros]: [&[f32]; 2],
    v: &mut [f32],
) {
    let [height, width] = tiles.planes.size;
    s.vectorize(
        #[inline(always)]
        || {
            let (x, v) = (x.as_chunks().0, v.as_chunks_mut().0);
            let zeros: &[Vector] = zeros.as_chunks().0;
            let planes = x.chunks_exact(tiles.planes.plane());
            for (channel, plane) in planes.take(tiles.planes.channels).enumerate() {
                for (n, row) in tiles.rows.clone().enumerate() {
                    let mut lines = [zeros; SIDE];
                    for (i, line) in lines.iter_mut().enumerate() {
                        let y = (2 * row + i).wrapping_sub(tiles.padding[0]);
                        *line = if y < height { &plane[y * width..] } else { zeros };
                        *line = &line[..width];
                    }
                    let v = &mut v[channel * tiles.matrices.plane() + n * tiles.columns..];
                    input_row(s, tiles, lines, v);
                }
            }
        },
    );
}

/// One row of tiles. Neighbours share two columns, so a column is transformed once.
#[inline(always)]
fn input_row<S: Simd>(s: S, tiles: &Tiles<'_>, lines: [&[Vector]; SIDE], v: &mut [Vector]) {
    let stride = matrix(tiles.matrices) / LANES;
    let mut at = 0usize.wrapping_sub(tiles.padding[1]);
    let (mut a, mut b) = (column(s, lines, at), column(s, lines, at.wrapping_add(1)));
    for tile in 0..tiles.columns {
        at = at.wrapping_add(2);
        let (c, d) = (column(s, lines, at), column(s, lines, at.wrapping_add(1)));
        let v = &mut v[tile..][..(ELEMENTS - 1) * stride + 1];
        for i in 0..SIDE {
            s.store(&mut v[SIDE * i * stride], s.sub(a[i], c[i]));
            s.store(&mut v[(SIDE * i + 1) * stride], s.add(b[i], c[i]));
            s.store(&mut v[(SIDE * i + 2) * stride], s.sub(c[i], b[i]));
            s.store(&mut v[(SIDE * i + 3) * stride], s.sub(b[i], d[i]));
        }
        (a, b) = (c, d);
    }
}

/// `Bᵀ d` of a column; zeros outside of the plane.
#[inline(always)]
fn column<S: Simd>(s: S, lines: [&[Vector]; SIDE], x: usize) -> [S::Vector; SIDE] {
    if x >= lines[0].len() {
        return [s.zero(); SIDE];
    }
    let mut d = [s.zero(); SIDE];
    for i in 0..SIDE {
        d[i] = s.load(&lines[i][x]);
    }
    [s.sub(d[0], d[2]), s.add(d[1], d[2]), s.sub(d[2], d[1]), s.sub(d[1], d[3])]
}

/// `start + Aᵀ m A` of every tile, then a ReLU, to the tile's place in `y`.
pub(super) fn output_tiles<S: Simd>(
    s: S,
    tiles: &Tiles<'_>,
    m: &[f32],
    epilogue: Epilogue<'_>,
    y: &mut [f32],
) {
    let [height, width] = tiles.planes.size;
    s.vectorize(
        #[inline(always)]
        || {
            let (m, y) = (m.as_chunks().0, y.as_chunks_mut().0);
            let planes = y.chunks_exact_mut(tiles.planes.plane());
            for (channel, plane) in planes.take(tiles.planes.channels).enumerate() {
                let start = match epilogue.start {
                    Start::Zero => Some(s.zero()),
                    Start::Bias(bias) => Some(s.splat(bias[channel])),
                    Start::Output => None,
                };
                for (n, row) in tiles.rows.clone().enumerate() {
                    let m = &m[channel * tiles.matrices.plane() + n * tiles.columns..];
                    let lines = &mut plane[2 * row * width..height.min(2 * row + 2) * width];
                    output_row(s, tiles, m, start, epilogue.relu, lines);
                }
            }
        },
    );
}

/// One row of tiles: two rows of a plane, or the last one.
#[inline(always)]
fn output_row<S: Simd>(
    s: S,
    tiles: &Tiles<'_>,
    m: &[Vector],
    start: Option<S::Vector>,
    activated: bool,
    lines: &mut [Vector],
) {
    let stride = matrix(tiles.matrices) / LANES;
    let (upper, lower) = lines.split_at_mut(tiles.planes.size[1]);
    for tile in 0..tiles.columns {
        let m = &m[tile..][..(ELEMENTS - 1) * stride + 1];
        let mut halves = [[s.zero(); SIDE]; 2];
        for j in 0..SIDE {
            let mut column = [s.zero(); SIDE];
            for i in 0..SIDE {
                column[i] = s.load(&m[(SIDE * i + j) * stride]);
            }
            [halves[0][j], halves[1][j]] = fold(s, column);
        }
        for (line, half) in [&mut *upper, &mut *lower].into_iter().zip(halves) {
            for (x, sum) in fold(s, half).into_iter().enumerate() {
                if let Some(y) = line.get_mut(2 * tile + x) {
                    let value = s.add(start.unwrap_or(s.load(y)), sum);
                    s.store(y, if activated { relu(s, value) } else { value });
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

/// `A dy Aᵀ` of every 2×2 tile, to `[16][channels][tiles]`; what lies outside of the planes is zero.
pub(super) fn gradient_tiles<S: Simd>(s: S, tiles: &Tiles<'_>, dy: &[f32], g: &mut [f32]) {
    let [height, width] = tiles.planes.size;
    s.vectorize(
        #[inline(always)]
        || {
            let (dy, g) = (dy.as_chunks().0, g.as_chunks_mut().0);
            let planes = dy.chunks_exact(tiles.planes.plane());
            for (channel, plane) in planes.take(tiles.planes.channels).enumerate() {
                for (n, row) in tiles.rows.clone().enumerate() {
                    let g = &mut g[channel * tiles.matrices.plane() + n * tiles.columns..];
                    let lines = &plane[2 * row * width..height.min(2 * row + 2) * width];
                    gradient_row(s, tiles, lines, g);
                }
            }
        },
    );
}

#[inline(always)]
fn gradient_row<S: Simd>(s: S, tiles: &Tiles<'_>, lines: &[Vector], g: &mut [Vector]) {
    let stride = matrix(tiles.matrices) / LANES;
    let (upper, lower) = lines.split_at(tiles.planes.size[1]);
    for tile in 0..tiles.columns {
        let left = spread(s, pixel(s, upper, 2 * tile), pixel(s, lower, 2 * tile));
        let right = spread(s, pixel(s, upper, 2 * tile + 1), pixel(s, lower, 2 * tile + 1));
        let g = &mut g[tile..][..(ELEMENTS - 1) * stride + 1];
        for i in 0..SIDE {
            for (j, value) in spread(s, left[i], right[i]).into_iter().enumerate() {
                s.store(&mut g[(SIDE * i + j) * stride], value);
            }
        }
    }
}

/// `A` times a column of two.
#[inline(always)]
fn spread<S: Simd>(s: S, a: S::Vector, b: S::Vector) -> [S::Vector; SIDE] {
    [a, s.add(a, b), s.sub(a, b), s.sub(s.zero(), b)]
}

/// A pixel of a row; zero outside of it.
#[inline(always)]
fn pixel<S: Simd>(s: S, line: &[Vector], x: usize) -> S::Vector {
    match line.get(x) {
        Some(vector) => s.load(vector),
        None => s.zero(),
    }
}
