//! What can go wrong with training.

use crate::recipe::RecipeError;
use crate::scores::NotFiniteOutput;
use crate::state::RestoreError;
use dataset::DataError;
use files::FileError;
use model::ShapeError;
use std::path::PathBuf;
use thiserror::Error;

/// Why training cannot begin or continue. The message has the cause in it, which is a field of the variant and not
/// repeated by [`source`](std::error::Error::source).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The recipe cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file of the run cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The state cannot be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The outputs of the trained network are not finite.
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
    /// The recipe validates on a test set, and the data have none.
    #[error(
        "{0}. To train without one, set `data.validation` to a number of training images to hold out, or to \"none\""
    )]
    NoTest(DataError),
    /// Batch norm would be over a single value per channel.
    #[error(
        "batch norm {layer} sees one pixel per channel, and a shard of one image: a single value has no \
         deviation. A batch of {batch} image{} in shards of {shard} leaves such a shard: {advice}",
        if *batch == 1 { "" } else { "s" }
    )]
    SingleValue {
        /// The layer's name.
        layer: String,
        /// Images of the batch.
        batch: usize,
        /// Images of a shard.
        shard: usize,
        /// What to change.
        advice: String,
    },
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
    /// The ranks were not given the same work.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recipe;
    use dataset::{Dataset, Source};
    use std::error::Error;
    use std::io;

    /// The message has all of it, and no source says a part of it again.
    fn says_everything_once(error: &dyn Error, words: &str) {
        let message = error.to_string();
        assert!(message.contains(words), "{message}");
        let mut source = error.source();
        while let Some(cause) = source {
            assert!(!message.contains(&cause.to_string()), "{message}: {cause}");
            source = cause.source();
        }
    }

    #[test]
    fn sources_do_not_repeat_the_message() {
        let data = Dataset::open(&Source::new("/nowhere")).unwrap_err();
        says_everything_once(&data, "No such file");
        says_everything_once(&TrainError::NoTest(data), "No such file");
        let file = || FileError::Io {
            path: "/dev/full".into(),
            action: "write",
            error: io::Error::from_raw_os_error(28),
        };
        says_everything_once(&file(), "/dev/full: cannot write: No space left");
        says_everything_once(&TrainError::File(file()), "No space left");
        let recipe = Recipe::load("/nowhere.toml", &[]).unwrap_err();
        says_everything_once(&TrainError::Recipe(recipe), "No such file");
    }
}
