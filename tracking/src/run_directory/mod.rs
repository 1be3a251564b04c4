//! The directory that a run writes:
//!
//! ```text
//! runs/fast-1/recipe.toml         complete, from the start: training by it gives the same weights
//!             metrics.jsonl       what happened, a JSON object to a line
//!             events.out.…        TensorBoard's event file of the run: recipe, hyperparameters,
//!             train/              those of training,
//!             validation/         and of the validation images
//!             checkpoints/        to go on from
//!             best.safetensors    the best network so far, where a validation may choose
//!             model.safetensors   the trained network, at the end
//!             report.html         the run on a page, at the end
//! ```
//! Whether there is a place for it is asked before anything is computed; it is made once everything
//! that a run needs has been checked.

mod destination;

pub use destination::Destination;

use crate::fields::with_home_hidden;
use crate::identity;
use files::{FileError, remove_unfinished, write_file};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use trainer::Recipe;
use trainer::recipe::RecipeError;

const RECIPE: &str = "recipe.toml";
const METRICS: &str = "metrics.jsonl";
const TRAIN: &str = "train";
const VALIDATION: &str = "validation";
const CHECKPOINTS: &str = "checkpoints";
const BEST: &str = "best.safetensors";
const MODEL: &str = "model.safetensors";
const REPORT: &str = "report.html";

/// What the names of event files begin with.
const EVENTS: &str = "events.out.tfevents.";

/// Why a run directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunDirectoryError {
    /// The directory exists and is not empty.
    #[error("{}: exists and is not empty: expected a new or empty directory", .0.display())]
    Taken(PathBuf),
    /// The directory holds something other than a run, so it is not replaced.
    #[error("{}: not a run directory, so it stays: it has no {RECIPE}", .0.display())]
    Foreign(PathBuf),
    /// Another process is using it.
    #[error("{}: a run is going on in it", .0.display())]
    Busy(PathBuf),
    /// It cannot be created.
    #[error("{}: cannot make the run directory: {error}", path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no run in it.
    #[error("{}: not a run directory: it has no {RECIPE}", .0.display())]
    NoRun(PathBuf),
    /// It cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A run directory that exists.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
    held: Arc<Mutex<Option<Held>>>,
}

/// The directory itself while a run goes on in it, whatever it is called by now. The system releases the
/// lock when the process dies.
#[derive(Debug)]
struct Held {
    directory: File,
    is_locked: bool,
}

impl RunDirectory {
    fn new(path: &Path) -> RunDirectory {
        RunDirectory { path: path.into(), held: Arc::default() }
    }

