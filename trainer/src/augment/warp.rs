//! Images turned, cut, sheared and moved: where each pixel comes from, and what lies outside.

use crate::recipe::Fill;

/// Bits of a coordinate after the point, and of a weight between neighbours.
const FRACTION: u32 = 16;
const WEIGHT: u32 = 8;

/// An image and its neighbourhood.
pub(super) struct Canvas<'a> {
    /// Channels, rows, columns.
    pub shape: [usize; 3],
    /// Rows of pixels, the channels of a pixel side by side.
    pub pixels: &'a [u8],
    /// What there is beyond its border.
    pub fill: Fill,
    /// A pixel of the mean colour.
    pub mean: &'a [u8],
}

/// Where pixels come from: that at column x and row y from column `x · (x, y, 1)` and row `y · (x, y, 1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine {
    pub x: [f64; 3],
    pub y: [f64; 3],
}

impl Affine {
    /// Everything stays in its place.
    pub const IDENTITY: Affine = Affine { x: [1.0, 0.0, 0.0], y: [0.0, 1.0, 0.0] };

    /// Moves an image by so many pixels to the right and down.
    pub fn shift(right: f64, down: f64) -> Affine {
        Affine { x: [1.0, 0.0, -right], y: [0.0, 1.0, -down] }
    }

    /// Makes a rectangle as large as the image: `left` and `top` are its corner, `width` and `height` its share of
    /// the image's.
    pub fn crop([left, top]: [f64; 2], [width, height]: [f64; 2]) -> Affine {
        // The edges of pixels are half a pixel from their centres.
        let offset = |corner: f64, share: f64| corner + 0.5 * share - 0.5;
        Affine { x: [width, 0.0, offset(left, width)], y: [0.0, height, offset(top, height)] }
    }

    /// A linear map of what is drawn about the middle of an image of this shape.
    fn about_the_middle([a, b, c, d]: [f64; 4], [_, rows, columns]: [usize; 3]) -> Affine {
        let (x, y) = (0.5 * (columns as f64 - 1.0), 0.5 * (rows as f64 - 1.0));
        Affine { x: [a, b, x - a * x - b * y], y: [c, d, y - c * x - d * y] }
    }

    /// Turns an image about its middle, anticlockwise.
    pub fn rotation(degrees: f64, shape: [usize; 3]) -> Affine {
        let (sin, cos) = libm::sincos(degrees * (std::f64::consts::PI / 180.0));
        Affine::about_the_middle([cos, -sin, sin, cos], shape)
    }

    /// Shears an image about its middle: along rows and along columns.
    pub fn shear(along_rows: f64, along_columns: f64, shape: [usize; 3]) -> Affine {
        Affine::about_the_middle([1.0, along_rows, along_columns, 1.0], shape)
    }

    /// This of what `first` has made of an image.
    pub fn after(self, first: Affine) -> Affine {
        let row = |[a, b, c]: [f64; 3]| {
            let column = |i: usize| a * self.x[i] + b * self.y[i];
            [column(0), column(1), column(2) + c]
        };
        Affine { x: row(first.x), y: row(first.y) }
    }
}

/// Draws an image anew: each pixel between the four that are next to where it comes from, by integers.
pub(super) fn warp(canvas: &Canvas<'_>, affine: Affine, to: &mut [u8]) {
    let [channels, _, columns] = canvas.shape;
    let fixed = |v: f64| libm::floor(v * f64::from(1u32 << FRACTION) + 0.5) as i64;
    let (x, y) = (affine.x.map(fixed), affine.y.map(fixed));
    let start = |[_, of_row, offset]: [i64; 3], row: i64| of_row * row + offset;
    for (row, to) in to.chunks_exact_mut(columns * channels).enumerate() {
        let (mut at_x, mut at_y) = (start(x, row as i64), start(y, row as i64));
        for pixel in to.chunks_exact_mut(channels) {
            sample(canvas, [at_x, at_y], pixel);
            at_x += x[0];
            at_y += y[0];
        }
    }
}

fn sample(canvas: &Canvas<'_>, at: [i64; 2], to: &mut [u8]) {
    // Rounded to the weights, so that a whole pixel is one however it was reached.
    let [x, y] = at.map(|v| (v + (1 << (FRACTION - WEIGHT - 1))) >> (FRACTION - WEIGHT));
    let split = |v: i64| (v >> WEIGHT, (v & ((1 << WEIGHT) - 1)) as u32);
    let ((x, right), (y, below)) = (split(x), split(y));
    let corners = [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)];
    let corners = corners.map(|(y, x)| canvas.pixel(y, x));
    let (left, above) = ((1 << WEIGHT) - right, (1 << WEIGHT) - below);
    let weights = [above * left, above * right, below * left, below * right];
    for (c, to) in to.iter_mut().enumerate() {
        let value =
            |(pixel, weight): (&&[u8], u32)| pixel.get(c).map_or(0, |&v| u32::from(v) * weight);
        let sum: u32 = corners.iter().zip(weights).map(value).sum();
        *to = ((sum + (1 << (2 * WEIGHT - 1))) >> (2 * WEIGHT)) as u8;
    }
}

