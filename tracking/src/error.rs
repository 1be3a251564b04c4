//! What can go wrong with a run that is recorded.

use crate::checkpoint::CheckpointError;
use crate::run_directory::RunDirectoryError;
use files::FileError;
use std::path::PathBuf;
use thiserror::Error;
use trainer::TrainError;

/// Why a run did not begin or continue.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Training cannot go on, but has left a checkpoint.
    #[error("{error}; the last good checkpoint is {}", checkpoint.display())]
    Diverged {
        /// Why it cannot.
        error: Box<TrainError>,
        /// The last checkpoint on whose weights the loss is finite.
        checkpoint: PathBuf,
    },
    /// The checkpoint to go on from.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The directory of the run.
    #[error(transparent)]
    Directory(#[from] RunDirectoryError),
    /// The directory was renamed while the run went on, or a link to it was changed.
    #[error("{}: no longer at this path: it is now {}", path.display(), now.display())]
    Moved {
        /// By which path it was opened.
        path: PathBuf,
        /// Where it is now.
        now: PathBuf,
    },
}

impl RunError {
    /// The error of training, if it is one.
    pub fn training(&self) -> Option<&TrainError> {
        match self {
            RunError::Train(error) => Some(error),
            RunError::Diverged { error, .. } => Some(error),
            RunError::Checkpoint(_) | RunError::Directory(_) | RunError::Moved { .. } => None,
        }
    }

    /// What has gone wrong with training itself: see [`TrainError::divergence`].
    pub fn divergence(&self) -> Option<&TrainError> {
        self.training().and_then(TrainError::divergence)
    }

    /// Whether every rank of a job has this error at the same time: see [`TrainError::is_common`].
    pub fn is_common(&self) -> bool {
        self.training().is_some_and(TrainError::is_common)
    }
}

impl From<FileError> for RunError {
    fn from(error: FileError) -> RunError {
        RunError::Train(error.into())
    }
}
