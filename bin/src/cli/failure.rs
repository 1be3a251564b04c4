//! Why a program failed: a message for people, a kind and an exit code for the programs that start it.

use super::shortened;
use dataset::DataError;
use files::{FileError, write_file};
use pictures::ImportError;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::env;
use std::fmt::Display;
use std::io;
use std::path::Path;
use tracking::{CheckpointError, CompareError, RunDirectoryError, RunError};
use trainer::ranks::PartitionError;
use trainer::recipe::RecipeError;
use trainer::{RestoreError, TrainError, WorkersError};

/// Names the file that a program that fails writes its object to, beside what it prints.
const FILE: &str = "BOBBIN_ERROR_FILE";

/// What has failed, so whether it is worth while to try again; docs/metrics.md lists the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The command or a recipe.
    Usage,
    /// A data set: it cannot be read, or does not go with the network.
    Data,
    /// There are no images to validate on.
    NoTestSet,
    /// The run that is to go on had other images.
    OtherData,
    /// A file or directory: of weights, of a run, or of what is to be written.
    File,
    /// A loss, a gradient or a weight was not finite.
    Diverged,
    /// The ranks of a job do not do the same.
    RanksDiffer,
    /// Other ranks have been waited for in vain.
    RankLost,
    /// The MPI library or its launcher.
    Mpi,
    /// What was computed again has other bits.
    BitsDiffer,
    /// A signal has asked for the end.
    Interrupted,
    /// Anything else.
    Other,
}

/// Why a program failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What has failed.
    pub kind: Kind,
    /// The message for people.
    pub message: String,
    /// The exit code: 2 for the command or a recipe, 128 and its number for a signal, else 1.
    pub exit: u8,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Failure {
        let exit = if kind == Kind::Usage { 2 } else { 1 };
        let message = shortened(&message.into()).into_owned();
        Failure { kind, message, exit }
    }

    /// The end that a signal has asked for, and that came in good order.
    pub fn interrupted(message: impl Into<String>, signal: u8) -> Failure {
        let (kind, message) = (Kind::Interrupted, message.into());
        Failure { kind, message, exit: 128 + signal }
    }

    /// Its object, on one line.
    pub fn to_json(&self) -> String {
        let Failure { kind, message, exit } = self;
        json!({ "event": "error", "kind": kind, "message": message, "exit": exit }).to_string()
    }

    /// Writes its object to the file that `BOBBIN_ERROR_FILE` names, if it is set.
    pub fn record(&self) -> Result<(), FileError> {
        match env::var_os(FILE).filter(|file| !file.is_empty()) {
            Some(file) => write_file(Path::new(&file), format!("{}\n", self.to_json()).as_bytes()),
            None => Ok(()),
        }
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Failure {
        run(error)
    }
}

/// An error whose kind is known.
pub trait Classified: Display {
    /// What has failed.
    fn kind(&self) -> Kind;
}

/// The failure that is an error of the data, a file or the work itself.
pub fn run(error: impl Classified) -> Failure {
    Failure::new(error.kind(), error.to_string())
}

/// The failure that is an error of the command line or a recipe.
pub fn usage(error: impl Display) -> Failure {
    Failure::new(Kind::Usage, error.to_string())
}

impl Classified for TrainError {
    fn kind(&self) -> Kind {
        match self {
            TrainError::Data(error) => error.kind(),
            TrainError::Recipe(error) => error.kind(),
            TrainError::File(error) => error.kind(),
            TrainError::Restore(RestoreError::Data { .. }) => Kind::OtherData,
            TrainError::Restore(_) => Kind::File,
            TrainError::Shape { .. } => Kind::Data,
            TrainError::NoTest(_) => Kind::NoTestSet,
            TrainError::Ranks(_) => Kind::RanksDiffer,
            TrainError::Scores { .. } => Kind::Diverged,
            error if error.divergence().is_some() => Kind::Diverged,
            _ => Kind::Other,
        }
    }
}

impl Classified for RunError {
    fn kind(&self) -> Kind {
        match self {
            RunError::Train(error) => error.kind(),
            RunError::Diverged { .. } => Kind::Diverged,
            RunError::Checkpoint(error) => error.kind(),
            RunError::Directory(error) => error.kind(),
            RunError::Moved { .. } => Kind::File,
            _ => Kind::Other,
        }
    }
}

#[cfg(feature = "mpi")]
impl Classified for trainer::ranks::MpiError {
    fn kind(&self) -> Kind {
        match self {
            trainer::ranks::MpiError::Timeout(_) => Kind::Usage,
            _ => Kind::Mpi,
        }
    }
}

/// Errors that are of one kind, whichever they are.
macro_rules! classified {
    ($($error:ty: $kind:ident),+ $(,)?) => {$(
        impl Classified for $error {
            fn kind(&self) -> Kind {
                Kind::$kind
            }
        }
    )+};
}

classified! {
    CheckpointError: File,
    CompareError: File,
    DataError: Data,
    FileError: File,
    ImportError: Data,
    PartitionError: Data,
    RecipeError: Usage,
    RunDirectoryError: File,
    WorkersError: Other,
    io::Error: Other,
}

impl<E: Classified> Classified for &E {
    fn kind(&self) -> Kind {
        (*self).kind()
    }
}
