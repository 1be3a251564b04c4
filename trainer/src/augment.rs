//! Random changes of training images.

mod colour;
mod trivial;
mod warp;

use crate::recipe::{AugmentSection, Recipe};
use autograd::{Philox, Purpose, below};
use colour::ONE;
use warp::{Affine, Canvas, warp};

/// Rectangles are tried this often before none is erased, as in torchvision's `RandomErasing`.
const TRIES: u32 = 10;

/// The least and the greatest height of a rectangle divided by its width, as in torchvision's
/// `RandomErasing`.
const RATIOS: [f64; 2] = [0.3, 3.3];

/// Words beside those of a shift, a mirroring and the tries of a rectangle: of the tries of a crop, which follow each
/// other, of colours, of a turn and of a trivial change.
const CROP: u32 = 16;
const COLOURS: u32 = 32;
const TURN: u32 = 33;
const TRIVIAL: u32 = 34;

/// What one past the largest random word stands for.
const WORDS: f64 = 4_294_967_296.0;

/// The random changes that a recipe makes, in this order: a crop, a turn, a shift, a mirroring, brightness, contrast,
/// saturation, a trivial change, an erased rectangle.
///
/// What happens to an image is a function of seed, epoch and image.
pub(crate) struct Augmentation {
    philox: Philox,
    /// Channels, rows, columns.
    shape: [usize; 3],
    shift: u32,
    /// Random words below this mirror the image.
    flip: u64,
    /// Random words below this erase a rectangle.
    erase: u64,
    /// The rectangle's pixels, least and most.
    areas: [f64; 2],
    /// The logarithms of [`RATIOS`].
    log_ratios: [f64; 2],
    /// A pixel of an erased rectangle.
    colour: Vec<u8>,
    /// Where something else is changed than by a shift, a mirroring and a rectangle.
    more: Option<AugmentSection>,
}

