//! The names in files of weights that tell models, checkpoints and others apart.

use std::collections::BTreeMap;

/// The name of a network that is not a preset.
pub const CUSTOM: &str = "custom";

/// The metadata key that only a checkpoint has.
pub const CHECKPOINT: &str = "checkpoint";

/// The prefix of a checkpoint's averaged weights.
pub const EMA: &str = "ema.";

/// The prefix of an optimiser's state in a checkpoint.
pub const OPTIMIZER: &str = "optimizer.";

/// The metadata key of a model whose products are computed in another precision than `f32`.
pub(crate) const PRECISION: &str = "precision";

/// Whether these are the metadata of a model. Others may have one or another of its keys, with a meaning
/// of their own.
pub(crate) fn is_of_model(metadata: &BTreeMap<String, String>) -> bool {
    KEYS.iter().all(|key| metadata.contains_key(*key))
}

/// Whether these are the metadata of a checkpoint, which are a model's too.
pub(crate) fn is_of_checkpoint(metadata: &BTreeMap<String, String>) -> bool {
    is_of_model(metadata) && metadata.contains_key(CHECKPOINT)
}

/// What the metadata of every model have.
const KEYS: [&str; 5] = ["model", "input", "classes", "normalize.mean", "normalize.std"];
