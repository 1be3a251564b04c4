//! What is made of the data.

use super::RecipeError;
use super::check::{count, part, require};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is made of the data.
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
    /// Images per shard, a multiple of 16: the unit of work of a thread, and what batch norm
    /// normalises over. See [`Recipe::shard`](crate::Recipe::shard) for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<usize>,
    /// What validation uses.
    pub validation: Validation,
    /// What is done to pixels.
    pub normalize: Normalize,
}

/// What validation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"test\", \"none\" or a number of training images")]
pub enum Validation {
    /// A set by name.
    Named(ValidationSet),
    /// This many training images, held out.
    HeldOut(usize),
}

/// A set that validation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValidationSet {
    /// The test set.
    Test,
    /// There is no validation.
    None,
}

/// What is done to pixels: (pixel / 255 − mean) / std.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"auto\" or { mean = [..], std = [..] }")]
pub enum Normalize {
    /// With mean and deviation of the training images, per channel.
    Auto(Auto),
    /// With these.
    Fixed(Moments),
}

/// Mean and deviation to normalise with, one for all channels or one per channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Moments {
    /// Subtracted from pixel / 255.
    pub mean: Vec<f64>,
    /// What the difference is divided by.
    pub std: Vec<f64>,
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auto {
    /// The word `auto`.
    Auto,
}

/// Random changes of training images: a shift, then a mirroring, then an erased rectangle. Each choice
/// is a function of (seed, epoch, image).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct AugmentSection {
    /// Pixels by which an image is shifted at most, along each axis and either way. What comes in
    /// from outside is as the pixel value 0.
    pub shift: usize,
    /// The probability of being mirrored left to right.
    pub flip: f64,
    /// The probability that a rectangle is erased, that is filled with the mean that pixels are
    /// normalised with. Its height is 0.3 to 3.3 times its width; where none fits in ten tries, none
    /// is erased.
    ///
    /// Source: Z. Zhong et al., "Random erasing data augmentation", AAAI 2020.
    pub erase: f64,
    /// The rectangle's part of the image, least and most.
    pub erase_area: [f64; 2],
}

impl Default for DataSection {
    fn default() -> Self {
        DataSection {
            directory: None,
            prefix: None,
            batch_size: 64,
            shard: None,
            validation: Validation::Named(ValidationSet::Test),
            normalize: Normalize::Auto(Auto::Auto),
        }
    }
}

impl Default for AugmentSection {
    fn default() -> Self {
        AugmentSection { shift: 0, flip: 0.0, erase: 0.0, erase_area: [0.02, 0.33] }
    }
}

impl DataSection {
    pub(super) fn check(&self, shard: usize) -> Result<(), RecipeError> {
        count("data.batch_size", self.batch_size)?;
        let sixteens = (1..=1 << 20).contains(&shard) && shard.is_multiple_of(16);
        require(sixteens, "data.shard", shard, "a multiple of 16 from 16 to 1048576")?;
        if let Validation::HeldOut(images) = self.validation {
            let possible = (1..=u32::MAX as usize).contains(&images);
            let expected = "\"test\", \"none\" or a number of training images from 1";
            require(possible, "data.validation", images, expected)?;
        }
        if let Normalize::Fixed(Moments { mean, std }) = &self.normalize {
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
        matches!(self.validation, Validation::HeldOut(_))
    }
}

impl AugmentSection {
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        require(self.shift <= 1024, "augment.shift", self.shift, "a whole number from 0 to 1024")?;
        part("augment.flip", self.flip)?;
        part("augment.erase", self.erase)?;
        let [least, most] = self.erase_area;
        let ordered = 0.0 < least && least <= most && most <= 1.0;
        let expected = "two numbers above 0 and up to 1, the smaller one first";
        require(ordered, "augment.erase_area", format!("{:?}", self.erase_area), expected)
    }
}
