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
//! | `data` | the [`Dataset::fingerprint`](crate::Dataset::fingerprint) |
//! | `sha256` | of the tensors and the three above |
//!
//! A file appears whole or not at all, and the latest is the highest that is whole: there is no
//! pointer that could point at nothing.

use crate::digest;
use crate::recipe::{Recipe, RecipeError};
use crate::training::{Progress, Trainer};
use model::{
    CHECKPOINT, FileError, OPTIMIZER, TensorFile, remove_unfinished, safetensors_bytes, write_file,
};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use thiserror::Error;

const RECIPE: &str = "recipe";
const DATA: &str = "data";
const HASH: &str = "sha256";

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
    /// It is of a run on other images.
    #[error("{}: the data are not those that the run began with: {data}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// The directory of the data.
        data: PathBuf,
    },
}

impl Checkpoints {
    /// Those in this directory, of which the last `keep` are kept when others are written.
    pub fn new(directory: PathBuf, keep: usize) -> Checkpoints {
        Checkpoints { directory, keep: keep.max(1) }
    }

    /// Writes the state of a run; returns the file.
    pub fn save(&self, trainer: &Trainer<'_>) -> Result<PathBuf, FileError> {
        let cannot = |error| FileError::Io { path: self.directory.clone(), action: "make", error };
        fs::create_dir_all(&self.directory).map_err(cannot)?;
        let step = trainer.progress().step;
        let path = self.directory.join(format!("step-{step:010}.safetensors"));
        write_file(&path, &bytes(trainer))?;
        Ok(path)
    }

    /// Deletes the oldest of those that are more than to be kept.
    pub fn prune(&self) -> Result<(), FileError> {
        let files = self.files()?;
        let old = files.len().saturating_sub(self.keep);
        files.iter().take(old).try_for_each(|(_, path)| remove(path))
    }

    /// The latest checkpoint, and the files that were passed over because they are damaged.
    pub fn latest(&self) -> Result<(Checkpoint, Vec<FileError>), CheckpointError> {
        let mut damaged = vec![];
        for (_, path) in self.files()?.into_iter().rev() {
            match Checkpoint::read(&path) {
                Ok(checkpoint) => return Ok((checkpoint, damaged)),
                Err(CheckpointError::File(error)) => damaged.push(error),
                Err(error) => return Err(error),
            }
        }
        let found = damaged.first().map(|error| format!("; {error}")).unwrap_or_default();
        Err(CheckpointError::None { directory: self.directory.clone(), found })
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
    pub(crate) fn last_good(&self, step: usize) -> Result<Option<PathBuf>, FileError> {
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
        if *entry(HASH)? != hash(progress, recipe, entry(DATA)?, file.values()) {
            return Err(file.problem("damaged: its content is not what was written").into());
        }
        let progress = serde_json::from_str(progress)
            .map_err(|error| file.problem(format!("metadata `{CHECKPOINT}`: {error}")))?;
        let recipe = Recipe::parse("recipe", recipe, &[])
            .map_err(|error| CheckpointError::Recipe { path: path.to_owned(), error })?;
        Ok(Checkpoint { file, recipe, progress })
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

    /// The tensors in it.
    pub(crate) fn file(&self) -> &TensorFile {
        &self.file
    }

    /// The fingerprint of the data of its run.
    pub(crate) fn data(&self) -> &str {
        self.file.metadata().get(DATA).map_or("", |data| data)
    }
}

/// The file of a state.
fn bytes(trainer: &Trainer<'_>) -> Vec<u8> {
    let (model, network) = (trainer.description(), trainer.network());
    let mut tensors = network.entries(trainer.weights(), "");
    for (name, state) in trainer.optimizer_state() {
        tensors.extend(network.entries(state, &format!("{OPTIMIZER}{name}.")));
    }
    if let Some(ema) = trainer.ema() {
        tensors.extend(network.entries(ema, model::EMA));
    }
    let progress = serde_json::to_string(trainer.progress()).expect("plain values");
    let (recipe, data) = (trainer.recipe().to_toml(), trainer.data_fingerprint());
    // Twice, as the hash of the values goes before them.
    let plain = safetensors_bytes(&BTreeMap::new(), &tensors);
    let header = plain.first_chunk().map_or(0, |length| u64::from_le_bytes(*length) as usize);
    let hash = hash(&progress, &recipe, data, &plain[8 + header..]);
    let mut metadata = model;
    for (key, value) in
        [(CHECKPOINT, progress), (RECIPE, recipe), (DATA, data.to_owned()), (HASH, hash)]
    {
        metadata.insert(key.to_owned(), value);
    }
    safetensors_bytes(&metadata, &tensors)
}

fn hash(progress: &str, recipe: &str, data: &str, values: &[u8]) -> String {
    digest::of_parts([progress.as_bytes(), recipe.as_bytes(), data.as_bytes(), values])
}
