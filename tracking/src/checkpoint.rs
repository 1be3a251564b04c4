//! Checkpoints: all that the rest of a run depends on, in one file each.
//!
//! `checkpoints/step-0000001875.safetensors` is the state after 1875 steps: a model file with more in it.
//!
//! | tensors | |
//! |---|---|
//! | `NAME` | weights and running statistics |
//! | `optimizer.STATE.NAME` | what the optimiser remembers, by PyTorch's names |
//! | `ema.NAME` | averaged weights and statistics |
//!
//! | metadata | |
//! |---|---|
//! | those of a model | |
//! | `checkpoint` | [`Progress`] as JSON, with the position in the epoch |
//! | `recipe` | the recipe as TOML |
//! | `data` | the [`Dataset::fingerprint`](dataset::Dataset::fingerprint) |
//! | `sha256` | of the file without this entry, as in a model file ([`HASH`]) |
//!
//! A file appears whole or not at all, and the latest is the highest that is whole: there is no
//! pointer that could point at nothing.

use crate::fields::with_home_hidden;
use files::{FileError, remove_unfinished, sync_directory, write_file};
use model::tensors::{HASH, TensorFile, hashed_safetensors_bytes};
use model::{CHECKPOINT, EMA, Model, OPTIMIZER};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use thiserror::Error;
use trainer::recipe::RecipeError;
use trainer::{Progress, Recipe, State};

const RECIPE: &str = "recipe";
const DATA: &str = "data";

/// Where the checkpoints of a run are.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    directory: PathBuf,
    keep: usize,
}

/// A checkpoint that has been read and found whole.
#[derive(Debug)]
pub struct Checkpoint {
    file: TensorFile,
    recipe: Recipe,
    progress: Progress,
}

/// Why a run cannot go on from a checkpoint.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is none.
    #[error("{}: no checkpoint to go on from{found}", directory.display())]
    None {
        /// Where they would be.
        directory: PathBuf,
        /// What there was instead.
        found: String,
    },
    /// The directory or a file cannot be read, or is not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its recipe is none of this version.
    #[error("{}: its recipe: {error}", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: RecipeError,
    },
}

impl Checkpoints {
    /// Those in this directory, of which the last `keep` are kept when others are written.
    #[must_use]
    pub fn new(directory: PathBuf, keep: usize) -> Checkpoints {
        Checkpoints { directory, keep: keep.max(1) }
    }

    /// Writes the state of a run; returns the file.
    pub fn save(&self, state: &State<'_>) -> Result<PathBuf, FileError> {
        let cannot = |error| FileError::Io { path: self.directory.clone(), action: "make", error };
        // Not those above it: the directory of a run that is gone is not made again.
        match fs::create_dir(&self.directory) {
            Ok(()) => self.directory.parent().map_or(Ok(()), sync_directory)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot(error)),
        }
        let path = self.file(state.progress.step);
        write_file(&path, &bytes(state))?;
        Ok(path)
    }

    /// The file of a step.
    pub(crate) fn file(&self, step: usize) -> PathBuf {
        self.directory.join(format!("step-{step:010}.safetensors"))
    }

    /// Deletes the oldest of those that are more than to be kept.
    pub fn prune(&self) -> Result<(), FileError> {
        let files = self.files()?;
        let old = files.len().saturating_sub(self.keep);
        files.iter().take(old).try_for_each(|(_, path)| remove(path))
    }

    /// The latest checkpoint that is whole, and why those after it were passed over.
    pub fn latest(&self) -> Result<(Checkpoint, Vec<CheckpointError>), CheckpointError> {
        self.restore(Ok)
    }

    /// What `restore` makes of the latest checkpoint that is whole and for which it succeeds, and why those
    /// after it were passed over. If it succeeds for none, the error is that of the latest that is whole.
    pub fn restore<T, E: From<CheckpointError>>(
        &self,
        mut restore: impl FnMut(Checkpoint) -> Result<T, E>,
    ) -> Result<(T, Vec<E>), E> {
        let (mut damaged, mut refused, mut problems) = (String::new(), None, vec![]);
        for (_, path) in self.files().map_err(CheckpointError::from)?.into_iter().rev() {
            let checkpoint = match Checkpoint::read(&path) {
                Ok(checkpoint) => checkpoint,
                Err(error) => {
                    if damaged.is_empty() {
                        damaged = format!("; {error}");
                    }
                    problems.push(error.into());
                    continue;
                }
            };
            match restore(checkpoint) {
                Ok(restored) => return Ok((restored, problems)),
                Err(error) => {
                    refused.get_or_insert(problems.len());
                    problems.push(error);
                }
            }
        }
        let none = || CheckpointError::None { directory: self.directory.clone(), found: damaged };
        Err(refused.map_or_else(|| none().into(), |place| problems.swap_remove(place)))
    }

    /// Deletes those of later steps, as a run goes on from `step` and may take another way, and what
    /// was not written to its end.
    pub fn forget_after(&self, step: usize) -> Result<(), FileError> {
        remove_unfinished(&self.directory)?;
        let files = self.files()?;
        files.iter().filter(|(number, _)| *number > step).try_for_each(|(_, path)| remove(path))
    }

    /// The latest on whose weights a step was possible, after one on those of `step` was not: that of
    /// `step` is deleted if there is an older one.
    pub fn last_good(&self, step: usize) -> Result<Option<PathBuf>, FileError> {
        let mut files = self.files()?;
        if let Some((_, bad)) = files.pop_if(|(number, _)| *number == step)
            && !files.is_empty()
        {
            remove(&bad)?;
        }
        Ok(files.pop().map(|(_, path)| path))
    }

    /// Every checkpoint with its step, in order.
    fn files(&self) -> Result<Vec<(usize, PathBuf)>, FileError> {
        let cannot = |error| FileError::Io { path: self.directory.clone(), action: "read", error };
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            entries => entries.map_err(cannot)?,
        };
        let mut files = vec![];
        for entry in entries {
            let path = entry.map_err(cannot)?.path();
            files.extend(step(&path).map(|step| (step, path)));
        }
        files.sort();
        Ok(files)
    }
}

