//! The directory that a run writes:
//!
//! ```text
//! runs/fast-1/recipe.toml         complete, from the start: training by it gives the same weights
//!             metrics.jsonl       what happened, a JSON object to a line
//!             train/              TensorBoard's event files, and those of
//!             validation/         the validation images
//!             checkpoints/        to go on from
//!             best.safetensors    the best network so far, where a validation may choose
//!             model.safetensors   the trained network, at the end
//!             report.html         the run on a page, at the end
//! ```
//! Whether there is a place for it is asked before anything is computed; it is made once everything
//! that a run needs has been checked.

use crate::recipe::Recipe;
use model::{FileError, is_unfinished, remove_unfinished, write_file};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

const RECIPE: &str = "recipe.toml";
const METRICS: &str = "metrics.jsonl";
const TRAIN: &str = "train";
const VALIDATION: &str = "validation";
const CHECKPOINTS: &str = "checkpoints";
const BEST: &str = "best.safetensors";
const MODEL: &str = "model.safetensors";
const REPORT: &str = "report.html";

/// Why there is no run directory.
#[derive(Debug, Error)]
pub enum RunDirectoryError {
    /// There is something already.
    #[error("{}: exists and is not empty: expected a new or empty directory", .0.display())]
    Taken(PathBuf),
    /// What is there is not a run, so it is not replaced.
    #[error("{}: not a run directory, so it stays: it has no {RECIPE}", .0.display())]
    Foreign(PathBuf),
    /// Another process is at it.
    #[error("{}: a run is going on in it", .0.display())]
    Busy(PathBuf),
    /// It cannot be made.
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

/// Where a run directory shall be.
#[derive(Clone, Debug)]
pub struct Destination(Place);

#[derive(Clone, Debug)]
enum Place {
    Given(PathBuf),
    Numbered { runs: PathBuf, name: String },
}

/// A run directory that has been made.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// The directory itself, locked while a run goes on in it; the system releases it when the process
    /// dies.
    lock: Arc<Mutex<Option<File>>>,
}

impl Destination {
    /// This directory, which must be new or empty unless an older run in it is to be replaced.
    pub fn at(path: &Path, replace: bool) -> Result<Destination, RunDirectoryError> {
        let destination = Destination::shared(path, replace)?;
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        // A program that was killed may have left an unfinished recipe.
        let foreign = entries.map(|entry| entry.path()).any(|path| !is_unfinished(&path));
        if foreign && !path.join(RECIPE).exists() {
            return Err(RunDirectoryError::Foreign(path.into()));
        }
        Ok(destination)
    }

    /// A directory for several runs, which must be new or empty unless more are to join what is in it.
    pub fn shared(path: &Path, join: bool) -> Result<Destination, RunDirectoryError> {
        let taken = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(RunDirectoryError::Make { path: path.into(), error }),
        };
        if taken && !join {
            return Err(RunDirectoryError::Taken(path.into()));
        }
        Ok(Destination(Place::Given(path.into())))
    }

    /// The first of `runs/NAME-1`, `runs/NAME-2`, … that does not exist.
    pub fn numbered(runs: &Path, name: &str) -> Destination {
        Destination(Place::Numbered { runs: runs.into(), name: name.into() })
    }

    /// Makes the directory and writes the recipe into it. What an older run left is deleted, as it is
    /// not of this recipe. After an error nothing new is left.
    pub fn make(&self, recipe: &Recipe) -> Result<RunDirectory, RunDirectoryError> {
        let mut made = Made::default();
        let directory = RunDirectory::new(&self.place(&mut made)?);
        directory.lock()?;
        directory.clear()?;
        directory.write_recipe(recipe)?;
        made.0.clear();
        Ok(directory)
    }

    /// Makes a directory that several runs are to share; returns its path.
    pub fn make_parent(&self) -> Result<PathBuf, RunDirectoryError> {
        let mut made = Made::default();
        let path = self.place(&mut made)?;
        made.0.clear();
        Ok(path)
    }

    fn place(&self, made: &mut Made) -> Result<PathBuf, RunDirectoryError> {
        match &self.0 {
            Place::Given(path) => {
                made.directories(path)?;
                Ok(path.clone())
            }
            Place::Numbered { runs, name } => {
                made.directories(runs)?;
                made.first_free(runs, name)
            }
        }
    }
}

impl RunDirectory {
    fn new(path: &Path) -> RunDirectory {
        RunDirectory { path: path.into(), lock: Arc::default() }
    }

