//! What can go wrong with training.

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::recipe::RecipeError;
use crate::run_directory::RunDirectoryError;
use crate::scores::NotFiniteOutput;
use model::{FileError, ShapeError};
use std::path::PathBuf;
use thiserror::Error;

/// Why training cannot begin or go on.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file of the run.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory of the run.
    #[error(transparent)]
    Directory(#[from] RunDirectoryError),
    /// The checkpoint to go on from.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// What the network makes of images in the end.
    #[error("{directory}: {error}", directory = directory.display())]
    Scores {
        /// The directory of the images.
        directory: PathBuf,
        /// What is wrong.
        error: NotFiniteOutput,
    },
    /// The network does not fit the images.
    #[error("{}: the network does not fit its images: {error}", directory.display())]
    Shape {
        /// The directory of the images.
        directory: PathBuf,
        /// The layer that they do not fit.
        error: ShapeError,
    },
    /// The recipe validates on a test set that there is not.
    #[error("{0}; or validate on training images: `data.validation` is their number, or none")]
    NoTest(DataError),
    /// A loss is infinite or not a number.
    #[error(
        "the loss is {loss} at step {step} (epoch {epoch}): the output of layer {layer} is the \
             first that is not finite; weights are those before the step"
    )]
    NotFinite {
        /// The loss.
        loss: f64,
        /// The step, from one.
        step: usize,
        /// The epoch, from one.
        epoch: usize,
        /// The layer's name.
        layer: String,
    },
    /// The loss is finite, but not a gradient or a batch's statistic.
    #[error(
        "the update of `{parameter}` at step {step} (epoch {epoch}) is not finite, though the loss \
             is; weights are those before the step"
    )]
    Update {
        /// The parameter's name.
        parameter: String,
        /// The step, from one.
        step: usize,
        /// The epoch, from one.
        epoch: usize,
    },
    /// A weight or a running statistic is infinite or not a number, which no loss has shown.
    #[error("`{parameter}` is not finite after step {step} (epoch {epoch})")]
    Weights {
        /// The parameter's name.
        parameter: String,
        /// The step, from one.
        step: usize,
        /// The epoch, from one.
        epoch: usize,
    },
    /// Several ranks, and not all do the same work.
    #[error("the ranks do not do the same: {0}")]
    Ranks(String),
    /// The loss of the validation images is infinite or not a number.
    #[error(
        "the validation loss is {loss} after step {step} (epoch {epoch}), though every weight is finite"
    )]
    Validation {
        /// The loss.
        loss: f64,
        /// The step, from one.
        step: usize,
        /// The epoch, from one.
        epoch: usize,
    },
    /// Training cannot go on, but has left a checkpoint.
    #[error("{error}; the last good checkpoint is {}", checkpoint.display())]
    Diverged {
        /// Why it cannot.
        error: Box<TrainError>,
        /// The last checkpoint on whose weights the loss is finite.
        checkpoint: PathBuf,
    },
}

impl TrainError {
    /// What has gone wrong with training itself, if that is it: a loss, a gradient or a weight is not
    /// finite.
    pub fn divergence(&self) -> Option<&TrainError> {
        match self {
            TrainError::NotFinite { .. }
            | TrainError::Update { .. }
            | TrainError::Weights { .. }
            | TrainError::Validation { .. } => Some(self),
            TrainError::Diverged { error, .. } => error.divergence(),
            _ => None,
        }
    }
}

impl TrainError {
    /// Whether every rank of a job has this error at the same time, as it comes of what all of them
    /// compute alike.
    pub fn is_common(&self) -> bool {
        self.divergence().is_some() || matches!(self, TrainError::Ranks(_))
    }
}
