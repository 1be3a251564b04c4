//! What there is of a run of many when the command begins: nothing, a part, all of it, or another run.

use crate::log::metrics::{Epoch, Line, read_metrics};
use crate::run_directory::{RunDirectory, RunDirectoryError};
use crate::trained_on::trained_on;
use files::FileError;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use trainer::{Recipe, Stop};

/// How far one of many runs had come when the command was interrupted or ran before.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Begun {
    /// There is no run in its directory.
    No,
    /// In this directory there is one that has not ended, perhaps without a checkpoint to go on from.
    Partly(RunDirectory),
    /// The run has ended, with this result.
    Entirely(Ended),
    /// There is a run that would have given other weights.
    Other(Other),
}

/// How a run in the place of another differs from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Other {
    /// In a field of the recipe.
    Recipe {
        /// Section and key.
        field: String,
        /// What it is in the run that is there.
        there: String,
        /// What it is in the run that was to be.
        here: String,
    },
    /// The recipe cannot be read.
    Unreadable,
    /// It was trained on other images, labels or names of classes.
    Data,
    /// Nothing says what it was trained on.
    UnknownData,
}

/// How one of many runs has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Ended {
    /// With this epoch.
    Well(Epoch),
    /// It diverged.
    Diverged {
        /// Epochs that were done.
        epochs: usize,
        /// Why, and at which step.
        error: String,
    },
}

impl Begun {
    /// What is in the directory of a run of this recipe, on the data whose
    /// [`Dataset::fingerprint`](dataset::Dataset::fingerprint) `fingerprint` gives; it is asked only
    /// if there is a run to compare with.
    pub fn find(
        path: &Path,
        recipe: &Recipe,
        fingerprint: impl FnOnce() -> String,
    ) -> Result<Begun, FileError> {
        let directory = match RunDirectory::open(path) {
            Ok(directory) => directory,
            Err(RunDirectoryError::File(error)) => return Err(error),
            Err(_) => return Ok(Begun::No),
        };
        let Ok(there) = directory.read_recipe(&[]) else {
            return Ok(Begun::Other(Other::Unreadable));
        };
        // Where the data are changes nothing; whether they are the same, the fingerprint tells.
        let except = ["data.directory", "data.prefix"];
        if let Some((field, there, here)) = there.difference(recipe, &except) {
            return Ok(Begun::Other(Other::Recipe { field, there, here }));
        }
        let lines = read_metrics(&directory.metrics())?;
        match trained_on(&directory, &lines) {
            Some(found) if found == fingerprint() => {}
            Some(_) => return Ok(Begun::Other(Other::Data)),
            // Killed before it had written a line or a checkpoint.
            None if lines.is_empty() && !directory.model().exists() => {}
            None => return Ok(Begun::Other(Other::UnknownData)),
        }
        Ok(Ended::of(&directory, lines).map_or(Begun::Partly(directory), Begun::Entirely))
    }
}

impl Ended {
    /// How the run in a directory has ended, if it has.
    pub fn find(directory: &RunDirectory) -> Result<Option<Ended>, FileError> {
        Ok(Ended::of(directory, read_metrics(&directory.metrics())?))
    }

    fn of(directory: &RunDirectory, lines: Vec<Line>) -> Option<Ended> {
        let Some(Line::End(end)) = lines.last() else { return None };
        if let (Stop::Diverged, Some(error)) = (end.reason, &end.error) {
            return Some(Ended::Diverged { epochs: end.epoch, error: error.clone() });
        }
        // The report is the last that a run writes.
        let whole = directory.model().is_file() && directory.report().is_file();
        let ended = whole && end.reason != Stop::Interrupted;
        let epoch = lines.into_iter().rev().find_map(Line::into_epoch).filter(|_| ended);
        epoch.map(Ended::Well)
    }
}

impl Display for Other {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Other::Recipe { field, there, here } => {
                write!(f, "a run of another recipe is in it: `{field}` is {there}, not {here}")
            }
            Other::Unreadable => write!(f, "a run is in it whose recipe cannot be read"),
            Other::Data => write!(
                f,
                "a run on other data is in it: images, labels or names of \
                                      classes have changed since"
            ),
            Other::UnknownData => {
                write!(f, "a run is in it that does not say what data it was trained on")
            }
        }
    }
}
