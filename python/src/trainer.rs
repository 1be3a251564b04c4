//! The class `Trainer`.

use crate::arrays::{Labelled, state_dict, weights_of};
use crate::dataset::{Dataset, open};
use crate::error::{failed, guarded, of_data, warn};
use crate::metrics::{of_epoch, of_scores, of_step};
use crate::model::Model;
use crate::recipe::{recipe_of, settings_of};
use crate::running::{Pause, Running};
use crate::signals::Watch;
use crate::threads::Threads;
use dataset::Source;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, ThreadId};
use std::time::Duration;
use trainer::recipe::Facts;
use trainer::{Recipe, Stop};

/// How often a thread looks whether another has done with a trainer.
const POLL: Duration = Duration::from_millis(1);

/// A network in training.
#[pyclass(frozen, module = "bobbin")]
pub struct Trainer {
    running: Mutex<Running>,
    /// The thread that has locked it.
    holder: Mutex<Option<ThreadId>>,
    /// Those of `running`, to be looked at without its lock.
    threads: Threads,
}

impl Trainer {
    /// `f` with the trainer, while other threads of Python go on. Another thread that trains is waited for;
    /// Ctrl-C ends the wait.
    fn with<R: Send>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&mut Running) -> PyResult<R> + Send,
    ) -> PyResult<R> {
        // First: a lock that another thread held at a fork is never released.
        self.threads.check()?;
        py.detach(|| {
            let own = thread::current().id();
            if *self.holder() == Some(own) {
                // A handler of a signal, which is run between two steps.
                return Err(failed("the trainer is in the middle of a run: wait for its end"));
            }
            let mut running = self.wait()?;
            *self.holder() = Some(own);
            let result = guarded(|| f(&mut running));
            *self.holder() = None;
            result
        })
    }

    /// The trainer as soon as no other thread has it.
    fn wait(&self) -> PyResult<MutexGuard<'_, Running>> {
        let mut watch = Watch::new();
        loop {
            match self.running.try_lock() {
                Ok(running) => return Ok(running),
                Err(TryLockError::Poisoned(error)) => return Ok(error.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
            if watch.ends()
                && let Some(error) = watch.raised.take()
            {
                return Err(error);
            }
            thread::sleep(POLL);
        }
    }

    fn holder(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Trainer {
    #[new]
    #[pyo3(signature = (recipe, data=None, *, weights=None, threads=None, **fields))]
    fn new(
        recipe: &Bound<'_, PyAny>,
        data: Option<PyRef<'_, Dataset>>,
        weights: Option<&Bound<'_, PyAny>>,
        threads: Option<usize>,
        fields: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Trainer> {
        let py = recipe.py();
        let settings = fields.map(settings_of).transpose()?.unwrap_or_default();
        let data = match data {
            Some(data) => data.0.clone(),
            None => data_of(py, &recipe_of(recipe, &settings, Facts::BUNDLED)?)?.0,
        };
        let facts = Facts::of(&data).map_err(|error| of_data(&error))?;
        let recipe = recipe_of(recipe, &settings, facts)?;
        let data = in_bytes(py, data, &recipe)?;
        let threads = Threads::start(threads)?;
        let running = py.detach(|| guarded(|| Running::new(&recipe, data, threads.clone())))?;
        let trainer = Trainer { running: Mutex::new(running), holder: Mutex::new(None), threads };
        if let Some(weights) = weights {
            trainer.load_state_dict(weights)?;
        }
        Ok(trainer)
    }

    /// Trains to the end of the recipe.
    #[pyo3(signature = (callback=None, *, on_step=None))]
    fn run(
        &self,
        py: Python<'_>,
        callback: Option<&Bound<'_, PyAny>>,
        on_step: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<&'static str> {
        let pause = match (callback, on_step) {
            (_, Some(_)) => Pause::Step,
            (Some(_), None) => Pause::Epoch,
            (None, None) => Pause::End,
        };
        loop {
            let told = self.with(py, |running| running.advance(pause))?;
            let mut goes_on = true;
            if let (Some((epoch, number, step)), Some(on_step)) = (told.step, on_step) {
                goes_on &= !is_false(&on_step.call1((of_step(py, (epoch, number), &step)?,))?);
            }
            if let (Some((number, epoch, spent)), Some(callback)) = (told.epoch, callback) {
                goes_on &= !is_false(&callback.call1((of_epoch(py, number, &epoch, spent)?,))?);
            }
            if !told.paused || !goes_on {
                return Ok(word(told.stop));
            }
        }
    }

    /// Trains to the end of the epoch under way.
    fn train_epoch<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let told = self.with(py, |running| running.advance(Pause::Epoch))?;
        match told.epoch {
            Some((number, epoch, spent)) => of_epoch(py, number, &epoch, spent),
            None => Err(failed(format!("no epoch is left: {}", told.stop))),
        }
    }

    /// One step of the optimiser on these images; returns their mean loss before it.
    #[pyo3(signature = (images, labels, *, layout="nchw", lr=None))]
    fn step_on(
        &self,
        images: &Bound<'_, PyAny>,
        labels: &Bound<'_, PyAny>,
        layout: &str,
        lr: Option<f64>,
    ) -> PyResult<f64> {
        let given = Labelled::new(images, labels, layout, "")?;
        let samples = given.samples()?;
        self.with(images.py(), |running| running.step_on(samples, lr))
    }

    /// Takes other settings of the optimiser from the next step on.
    fn set_optimizer(&self, settings: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = settings.py();
        let recipe = PyDict::new(py);
        recipe.set_item("optimizer", settings)?;
        let recipe = recipe_of(recipe.as_any(), &[], Facts::BUNDLED)?;
        self.with(py, |running| running.set_optimizer(recipe))
    }

    /// Writes all that the next step depends on.
    #[pyo3(signature = (path, note=""))]
    fn save_checkpoint(&self, py: Python<'_>, path: PathBuf, note: &str) -> PyResult<()> {
        self.with(py, |running| running.save_checkpoint(&path, note.to_owned()))
    }

    /// Goes on from a checkpoint, whatever its data were.
    fn load_checkpoint(&self, py: Python<'_>, path: PathBuf) -> PyResult<String> {
        self.with(py, |running| running.load_checkpoint(&path))
    }

    /// Loss, accuracy and more on these images.
    #[pyo3(signature = (images, labels, *, layout="nchw"))]
    fn evaluate<'py>(
        &self,
        images: &Bound<'py, PyAny>,
        labels: &Bound<'py, PyAny>,
        layout: &str,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = images.py();
        let given = Labelled::new(images, labels, layout, "")?;
        let samples = given.samples()?;
        let scores = self.with(py, |running| running.to_model()?.scores(samples))?;
        of_scores(py, &scores)
    }

    /// The network as it is now.
    fn model(&self, py: Python<'_>) -> PyResult<Model> {
        self.with(py, |running| running.to_model())
    }

    /// Copies of the weights under PyTorch's names.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let model = self.with(py, |running| Ok(running.look(|trainer| trainer.model())))?;
        state_dict(py, &model.network, &model.weights)
    }

    /// Takes these weights: all of the network, by PyTorch's names and shapes.
    fn load_state_dict(&self, weights: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = weights.py();
        let network =
            self.with(py, |running| Ok(running.look(|trainer| trainer.network().clone())))?;
        let weights = weights_of(&network, weights)?;
        self.with(py, |running| {
            running.set_weights(&weights);
            Ok(())
        })
    }

    /// Writes the model as the programs do.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.with(py, |running| running.look(|trainer| trainer.model()).save(&path).map_err(failed))
    }

    /// Makes the run so many epochs long in all.
    fn extend(&self, py: Python<'_>, epochs: usize) -> PyResult<()> {
        match self.with(py, |running| running.extend(epochs))? {
            Some(said) => warn(py, said, 1),
            None => Ok(()),
        }
    }

    #[getter]
    fn recipe(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, |running| Ok(running.look(|trainer| trainer.recipe().to_toml())))
    }

    #[getter]
    fn network(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, |running| Ok(running.look(|trainer| trainer.network().describe())))
    }

    #[getter]
    fn epoch(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |running| Ok(running.look(|trainer| trainer.progress().epoch)))
    }

    #[getter]
    fn step(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |running| Ok(running.look(|trainer| trainer.progress().step)))
    }

    #[getter]
    fn steps_per_epoch(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |running| Ok(running.look(|trainer| trainer.steps_per_epoch())))
    }
}