    /// Keeps other processes from running in it, until the run is over or this is dropped. Where the
    /// system cannot lock directories nothing does: see [`RunDirectory::is_locked`].
    pub fn lock(&self) -> Result<(), RunDirectoryError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none()
            && let Ok(directory) = File::open(&self.path)
        {
            let is_locked = match directory.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => {
                    return Err(RunDirectoryError::Busy(self.path.clone()));
                }
                Err(TryLockError::Error(_)) => false,
            };
            *held = Some(Held { directory, is_locked });
        }
        Ok(())
    }

    /// Whether other processes are kept from running in it: [`RunDirectory::lock`] was called, and the
    /// system can lock directories there, which some network file systems cannot.
    pub fn is_locked(&self) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(|held| held.is_locked)
    }

    /// The run is over.
    pub(crate) fn unlock(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// An error if, since it was locked, the directory was renamed, replaced or deleted: whatever is
    /// written under its path would be apart from the rest of the run.
    fn check_place(&self) -> Result<(), FileError> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(held) => identity::check(&self.path, &held.directory),
            None => Ok(()),
        }
    }

    /// An error if the directory is no longer at its place, or its recipe, without which nobody can go on.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        self.check_place()?;
        let recipe = self.recipe();
        match recipe.exists() {
            true => Ok(()),
            false => Err(FileError::content(&recipe, "deleted while the run went on")),
        }
    }

    /// Where the directory is now, if since it was locked its path has ceased to lead to it.
    pub(crate) fn moved(&self) -> Option<PathBuf> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().and_then(|held| identity::moved(&self.path, &held.directory))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Of a run that has begun.
    pub fn open(path: &Path) -> Result<RunDirectory, RunDirectoryError> {
        let recipe = path.join(RECIPE);
        let absent = [ErrorKind::NotFound, ErrorKind::NotADirectory];
        match fs::metadata(&recipe) {
            Ok(found) if found.is_file() => {
                let directory = RunDirectory::new(path);
                directory.check_files()?;
                Ok(directory)
            }
            Err(error) if !absent.contains(&error.kind()) => {
                Err(FileError::Io { path: recipe, action: "read", error }.into())
            }
            _ => Err(RunDirectoryError::NoRun(path.into())),
        }
    }

    /// The name of the run: that of the directory.
    pub fn name(&self) -> String {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| "run".to_owned())
    }

    /// The recipe.
    pub fn recipe(&self) -> PathBuf {
        self.path.join(RECIPE)
    }

    /// What happened.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// TensorBoard's event files of training.
    pub fn train_events(&self) -> PathBuf {
        self.path.join(TRAIN)
    }

    /// TensorBoard's event files of validation.
    pub fn validation_events(&self) -> PathBuf {
        self.path.join(VALIDATION)
    }

    /// The checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// The best network so far.
    pub fn best(&self) -> PathBuf {
        self.path.join(BEST)
    }

    /// The trained network.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// The run on a page.
    pub fn report(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// Reads the recipe, with some fields set as by [`Recipe::load`].
    pub fn read_recipe(&self, settings: &[(String, String)]) -> Result<Recipe, RecipeError> {
        let (file, path) = (self.recipe(), self.recipe().display().to_string());
        match fs::read_to_string(file) {
            Ok(text) => Recipe::parse(&path, &text, settings),
            Err(error) => Err(RecipeError::Unreadable { path, error }),
        }
    }

    /// Writes the recipe of a run that is extended, from now on locked for it.
    pub fn rewrite_recipe(&self, recipe: &Recipe) -> Result<(), RunDirectoryError> {
        self.lock()?;
        Ok(self.write_recipe(recipe)?)
    }

    fn write_recipe(&self, recipe: &Recipe) -> Result<(), FileError> {
        self.check_files()?;
        write_file(&self.recipe(), with_home_hidden(recipe).to_toml().as_bytes())
    }

    /// An error if a name that runs write leads to a pipe or a device, of which reading or writing may never end.
    fn check_files(&self) -> Result<(), FileError> {
        let below = [self.train_events(), self.validation_events(), self.checkpoints()];
        let entries = below.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
        let entries = entries.flatten().map(|entry| entry.path());
        let own = [RECIPE, METRICS, BEST, MODEL, REPORT].map(|name| self.path.join(name));
        for path in own.into_iter().chain(entries) {
            if fs::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
                return Err(FileError::content(&path, "found a pipe or device, expected a file"));
            }
        }
        Ok(())
    }

    /// Deletes what runs write, but nothing else that may be there.
    fn clear(&self) -> Result<(), FileError> {
        for directory in [self.path.clone(), self.checkpoints()] {
            remove_unfinished(&directory)?;
        }
        for file in [self.metrics(), self.best(), self.model(), self.report()] {
            remove_if_there(&file)?;
        }
        let below = [self.train_events(), self.validation_events(), self.checkpoints()];
        for (directory, start) in
            [(&self.path, EVENTS), (&below[0], EVENTS), (&below[1], EVENTS), (&below[2], "step-")]
        {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            for path in entries.map(|entry| entry.path()) {
                let name = path.file_name().unwrap_or_default();
                if name.as_encoded_bytes().starts_with(start.as_bytes()) {
                    remove_if_there(&path)?;
                }
            }
        }
        for directory in below {
            // If something else is in it, it stays.
            let _ = fs::remove_dir(directory);
        }
        Ok(())
    }
}

fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FileError::Io { path: path.into(), action: "replace", error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
