//! A trainer with all that it borrows, and how it is moved on.

use crate::error::{failed, of_recipe, of_training, wrong};
use crate::model::Model;
use crate::signals::Watch;
use crate::threads::Threads;
use dataset::{Dataset, Samples};
use pyo3::prelude::*;
use self_cell::self_cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tracking::Checkpoint;
use trainer::{Epoch, Event, Recipe, Step, Stop, TrainError, Trainer};

/// Where a checkpoint has the note of whoever wrote it.
const NOTE: &str = "note";

/// What a trainer borrows.
#[derive(Clone)]
struct Owner {
    data: Arc<Dataset>,
    threads: Threads,
}

self_cell!(
    struct Cell {
        owner: Owner,
        #[not_covariant]
        dependent: Trainer,
    }
);

/// A trainer with all that it borrows.
pub struct Running {
    cell: Cell,
    /// Images trained on in the epoch under way, and the time that they took.
    spent: (usize, Duration),
}

/// When a run is to pause, so that Python can be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// After each step.
    Step,
    /// After each epoch.
    Epoch,
    /// At the end alone.
    End,
}

/// What a run has done before it paused or ended.
pub struct Told {
    /// The last step: its epoch, from one, its number, and what it saw. Of a run that pauses after steps.
    pub step: Option<(usize, usize, Step)>,
    /// The epoch that has ended: after how many steps, its result, images and time. Of a run that pauses.
    pub epoch: Option<(usize, Epoch, (usize, Duration))>,
    /// Why it ended.
    pub stop: Stop,
    /// Whether it has not ended, but pauses.
    pub paused: bool,
}

impl Running {
    pub fn new(recipe: &Recipe, data: Arc<Dataset>, threads: Threads) -> PyResult<Running> {
        let cell = Cell::try_new(Owner { data, threads }, |Owner { data, threads }| {
            Trainer::new(recipe, data, &threads.workers).map_err(of_training)
        })?;
        Ok(Running { cell, spent: Default::default() })
    }

    pub fn threads(&self) -> &Threads {
        &self.cell.borrow_owner().threads
    }

    /// `f` with the trainer.
    pub fn look<R>(&self, f: impl FnOnce(&Trainer<'_>) -> R) -> R {
        self.cell.with_dependent(|_, trainer| f(trainer))
    }

    /// The network as it is now, to be used.
    pub fn to_model(&self) -> PyResult<Model> {
        Model::new(self.look(|trainer| trainer.model()), self.threads().clone())
    }

    /// Takes these weights, laid out as the network's.
    pub fn set_weights(&mut self, weights: &[f32]) {
        self.cell.with_dependent_mut(|_, trainer| trainer.set_weights(weights));
    }

    /// Trains on until it is to pause, or to the end. Ctrl-C ends it too, after the step under way.
    pub fn advance(&mut self, pause: Pause) -> PyResult<Told> {
        let mut watch = Watch::new();
        let (mut step, mut epoch, mut paused) = (None, None, false);
        let spent = &mut self.spent;
        let mut observe = |trainer: &Trainer<'_>, event: Event<'_>| {
            let progress = trainer.progress();
            match event {
                Event::Step(seen) => {
                    *spent = (spent.0 + seen.images, spent.1 + seen.time);
                    if pause == Pause::Step {
                        step = Some((progress.epoch + 1, progress.step, *seen));
                        paused = true;
                    }
                }
                Event::Epoch(ended) => {
                    let spent = std::mem::take(spent);
                    if pause != Pause::End {
                        epoch = Some((progress.step, *ended, spent));
                        paused = true;
                    }
                }
                _ => {}
            }
            let ends = paused || watch.ends();
            Ok::<_, TrainError>(if ends {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        };
        let stop = self.cell.with_dependent_mut(|_, trainer| trainer.run_observed(&mut observe));
        let stop = stop.map_err(of_training)?;
        match watch.raised {
            Some(error) => Err(error),
            None => Ok(Told { step, epoch, stop, paused: paused && stop == Stop::Interrupted }),
        }
    }

    /// A step on images of a caller, with this learning rate if there is one; returns their mean loss.
    pub fn step_on(&mut self, samples: Samples<'_>, lr: Option<f64>) -> PyResult<f64> {
        if let Some(lr) = lr.filter(|lr| !(lr.is_finite() && *lr >= 0.0)) {
            return Err(wrong(format!("lr: found {lr}: expected a number of at least 0")));
        }
        self.cell.with_dependent_mut(|_, trainer| {
            trainer.set_learning_rate(lr);
            let step = trainer.step_on_next(samples);
            trainer.set_learning_rate(None);
            step.map(|step| step.loss / step.images as f64).map_err(of_training)
        })
    }

    /// Takes the optimiser of a recipe.
    pub fn set_optimizer(&mut self, recipe: Recipe) -> PyResult<()> {
        let set = |trainer: &mut Trainer<'_>| trainer.set_optimizer(recipe.optimizer);
        self.cell.with_dependent_mut(|_, trainer| set(trainer)).map_err(of_recipe)
    }

    /// Writes all that the next step depends on, and a note.
    pub fn save_checkpoint(&self, path: &Path, note: String) -> PyResult<()> {
        self.look(|trainer| {
            let mut state = trainer.state();
            state.metadata.insert(NOTE.to_owned(), note);
            Checkpoint::write(path, &state).map_err(failed)
        })
    }

    /// Goes on from there, whatever the data; returns the note.
    pub fn load_checkpoint(&mut self, path: &Path) -> PyResult<String> {
        let checkpoint = Checkpoint::read(path).map_err(failed)?;
        let mut state = checkpoint.state().map_err(failed)?;
        let adopted = self.cell.with_dependent_mut(|_, trainer| trainer.adopt(&state));
        adopted.map_err(failed)?;
        Ok(state.metadata.remove(NOTE).unwrap_or_default())
    }

    /// Makes the run so many epochs long in all. Returns what Python is to be warned of.
    pub fn extend(&mut self, epochs: usize) -> PyResult<Option<&'static str>> {
        let (mut recipe, state) =
            self.look(|trainer| (trainer.recipe().clone(), trainer.state().into_owned()));
        let begun = state.progress.epoch_under_way();
        if epochs < begun {
            let expected = "the epochs that the run has begun";
            return Err(wrong(format!(
                "epochs: found {epochs}: expected at least {begun}, {expected}"
            )));
        }
        let warning = recipe.warning_of_epochs(epochs);
        recipe.stop.epochs = epochs;
        recipe.check().map_err(of_recipe)?;
        let owner = self.cell.borrow_owner().clone();
        self.cell = Cell::try_new(owner, |Owner { data, threads }| {
            Trainer::resume(&recipe, data, &threads.workers, state).map_err(failed)
        })?;
        Ok(warning)
    }
}
