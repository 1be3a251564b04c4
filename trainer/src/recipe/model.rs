//! The network.

use super::RecipeError;
use super::check::{below_one, not_negative, require, utf8};
use dataset::Dataset;
use files::FileError;
use kernels::Precision;
use model::{Architecture, CUSTOM, Description, Layer, LayerList, PRESETS, preset, suggestion};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct ModelSection {
    /// One of [`model::PRESETS`]; if there are no `layers` either, that of the `weights` or LeNet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The layers one by one, instead of a preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerList>,
    /// Its initial weights.
    pub init: InitName,
    /// A file of weights to start from instead, to fine-tune them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Label smoothing of its loss, at least 0 and below 1.
    pub label_smoothing: f64,
    /// Its loss.
    #[serde(skip_serializing_if = "LossName::is_default")]
    pub loss: LossName,
    /// What the loss of an image counts for, by its class; all the same if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// In which numbers its products are computed.
    #[serde(skip_serializing_if = "PrecisionName::is_default")]
    pub precision: PrecisionName,
}

/// The loss of a network: see [`kernels::LossKind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// Cross-entropy; the outputs are logits.
    #[default]
    CrossEntropy,
    /// Negative log-likelihood; the network ends in a `log-softmax`.
    Nll,
    /// Binary cross-entropy; the network has one output, the logit of the second of two classes, or one for each label
    /// where the data say that images may have several.
    Bce,
}

impl fmt::Display for LossName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LossName::CrossEntropy => "cross-entropy",
            LossName::Nll => "nll",
            LossName::Bce => "bce",
        })
    }
}

impl LossName {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == LossName::CrossEntropy
    }

    /// How many outputs a network for these data has.
    pub(crate) fn outputs(self, data: &Dataset) -> usize {
        let one = self == LossName::Bce && !data.is_multi_label();
        if one { 1 } else { data.classes() }
    }
}

/// In which numbers the products of convolutions and linear layers are computed: see [`kernels::Precision`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionName {
    /// `f32`.
    #[default]
    F32,
    /// Their operands are rounded to bfloat16; sums, and everything else, are in `f32`.
    Bf16,
}

impl PrecisionName {
    /// Every precision by its word in recipes, for listing them.
    pub const WORDS: [&str; 2] = ["f32", "bf16"];

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == PrecisionName::F32
    }

    /// As networks have it.
    #[must_use]
    pub fn precision(self) -> Precision {
        match self {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Bf16 => Precision::Bf16,
        }
    }
}

/// What the loss of an image counts for, by its class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"balanced\" or a list of numbers, one for each class")]
pub enum ClassWeights {
    /// The less, the more training images there are of the class.
    Balanced(Balanced),
    /// So much, for each class.
    List(Vec<f64>),
}

/// The word `balanced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balanced {
    /// The word `balanced`.
    Balanced,
}

/// The initial weights: see [`model::Init`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitName {
    /// PyTorch's default.
    Pytorch,
    /// He's initialisation.
    He,
}

impl Default for ModelSection {
    fn default() -> Self {
        ModelSection {
            preset: None,
            layers: None,
            init: InitName::Pytorch,
            weights: None,
            label_smoothing: 0.0,
            loss: LossName::CrossEntropy,
            class_weights: None,
            precision: PrecisionName::F32,
        }
    }
}

/// The network of a recipe that names none.
const DEFAULT: &str = "lenet";

impl ModelSection {
    /// The preset, or [`CUSTOM`].
    pub fn name(&self) -> &str {
        match (&self.preset, &self.layers) {
            (Some(name), _) => name,
            (None, Some(_)) => CUSTOM,
            (None, None) => DEFAULT,
        }
    }

    /// The layers of a recipe that has been checked, for this many classes.
    ///
    /// # Panics
    /// If there is no such preset.
    pub fn layers(&self, classes: usize) -> Vec<Layer> {
        match &self.layers {
            Some(layers) => layers.layers(classes),
            None => preset(self.name(), classes).expect("a checked recipe names a preset"),
        }
    }

    /// Names the network that the file of weights is for, if there is such a file and no network is named.
    /// PyTorch's weights do not say; a file that there is not is left to whoever needs the weights.
    pub(super) fn take_network_of_weights(&mut self) -> Result<(), FileError> {
        let Some(weights) = self.weights.as_ref().filter(|_| self.is_default()) else {
            return Ok(());
        };
        let of_run = weights.join("model.safetensors");
        let file = if weights.is_dir() { &of_run } else { weights };
        if !file.exists() {
            return Ok(());
        }
        let Some(description) = Description::read(file)? else { return Ok(()) };
        let Architecture { name, layers } = description.architecture;
        if name == CUSTOM {
            self.layers = Some(layers)
        } else {
            self.preset = Some(name)
        }
        Ok(())
    }

    /// Whether no network is named.
    fn is_default(&self) -> bool {
        self.preset.is_none() && self.layers.is_none()
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        utf8("model.weights", self.weights.as_deref())?;
        if let Some(name) = &self.preset {
            let known = PRESETS.iter().any(|(preset, _)| preset == name);
            let names = PRESETS.map(|(name, _)| name);
            let meant = suggestion(name, names.into_iter()).unwrap_or_default();
            let presets = format!("one of {}{meant}", names.join(", "));
            require(known, "model.preset", format!("\"{name}\""), presets)?;
            let expected = "none, as the recipe has `model.layers`";
            require(self.layers.is_none(), "model.preset", format!("\"{name}\""), expected)?;
        }
        let some = self.layers.as_ref().is_none_or(|layers| !layers.layers(1).is_empty());
        require(some, "model.layers", "[]", "at least one layer")?;
        below_one("model.label_smoothing", self.label_smoothing)?;
        let possible = self.loss != LossName::Nll || self.label_smoothing == 0.0;
        let expected =
            "0, as `model.loss` is \"nll\": smoothing is of \"cross-entropy\" and \"bce\"";
        require(possible, "model.label_smoothing", self.label_smoothing, expected)?;
        if let Some(ClassWeights::List(weights)) = &self.class_weights {
            weights.iter().try_for_each(|weight| not_negative("model.class_weights", *weight))?;
            let some = weights.iter().any(|weight| *weight as f32 > 0.0);
            let expected = "a list of numbers, one of them above 0 at least";
            require(some, "model.class_weights", format!("{weights:?}"), expected)?;
        }
        Ok(())
    }
}
