//! What is made of the data.

use super::RecipeError;
use super::check::{count, require, utf8};
use dataset::PixelStatistics;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How the data is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct DataSection {
    /// The directory of its IDX files; the bundled Fashion-MNIST if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// The set to use where several share a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Images per optimiser step.
    pub batch_size: usize,
    /// Images per shard, a multiple of 16: what batch norm normalises over, and a leaf of the
    /// summation tree. See [`Recipe::shard`](crate::Recipe::shard) for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<usize>,
    /// The images to validate on.
    pub validation: Validation,
    /// Whether the same fraction of each class is held out, up to rounding; else images are drawn from all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stratify: bool,
    /// How pixels are scaled.
    pub normalize: Normalize,
    /// Which training images an epoch has.
    #[serde(skip_serializing_if = "Sampling::is_default")]
    pub sampling: Sampling,
}

/// Which training images an epoch has, and in which order: a function of seed and epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Each once, shuffled.
    #[default]
    Shuffled,
    /// As many of each class, and as many in all as there are: those of small classes several times, of
    /// large ones other ones in each epoch.
    Balanced,
}

impl Sampling {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Sampling::Shuffled
    }
}

/// The images to validate on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"test\", \"none\", a number of training images, or a fraction of them such as 0.2 or 20%"
)]
pub enum Validation {
    /// A set by name.
    Named(ValidationSet),
    /// This many training images, held out.
    HeldOut(usize),
    /// This part of the training images, held out.
    Fraction(Fraction),
}

/// A part of the training images, above 0 and below 1; in a recipe a number such as 0.2, or "20%".
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WrittenFraction", into = "f64")]
pub struct Fraction(pub f64);

/// A part as a recipe has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenFraction {
    Number(f64),
    Text(String),
}

impl TryFrom<WrittenFraction> for Fraction {
    type Error = &'static str;

    fn try_from(written: WrittenFraction) -> Result<Fraction, &'static str> {
        match written {
            WrittenFraction::Number(fraction) => Ok(Fraction(fraction)),
            WrittenFraction::Text(text) => {
                let percent = text.strip_suffix('%').and_then(hundredth);
                percent.map(Fraction).ok_or("expected a part or percent")
            }
        }
    }
}

/// A hundredth of a decimal number, rounded once: of 33.3 what 0.333 is, which 33.3 / 100 is not.
fn hundredth(text: &str) -> Option<f64> {
    let text = text.trim();
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    format!("{digits}e{}", exponent.checked_sub(2)?).parse().ok()
}

impl From<Fraction> for f64 {
    fn from(Fraction(fraction): Fraction) -> f64 {
        fraction
    }
}

/// A set of images to validate on, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValidationSet {
    /// The test set.
    Test,
    /// There is no validation.
    None,
}

/// The scaling of pixels: (pixel / 255 − mean) / std.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"auto\" or { mean = [..], std = [..] }")]
pub enum Normalize {
    /// With mean and deviation of the training images, per channel.
    Auto(Auto),
    /// With this mean and deviation.
    Fixed(PixelStatistics),
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auto {
    /// The word `auto`.
    Auto,
}

impl Default for DataSection {
    fn default() -> Self {
        DataSection {
            directory: None,
            prefix: None,
            batch_size: 64,
            shard: None,
            validation: Validation::Named(ValidationSet::Test),
            stratify: false,
            normalize: Normalize::Auto(Auto::Auto),
            sampling: Sampling::Shuffled,
        }
    }
}

impl DataSection {
    pub(super) fn check(&self, shard: usize) -> Result<(), RecipeError> {
        utf8("data.directory", self.directory.as_deref())?;
        count("data.batch_size", self.batch_size)?;
        let sixteens = (1..=1 << 20).contains(&shard) && shard.is_multiple_of(16);
        require(sixteens, "data.shard", shard, "a multiple of 16 from 16 to 1048576")?;
        let expected = "\"test\", \"none\", a number of training images (at least 1), or a fraction of \
                        them (above 0 and below 1)";
        match self.validation {
            Validation::HeldOut(images) => {
                let possible = (1..=u32::MAX as usize).contains(&images);
                require(possible, "data.validation", images, expected)?;
            }
            Validation::Fraction(Fraction(fraction)) => {
                let possible = 0.0 < fraction && fraction < 1.0;
                require(possible, "data.validation", fraction, expected)?;
            }
            Validation::Named(_) => {}
        }
        if let Normalize::Fixed(PixelStatistics { mean, std }) = &self.normalize {
            let finite = !mean.is_empty() && mean.iter().all(|m| m.is_finite());
            let expected = "a list of numbers, such as [0.5]";
            require(finite, "data.normalize.mean", format!("{mean:?}"), expected)?;
            let positive = std.len() == mean.len() && std.iter().all(|s| s.is_finite() && *s > 0.0);
            let expected = "a list of as many positive numbers as `data.normalize.mean` has";
            require(positive, "data.normalize.std", format!("{std:?}"), expected)?;
        }
        Ok(())
    }

    /// Whether validation is on images that neither training nor the final test sees, so that it may
    /// choose.
    pub(super) fn may_select(&self) -> bool {
        !matches!(self.validation, Validation::Named(_))
    }
}

impl Validation {
    /// How many of so many training images are held out: of a part the nearest number, and one at least.
    pub(crate) fn held_out(self, images: usize) -> usize {
        match self {
            Validation::Named(_) => 0,
            Validation::HeldOut(held_out) => held_out,
            Validation::Fraction(Fraction(fraction)) => {
                ((fraction * images as f64).round() as usize).max(1)
            }
        }
    }
}