/// The step in the name of a checkpoint.
fn step(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FileError::Io { path: path.to_owned(), action: "delete", error })
        }
        _ => Ok(()),
    }
}

impl Checkpoint {
    /// Reads a checkpoint and checks that it is whole.
    pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let file = TensorFile::read(path)?;
        let entry = |key: &str| {
            let value = file.metadata().get(key);
            value.ok_or_else(|| file.problem(format!("metadata has no `{key}`: not a checkpoint")))
        };
        let (progress, recipe) = (entry(CHECKPOINT)?, entry(RECIPE)?);
        // That the hash is right has been checked, if it is there.
        let _ = (entry(DATA)?, entry(HASH)?);
        let progress = serde_json::from_str(progress)
            .map_err(|error| file.problem(format!("metadata `{CHECKPOINT}`: {error}")))?;
        let recipe = Recipe::parse("recipe", recipe, &[])
            .map_err(|error| CheckpointError::Recipe { path: path.to_owned(), error })?;
        Ok(Checkpoint { file, recipe, progress })
    }

    /// Writes a state to a file of any name, which [`Checkpoint::read`] reads.
    pub fn write(path: &Path, state: &State<'_>) -> Result<(), FileError> {
        write_file(path, &bytes(state))
    }

    /// An error unless a run of this recipe can go on from it: the field that is another, and what was found and
    /// expected. `stop.epochs` may be another, and the place of the data; a list of factors may be longer.
    pub fn check_recipe(&self, recipe: &Recipe) -> Result<(), (String, String)> {
        let factors = &self.recipe.schedule.factors;
        let longer = recipe.schedule.factors.starts_with(factors).then_some("schedule.factors");
        let free: Vec<&str> = ["stop.epochs", "data.directory"].into_iter().chain(longer).collect();
        match self.recipe.difference(recipe, &free) {
            None => Ok(()),
            Some((field, then, now)) => {
                let path = self.path().display();
                let problem = format!("`{field}` is {now}: expected {then}, as in {path}");
                Err((field, problem))
            }
        }
    }

    /// The recipe of its run.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// How far its run had come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The fingerprint of the data of its run.
    pub fn data(&self) -> &str {
        self.file.metadata().get(DATA).map_or("", |data| data)
    }

    /// The state in it.
    pub fn state(&self) -> Result<State<'static>, CheckpointError> {
        let file = &self.file;
        let network = Model::from_tensors(file)?.network;
        let buffer = |prefix: &str, len| Ok(file.buffer(&network, prefix, len)?.to_vec().into());
        let names = file.names();
        let with = |prefix| names.iter().filter_map(move |name| name.strip_prefix(prefix));
        // `optimizer.STATE.NAME`: no state has a dot in its name.
        let states: BTreeSet<&str> =
            with(OPTIMIZER).filter_map(|name| name.split('.').next()).collect();
        let state = |name: &str| {
            let values = buffer(&format!("{OPTIMIZER}{name}."), network.trained_len())?;
            Ok((name.to_owned(), values))
        };
        let optimizer = states.into_iter().map(state).collect::<Result<_, FileError>>()?;
        let ema = with(EMA).next().map(|_| buffer(EMA, network.len())).transpose()?;
        let ours = [CHECKPOINT, RECIPE, DATA, HASH];
        let metadata = file.metadata().iter().filter(|(key, _)| !ours.contains(&&***key));
        Ok(State {
            origin: self.path().display().to_string(),
            weights: buffer("", network.len())?,
            optimizer,
            ema,
            progress: self.progress.clone(),
            recipe: Cow::Owned(self.recipe.clone()),
            data: self.data().to_owned(),
            metadata: metadata.map(|(key, value)| (key.clone(), value.clone())).collect(),
            network: Cow::Owned(network),
        })
    }
}

/// The file of a state.
fn bytes(state: &State<'_>) -> Vec<u8> {
    let network = &state.network;
    let mut tensors = network.entries(&state.weights, "");
    for (name, values) in &state.optimizer {
        tensors.extend(network.entries(values, &format!("{OPTIMIZER}{name}.")));
    }
    if let Some(ema) = &state.ema {
        tensors.extend(network.entries(ema, EMA));
    }
    let progress = serde_json::to_string(&state.progress).expect("plain values");
    let mut metadata = state.metadata.clone();
    for (key, value) in [
        (CHECKPOINT, progress),
        (RECIPE, with_home_hidden(&state.recipe).to_toml()),
        (DATA, state.data.clone()),
    ] {
        metadata.insert(key.to_owned(), value);
    }
    hashed_safetensors_bytes(&metadata, &tensors)
}
