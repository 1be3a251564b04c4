//! The ledger of a run: the hashes of each of its steps, by which two runs are compared bit for bit.
//!
//! A ledger is a text file, a JSON object to a line:
//!
//! | `event` | keys |
//! |---|---|
//! | `start` | `recipe` (as TOML), `data` (the [fingerprint](dataset::Dataset::fingerprint)) |
//! | `step` | `step`, `batch`, `loss`, `learning_rate`, `gradient`, `weights`, `optimizer` |
//! | `end` | `step`, `model` (the [digest](model::Model::digest)) |
//!
//! Nothing in it depends on threads, ranks, the SIMD path or interruptions, so ledgers of the same run are the same
//! bytes. `loss` is the sum over the images of the step; a number is written with as many digits as tell it from
//! every other. The others are SHA-256 ([`of_parameters`]).

mod comparison;
mod published;
mod writer;

pub use comparison::{Comparison, Difference, Ledger};
pub use published::{Published, published};
pub(crate) use writer::LedgerWriter;

use files::digest;
use model::Network;
use serde::{Deserialize, Serialize};
use trainer::Trainer;

/// A line of a ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Line {
    Start(Start),
    Step(Step),
    End(End),
}

/// Which run it is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Its recipe as TOML, of directories and files only the names.
    pub recipe: String,
    /// The fingerprint of its data.
    pub data: String,
}

/// What a step has done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub step: usize,
    /// Of the numbers of its images, in their order, as `u32`.
    pub batch: String,
    /// The sum of the losses of its images.
    pub loss: f64,
    pub learning_rate: f64,
    /// Of the batch's gradient, clipped by value if the recipe says so.
    pub gradient: String,
    /// Of the weights after the step, running statistics included.
    pub weights: String,
    /// Of the optimiser's state after the step and the averaged weights: before each its name.
    pub optimizer: String,
}

/// What a run has led to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct End {
    pub step: usize,
    /// See [`model::Model::digest`].
    pub model: String,
}

impl Line {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain values")
    }
}

impl Start {
    fn of(trainer: &Trainer<'_>) -> Start {
        let recipe = crate::fields::with_names_only(trainer.recipe()).to_toml();
        Start { recipe, data: trainer.data_fingerprint().to_owned() }
    }
}

impl Step {
    /// What the last step of a trainer has done.
    fn of(trainer: &Trainer<'_>, step: &trainer::Step) -> Step {
        let network = trainer.network();
        let mut batch = digest::Running::default();
        trainer.last_batch().iter().for_each(|image| batch.update(&image.to_le_bytes()));
        let mut optimizer = digest::Running::default();
        let ema = trainer.ema().map(|ema| ("ema", ema));
        for (name, values) in trainer.optimizer_state().into_iter().chain(ema) {
            optimizer.begin_part(name.len());
            optimizer.update(name.as_bytes());
            add_parameters(network, values, &mut optimizer);
        }
        Step {
            step: trainer.progress().step,
            batch: batch.finish(),
            loss: step.loss,
            learning_rate: step.learning_rate,
            gradient: of_parameters(network, trainer.gradients().unwrap_or_default()),
            weights: of_parameters(network, trainer.weights()),
            optimizer: optimizer.finish(),
        }
    }
}

/// The SHA-256 of a buffer that is laid out as a network's parameters, or as the trained ones: of each tensor, in
/// the order of the model file's names in the network, its number of bytes as `u64` and its values as `f32`, all
/// little-endian. What is between tensors in memory does not count.
pub fn of_parameters(network: &Network, buffer: &[f32]) -> String {
    let mut running = digest::Running::default();
    add_parameters(network, buffer, &mut running);
    running.finish()
}

fn add_parameters(network: &Network, buffer: &[f32], running: &mut digest::Running) {
    let mut bytes = vec![];
    for parameter in network.parameters().iter().filter(|p| p.place.offset < buffer.len()) {
        bytes.clear();
        bytes.extend(parameter.place.of(buffer).iter().flat_map(|value| value.to_le_bytes()));
        running.begin_part(bytes.len());
        running.update(&bytes);
    }
}
