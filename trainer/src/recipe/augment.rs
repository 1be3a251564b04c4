//! How training images are changed at random.

use super::RecipeError;
use super::check::{part, require};
use serde::{Deserialize, Serialize};

/// Random changes of training images, in this order: a crop, a turn, a shift, a mirroring, brightness, contrast,
/// saturation, a trivial change, an erased rectangle; each choice is a function of (seed, epoch, image). Then the
/// images of a batch are mixed.
///
/// What follows `erase_area` is written to a file only where it changes something, so that recipes stay the text that
/// they were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct AugmentSection {
    /// Pixels by which an image is shifted at most, along each axis and either way. What comes in
    /// from outside is as `fill` says.
    pub shift: usize,
    /// The probability that an image is mirrored left to right.
    pub flip: f64,
    /// The probability that a rectangle is erased, that is filled with the mean that pixels are
    /// normalised with. Its height is 0.3 to 3.3 times its width; where none fits in ten tries, none
    /// is erased.
    ///
    /// Source: Z. Zhong et al., "Random erasing data augmentation", AAAI 2020.
    pub erase: f64,
    /// The rectangle's share of the image: least and most.
    pub erase_area: [f64; 2],
    /// The share of the image, least and most, that is cut out and drawn as large as the image was.
    #[serde(skip_serializing_if = "is_whole")]
    pub crop_area: [f64; 2],
    /// By how much a crop is wider in proportion than the image: least and most.
    #[serde(skip_serializing_if = "is_usual")]
    pub crop_ratio: [f64; 2],
    /// Degrees by which an image is turned about its middle at most, either way.
    #[serde(skip_serializing_if = "is_zero")]
    pub rotate: f64,
    /// Brightness is multiplied by 1 − this to 1 + this.
    #[serde(skip_serializing_if = "is_zero")]
    pub brightness: f64,
    /// The distance of pixels from the image's mean brightness is multiplied by 1 − this to 1 + this.
    #[serde(skip_serializing_if = "is_zero")]
    pub contrast: f64,
    /// The distance of colours from grey is multiplied by 1 − this to 1 + this.
    #[serde(skip_serializing_if = "is_zero")]
    pub saturation: f64,
    /// Whether one change of fourteen is made of each image, of a random strength: TrivialAugment.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub trivial: bool,
    /// What there is beyond the border of an image that is shifted, turned or sheared.
    #[serde(skip_serializing_if = "Fill::is_zero")]
    pub fill: Fill,
    /// α of mixup, 0 for none: after all other changes, each image of a batch is λ parts itself and 1 − λ parts the
    /// image before it in the batch (before the first, the last), and so is its target. λ is of Beta(α, α), one for
    /// the whole batch, a function of (seed, step).
    ///
    /// Source: H. Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018.
    #[serde(skip_serializing_if = "is_zero")]
    pub mixup: f64,
    /// α of CutMix, 0 for none: the same, but a box of 1 − λ of the area is that of the other image, as far as it lies
    /// inside; λ of the target is what is left of the image. With `mixup` too, a batch is mixed by one of the two, by
    /// each as often.
    ///
    /// Source: S. Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features",
    /// ICCV 2019.
    #[serde(skip_serializing_if = "is_zero")]
    pub cutmix: f64,
}

/// What there is beyond the border of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// The pixel value 0.
    #[default]
    Zero,
    /// The mean that pixels are normalised with.
    Mean,
    /// The nearest pixel.
    Edge,
    /// The image, as in a mirror that stands on its outermost pixels.
    Reflect,
}

/// As in torchvision's `RandomResizedCrop`.
const CROP_RATIO: [f64; 2] = [0.75, 4.0 / 3.0];

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn is_whole(area: &[f64; 2]) -> bool {
    *area == [1.0; 2]
}

fn is_usual(ratio: &[f64; 2]) -> bool {
    *ratio == CROP_RATIO
}

impl Default for AugmentSection {
    fn default() -> Self {
        AugmentSection {
            shift: 0,
            flip: 0.0,
            erase: 0.0,
            erase_area: [0.02, 0.33],
            crop_area: [1.0; 2],
            crop_ratio: CROP_RATIO,
            rotate: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 0.0,
            trivial: false,
            fill: Fill::Zero,
            mixup: 0.0,
            cutmix: 0.0,
        }
    }
}

impl Fill {
    fn is_zero(&self) -> bool {
        *self == Fill::Zero
    }
}

impl AugmentSection {
    /// Whether images are changed or mixed, for which they must be bytes.
    pub fn changes_images(&self) -> bool {
        let AugmentSection { flip, erase, mixup, cutmix, .. } = *self;
        self.shift > 0 || [flip, erase, mixup, cutmix] != [0.0; 4] || self.changes_more()
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        require(self.shift <= 1024, "augment.shift", self.shift, "a whole number from 0 to 1024")?;
        for (field, value) in [
            ("augment.flip", self.flip),
            ("augment.erase", self.erase),
            ("augment.brightness", self.brightness),
            ("augment.contrast", self.contrast),
            ("augment.saturation", self.saturation),
        ] {
            part(field, value)?;
        }
        for (field, alpha) in [("augment.mixup", self.mixup), ("augment.cutmix", self.cutmix)] {
            let possible = alpha == 0.0 || (0.01..=100.0).contains(&alpha);
            require(possible, field, alpha, "0 for none, or a number from 0.01 to 100")?;
        }
        let turn = (0.0..=180.0).contains(&self.rotate);
        require(turn, "augment.rotate", self.rotate, "a number of degrees from 0 to 180")?;
        for (field, [least, most]) in
            [("augment.erase_area", self.erase_area), ("augment.crop_area", self.crop_area)]
        {
            let ordered = 0.0 < least && least <= most && most <= 1.0;
            let expected = "two numbers above 0 and up to 1, the smaller one first";
            require(ordered, field, format!("{:?}", [least, most]), expected)?;
        }
        let [least, most] = self.crop_ratio;
        let ordered = (0.01..=most).contains(&least) && most <= 100.0;
        let expected = "two numbers from 0.01 to 100, the smaller one first";
        require(ordered, "augment.crop_ratio", format!("{:?}", self.crop_ratio), expected)
    }

    /// Whether images of a batch are mixed.
    pub(crate) fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// Whether pixels come from elsewhere than a whole shift with zeros around says.
    pub(crate) fn warps(&self) -> bool {
        let filled = self.shift > 0 && self.fill != Fill::Zero;
        filled || self.rotate > 0.0 || self.crop_area != [1.0; 2]
    }

    /// Whether anything is changed but by a shift with zeros around, a mirroring and an erased rectangle.
    pub(crate) fn changes_more(&self) -> bool {
        let colours = [self.brightness, self.contrast, self.saturation] != [0.0; 3];
        self.warps() || colours || self.trivial
    }
}
