//! Runs that leave a directory, as those of `bobbin train`.

use crate::dataset::Dataset;
use crate::error::{failed, guarded, of_data, of_recipe, of_training, warn, wrong};
use crate::recipe::recipe_of;
use crate::signals::Watch;
use crate::threads::Threads;
use crate::trainer::{data_of, in_bytes, word};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tracking::metrics::Line;
use tracking::{
    Checkpoint, Checkpoints, Destination, Outcome, Recorder, RunDirectory, RunDisplay, RunError,
};
use trainer::recipe::Facts;
use trainer::{Recipe, Step, Stop, Trainer};

/// Shows a run to Python.
struct Display<'d> {
    callback: Option<&'d Py<PyAny>>,
    watch: Watch,
    interrupt: &'d AtomicBool,
}

impl RunDisplay for Display<'_> {
    fn line(&mut self, line: &Line) {
        // A callback that has raised is not called again while the run winds down.
        let Some(callback) = self.callback.filter(|_| self.watch.raised.is_none()) else { return };
        let tell = |py: Python<'_>| callback.call1(py, (line.to_json(),)).map(|_| true);
        if !self.watch.goes_on(tell) {
            self.interrupt.store(true, Relaxed);
        }
    }

    fn step(&mut self, _: &Trainer<'_>, _: &Step) {
        if self.watch.ends() {
            self.interrupt.store(true, Relaxed);
        }
    }
}

/// A run with its directory: why it ended, the directory, and steps in all.
#[pyfunction]
pub fn record(
    recipe: &Bound<'_, PyAny>,
    settings: Vec<(String, String)>,
    data: Option<&Bound<'_, PyAny>>,
    out: Option<PathBuf>,
    force: bool,
    threads: Option<usize>,
    callback: Option<Py<PyAny>>,
) -> PyResult<(&'static str, PathBuf, usize)> {
    let py = recipe.py();
    let name = recipe.extract::<PathBuf>().unwrap_or_default();
    let named = data.and_then(|data| data.extract::<PathBuf>().ok());
    let load = |facts| own(recipe_of(recipe, &settings, facts)?, named.as_deref());
    let first = load(Facts::BUNDLED)?;
    let data: Arc<::dataset::Dataset> = match data.filter(|_| named.is_none()) {
        Some(data) => data.extract::<PyRef<'_, Dataset>>()?.0.clone(),
        None => data_of(py, &first)?.0,
    };
    let recipe = load(Facts::of(&data).map_err(|error| of_data(&error))?)?;
    let data = in_bytes(py, data, &recipe)?;
    let threads = Threads::start(threads)?;
    py.detach(|| {
        guarded(|| {
            let mut trainer =
                Trainer::new(&recipe, &data, &threads.workers).map_err(of_training)?;
            let destination = match &out {
                Some(out) => Destination::at(out, force).map_err(failed)?,
                None => Destination::numbered(Path::new("runs"), base_name(&name)),
            };
            let directory = destination.make(&recipe).map_err(failed)?;
            let outcome = train(&mut trainer, &directory, callback.as_ref(), data.is_in_memory())?;
            Ok((word(outcome.stop), directory.path().to_owned(), outcome.step))
        })
    })
}