/// What happens to an image, beside [`Augmentation::more`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    /// Pixels that it moves.
    down: isize,
    right: isize,
    flip: bool,
    erased: Option<Rectangle>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rectangle {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

impl Augmentation {
    /// The changes of images of this shape (channels, rows, columns). `mean` is that which pixels
    /// are normalised with, one or one per channel, as parts of 255: an erased pixel becomes as near
    /// to it as a byte can be.
    pub(crate) fn new(recipe: &Recipe, shape: [usize; 3], mean: &[f64]) -> Augmentation {
        let section = &recipe.augment;
        let [channels, height, width] = shape;
        let mean = |c: usize| mean[c.min(mean.len() - 1)];
        Augmentation {
            philox: Philox::new(recipe.seed, Purpose::Augmentation),
            shape,
            shift: section.shift as u32,
            flip: (section.flip * WORDS) as u64,
            erase: (section.erase * WORDS) as u64,
            areas: section.erase_area.map(|part| part * (height * width) as f64),
            log_ratios: RATIOS.map(libm::log),
            colour: (0..channels).map(|c| libm::round(255.0 * mean(c)) as u8).collect(),
            more: Some(section.clone()).filter(AugmentSection::changes_more),
        }
    }

    /// Whether no image is ever changed.
    pub(crate) fn is_identity(&self) -> bool {
        [u64::from(self.shift), self.flip, self.erase] == [0; 3] && self.more.is_none()
    }

    /// About how many nanoseconds a byte of an image takes.
    pub(crate) fn cost_per_byte(&self) -> usize {
        match &self.more {
            None => 1,
            Some(_) => 8,
        }
    }

    /// Writes image number `image` of its file, as it is in this epoch, over `to`. Both slices are
    /// rows of pixels, the channels of a pixel side by side. `from` is used up.
    ///
    /// # Panics
    /// Unless both have the length that the shape says.
    pub(crate) fn apply(&self, epoch: u32, image: u32, from: &mut [u8], to: &mut [u8]) {
        let bytes: usize = self.shape.iter().product();
        assert_eq!([from.len(), to.len()], [bytes; 2], "bytes of an image, and of the shape");
        let change = self.choose(epoch, image);
        match &self.more {
            Some(section) if section.warps() => {
                self.warp(section, [epoch, image], &change, from, to)
            }
            _ => self.shift(from, to, change.down, change.right),
        }
        if change.flip {
            self.flip(to);
        }
        if let Some(section) = &self.more {
            self.recolour(section, [epoch, image], to);
            if section.trivial {
                let (words, outside) =
                    (self.words([epoch, image], TRIVIAL), (section.fill, &*self.colour));
                trivial::change(to, from, self.shape, outside, words);
            }
        }
        if let Some(rectangle) = change.erased {
            self.erase(to, &rectangle);
        }
    }

    fn choose(&self, epoch: u32, image: u32) -> Change {
        let [down, right, flip, erase] = self.philox.words([epoch, image, 0, 0]);
        let offset = |word| below(word, 2 * self.shift + 1) as isize - self.shift as isize;
        let rectangle = |draw| self.rectangle(self.philox.words([epoch, image, draw, 0]));
        let erase = u64::from(erase) < self.erase;
        Change {
            down: offset(down),
            right: offset(right),
            flip: u64::from(flip) < self.flip,
            erased: if erase { (1..=TRIES).find_map(rectangle) } else { None },
        }
    }

    fn words(&self, [epoch, image]: [u32; 2], draw: u32) -> [u32; 4] {
        self.philox.words([epoch, image, draw, 0])
    }

    /// A crop, a turn and a shift at once, so that pixels are rounded once.
    fn warp(
        &self,
        section: &AugmentSection,
        image: [u32; 2],
        change: &Change,
        from: &[u8],
        to: &mut [u8],
    ) {
        let between =
            |least: f64, most: f64, word| least + (most - least) * (f64::from(word) / WORDS);
        let mut affine = Affine::IDENTITY;
        if section.crop_area != [1.0; 2] {
            affine = self.crop(section, image);
        }
        if section.rotate > 0.0 {
            let degrees = between(-section.rotate, section.rotate, self.words(image, TURN)[0]);
            affine = Affine::rotation(degrees, self.shape).after(affine);
        }
        affine = Affine::shift(change.right as f64, change.down as f64).after(affine);
        let canvas =
            Canvas { shape: self.shape, pixels: from, fill: section.fill, mean: &self.colour };
        warp(&canvas, affine, to);
    }

    /// A part of the image, as large as the image; all of it if none fits in ten tries.
    fn crop(&self, section: &AugmentSection, image: [u32; 2]) -> Affine {
        let [_, height, width] = self.shape.map(|n| n as f64);
        let between = |[low, high]: [f64; 2], word| low + (high - low) * (f64::from(word) / WORDS);
        let log_ratios = section.crop_ratio.map(libm::log);
        let found = (0..TRIES).find_map(|draw| {
            let [area, ratio, top, left] = self.words(image, CROP + draw);
            let area = between(section.crop_area, area);
            // Of sides as parts of the image's: a ratio of 1 keeps its proportions.
            let ratio = libm::sqrt(libm::exp(between(log_ratios, ratio)));
            let side = libm::sqrt(area);
            let (w, h) = (side * ratio, side / ratio);
            let inside = w <= 1.0 && h <= 1.0;
            let corner = |whole: f64, part: f64, word| between([0.0, whole * (1.0 - part)], word);
            inside.then(|| Affine::crop([corner(width, w, left), corner(height, h, top)], [w, h]))
        });
        found.unwrap_or(Affine::IDENTITY)
    }

    /// Brightness, contrast and saturation, each by a factor of its own.
    fn recolour(&self, section: &AugmentSection, image: [u32; 2], to: &mut [u8]) {
        let far = [section.brightness, section.contrast, section.saturation];
        if far == [0.0; 3] {
            return;
        }
        let words = self.words(image, COLOURS);
        let changes = [colour::brightness, colour::contrast, colour::saturation];
        for ((far, change), word) in far.into_iter().zip(changes).zip(words) {
            // From 1 − far to 1 + far, by integers.
            let far = (far * f64::from(ONE)) as u32;
            if far > 0 {
                change(to, self.shape[0], ONE - far + below(word, 2 * far + 1));
            }
        }
    }

    /// The rectangle of four random words, unless it is larger than the image. It has a pixel at
    /// least, however small the image.
    fn rectangle(&self, [area, ratio, top, left]: [u32; 4]) -> Option<Rectangle> {
        let between = |[low, high]: [f64; 2], word| low + (high - low) * (f64::from(word) / WORDS);
        let area = between(self.areas, area);
        let ratio = libm::exp(between(self.log_ratios, ratio));
        let side = |square: f64| libm::round(libm::sqrt(square)).max(1.0) as usize;
        let (height, width) = (side(area * ratio), side(area / ratio));
        let places = |all: usize, side: usize| Some(all.checked_sub(side)? as u32 + 1);
        Some(Rectangle {
            top: below(top, places(self.shape[1], height)?) as usize,
            left: below(left, places(self.shape[2], width)?) as usize,
            height,
            width,
        })
    }

    /// Copies an image to another place; what comes in from outside is 0.
    fn shift(&self, from: &[u8], to: &mut [u8], down: isize, right: isize) {
        let [channels, height, width] = self.shape;
        if down.unsigned_abs() >= height || right.unsigned_abs() >= width {
            return to.fill(0);
        }
        // Every pixel moves as far along the file as every other. Those that a row loses at one end
        // turn up at the other end of the next or the last.
        let far = (down * width as isize + right) * channels as isize;
        let gap = far.unsigned_abs();
        let moved = from.len() - gap;
        if far >= 0 {
            to[..gap].fill(0);
            to[gap..].copy_from_slice(&from[..moved]);
        } else {
            to[..moved].copy_from_slice(&from[gap..]);
            to[moved..].fill(0);
        }
        let margin = right.unsigned_abs() * channels;
        if margin > 0 {
            for row in to.chunks_exact_mut(width * channels) {
                let start = if right > 0 { 0 } else { row.len() - margin };
                row[start..start + margin].fill(0);
            }
        }
    }

    /// Mirrors an image left to right.
    fn flip(&self, image: &mut [u8]) {
        let [channels, _, width] = self.shape;
        for row in image.chunks_exact_mut(width * channels) {
            row.reverse();
            if channels > 1 {
                row.chunks_exact_mut(channels).for_each(<[u8]>::reverse);
            }
        }
    }

    fn erase(&self, image: &mut [u8], rectangle: &Rectangle) {
        let [channels, _, width] = self.shape;
        let at = |row: usize| (row * width + rectangle.left) * channels;
        let (first, bytes) = (at(rectangle.top), rectangle.width * channels);
        for pixel in image[first..first + bytes].chunks_exact_mut(channels) {
            pixel.copy_from_slice(&self.colour);
        }
        for row in rectangle.top + 1..rectangle.top + rectangle.height {
            image.copy_within(first..first + bytes, at(row));
        }
    }
}

#[cfg(test)]
mod tests;
