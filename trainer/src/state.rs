//! The state of a run: what a checkpoint holds, what ranks that join are given, and what a run goes on from.

use crate::progress::Progress;
use crate::recipe::Recipe;
use model::Network;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use thiserror::Error;

/// All that the next step of a run depends on, and which run it is.
#[derive(Clone, Debug)]
pub struct State<'a> {
    /// Its name in messages, such as the file that it is from.
    pub origin: String,
    /// The network whose parameters the buffers hold.
    pub network: Cow<'a, Network>,
    /// Trained parameters and running statistics.
    pub weights: Cow<'a, [f32]>,
    /// What the optimiser remembers, by PyTorch's names: each laid out as the trained weights.
    pub optimizer: Vec<(String, Cow<'a, [f32]>)>,
    /// The averaged weights, where the recipe has `optimizer.ema`.
    pub ema: Option<Cow<'a, [f32]>>,
    /// How far training has come.
    pub progress: Progress,
    /// The recipe of the run.
    pub recipe: Cow<'a, Recipe>,
    /// The [`Dataset::fingerprint`](dataset::Dataset::fingerprint) of its data.
    pub data: String,
    /// The metadata of its model: see [`Model::metadata`](model::Model::metadata).
    pub metadata: BTreeMap<String, String>,
}

impl State<'_> {
    /// The same state with buffers of its own.
    #[must_use]
    pub fn into_owned(self) -> State<'static> {
        let owned = |values: Cow<'_, [f32]>| Cow::Owned(values.into_owned());
        State {
            origin: self.origin,
            network: Cow::Owned(self.network.into_owned()),
            weights: owned(self.weights),
            optimizer: self.optimizer.into_iter().map(|(name, s)| (name, owned(s))).collect(),
            ema: self.ema.map(owned),
            progress: self.progress,
            recipe: Cow::Owned(self.recipe.into_owned()),
            data: self.data,
            metadata: self.metadata,
        }
    }
}

/// Why a run cannot continue from a state.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreError {
    /// The state is of a run on other data.
    #[error("{origin}: the data are not those that the run began with: {}", data.display())]
    Data {
        /// The name of the state in messages.
        origin: String,
        /// The directory of the data.
        data: PathBuf,
    },
    /// The state is of another network.
    #[error("{origin}: its network is not that of the recipe")]
    Network {
        /// The name of the state in messages.
        origin: String,
    },
    /// A part of it is missing, or of another length.
    #[error("{origin}: {part} has {found} numbers: expected {expected}")]
    Length {
        /// The name of the state in messages.
        origin: String,
        /// The name of the part.
        part: String,
        /// How many numbers it has.
        found: usize,
        /// How many the recipe's network has.
        expected: usize,
    },
    /// Its step is not where its epoch and batch are.
    #[error(
        "{origin}: step {step} is not batch {batch} of epoch {epoch}, of {steps_per_epoch} batches each"
    )]
    Position {
        /// The name of the state in messages.
        origin: String,
        /// Steps in all.
        step: usize,
        /// Steps of the epoch under way.
        batch: usize,
        /// The epoch, from one.
        epoch: usize,
        /// Batches of an epoch.
        steps_per_epoch: usize,
    },
}
