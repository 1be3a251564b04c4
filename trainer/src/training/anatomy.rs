//! What a step is made of, measured for teams that are not there.

use super::Trainer;
use crate::batch::{Batch, add};
use crate::optimizer::pieces;
use crate::profile::{Anatomy, CriticalPath, Imagined};
use autograd::{Buffer, Generation};
use kernels::Cores;
use std::time::Duration;

impl Trainer<'_> {
    /// The critical path of a step like those of the run, of which the optimiser took this long on one core.
    /// No weight moves.
    pub(super) fn critical_path(&self, optimiser: Duration) -> CriticalPath {
        let (recipe, learner) = (self.recipe(), &self.learner);
        let size = recipe.data.batch_size.min(self.view.training.len());
        let images = &self.view.training[..size];
        let mix = self.view.mixing.as_ref().map(|mixing| mixing.of_step(0));
        let batch = Batch {
            network: &learner.network,
            weights: &learner.weights,
            generation: Generation::new(),
            images: self.view.images(images),
            augmentation: self.view.augmentation(),
            mix: mix.as_ref(),
            shard: recipe.shard(),
            seed: recipe.seed,
            epoch: 0,
            loss: self.loss.of_training(),
            divisor: self.loss.divisor(self.view.images(images).classes()),
            chores: None,
        };
        let (isa, len) = (self.workers.isa(), learner.network.len());
        let [mut gradients, mut sum] = [0, 1].map(|_| Buffer::zeros(len));
        let other = gradients.clone();
        self.workers.with_first(|scratch| {
            CriticalPath::new(Anatomy {
                shards: batch.shards().div_ceil(self.communicator().size()),
                queues: self.workers.queues_at_most(learner.network.input()),
                shard: &mut |team: &Imagined| {
                    batch.rehearse(Cores::new(isa, team), scratch, &mut gradients);
                },
                join: &mut |team: &Imagined| add(Cores::new(isa, team), &mut sum, &other),
                update: (optimiser, pieces::count(learner.network.trained_len())),
            })
        })
    }
}