impl Canvas<'_> {
    /// The channels of a pixel; none are as many zeros.
    fn pixel(&self, row: i64, column: i64) -> &[u8] {
        let [channels, rows, columns] = self.shape;
        let inside = |v: i64, len: usize| (0..len as i64).contains(&v);
        let (row, column) = match self.fill {
            _ if inside(row, rows) && inside(column, columns) => (row as usize, column as usize),
            Fill::Zero => return &[],
            Fill::Mean => return self.mean,
            Fill::Edge => (
                row.clamp(0, rows as i64 - 1) as usize,
                column.clamp(0, columns as i64 - 1) as usize,
            ),
            Fill::Reflect => (reflected(row, rows), reflected(column, columns)),
        };
        &self.pixels[(row * columns + column) * channels..][..channels]
    }
}

/// A place beyond an edge, as in a mirror that stands on the outermost pixel; again and again.
fn reflected(place: i64, len: usize) -> usize {
    let period = (2 * (len as i64 - 1)).max(1);
    let place = place.rem_euclid(period);
    place.min(period - place).min(len as i64 - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same in floating point, from the definition.
    fn by_definition(canvas: &Canvas<'_>, affine: Affine) -> Vec<f64> {
        let [channels, rows, columns] = canvas.shape;
        let mut to = vec![];
        for (row, column) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y as f64, x as f64)))
        {
            let at = |[a, b, c]: [f64; 3]| a * column + b * row + c;
            let (x, y) = (at(affine.x), at(affine.y));
            for c in 0..channels {
                let mut sum = 0.0;
                for (dy, dx) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
                    let (row, column) = (y.floor() + dy, x.floor() + dx);
                    let weight = (1.0 - (y - row).abs()) * (1.0 - (x - column).abs());
                    let pixel = canvas.pixel(row as i64, column as i64);
                    sum += weight * pixel.get(c).map_or(0.0, |&v| f64::from(v));
                }
                to.push(sum);
            }
        }
        to
    }

    proptest! {
        #[test]
        fn a_warp_is_that_of_its_definition(
            channels in 1..5usize,
            rows in 1..12usize,
            columns in 1..12usize,
            degrees in -180.0..180.0f64,
            corner in prop::array::uniform2(-3.0..6.0f64),
            share in prop::array::uniform2(0.1..1.5f64),
            fill in prop_oneof![
                Just(Fill::Zero), Just(Fill::Mean), Just(Fill::Edge), Just(Fill::Reflect)
            ],
        ) {
            let shape = [channels, rows, columns];
            let pixels: Vec<u8> = (0..channels * rows * columns).map(|i| (i * i * 31 + 7) as u8).collect();
            let canvas = Canvas { shape, pixels: &pixels, fill, mean: &[10, 200, 90, 255][..channels] };
            let affine = Affine::rotation(degrees, shape).after(Affine::crop(corner, share));
            let mut to = vec![99; pixels.len()];
            warp(&canvas, affine, &mut to);
            for (found, expected) in to.iter().zip(by_definition(&canvas, affine)) {
                // Half a step of a weight on either axis, of 255, and rounding.
                prop_assert!((f64::from(*found) - expected).abs() < 2.1, "{found} instead of {expected}");
            }
        }
    }

    #[test]
    fn whole_pixels_and_quarter_turns_are_exact() {
        let pixels: Vec<u8> = (0..25).map(|i| i * 9).collect();
        let shape = [1, 5, 5];
        let canvas = Canvas { shape, pixels: &pixels, fill: Fill::Zero, mean: &[0] };
        let drawn = |affine| {
            let mut to = vec![99; 25];
            warp(&canvas, affine, &mut to);
            to
        };
        let of = |f: fn(usize, usize) -> Option<(usize, usize)>| -> Vec<u8> {
            let at = |i: usize| f(i / 5, i % 5).map_or(0, |(y, x)| pixels[y * 5 + x]);
            (0..25).map(at).collect()
        };
        assert_eq!(drawn(Affine::IDENTITY), pixels);
        assert_eq!(drawn(Affine::crop([0.0; 2], [1.0; 2])), pixels);
        assert_eq!(drawn(Affine::rotation(360.0, shape)), pixels);
        assert_eq!(drawn(Affine::rotation(90.0, shape)), of(|y, x| Some((x, 4 - y))));
        let moved = of(|y, x| Some((y + 1, x.checked_sub(2)?)).filter(|(y, _)| *y < 5));
        assert_eq!(drawn(Affine::shift(2.0, -1.0)), moved);
        // First turned, then moved.
        let both = Affine::shift(2.0, -1.0).after(Affine::rotation(90.0, shape));
        let turned = drawn(Affine::rotation(90.0, shape));
        let mut to = vec![0; 25];
        warp(&Canvas { pixels: &turned, ..canvas }, Affine::shift(2.0, -1.0), &mut to);
        assert_eq!(drawn(both), to);
    }

    #[test]
    fn mirrors_stand_on_the_outermost_pixel() {
        let of = |len: usize| -> Vec<usize> { (-4..7).map(|v| reflected(v, len)).collect() };
        assert_eq!(of(3), [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
        assert_eq!(of(1), [0; 11]);
        assert_eq!(of(2), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]);
    }
}
