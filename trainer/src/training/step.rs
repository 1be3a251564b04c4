//! One step of the optimiser.

use super::{Buffers, Trainer, shards};
use crate::batch::Batch;
use crate::error::TrainError;
use crate::input::Images;
use crate::profile::{Chore, timed};
use autograd::Generation;
use dataset::{Samples, Split};
use std::time::{Duration, Instant};

/// What a step saw before it changed the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The sum of the losses of its images; where classes have weights, their weighted mean times the images.
    pub loss: f64,
    /// How many of them were classified correctly; of mixed images those whose larger part was found, of equal ones the
    /// first class.
    pub correct: usize,
    /// How many there were.
    pub images: usize,
    /// With which learning rate it changed the weights.
    pub learning_rate: f64,
    /// How long it took.
    pub time: Duration,
}

/// Images of the caller: a split, and the numbers from 0 on.
#[derive(Clone, Copy)]
pub(super) struct Own<'o> {
    split: &'o Split,
    places: &'o [u32],
}

impl Trainer<'_> {
    /// One optimiser step on these training images. [`Trainer::run`] is this in a loop; a loop of
    /// one's own runs fastest inside [`Workers::run`](crate::Workers::run).
    ///
    /// An error if the loss or a gradient is not finite, or a batch norm has a single value per channel
    /// in one of the batch's shards; nothing has changed then.
    ///
    /// # Panics
    /// If there are no images, or one is beyond the training set.
    pub fn step(&mut self, indices: &[u32]) -> Result<Step, TrainError> {
        shards::check_batch(self.network(), indices.len(), self.recipe().shard())?;
        let workers = self.workers;
        workers.run(|| self.step_inside(indices, None, false)).map(|(step, _)| step)
    }

    /// One optimiser step on images that need not be of the data set. Each has a number, which decides with seed and
    /// epoch how it is changed and what dropout leaves of it: with the images of the data set under their numbers
    /// there it is [`Trainer::step`], to the bit. All ranks must have the same.
    ///
    /// An error as of [`Trainer::step`], or if the images are not of the shape and classes of the data.
    ///
    /// # Panics
    /// If there are not as many numbers as labels.
    pub fn step_on(&mut self, samples: Samples<'_>, numbers: &[u32]) -> Result<Step, TrainError> {
        let data = self.view.data;
        let split = samples.to_split(data.image_shape(), data.classes())?;
        assert_eq!(split.len(), numbers.len(), "images and numbers");
        shards::check_batch(self.network(), numbers.len(), self.recipe().shard())?;
        let places: Vec<u32> = (0..numbers.len() as u32).collect();
        let own = Own { split: &split, places: &places };
        let workers = self.workers;
        workers.run(|| self.step_inside(numbers, Some(own), false)).map(|(step, _)| step)
    }

    /// [`Trainer::step_on`] with the numbers that follow those of the images handed over before, so that each is
    /// changed in a way of its own; after 2³² they begin anew.
    pub fn step_on_next(&mut self, samples: Samples<'_>) -> Result<Step, TrainError> {
        let first = self.progress.handed;
        // More images than numbers do not fit into memory.
        let images = samples.images(self.view.data.classes()) as u32;
        let numbers: Vec<u32> = (0..images).map(|i| first.wrapping_add(i)).collect();
        let step = self.step_on(samples, &numbers)?;
        self.progress.handed = first.wrapping_add(images);
        Ok(step)
    }

    /// [`Trainer::step`], as one of the workers; and whether any rank has asked for the end.
    pub(super) fn step_inside(
        &mut self,
        indices: &[u32],
        own: Option<Own<'_>>,
        ask_end: bool,
    ) -> Result<(Step, bool), TrainError> {
        let started = Instant::now();
        let (recipe, learner, chores) = (&self.plan.recipe, &mut self.learner, &self.chores);
        let chores = chores.as_ref();
        let (images, divisor) = match own {
            Some(Own { split, places }) => {
                let scaling = &self.view.scaling;
                let images = Images { split, indices: places, numbers: indices, scaling };
                (images, self.loss.divisor(images.classes()))
            }
            None => (self.view.images(indices), self.loss.divisor(self.view.labels(indices))),
        };
        let mix = self.view.mixing.as_ref().map(|mixing| mixing.of_step(self.progress.step));
        let batch = Batch {
            network: &learner.network,
            weights: &learner.weights,
            generation: Generation::new(),
            images,
            augmentation: self.view.augmentation(),
            mix: mix.as_ref(),
            shard: recipe.shard(),
            seed: recipe.seed,
            epoch: self.progress.epoch as u32,
            loss: self.loss.of_training(),
            divisor,
            chores,
        };
        let Buffers { pool, gradient_roots: roots, pending_gradients: pending, .. } =
            &mut self.buffers;
        let (shards, len, isa) = (batch.shards(), batch.network.len(), self.workers.isa());
        let ranges = self.ranks.subtrees(shards);
        batch.gradients(self.workers, pool, ranges, (&mut *roots, pending));
        let (mut sums, end) = timed(chores, Chore::Ranks, || {
            self.ranks.all_reduce(shards, roots, len, pool, ask_end)
        });
        let (step, epoch) = (self.progress.step + 1, self.progress.epoch + 1);
        if !sums.loss.is_finite() {
            let layer = batch.find_fault(isa).map_or("(loss)", |n| batch.network.layer_name(n));
            let (loss, layer) = (sums.loss, layer.to_owned());
            return Err(TrainError::NotFinite { loss, step, epoch, layer });
        }
        if let Some(parameter) = learner.bad_gradient(self.workers, &sums.gradients, chores) {
            return Err(TrainError::Update { parameter, step, epoch });
        }
        let learning_rate = learner.update(self.workers, &mut sums.gradients, chores);
        self.progress.step += 1;
        if let Some(last) = self.buffers.gradients.replace(sums.gradients) {
            self.buffers.pool.put(last);
        }
        let (correct, images) = (sums.correct, indices.len());
        // As if each image counted for as much; else the mean over the images would not be the loss.
        let weight = images as f64 / f64::from(divisor);
        let loss = if weight == 1.0 { sums.loss } else { sums.loss * weight };
        let time = started.elapsed();
        Ok((Step { loss, correct, images, learning_rate, time }, end))
    }
}