    /// Keeps other processes from running in it, until the run is over or this is dropped. Where the
    /// system cannot lock directories nothing does.
    pub fn lock(&self) -> Result<(), RunDirectoryError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_none()
            && let Ok(directory) = File::open(&self.path)
        {
            if let Err(TryLockError::WouldBlock) = directory.try_lock() {
                return Err(RunDirectoryError::Busy(self.path.clone()));
            }
            *lock = Some(directory);
        }
        Ok(())
    }

    /// The run is over.
    pub(crate) fn unlock(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Of a run that has begun.
    pub fn open(path: &Path) -> Result<RunDirectory, RunDirectoryError> {
        match path.join(RECIPE).is_file() {
            true => Ok(RunDirectory::new(path)),
            false => Err(RunDirectoryError::NoRun(path.into())),
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

    /// Writes the recipe of a run that is extended, from now on locked for it.
    pub fn rewrite_recipe(&self, recipe: &Recipe) -> Result<(), RunDirectoryError> {
        self.lock()?;
        Ok(self.write_recipe(recipe)?)
    }

    fn write_recipe(&self, recipe: &Recipe) -> Result<(), FileError> {
        write_file(&self.recipe(), recipe.to_toml().as_bytes())
    }

    /// Deletes what runs write, but nothing else that may be there.
    fn clear(&self) -> Result<(), FileError> {
        for directory in [self.path.clone(), self.checkpoints()] {
            remove_unfinished(&directory)?;
        }
        for file in [self.metrics(), self.best(), self.model(), self.report()] {
            remove_if_there(&file)?;
        }
        for directory in [self.train_events(), self.validation_events(), self.checkpoints()] {
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            for path in entries.map(|entry| entry.path()) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let of_a_run =
                    ["events.out.tfevents.", "step-"].map(|start| name.starts_with(start));
                if of_a_run.contains(&true) {
                    remove_if_there(&path)?;
                }
            }
            // If something else is in it, it stays.
            let _ = fs::remove_dir(&directory);
        }
        Ok(())
    }
}

/// Directories that were made, deepest last: when dropped they are removed again.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a directory and all above it.
    fn directories(&mut self, path: &Path) -> Result<(), RunDirectoryError> {
        let missing = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists());
        self.0.extend(missing.map(Path::to_path_buf));
        self.0.reverse();
        let cannot = |error| RunDirectoryError::Make { path: path.into(), error };
        fs::create_dir_all(path).map_err(cannot)
    }

    fn first_free(&mut self, runs: &Path, name: &str) -> Result<PathBuf, RunDirectoryError> {
        for number in 1u64.. {
            let path = runs.join(format!("{name}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => {
                    self.0.push(path.clone());
                    return Ok(path);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(RunDirectoryError::Make { path, error }),
            }
        }
        unreachable!("numbers do not end")
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for directory in self.0.iter().rev() {
            // What is in use by now is not empty, and stays.
            let _ = fs::remove_dir(directory);
        }
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
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().to_path_buf();
        (directory, path)
    }

    fn names(path: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|e| name(e).unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn runs_are_numbered() {
        let (_guard, path) = scratch();
        let runs = path.join("runs");
        let make = |name| {
            let run = Destination::numbered(&runs, name).make(&Recipe::default()).unwrap();
            run.path().file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!([make("fast"), make("fast"), make("own")], ["fast-1", "fast-2", "own-1"]);
        assert_eq!(names(&runs.join("fast-2")), [RECIPE]);
    }

    #[test]
    fn an_older_run_is_replaced_only_if_asked_for() {
        let (_guard, path) = scratch();
        let out = path.join("a/b");
        Destination::at(&out, false).unwrap().make(&Recipe::default()).unwrap();
        fs::write(out.join(MODEL), "older").unwrap();
        fs::write(out.join("notes"), "kept").unwrap();
        let message = Destination::at(&out, false).unwrap_err().to_string();
        assert!(message.contains("exists and is not empty"), "{message}");
        let replacement = Recipe { seed: 5, ..Recipe::default() };
        let destination = Destination::at(&out, true).unwrap();
        assert_eq!(names(&out), [MODEL, "notes", RECIPE]);
        drop(destination.make(&replacement).unwrap());
        assert_eq!(names(&out), ["notes", RECIPE]);
        assert!(fs::read_to_string(out.join(RECIPE)).unwrap().contains("seed = 5"));
    }

    #[test]
    fn what_is_no_run_is_not_replaced() {
        let (_guard, path) = scratch();
        fs::create_dir_all(path.join("train")).unwrap();
        fs::write(path.join("train/events.out.tfevents.1"), "of another program").unwrap();
        let message = Destination::at(&path, true).unwrap_err().to_string();
        assert!(message.ends_with(": not a run directory, so it stays: it has no recipe.toml"));
        fs::remove_dir_all(path.join("train")).unwrap();
        fs::write(path.join("writing-abc"), "half a rec").unwrap();
        Destination::at(&path, true).unwrap().make(&Recipe::default()).unwrap();
        assert_eq!(names(&path), [RECIPE]);
    }

    /// A lock is of what has opened the directory, so one process can stand for two.
    #[test]
    #[cfg(unix)]
    fn one_run_at_a_time() {
        let (_guard, path) = scratch();
        let destination = Destination::at(&path, true).unwrap();
        let first = destination.make(&Recipe::default()).unwrap();
        fs::write(path.join(METRICS), "its lines").unwrap();
        let refused = [
            destination.make(&Recipe::default()).unwrap_err(),
            RunDirectory::open(&path).unwrap().rewrite_recipe(&Recipe::default()).unwrap_err(),
        ];
        for error in refused {
            assert!(error.to_string().ends_with(": a run is going on in it"), "{error}");
        }
        assert_eq!(names(&path), [METRICS, RECIPE]);
        first.lock().unwrap();
        first.unlock();
        destination.make(&Recipe::default()).unwrap();
    }

    #[test]
    fn nothing_is_left_where_it_cannot_be_made() {
        let (_guard, path) = scratch();
        fs::write(path.join("file"), "").unwrap();
        for out in ["file", "file/below"] {
            let error = Destination::at(&path.join(out), false).unwrap_err();
            assert!(matches!(error, RunDirectoryError::Make { .. }), "{error}");
        }
        // A directory in the recipe's place.
        let out = path.join("out");
        fs::create_dir_all(out.join(RECIPE)).unwrap();
        let error = Destination::at(&out, true).unwrap().make(&Recipe::default()).unwrap_err();
        assert!(error.to_string().contains("recipe.toml: cannot write: "), "{error}");
        assert_eq!(names(&out), [RECIPE]);
        // A name that is too long, below directories that are made for it.
        let out = path.join("new/new").join("x".repeat(300));
        for destination in [
            Destination::numbered(&path.join("new/new"), &"x".repeat(300)),
            Destination(Place::Given(out)),
        ] {
            destination.make(&Recipe::default()).unwrap_err();
            assert_eq!(names(&path), ["file", "out"]);
        }
    }
}
