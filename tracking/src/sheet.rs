//! A sheet of what a network sees: images with the names of their classes, in rows.

use crate::raster::Raster;
use font8x8::UnicodeFonts;

/// Rows and columns of a letter, the gap between images, and the smallest side of an image on the sheet.
const LETTER: usize = 8;
const GAP: usize = 6;
const SIDE: usize = 64;

/// Colours of the paper and of letters.
const PAPER: u8 = 255;
const INK: u8 = 30;

/// A row of a sheet: what is written over it, and its images, all of one size: rows of pixels, the channels of a pixel
/// side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct SheetRow {
    /// What is written over it; letters beyond those of Western Europe and Greece become `?`.
    pub title: String,
    /// The images, from the left.
    pub images: Vec<Vec<u8>>,
}

/// Draws rows of images of this shape (channels: 1, 3 or 4; rows; columns), small ones enlarged by a whole factor.
///
/// # Panics
/// If there is no image, or one has another size.
#[must_use]
pub fn sheet([channels, rows, columns]: [usize; 3], sheet: &[SheetRow]) -> Raster {
    let scale = SIDE.div_ceil(rows.max(columns));
    let [high, wide] = [rows * scale, columns * scale];
    let most = sheet.iter().map(|row| row.images.len()).max().expect("a row of images");
    let letters = sheet.iter().map(|row| row.title.chars().count()).max().unwrap_or(0);
    let width = (GAP + most * (wide + GAP)).max(2 * GAP + letters.min(100) * LETTER);
    let of_row = GAP + LETTER + GAP / 2 + high;
    let mut page = Page { width, pixels: vec![PAPER; (sheet.len() * of_row + GAP) * width * 3] };
    for (n, row) in sheet.iter().enumerate() {
        let top = GAP + n * of_row;
        page.write(top, GAP, &row.title);
        for (i, image) in row.images.iter().enumerate() {
            assert_eq!(image.len(), channels * rows * columns, "bytes of an image");
            let corner = [top + LETTER + GAP / 2, GAP + i * (wide + GAP)];
            for (y, x) in (0..high).flat_map(|y| (0..wide).map(move |x| (y, x))) {
                let at = (y / scale * columns + x / scale) * channels;
                page.put(corner[0] + y, corner[1] + x, colour(&image[at..][..channels]));
            }
        }
    }
    let height = page.pixels.len() / (3 * width);
    Raster::new([height, width, 3], page.pixels)
}

/// A pixel as it is on paper.
fn colour(pixel: &[u8]) -> [u8; 3] {
    match *pixel {
        [grey] => [grey; 3],
        [r, g, b] => [r, g, b],
        [r, g, b, opacity] => [r, g, b].map(|value| {
            let (value, opacity) = (u32::from(value), u32::from(opacity));
            ((value * opacity + u32::from(PAPER) * (255 - opacity) + 127) / 255) as u8
        }),
        _ => panic!("{} channels", pixel.len()),
    }
}

struct Page {
    width: usize,
    pixels: Vec<u8>,
}

impl Page {
    fn put(&mut self, y: usize, x: usize, colour: [u8; 3]) {
        self.pixels[(y * self.width + x) * 3..][..3].copy_from_slice(&colour);
    }

    /// A line of text as far as the page is wide.
    fn write(&mut self, top: usize, left: usize, text: &str) {
        for (i, c) in text.chars().enumerate() {
            let left = left + i * LETTER;
            if left + LETTER > self.width {
                break;
            }
            for (y, bits) in glyph(c).into_iter().enumerate() {
                for x in (0..LETTER).filter(|x| bits >> x & 1 == 1) {
                    self.put(top + y, left + x, [INK; 3]);
                }
            }
        }
    }
}

/// The rows of a letter from the top, its left in the lowest bit.
fn glyph(c: char) -> [u8; LETTER] {
    let found = font8x8::BASIC_FONTS.get(c).or_else(|| font8x8::LATIN_FONTS.get(c));
    let found = found.or_else(|| font8x8::GREEK_FONTS.get(c));
    found.or_else(|| font8x8::BASIC_FONTS.get('?')).unwrap_or([0; LETTER])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_their_titles_are_on_the_sheet() {
        let image = |value: u8| vec![value; 2 * 3 * 4];
        let rows = [
            SheetRow { title: "Tür".to_owned(), images: vec![image(200), image(90)] },
            SheetRow { title: String::new(), images: vec![image(255)] },
        ];
        let page = sheet([4, 2, 3], &rows);
        // 64 over 3, rounded up, is a factor of 22.
        let [height, width, _] = page.shape();
        assert_eq!([height, width], [2 * (6 + 8 + 3 + 44) + 6, 6 + 2 * (66 + 6)]);
        let at = |y: usize, x: usize| page.pixels()[(y * width + x) * 3];
        // Over white, as much as it covers.
        assert_eq!(
            [at(60, 71), at(17, 72), at(17, 78)],
            [212, 255, ((90 * 90 + 255 * 165 + 127) / 255) as u8]
        );
        let ink = |from: usize| {
            (6..14)
                .flat_map(|y| (from..from + 8).map(move |x| (y, x)))
                .filter(|&(y, x)| at(y, x) == INK)
                .count()
        };
        assert!([6, 14, 22].iter().all(|&from| ink(from) > 5) && ink(30) == 0);
        assert_ne!(glyph('ü'), glyph('?'));
        assert_eq!(glyph('猫'), glyph('?'));
    }
}
