//! The network.

use super::RecipeError;
use super::check::{below_one, require};
use model::PRESETS;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct ModelSection {
    /// One of [`model::PRESETS`].
    pub preset: String,
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
            preset: "lenet".into(),
            init: InitName::Pytorch,
            weights: None,
            label_smoothing: 0.0,
        }
    }
}

impl ModelSection {
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        let known = PRESETS.iter().any(|(name, _)| *name == self.preset);
        let presets = format!("one of {}", PRESETS.map(|(name, _)| name).join(", "));
        require(known, "model.preset", format!("\"{}\"", self.preset), presets)?;
        below_one("model.label_smoothing", self.label_smoothing)
    }
}
