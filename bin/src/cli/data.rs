//! The flags that say which data set.

use crate::cli::text::text;
use crate::cli::{Failure, Kind, run, usage};
use dataset::{DataError, Dataset, Source};
use model::Model;
use std::path::{Path, PathBuf};
use tracking::metrics::read_metrics;
use tracking::{RunDirectory, trained_on};
use trainer::recipe::RecipeError;

/// Which data set.
#[derive(clap::Args)]
pub struct DataFlags {
    /// Directory of IDX files, plain or gzipped [default: those of the run]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Of several data sets in the directory the one whose file names begin so
    #[arg(long, value_name = "P", requires = "data", value_parser = text())]
    prefix: Option<String>,
    /// Where gzipped files are unpacked [default: $BOBBIN_CACHE or ~/.cache/bobbin]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// A data set, and why it is this one.
pub struct Chosen {
    pub data: Dataset,
    pub reason: &'static str,
}

impl DataFlags {
    /// The data set for weights of this file: the one that is named, or that of the run in whose directory
    /// the file is. Of other files nobody knows.
    pub fn chosen(&self, weights: &Path) -> Result<Option<Chosen>, Failure> {
        if let Some(directory) = &self.data {
            let source = Source { prefix: self.prefix.clone(), ..Source::new(directory) };
            return self.open(source, "as given by --data").map(Some);
        }
        let Some(directory) = run_of(weights) else { return Ok(None) };
        let section =
            directory.read_recipe(&[]).map_err(|error| recipe_failure(&directory, error))?;
        let section = section.data;
        let source = match section.directory {
            Some(directory) => Source::new(directory),
            None => bundled()?,
        };
        let source = Source { prefix: section.prefix, ..source };
        let chosen = self.open(source, "that of the run").map_err(|failure| {
            let recipe = directory.recipe();
            let hint = "if it is elsewhere now, say where: --data DIR";
            let message = format!("{}; as {} has it; {hint}", failure.message, recipe.display());
            Failure { message, ..failure }
        })?;
        check_unchanged(&directory, &chosen.data)?;
        Ok(Some(chosen))
    }

    /// The data set for weights that do not say themselves what they are for.
    pub fn required(&self, weights: &Path) -> Result<Dataset, Failure> {
        Ok(self.chosen(weights)?.ok_or_else(|| unknown(weights))?.data)
    }

    /// The bundled data set for a model, if its images and classes are those of the model.
    pub fn bundled_for(&self, model: &Model, weights: &Path) -> Result<Chosen, Failure> {
        let source = Source::bundled().map_err(|_| unknown(weights))?;
        let chosen = self.open(source, "whose classes are those of the model")?;
        let data = &chosen.data;
        let same = data.image_shape() == model.network.input();
        match same && data.class_names() == model.classes {
            true => Ok(chosen),
            false => Err(unknown(weights)),
        }
    }

    fn open(&self, source: Source, reason: &'static str) -> Result<Chosen, Failure> {
        let data = Dataset::open(&Source { cache: self.cache.clone(), ..source });
        let data = data.map_err(|error| data_failure(&error, "--prefix="))?;
        Ok(Chosen { data, reason })
    }
}

/// The failure that is weights of which nobody knows which data they are for.
pub fn unknown(weights: &Path) -> Failure {
    let bundled = Source::bundled().map(|source| source.directory.display().to_string());
    let example = bundled.map_or(String::new(), |path| format!("; Fashion-MNIST is in {path}"));
    usage(format!(
        "{}: neither the file nor a run says which data these weights are for: --data DIR does{example}",
        weights.display()
    ))
}

/// The run that a file of weights is of: it is in the directory of the run, or that of its checkpoints.
fn run_of(weights: &Path) -> Option<RunDirectory> {
    let directory = weights.canonicalize().ok()?.parent()?.to_owned();
    let run = match directory.file_name().is_some_and(|name| name == "checkpoints") {
        true => directory.parent()?.to_owned(),
        false => directory,
    };
    RunDirectory::open(&run).ok()
}

/// What is wrong with the recipe of a run: of a field it is not said which file it is in.
fn recipe_failure(directory: &RunDirectory, error: RecipeError) -> Failure {
    match error.field() {
        Some(_) => usage(format!("{}: {error}", directory.recipe().display())),
        None => run(error),
    }
}

/// Refuses data that have changed since the run was trained on them.
fn check_unchanged(directory: &RunDirectory, data: &Dataset) -> Result<(), Failure> {
    let lines = read_metrics(&directory.metrics()).unwrap_or_default();
    match trained_on(directory, &lines) {
        Some(fingerprint) if fingerprint != data.fingerprint() => {
            let (data, run) = (data.directory().display(), directory.path().display());
            let message = format!(
                "{data}: these are not the data that {run} was trained on; to measure on them all the \
                 same, name them: --data {data}"
            );
            Err(Failure::new(Kind::OtherData, message))
        }
        _ => Ok(()),
    }
}

/// The bundled data set.
pub fn bundled() -> Result<Source, Failure> {
    Source::bundled().map_err(|error| {
        Failure::new(Kind::Data, format!("{error}; --data DIR names a data set that is elsewhere"))
    })
}

/// An error of a data set; of several sets in a directory `flag` chooses one.
pub fn data_failure(error: &DataError, flag: &str) -> Failure {
    match error {
        DataError::SeveralSets { prefixes, .. } => {
            let last = prefixes.last().map_or("", |prefix| prefix);
            Failure::new(Kind::Data, format!("{error}, for example {flag}{last}"))
        }
        DataError::Cache { .. } | DataError::NoCache => {
            Failure::new(Kind::Data, format!("{error}, or by --cache DIR"))
        }
        error => run(error),
    }
}
