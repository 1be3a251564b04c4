//! Where a run directory shall be, before and while it is made.

use super::{RECIPE, RunDirectory, RunDirectoryError};
use files::{FileError, is_unfinished, sync_directory};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use trainer::Recipe;

/// Where a run directory is to be created.
#[derive(Clone, Debug)]
#[must_use]
pub struct Destination {
    place: Place,
    /// Whether an older run may be replaced, or joined where several share the directory.
    replace: bool,
}

#[derive(Clone, Debug)]
enum Place {
    Given(PathBuf),
    Numbered { runs: PathBuf, name: String },
}

impl Destination {
    /// This directory, which must be new or empty unless an older run in it is to be replaced.
    pub fn at(path: &Path, replace: bool) -> Result<Destination, RunDirectoryError> {
        check_free(path, replace)?;
        Ok(Destination { place: Place::Given(path.into()), replace })
    }

    /// A directory for several runs, which must be new or empty unless more are to join what is in it.
    pub fn shared(path: &Path, join: bool) -> Result<Destination, RunDirectoryError> {
        if holds_something(path)? && !join {
            return Err(RunDirectoryError::Taken(path.into()));
        }
        Ok(Destination { place: Place::Given(path.into()), replace: join })
    }

    /// The first of `runs/NAME-1`, `runs/NAME-2`, … that does not exist.
    pub fn numbered(runs: &Path, name: &str) -> Destination {
        Destination {
            place: Place::Numbered { runs: runs.into(), name: name.into() },
            replace: false,
        }
    }

    /// Makes the directory, locks it and writes the recipe into it. What an older run left is deleted,
    /// as it is not of this recipe. After an error nothing new is left.
    ///
    /// Another process may have been here since the destination was chosen, so under the lock it is
    /// asked again whether the directory is free.
    pub fn make(&self, recipe: &Recipe) -> Result<RunDirectory, RunDirectoryError> {
        let mut made = Made::default();
        let directory = RunDirectory::new(&self.place(&mut made)?);
        // Of several that have found no directory one has it by now: it stays, whoever made it.
        directory.lock().inspect_err(|_| made.leave())?;
        // What an error removes, it removes before the lock ends: nobody else is in it yet.
        let mut made = made;
        directory.check_place()?;
        check_free(directory.path(), self.replace)?;
        directory.clear()?;
        directory.write_recipe(recipe)?;
        made.keep(directory.path())?;
        Ok(directory)
    }

    /// Makes a directory that several runs are to share; returns its path.
    pub fn make_parent(&self) -> Result<PathBuf, RunDirectoryError> {
        let mut made = Made::default();
        let path = self.place(&mut made)?;
        made.keep(&path)?;
        Ok(path)
    }

    fn place(&self, made: &mut Made) -> Result<PathBuf, RunDirectoryError> {
        match &self.place {
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

/// An error unless a run may be written into this directory: it is new or empty, or there is a run in it
/// that may be replaced.
fn check_free(path: &Path, replace: bool) -> Result<(), RunDirectoryError> {
    match holds_something(path)? {
        true if !replace => Err(RunDirectoryError::Taken(path.into())),
        true if !path.join(RECIPE).exists() => Err(RunDirectoryError::Foreign(path.into())),
        _ => Ok(()),
    }
}

/// Whether a directory exists and is not empty. What a program that was killed had not finished to write
/// does not count.
fn holds_something(path: &Path) -> Result<bool, RunDirectoryError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(RunDirectoryError::Make { path: path.into(), error }),
    };
    Ok(entries.flatten().any(|entry| !is_unfinished(&entry.path())))
}

/// Directories that were made, deepest last: when dropped they are removed again.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a directory and all above it.
    fn directories(&mut self, path: &Path) -> Result<(), RunDirectoryError> {
        let cannot = |error| RunDirectoryError::Make { path: path.into(), error };
        files::check_local(path).map_err(cannot)?;
        let missing = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists());
        self.0.extend(missing.map(Path::to_path_buf));
        self.0.reverse();
        fs::create_dir_all(path).map_err(cannot)
    }

    /// All of them stay, as they are another's.
    fn leave(&mut self) {
        self.0.clear();
    }

    /// All of them stay, this one last, also after a power cut.
    fn keep(&mut self, path: &Path) -> Result<(), FileError> {
        // Whoever has made a directory that was there may have been killed before this.
        for directory in self.0.iter().map(PathBuf::as_path).chain([path]) {
            directory.parent().map_or(Ok(()), sync_directory)?;
        }
        self.0.clear();
        Ok(())
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
