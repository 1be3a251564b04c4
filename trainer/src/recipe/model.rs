//! The network.

use super::RecipeError;
use super::check::{below_one, require};
use model::{CUSTOM, Layer, LayerList, PRESETS, preset};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct ModelSection {
    /// One of [`model::PRESETS`]; LeNet if there are no `layers` either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The layers one by one, instead of a preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerList>,
    /// How its weights start.
    pub init: InitName,
    /// A file of weights to start from instead, to fine-tune them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Label smoothing of its loss, at least 0 and below 1.
    pub label_smoothing: f64,
}

/// How weights start: see [`model::Init`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitName {
    /// PyTorch's default.
    Pytorch,
    /// He's.
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

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        if let Some(name) = &self.preset {
            let known = PRESETS.iter().any(|(preset, _)| preset == name);
            let presets = format!("one of {}", PRESETS.map(|(name, _)| name).join(", "));
            require(known, "model.preset", format!("\"{name}\""), presets)?;
            let expected = "none, as the recipe has `model.layers`";
            require(self.layers.is_none(), "model.preset", format!("\"{name}\""), expected)?;
        }
        let some = self.layers.as_ref().is_none_or(|layers| !layers.layers(1).is_empty());
        require(some, "model.layers", "[]", "at least one layer")?;
        below_one("model.label_smoothing", self.label_smoothing)
    }
}
