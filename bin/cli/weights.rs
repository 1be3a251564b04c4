//! The model that a program is given.

use crate::cli::{Failure, run};
use model::Model;
use std::path::{Path, PathBuf};

/// The file that `--weights` means: of a run directory its `model.safetensors`.
pub fn weights_file(weights: &Path) -> PathBuf {
    if weights.is_dir() { weights.join("model.safetensors") } else { weights.into() }
}

/// The model in a file or a run directory.
pub fn load_model(weights: &Path) -> Result<Model, Failure> {
    Model::load(&weights_file(weights)).map_err(run)
}
