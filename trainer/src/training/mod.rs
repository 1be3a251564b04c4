//! A network in training.

mod anatomy;
mod join;
mod learner;
mod observer;
mod rate_search;
mod restore;
mod run;
mod shards;
mod step;
mod view;

pub use observer::{Epoch, Event, Observer, Validated, each_epoch};
pub use rate_search::{RateSearch, RateStep};
pub use step::Step;

use crate::compatibility::differences;
use crate::error::TrainError;
use crate::evaluation::Outcomes;
use crate::loss::{ClassLoss, check_classes};
use crate::partial::{BufferPool, PartialEvaluation, PartialGradient};
use crate::profile::Chores;
use crate::progress::Progress;
use crate::ranks::{Local, Ranks};
use crate::recipe::{LossName, OptimizerSection, Recipe, RecipeError};
use crate::schedule::Schedule;
use crate::scores::Tally;
use crate::state::State;
use crate::workers::{Pending, Workers};
use autograd::Buffer;
use dataset::{Dataset, Split};
use learner::Learner;
use model::tensors::TensorFile;
use model::{Description, FineTuned, Layer, LayerList, Model, Network, StateDict};
use std::fmt;
pub use view::Preview;
use view::{DataView, name_data};

/// A network in training.
pub struct Trainer<'a> {
    plan: Plan,
    view: DataView<'a>,
    loss: ClassLoss,
    workers: &'a Workers,
    ranks: Ranks<'a>,
    learner: Learner,
    progress: Progress,
    buffers: Buffers,
    /// In a profiled run.
    chores: Option<Chores>,
    /// What came of the file that the recipe starts from.
    fine_tuned: FineTuned,
}

/// What is to be done.
struct Plan {
    recipe: Recipe,
    steps_per_epoch: usize,
    /// Unless the run ends early.
    total_steps: usize,
}

/// What steps write, kept from one to the next.
#[derive(Default)]
struct Buffers {
    pool: BufferPool,
    /// The partial sums of this process, while they are added up.
    gradient_roots: Vec<Option<PartialGradient>>,
    evaluation_roots: Vec<Option<PartialEvaluation>>,
    /// Sums that wait to be joined.
    pending_gradients: Pending<PartialGradient>,
    pending_evaluations: Pending<PartialEvaluation>,
    /// What the last validation has said of each image.
    outcomes: Outcomes,
    tally: Tally,
    /// The gradient of the last step.
    gradients: Option<Buffer>,
    /// The training images in the order of an epoch, and of which.
    order: Vec<u32>,
    order_of: Option<usize>,
}

/// What weights a trainer starts with.
enum Start<'s> {
    /// The recipe's: random ones, or those of its file.
    Recipe,
    /// Those of a run that goes on.
    State(&'s State<'s>),
    /// Those of the ranks that it will join.
    Ranks,
}

impl<'a> Trainer<'a> {
    /// The recipe's network on this data, with its initial weights. [`Trainer::recipe`] names the data.
    pub fn new(
        recipe: &Recipe,
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Result<Trainer<'a>, TrainError> {
        Trainer::start(recipe.clone(), data, workers, Start::Recipe)
    }

    /// A network of these layers instead of the recipe's. They become the recipe's:
    /// [`Trainer::recipe`] has them, so that a run of it can go on and be repeated.
    pub fn with_layers(
        recipe: &Recipe,
        layers: &[Layer],
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Result<Trainer<'a>, TrainError> {
        let mut recipe = recipe.clone();
        recipe.model.preset = None;
        recipe.model.layers = Some(LayerList::from(layers));
        Trainer::start(recipe, data, workers, Start::Recipe)
    }

