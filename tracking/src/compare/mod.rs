//! Runs side by side: what differs in their recipes, and what came of each.

mod page;
mod table;

use crate::fields::{flatten, plain};
use crate::log::metrics::{Line, Start, read_metrics};
use crate::run_directory::{RunDirectory, RunDirectoryError};
use files::FileError;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use thiserror::Error;
use trainer::Stop;

/// Runs side by side, the best first; see [`Comparison::json`], [`Comparison::csv`],
/// [`Comparison::text`] and [`Comparison::html`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Comparison {
    runs: Vec<Run>,
    /// The fields of the recipes that are not the same in all of them.
    differing: Vec<String>,
}

/// A run.
#[derive(Clone, Debug)]
struct Run {
    row: Row,
    lines: Vec<Line>,
}

/// What is said of a run; in JSON and CSV by these names.
#[derive(Clone, Debug, Serialize)]
struct Row {
    name: String,
    directory: String,
    /// Of the fields that differ, those that it sets.
    settings: BTreeMap<String, serde_json::Value>,
    /// Complete ones.
    epochs: usize,
    state: State,
    best_top1: Option<f64>,
    /// The epoch after which that was.
    best_epoch: Option<usize>,
    last_top1: Option<f64>,
    validation_loss: Option<f64>,
    loss: Option<f64>,
    /// Median over the epochs.
    images_per_second: Option<f64>,
}

/// Whether a run has ended, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ended,
    /// It is going on, or was interrupted.
    Unfinished,
    Diverged,
}

/// Why runs cannot be compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A path is neither a run nor a directory of runs.
    #[error(
        "{}: no run in it: expected a run directory, or a directory of run directories", .0.display()
    )]
    NoRun(PathBuf),
    /// A path cannot be read.
    #[error("{}: cannot read: {error}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A recipe is not TOML.
    #[error("{}: not a recipe: {problem}", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong; one line.
        problem: String,
    },
    /// A file of a run.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Comparison {
    /// The runs in these places: each is a run directory, or a directory of some.
    pub fn open<P: AsRef<Path>>(places: &[P]) -> Result<Comparison, CompareError> {
        let mut found = vec![];
        for place in places {
            for directory in runs_in(place.as_ref())? {
                if !found.iter().any(|known: &RunDirectory| known.path() == directory.path()) {
                    found.push(directory);
                }
            }
        }
        let recipes = found.iter().map(recipe).collect::<Result<Vec<_>, _>>()?;
        let metrics = found.iter().map(|directory| read_metrics(&directory.metrics()));
        let metrics = metrics.collect::<Result<Vec<_>, _>>()?;
        let recipes: Vec<_> = recipes
            .into_iter()
            .zip(&metrics)
            .map(|(recipe, lines)| with_data(recipe, lines))
            .collect();
        let differing = differing(&recipes);
        let runs = found.iter().zip(recipes).zip(metrics);
        let mut runs: Vec<Run> = runs
            .map(|((directory, recipe), lines)| Run {
                row: Row::new(directory, &recipe, &differing, &lines),
                lines,
            })
            .collect();
        distinguish(&mut runs);
        runs.sort_by(|a, b| a.row.by_result(&b.row));
        Ok(Comparison { runs, differing })
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there is no run, as no place was named.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// As a JSON object: `runs`, the best first, with the keys of the table, `settings` for the fields
    /// that differ; and `best`, the name of the best.
    pub fn json(&self) -> String {
        let runs: Vec<&Row> = self.runs.iter().map(|run| &run.row).collect();
        let best = self.best().map(|row| &row.name);
        serde_json::json!({ "runs": runs, "best": best }).to_string()
    }

    /// The first, if it has a result.
    fn best(&self) -> Option<&Row> {
        let first = self.runs.first().map(|run| &run.row);
        first.filter(|row| row.state != State::Diverged && row.loss.is_some())
    }
}

/// The runs in a place, in the order of their names.
fn runs_in(place: &Path) -> Result<Vec<RunDirectory>, CompareError> {
    let unreadable = |error| CompareError::Unreadable { path: place.into(), error };
    fs::metadata(place).map_err(unreadable)?;
    match RunDirectory::open(place) {
        Ok(directory) => return Ok(vec![directory]),
        Err(RunDirectoryError::File(error)) => return Err(error.into()),
        Err(_) if !place.is_dir() => return Err(CompareError::NoRun(place.into())),
        Err(_) => {}
    }
    let entries = fs::read_dir(place).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut paths: Vec<PathBuf> =
        entries.map_err(unreadable)?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    let mut runs = vec![];
    for path in &paths {
        match RunDirectory::open(path) {
            Ok(directory) => runs.push(directory),
            Err(RunDirectoryError::File(error)) => return Err(error.into()),
            Err(_) => {}
        }
    }
    if runs.is_empty() {
        return Err(CompareError::NoRun(place.into()));
    }
    Ok(runs)
}