/// Goes on with the run of a directory from its latest checkpoint, on these data or else those that its recipe names.
#[pyfunction]
pub fn resume(
    py: Python<'_>,
    directory: PathBuf,
    data: Option<PyRef<'_, Dataset>>,
    epochs: Option<usize>,
    threads: Option<usize>,
    callback: Option<Py<PyAny>>,
) -> PyResult<(&'static str, PathBuf, usize)> {
    let threads = Threads::start(threads)?;
    let directory = RunDirectory::open(&directory).map_err(failed)?;
    directory.lock().map_err(failed)?;
    let settings = epochs.map(|epochs| ("stop.epochs".to_owned(), epochs.to_string()));
    let recipe = directory.read_recipe(settings.as_slice()).map_err(of_recipe)?;
    let data = match data {
        Some(data) => data.0.clone(),
        None => data_of(py, &recipe)?.0,
    };
    let data = in_bytes(py, data, &recipe)?;
    py.detach(|| {
        guarded(|| {
            let checkpoints = Checkpoints::new(directory.checkpoints(), 1);
            let (latest, _) = checkpoints.latest().map_err(failed)?;
            check_recipe(&latest, &recipe)?;
            let warning = latest.recipe().warning_of_epochs(recipe.stop.epochs);
            let (mut trainer, passed_over) = checkpoints
                .restore(|checkpoint| {
                    let state = checkpoint.state()?;
                    Ok::<_, RunError>(Trainer::resume(&recipe, &data, &threads.workers, state)?)
                })
                .map_err(of_run)?;
            let older = |error: &RunError| format!("{error}; going on from an older one");
            for said in passed_over.iter().map(older).chain(warning.map(str::to_owned)) {
                Python::attach(|py| warn(py, &said, 2))?;
            }
            directory.rewrite_recipe(&recipe).map_err(failed)?;
            let outcome = train(&mut trainer, &directory, callback.as_ref(), data.is_in_memory())?;
            Ok((word(outcome.stop), directory.path().to_owned(), outcome.step))
        })
    })
}

/// An error if the recipe is not that of the checkpoint, but for more epochs and the place of its data.
fn check_recipe(checkpoint: &Checkpoint, recipe: &Recipe) -> PyResult<()> {
    let (begun, epochs) = (checkpoint.progress().epoch_under_way(), recipe.stop.epochs);
    if epochs < begun {
        let expected = "the epochs that the run has begun";
        return Err(wrong(format!(
            "epochs: found {epochs}: expected at least {begun}, {expected}"
        )));
    }
    checkpoint.check_recipe(recipe).map_err(|(_, problem)| wrong(problem))
}

/// Trains and records.
fn train(
    trainer: &mut Trainer<'_>,
    directory: &RunDirectory,
    callback: Option<&Py<PyAny>>,
    in_memory: bool,
) -> PyResult<Outcome> {
    let interrupt = AtomicBool::new(false);
    let mut display = Display { callback, watch: Watch::new(), interrupt: &interrupt };
    let recorder = Recorder::new(directory).interrupt(&interrupt).display(&mut display);
    let outcome = recorder.record(trainer);
    if let Some(error) = display.watch.raised {
        return Err(match outcome {
            Ok(outcome) if outcome.stop == Stop::Interrupted => {
                with_way_on(error, &outcome, directory, in_memory)
            }
            _ => error,
        });
    }
    outcome.map_err(of_run)
}

/// An error of a run.
fn of_run(error: RunError) -> PyErr {
    match error {
        RunError::Train(error) => of_training(error),
        error => failed(error),
    }
}

/// What a keyboard interrupt says of going on; other exceptions stay as they are. Images in memory are not found by
/// another program.
fn with_way_on(
    error: PyErr,
    outcome: &Outcome,
    directory: &RunDirectory,
    in_memory: bool,
) -> PyErr {
    if !Python::attach(|py| error.is_instance_of::<PyKeyboardInterrupt>(py)) {
        return error;
    }
    let (step, path) = (outcome.step, directory.path());
    let resume = match in_memory {
        true => format!("bobbin.resume({:?}, data)", path.display().to_string()),
        false => format!("bobbin train --resume {}", commands::word(path)),
    };
    PyKeyboardInterrupt::new_err(format!("interrupted after step {step}; go on with: {resume}"))
}

/// The recipe with the directory of its data, if a caller names one, and files that are found wherever it is run
/// from again.
fn own(mut recipe: Recipe, data: Option<&Path>) -> PyResult<Recipe> {
    if let Some(data) = data {
        recipe.data.directory = Some(data.to_owned());
    }
    for path in [&mut recipe.data.directory, &mut recipe.model.weights].into_iter().flatten() {
        *path = std::path::absolute(&path).map_err(failed)?;
    }
    if let Some(weights) = recipe.model.weights.as_mut().filter(|weights| weights.is_dir()) {
        weights.push("model.safetensors");
    }
    Ok(recipe)
}

/// What the directory of a run is called after.
fn base_name(recipe: &Path) -> &str {
    let stem = recipe.file_stem().and_then(|stem| stem.to_str());
    stem.filter(|_| !recipe.to_string_lossy().contains(['\n', '='])).unwrap_or("run")
}