/// The data that a recipe names, or else the bundled.
pub fn data_of(py: Python<'_>, recipe: &Recipe) -> PyResult<Dataset> {
    match &recipe.data.directory {
        Some(directory) => {
            let source = Source { prefix: recipe.data.prefix.clone(), ..Source::new(directory) };
            py.detach(|| guarded(|| open(&source)))
        }
        None => Dataset::bundled(py),
    }
}

/// The data with the nearest bytes for other values, where the recipe changes images.
pub fn in_bytes(
    py: Python<'_>,
    data: Arc<::dataset::Dataset>,
    recipe: &Recipe,
) -> PyResult<Arc<::dataset::Dataset>> {
    if !(data.has_floats() && recipe.augment.changes_images()) {
        return Ok(data);
    }
    py.detach(|| guarded(|| data.to_bytes().map(Arc::new).map_err(|error| of_data(&error))))
}

/// Whether a callback has said no.
fn is_false(said: &Bound<'_, PyAny>) -> bool {
    said.extract::<bool>().is_ok_and(|said| !said)
}

/// Why training has ended, by the name of the recipe's field.
pub fn word(stop: Stop) -> &'static str {
    match stop {
        Stop::Epochs => "epochs",
        Stop::Iterations => "iterations",
        Stop::TargetAccuracy => "target_accuracy",
        Stop::MinLoss => "min_loss",
        Stop::Patience => "patience",
        Stop::Interrupted => "interrupted",
        Stop::Diverged => "diverged",
    }
}