/// The fields of a run's recipe, whatever version wrote them.
fn recipe(directory: &RunDirectory) -> Result<BTreeMap<String, toml::Value>, CompareError> {
    let path = directory.recipe();
    let text = fs::read_to_string(&path);
    let text = text.map_err(|error| FileError::Io { path: path.clone(), action: "read", error })?;
    let table = toml::from_str(&text).map_err(|error: toml::de::Error| CompareError::Recipe {
        path,
        problem: error.message().replace('\n', "; "),
    })?;
    Ok(flatten(table))
}

/// With the data as a field: two recipes may name one directory whose files have changed in between. Of
/// paths only the names are left, as the rest may tell who the user is.
fn with_data(
    mut recipe: BTreeMap<String, toml::Value>,
    lines: &[Line],
) -> BTreeMap<String, toml::Value> {
    for field in ["data.directory", "model.weights"] {
        if let Some(toml::Value::String(path)) = recipe.get_mut(field)
            && let Some(name) = Path::new(path.as_str()).file_name()
        {
            *path = name.to_string_lossy().into_owned();
        }
    }
    if let Some(fingerprint) = start(lines).and_then(|start| start.fingerprint.as_ref()) {
        let short: String = fingerprint.chars().take(8).collect();
        recipe.insert("data".into(), short.into());
    }
    recipe
}

fn start(lines: &[Line]) -> Option<&Start> {
    lines.iter().rev().find_map(|line| match line {
        Line::Start(start) => Some(start),
        _ => None,
    })
}

/// The fields that are not the same in all recipes, in the order of their names.
fn differing(recipes: &[BTreeMap<String, toml::Value>]) -> Vec<String> {
    let names: BTreeSet<&String> = recipes.iter().flat_map(|recipe| recipe.keys()).collect();
    let differs = |name: &&&String| recipes.iter().any(|r| r.get(**name) != recipes[0].get(**name));
    names.iter().filter(differs).map(|name| (*name).clone()).collect()
}

/// Runs of one name get that of the directory above in front.
fn distinguish(runs: &mut [Run]) {
    let names: Vec<String> = runs.iter().map(|run| run.row.name.clone()).collect();
    for run in runs {
        if names.iter().filter(|name| **name == run.row.name).count() > 1 {
            run.row.name.clone_from(&run.row.directory);
        }
    }
}

impl Row {
    fn new(
        directory: &RunDirectory,
        recipe: &BTreeMap<String, toml::Value>,
        differing: &[String],
        lines: &[Line],
    ) -> Row {
        let set = differing.iter().filter_map(|field| {
            let value = recipe.get(field)?;
            let json = serde_json::to_value(value).unwrap_or_else(|_| plain(value).into());
            Some((field.clone(), json))
        });
        let epochs: Vec<_> = lines
            .iter()
            .filter_map(|line| if let Line::Epoch(epoch) = line { Some(epoch) } else { None })
            .collect();
        let last = epochs.last();
        let mut row = Row {
            name: directory.name(),
            directory: directory.path().display().to_string(),
            settings: set.collect(),
            epochs: last.map_or(0, |epoch| epoch.epoch),
            state: State::of(lines),
            best_top1: None,
            best_epoch: None,
            last_top1: None,
            validation_loss: None,
            loss: last.map(|epoch| epoch.loss),
            images_per_second: None,
        };
        for line in lines {
            let Line::Validation(found) = line else { continue };
            (row.last_top1, row.validation_loss) = (Some(found.top1), Some(found.validation_loss));
            if row.best_top1.is_none_or(|best| found.top1 > best) {
                (row.best_top1, row.best_epoch) = (Some(found.top1), Some(found.epoch));
            }
        }
        let mut speeds: Vec<f64> = epochs.iter().map(|epoch| epoch.images_per_second).collect();
        speeds.sort_by(f64::total_cmp);
        row.images_per_second = speeds.get(speeds.len() / 2).copied();
        row
    }

    /// The better first: by the best top-1, then the validation loss, then the loss. Runs that diverged
    /// are the last.
    fn by_result(&self, other: &Row) -> Ordering {
        // What is missing is worse than any value.
        let low = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
        let key = |row: &Row| {
            [low(row.best_top1.map(|top1| -top1)), low(row.validation_loss), low(row.loss)]
        };
        let differences = key(self).into_iter().zip(key(other)).map(|(a, b)| a.total_cmp(&b));
        let diverged = |row: &Row| row.state == State::Diverged;
        diverged(self).cmp(&diverged(other)).then(differences.fold(Ordering::Equal, Ordering::then))
    }
}

impl State {
    fn of(lines: &[Line]) -> State {
        match lines.last() {
            Some(Line::End(end)) if end.reason == Stop::Diverged => State::Diverged,
            Some(Line::End(end)) if end.reason != Stop::Interrupted => State::Ended,
            _ => State::Unfinished,
        }
    }

    fn name(self) -> &'static str {
        match self {
            State::Ended => "ended",
            State::Unfinished => "unfinished",
            State::Diverged => "diverged",
        }
    }
}