    /// A run that goes on from a state of the same recipe (`stop.epochs` may be another) on the same
    /// data: what follows has the same bits as if it had not been interrupted.
    pub fn resume(
        recipe: &Recipe,
        data: &'a Dataset,
        workers: &'a Workers,
        state: State<'_>,
    ) -> Result<Trainer<'a>, TrainError> {
        Trainer::start(recipe.clone(), data, workers, Start::State(&state))
    }

    /// One that is to join others ([`Trainer::join_ranks`]) and to have its state from them: it needs
    /// neither a state nor the weights that the recipe starts from.
    pub fn to_join(
        recipe: &Recipe,
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Result<Trainer<'a>, TrainError> {
        Trainer::start(recipe.clone(), data, workers, Start::Ranks)
    }

    fn start(
        mut recipe: Recipe,
        data: &'a Dataset,
        workers: &'a Workers,
        start: Start<'_>,
    ) -> Result<Trainer<'a>, TrainError> {
        recipe.check()?;
        name_data(&mut recipe, data);
        let loss = recipe.model.loss;
        check_classes(loss, data)?;
        let outputs = loss.outputs(data);
        let network = Network::new(data.image_shape(), &recipe.model.layers(outputs))
            .and_then(|network| match loss {
                // What is wrong with another number of outputs is said of the loss.
                LossName::Bce => Ok(network),
                _ => network.check_classes(outputs).map(|()| network),
            })
            .map_err(|error| TrainError::Shape { directory: data.directory().into(), error })?
            .in_precision(recipe.model.precision.precision());
        let view = DataView::new(&recipe, data)?;
        shards::check_run(&recipe, &network, view.training.len())?;
        view.check_monitor(recipe.stop.monitor)?;
        let loss = ClassLoss::new(&recipe, &network, data, (view.train, &view.training))?;
        let steps_per_epoch = view.training.len().div_ceil(recipe.data.batch_size);
        let steps = recipe.stop.epochs * steps_per_epoch;
        let total_steps = steps.min(recipe.stop.iterations.unwrap_or(usize::MAX));
        let mut trainer = Trainer {
            learner: Learner::new(&recipe, network, steps_per_epoch, total_steps)?,
            plan: Plan { recipe, steps_per_epoch, total_steps },
            view,
            loss,
            workers,
            ranks: Ranks::new(&Local, workers.isa()),
            progress: Progress::default(),
            buffers: Buffers::default(),
            chores: None,
            fine_tuned: FineTuned::default(),
        };
        match start {
            Start::Recipe => trainer.load_weights()?,
            Start::State(state) => trainer.restore(state)?,
            Start::Ranks => {}
        }
        Ok(trainer)
    }

    /// The weights to fine-tune, where the recipe has some.
    fn load_weights(&mut self) -> Result<(), TrainError> {
        if let Some(path) = &self.plan.recipe.model.weights {
            let file = TensorFile::read(path)?;
            let (state, classes) = (StateDict::of(&file), self.view.data.class_names());
            let Learner { network, weights, .. } = &mut self.learner;
            let mut tuned = state.fine_tune(network, weights, classes)?;
            if Model::is_in(&file) {
                let description = Description::of(&file)?;
                tuned.differences =
                    differences(&description, self.view.data, &self.view.statistics);
            }
            self.fine_tuned = tuned;
        }
        Ok(())
    }

    /// The parameters that start at random although the recipe starts from a file: those of the last
    /// layer, if the file is of a network for other classes.
    pub fn fresh_parameters(&self) -> &[String] {
        &self.fine_tuned.fresh
    }

    /// What of the file that the recipe starts from was taken over, and why not everything.
    pub fn fine_tuned(&self) -> &FineTuned {
        &self.fine_tuned
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.plan.recipe
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.learner.network
    }

    /// The weights as they are now, one flat buffer.
    pub fn weights(&self) -> &[f32] {
        &self.learner.weights
    }

    /// The weights, to be changed.
    pub fn weights_mut(&mut self) -> &mut [f32] {
        &mut self.learner.weights
    }

    /// Takes these weights, laid out as the network's, to train on from. They count as an initialisation
    /// ([`Network::note_initial`]), and their average (`optimizer.ema`) begins anew with them. All ranks must have
    /// the same.
    ///
    /// # Panics
    /// If they are not as many as the network's.
    pub fn set_weights(&mut self, weights: &[f32]) {
        self.learner.set_weights(weights);
    }

    /// Takes other settings of the optimiser from the next step on, with what it remembers; they become the recipe's.
    /// All ranks must have the same.
    ///
    /// An error, with nothing changed, if they are of another rule or not possible.
    pub fn set_optimizer(&mut self, section: OptimizerSection) -> Result<(), RecipeError> {
        let recipe = &self.plan.recipe;
        if section.ema != recipe.optimizer.ema {
            let found = section.ema.map_or("none".to_owned(), |decay| decay.to_string());
            return Err(RecipeError::value("optimizer.ema", found, "that of the recipe"));
        }
        let changed = Recipe { optimizer: section, ..recipe.clone() };
        changed.check()?;
        self.learner.optimizer.set_section(&changed.optimizer, &self.learner.network)?;
        let (steps_per_epoch, steps) = (self.plan.steps_per_epoch, self.plan.total_steps);
        self.learner.schedule = Schedule::new(&changed, steps_per_epoch, steps);
        self.plan.recipe = changed;
        Ok(())
    }

    /// Has steps from now on take this learning rate instead of the schedule's; `None` is the schedule's again. All
    /// ranks must have the same.
    ///
    /// # Panics
    /// If it is not a finite number of at least 0.
    pub fn set_learning_rate(&mut self, rate: Option<f64>) {
        assert!(rate.is_none_or(|rate| rate.is_finite() && rate >= 0.0), "learning rate {rate:?}");
        self.learner.rate = rate;
    }

    /// The averaged weights, if the recipe has `optimizer.ema`. Before the first step they are the
    /// weights, whatever has been made of those.
    pub fn ema(&self) -> Option<&[f32]> {
        self.learner.ema()
    }

    /// The weights to validate and to save: the averaged ones, if there are.
    pub fn evaluation_weights(&self) -> &[f32] {
        self.learner.evaluation_weights()
    }

    /// The optimiser's memory by PyTorch's names, each laid out as the trained weights.
    pub fn optimizer_state(&self) -> Vec<(&'static str, &[f32])> {
        self.learner.optimizer.state()
    }

    /// The data.
    pub fn data(&self) -> &'a Dataset {
        self.view.data
    }

    /// The threads.
    pub fn workers(&self) -> &'a Workers {
        self.workers
    }

    /// How many images an epoch has.
    pub fn training_images(&self) -> usize {
        self.view.training.len()
    }

    /// The images that it validates on.
    pub fn validation(&self) -> Option<(&'a Split, &[u32])> {
        self.view.validation.as_ref().map(|(split, images)| (*split, &images[..]))
    }

    /// How many images it validates on.
    pub fn validation_images(&self) -> usize {
        self.validation().map_or(0, |(_, images)| images.len())
    }

    /// The first images of the first epoch, at most as many, as the network sees them but for their
    /// scale: bytes as in the files.
    pub fn first_images(&self, most: usize) -> Vec<Vec<u8>> {
        self.view.first_images(&self.plan.recipe, most)
    }

    /// Some training images as the network sees them in each of so many epochs, but for their scale: at most as many as
    /// asked for, of as many classes as there can be, in order of their classes. Where batches are mixed, each is mixed
    /// as in the epochs of a run.
    pub fn preview(&self, most: usize, epochs: u32) -> Vec<Preview> {
        self.view.preview(&self.plan.recipe, most, epochs)
    }

    /// The steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.plan.steps_per_epoch
    }

    /// The steps of the run, unless it ends early.
    pub fn total_steps(&self) -> usize {
        self.plan.total_steps
    }

    /// How far training has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The training images of the last step of a run, in its order, while an observer is told of it.
    pub fn last_batch(&self) -> &[u32] {
        let size = self.plan.recipe.data.batch_size;
        let order = &self.buffers.order;
        let first = order.len().min(self.progress.batch.saturating_sub(1) * size);
        &order[first..order.len().min(first + size)]
    }

    /// The gradient of the last step, laid out as the weights, and clipped by value if the recipe says
    /// so (its norm is as it was); `None` before the first.
    pub fn gradients(&self) -> Option<&[f32]> {
        self.buffers.gradients.as_deref()
    }
}

impl fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (recipe, progress) = (self.recipe(), &self.progress);
        let mut debug = f.debug_struct("Trainer");
        debug.field("recipe", recipe).field("progress", progress).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
