//! The network that learns: its weights, and what moves them.

use crate::optimizer::{Ema, Optimizer};
use crate::profile::{Chore, Chores, timed};
use crate::recipe::{InitName, Recipe, RecipeError};
use crate::schedule::Schedule;
use crate::workers::Workers;
use autograd::Buffer;
use kernels::Isa;
use model::{Init, Network};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Floats of a gradient that are looked at in one part.
const PIECE: usize = 1 << 16;

/// The network that learns: its weights, and what moves them.
pub(super) struct Learner {
    pub network: Network,
    /// Trained parameters and running statistics.
    pub weights: Buffer,
    pub optimizer: Optimizer,
    /// Where the recipe has one.
    pub ema: Option<Ema>,
    pub schedule: Schedule,
    /// The learning rate of steps from now on, where a caller has one instead of the schedule's.
    pub rate: Option<f64>,
}

impl Learner {
    /// This network before the first of as many steps, with the recipe's random weights.
    pub fn new(
        recipe: &Recipe,
        network: Network,
        steps_per_epoch: usize,
        steps: usize,
    ) -> Result<Learner, RecipeError> {
        let init = match recipe.model.init {
            InitName::Pytorch => Init::Pytorch,
            InitName::He => Init::He,
        };
        Ok(Learner {
            weights: network.initialise(recipe.seed, init),
            optimizer: Optimizer::new(&recipe.optimizer, &network)?,
            ema: recipe.optimizer.ema.map(|decay| Ema::new(decay, &network)),
            schedule: Schedule::new(recipe, steps_per_epoch, steps),
            rate: None,
            network,
        })
    }

    /// Takes weights to begin with, and begins their average anew.
    pub fn set_weights(&mut self, weights: &[f32]) {
        self.weights.copy_from_slice(weights);
        self.network.note_initial(weights);
        if let Some(ema) = &mut self.ema {
            ema.restore(weights);
        }
    }

    /// The averaged weights, if there are. Before the first step they are the weights, whatever has been
    /// made of those.
    pub fn ema(&self) -> Option<&[f32]> {
        let started = self.optimizer.steps() > 0;
        self.ema.as_ref().map(|ema| if started { ema.weights() } else { &self.weights })
    }

    /// The weights to validate and to save: the averaged ones, if there are.
    pub fn evaluation_weights(&self) -> &[f32] {
        self.ema().unwrap_or(&self.weights)
    }

    /// Moves weights, running statistics and their average; returns the learning rate.
    pub fn update(
        &mut self,
        workers: &Workers,
        gradients: &mut [f32],
        chores: Option<&Chores>,
    ) -> f64 {
        let step = self.optimizer.steps();
        let lr = self.rate.unwrap_or_else(|| self.schedule.learning_rate(step as usize));
        if let Some(ema) = self.ema.as_mut().filter(|_| step == 0) {
            ema.restore(&self.weights);
        }
        self.optimizer.step_timed(workers, lr, &mut self.weights, gradients, chores);
        if let Some(ema) = &mut self.ema {
            ema.update(workers, &self.weights, step + 1, chores);
        }
        lr
    }

    /// The parameter whose gradient is not finite, if one is not: the backward pass may overflow where
    /// the forward pass has not. Of those that the overflow has reached, the nearest to the loss.
    pub fn bad_gradient(
        &self,
        workers: &Workers,
        gradients: &[f32],
        chores: Option<&Chores>,
    ) -> Option<String> {
        let isa = workers.isa();
        let finite = |values: &[f32]| kernels::all_finite(isa, values);
        let all = AtomicBool::new(true);
        let pieces = gradients.len().div_ceil(PIECE).max(1);
        workers.each(pieces, &|i| {
            let piece = &gradients[i * PIECE..gradients.len().min((i + 1) * PIECE)];
            timed(chores, Chore::Optimiser, || all.fetch_and(finite(piece), Relaxed));
        });
        if all.into_inner() {
            return None;
        }
        let mut parameters = self.network.parameters().iter();
        let found = parameters.rfind(|p| !finite(p.place.of(gradients)));
        Some(found.map_or("(none)", |p| &p.name).to_owned())
    }

    /// The first parameter that is not finite, if there is one: the running statistics, which no training
    /// step reads, and the weights, whose loss nobody has seen.
    pub fn bad_weight(&self, isa: Isa) -> Option<String> {
        let finite = |values: &[f32]| kernels::all_finite(isa, values);
        let mut parameters = self.network.parameters().iter();
        parameters.find(|p| !finite(p.place.of(&self.weights))).map(|p| p.name.clone())
    }
}
