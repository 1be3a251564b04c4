//! Mixing of the images of a batch, each with the one before it: mixup and CutMix.
//!
//! The first image comes after the last. One choice is made for a whole batch, of (seed, step); box and shares are
//! those of `torchvision.transforms.v2`.
//!
//! Sources: H. Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018; S. Yun et al., "CutMix:
//! Regularization strategy to train strong classifiers with localizable features", ICCV 2019.

use crate::recipe::{Recipe, RecipeError};
use autograd::{Philox, Purpose, below};
use dataset::Dataset;
use kernels::{Cores, Cost};
use std::ops::Range;

/// Into how many parts the weight of a pixel is divided: a pixel times it fits a word.
const PARTS: u32 = 1 << 16;

/// What one past the largest random word stands for.
const WORDS: f64 = 4_294_967_296.0;

/// How a recipe mixes its batches.
pub(crate) struct Mixing {
    philox: Philox,
    /// α of mixup, 0 if there is none.
    mixup: f64,
    /// α of CutMix, 0 if there is none.
    cutmix: f64,
    /// Channels, rows, columns.
    shape: [usize; 3],
}

/// How the images of one batch are mixed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mix {
    shape: [usize; 3],
    way: Way,
}

#[derive(Clone, Debug, PartialEq)]
enum Way {
    /// Mixup: so many [`PARTS`] of every pixel are the image's own.
    Blend(u32),
    /// CutMix: these rows and columns are those of the other image.
    Paste(Range<usize>, Range<usize>),
}

impl Mixing {
    /// The recipe's, if it mixes. An error where ranks have images of their own: the one before an image of the batch
    /// may be another rank's.
    pub(crate) fn of(recipe: &Recipe, data: &Dataset) -> Result<Option<Mixing>, RecipeError> {
        let (mixup, cutmix) = (recipe.augment.mixup, recipe.augment.cutmix);
        let fields = [("augment.mixup", mixup), ("augment.cutmix", cutmix)];
        let Some((field, alpha)) = fields.into_iter().find(|(_, alpha)| *alpha > 0.0) else {
            return Ok(None);
        };
        if data.share().is_some() {
            let expected = "0, as each rank has images of its own, and an image is mixed with one of the whole batch";
            return Err(RecipeError::value(field, alpha, expected));
        }
        let philox = Philox::new(recipe.seed, Purpose::Mixing);
        Ok(Some(Mixing { philox, mixup, cutmix, shape: data.image_shape() }))
    }

    /// What happens to the batch of a step, from 0.
    pub(crate) fn of_step(&self, step: usize) -> Mix {
        let step = step as u64;
        let words = |draw| self.philox.words([step as u32, (step >> 32) as u32, draw, 0]);
        let [first, second, coin, _] = words(0);
        let has_both = self.mixup > 0.0 && self.cutmix > 0.0;
        let is_mixup = if has_both { below(coin, 2) == 0 } else { self.mixup > 0.0 };
        let own = |alpha| beta(alpha, [first, second]);
        let way = if is_mixup {
            Way::Blend(libm::round(own(self.mixup) * f64::from(PARTS)) as u32)
        } else {
            let [row, column, ..] = words(1);
            let [_, rows, columns] = self.shape;
            // Half a side, as a part of the image's: the box has 1 − own of the area, but for what lies outside.
            let half = 0.5 * libm::sqrt(1.0 - own(self.cutmix));
            let side = |centre: u32, len: usize| {
                let (centre, half) =
                    (below(centre, len as u32) as usize, (half * len as f64) as usize);
                centre.saturating_sub(half)..len.min(centre + half)
            };
            Way::Paste(side(row, rows), side(column, columns))
        };
        Mix { shape: self.shape, way }
    }
}

/// A number of Beta(α, α), from 0 to 1, made of two random words: ½ + ½ t / √(2α + t²) of Student's t with 2α
/// degrees of freedom, for any α > 0.
///
/// Source: R. Bailey, "Polar generation of random variates with the t-distribution", Mathematics of Computation 62,
/// 1994: t = √(2α · (u^(−1/α) − 1)) · cos(2πv).
fn beta(alpha: f64, words: [u32; 2]) -> f64 {
    let [u, v] = words.map(|word| (f64::from(word) + 0.5) / WORDS);
    let power = libm::exp(libm::log(u) / alpha);
    let cos = libm::cos(2.0 * std::f64::consts::PI * v);
    // t² / (2α + t²), from numbers that do not overflow. The cosine of no v is 0.
    let far = (1.0 - power) * cos * cos;
    let distance = libm::sqrt(far / (power + far));
    0.5 + 0.5 * distance.copysign(cos)
}

impl Mix {
    /// What part of an image's target is its own class; the rest is the other's.
    fn own_share(&self) -> f32 {
        match &self.way {
            Way::Blend(own) => *own as f32 / PARTS as f32,
            Way::Paste(rows, columns) => {
                let [_, height, width] = self.shape;
                (1.0 - (rows.len() * columns.len()) as f64 / (height * width) as f64) as f32
            }
        }
    }

    /// Writes an image with another mixed into it. All are rows of pixels, the channels of a pixel side by side.
    ///
    /// # Panics
    /// Unless all have the length that the shape says.
    pub(crate) fn image(&self, own: &[u8], other: &[u8], to: &mut [u8]) {
        let [channels, height, width] = self.shape;
        let bytes = channels * height * width;
        assert_eq!(
            [own.len(), other.len(), to.len()],
            [bytes; 3],
            "bytes of an image, and of the shape"
        );
        match &self.way {
            &Way::Blend(part) => {
                for ((to, own), other) in to.iter_mut().zip(own).zip(other) {
                    let sum = part * u32::from(*own) + (PARTS - part) * u32::from(*other);
                    *to = ((sum + PARTS / 2) / PARTS) as u8;
                }
            }
            Way::Paste(rows, columns) => {
                to.copy_from_slice(own);
                for row in rows.clone() {
                    let place = |column: usize| (row * width + column) * channels;
                    let pasted = place(columns.start)..place(columns.end);
                    to[pasted.clone()].copy_from_slice(&other[pasted]);
                }
            }
        }
    }

    /// Writes images 1, 2, … one after another, each with the one before it mixed into it. `images` has image 0 first;
    /// each has room for `room` bytes, of which the first are its own.
    pub(crate) fn images(&self, cores: Cores<'_>, images: &[u8], room: usize, to: &mut Vec<u8>) {
        let bytes: usize = self.shape.iter().product();
        let count = (images.len() / room).saturating_sub(1);
        to.resize(count * bytes, 0);
        let cost = Cost::nanoseconds(count * bytes / 4);
        cores.each_piece(to, bytes, cost, |first, to| {
            let first = first / bytes;
            for (i, to) in to.chunks_exact_mut(bytes).enumerate() {
                let image = |i: usize| &images[(first + i) * room..][..bytes];
                self.image(image(i + 1), image(i), to);
            }
        });
    }

    /// Makes of the targets of images 0, 1, …, a row of so many classes for each, those of images 1, 2, …, each with
    /// those of the one before it mixed into them.
    pub(crate) fn targets(&self, classes: usize, rows: &mut Vec<f32>) {
        let own = self.own_share();
        let mixed = rows.len().saturating_sub(classes);
        for i in 0..mixed {
            rows[i] = own * rows[i + classes] + (1.0 - own) * rows[i];
        }
        rows.truncate(mixed);
    }
}

#[cfg(test)]
mod tests;
