//! The sections of a recipe, their fields and defaults.

use serde::{Deserialize, Serialize};

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct ModelSection {
    /// One of [`model::PRESETS`].
    pub preset: String,
    /// How its weights start.
    pub init: InitName,
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

/// What is made of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct DataSection {
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
    /// The set to use where several share a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
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

/// How weights follow gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct OptimizerSection {
    /// The rule.
    pub kind: OptimizerKind,
    /// The learning rate; the peak of a one-cycle schedule.
    pub lr: f64,
    /// What remains of the velocity at each step, at least 0 and below 1.
    pub momentum: f64,
    /// Whether to look one step of velocity ahead.
    pub nesterov: bool,
    /// The factor of the weights that is added to their gradient.
    pub weight_decay: f64,
}

/// The rule of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent.
    Sgd,
}

/// How the learning rate changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct ScheduleSection {
    /// The curve.
    pub kind: ScheduleKind,
    /// One-cycle: the part of the steps before the peak.
    pub warmup: f64,
    /// One-cycle: the peak divided by the first learning rate.
    pub start_divisor: f64,
    /// One-cycle: the first learning rate divided by the last.
    pub end_divisor: f64,
}

/// The curve of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Always the same.
    Constant,
    /// Up and down again, in halves of cosines: L. Smith, "Super-convergence", 2017, in PyTorch's
    /// form.
    OneCycle,
}

/// When training ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct StopSection {
    /// Passes over the training images.
    pub epochs: usize,
}

impl Default for ModelSection {
    fn default() -> Self {
        ModelSection { preset: "lenet".into(), init: InitName::Pytorch, label_smoothing: 0.0 }
    }
}

impl Default for DataSection {
    fn default() -> Self {
        DataSection {
            batch_size: 64,
            shard: None,
            validation: Validation::Named(ValidationSet::Test),
            normalize: Normalize::Auto(Auto::Auto),
            prefix: None,
        }
    }
}

impl Default for OptimizerSection {
    fn default() -> Self {
        OptimizerSection {
            kind: OptimizerKind::Sgd,
            lr: 0.01,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
        }
    }
}

impl Default for ScheduleSection {
    fn default() -> Self {
        ScheduleSection {
            kind: ScheduleKind::Constant,
            warmup: 0.3,
            start_divisor: 25.0,
            end_divisor: 1e4,
        }
    }
}

impl Default for StopSection {
    fn default() -> Self {
        StopSection { epochs: 10 }
    }
}
