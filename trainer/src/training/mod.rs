//! A network in training.

mod join;
mod prepare;
mod progress;
mod run;
mod state;

pub use progress::{Best, Progress, Stop};
pub use run::{Epoch, Event, Observed, Observer, Validated, each_epoch};

use crate::augment::Augmentation;
use crate::batch::{Batch, Images, Scaling, Spare};
use crate::checkpoint::Checkpoint;
use crate::data::{DataError, Dataset, Split};
use crate::error::TrainError;
use crate::optimizer::{Ema, Optimizer};
use crate::profile::{Chore, Chores, timed};
use crate::ranks::{Local, Ranks};
use crate::raster::Raster;
use crate::recipe::{InitName, Moments, Recipe};
use crate::sampler::shuffle;
use crate::schedule::Schedule;
use crate::workers::Workers;
use autograd::Buffer;
use model::{CUSTOM, Init, Layer, Network, StateDict, TensorFile};
use prepare::{divide, moments};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What a step saw before it changed the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The sum of the losses of its images.
    pub loss: f64,
    /// How many of them were classified correctly.
    pub correct: usize,
    /// How many there were.
    pub images: usize,
    /// With which learning rate it changed the weights.
    pub learning_rate: f64,
    /// How long it took.
    pub time: Duration,
}

/// A network in training.
pub struct Trainer<'a> {
    recipe: Recipe,
    preset: String,
    data: &'a Dataset,
    workers: &'a Workers,
    ranks: Ranks<'a>,
    network: Network,
    weights: Buffer,
    optimizer: Optimizer,
    schedule: Schedule,
    augmentation: Augmentation,
    /// Where the recipe has one.
    ema: Option<Ema>,
    scaling: Scaling,
    moments: Moments,
    training: Vec<u32>,
    steps_per_epoch: usize,
    total_steps: usize,
    validation: Option<(&'a Split, Vec<u32>)>,
    spare: Spare,
    /// In a profiled run.
    chores: Option<Chores>,
    progress: Progress,
    order: Order,
    /// Of the last step.
    gradients: Option<Buffer>,
    /// The parameters that are not from the file that the recipe starts from.
    fresh: Vec<String>,
    fingerprint: OnceLock<String>,
}

/// The training images in the order of an epoch.
#[derive(Default)]
struct Order {
    epoch: Option<usize>,
    images: Vec<u32>,
}

impl<'a> Trainer<'a> {
    /// The recipe's network on this data, with its initial weights.
    pub fn new(
        recipe: &Recipe,
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Result<Trainer<'a>, TrainError> {
        let mut trainer = Trainer::unstarted(recipe, data, workers)?;
        trainer.load_weights()?;
        Ok(trainer)
    }

    /// A run that goes on from a checkpoint of the same recipe (`stop.epochs` may be another) on the
    /// same data: what follows has the same bits as if it had not been interrupted.
    pub fn resume(
        recipe: &Recipe,
        data: &'a Dataset,
        workers: &'a Workers,
        checkpoint: &Checkpoint,
    ) -> Result<Trainer<'a>, TrainError> {
        let mut trainer = Trainer::unstarted(recipe, data, workers)?;
        trainer.restore(checkpoint)?;
        Ok(trainer)
    }

    /// A network of these layers instead of the recipe's; its models are [`CUSTOM`].
    pub fn with_layers(
        recipe: &Recipe,
        layers: &[Layer],
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Result<Trainer<'a>, TrainError> {
        recipe.check()?;
        let mut trainer = Trainer::with_random_weights(recipe, layers, data, workers)?;
        trainer.load_weights()?;
        Ok(trainer)
    }

    fn unstarted(
        recipe: &Recipe,
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Result<Trainer<'a>, TrainError> {
        recipe.check()?;
        let layers = recipe.model.layers(data.classes());
        let trainer = Trainer::with_random_weights(recipe, &layers, data, workers)?;
        Ok(Trainer { preset: recipe.model.name().to_owned(), ..trainer })
    }

    fn with_random_weights(
        recipe: &Recipe,
        layers: &[Layer],
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Result<Trainer<'a>, TrainError> {
        let network = Network::new(data.image_shape(), layers)
            .and_then(|network| network.check_classes(data.classes()).map(|()| network))
            .map_err(|error| TrainError::Shape { directory: data.directory().into(), error })?;
        let init = match recipe.model.init {
            InitName::Pytorch => Init::Pytorch,
            InitName::He => Init::He,
        };
        let train = data.train()?;
        let (training, validation) = divide(recipe, data, train)?;
        let channels = network.input()[0];
        let moments = moments(recipe, train, &training, data.share(), channels)?;
        let steps_per_epoch = training.len().div_ceil(recipe.data.batch_size);
        let steps = recipe.stop.epochs * steps_per_epoch;
        let steps = steps.min(recipe.stop.iterations.unwrap_or(usize::MAX));
        let weights = network.initialise(recipe.seed, init);
        Ok(Trainer {
            weights,
            optimizer: Optimizer::new(recipe, &network)?,
            ema: recipe.optimizer.ema.map(|decay| Ema::new(decay, &network)),
            schedule: Schedule::new(recipe, steps_per_epoch, steps),
            augmentation: Augmentation::new(recipe, network.input(), &moments.mean),
            scaling: Scaling::new(channels, &moments.mean, &moments.std),
            recipe: recipe.clone(),
            preset: CUSTOM.to_owned(),
            data,
            workers,
            ranks: Ranks::new(&Local),
            network,
            moments,
            training,
            steps_per_epoch,
            total_steps: steps,
            validation,
            spare: Spare::default(),
            chores: None,
            progress: Progress::default(),
            order: Order::default(),
            gradients: None,
            fresh: vec![],
            fingerprint: OnceLock::new(),
        })
    }

    /// The weights to fine-tune, where the recipe has some.
    fn load_weights(&mut self) -> Result<(), TrainError> {
        if let Some(path) = &self.recipe.model.weights {
            let file = TensorFile::read(path)?;
            self.fresh = StateDict::of(&file).fine_tune(&self.network, &mut self.weights)?;
        }
        Ok(())
    }

    /// The parameters that start at random although the recipe starts from a file: those of the last
    /// layer, if the file is of a network for another number of classes.
    pub fn fresh_parameters(&self) -> &[String] {
        &self.fresh
    }

    /// One optimiser step on these training images. [`Trainer::run`] is this in a loop; a loop of
    /// one's own runs fastest inside [`Workers::run`].
    ///
    /// # Panics
    /// If there are no images, or one is beyond the training set.
    pub fn step(&mut self, indices: &[u32]) -> Result<Step, TrainError> {
        let workers = self.workers;
        workers.run(|| self.step_inside(indices))
    }

    /// [`Trainer::step`], as one of the workers.
    fn step_inside(&mut self, indices: &[u32]) -> Result<Step, TrainError> {
        let started = Instant::now();
        let train = self.data.train()?;
        let isa = self.workers.isa();
        let batch = Batch {
            network: &self.network,
            weights: &self.weights,
            images: Images { split: train, indices, scaling: &self.scaling },
            augmentation: Some(&self.augmentation).filter(|a| !a.is_identity()),
            shard: self.recipe.shard(),
            seed: self.recipe.seed,
            epoch: self.progress.epoch as u32,
            smoothing: self.recipe.model.label_smoothing as f32,
            chores: self.chores.as_ref(),
        };
        let mut sums = self.ranks.gradient(&batch, self.workers, &self.spare);
        if !sums.loss.is_finite() {
            let layer = batch.find_fault(isa).map_or("(loss)", |n| self.network.layer_name(n));
            return Err(TrainError::NotFinite {
                loss: sums.loss,
                step: self.progress.step + 1,
                epoch: self.progress.epoch + 1,
                layer: layer.to_owned(),
            });
        }
        self.check_update(&sums.gradients)?;
        let lr = self.schedule.learning_rate(self.progress.step);
        self.update(lr, &mut sums.gradients);
        self.progress.step += 1;
        if let Some(last) = self.gradients.replace(sums.gradients) {
            self.spare.put(last);
        }
        let (loss, correct, images) = (sums.loss, sums.correct, indices.len());
        Ok(Step { loss, correct, images, learning_rate: lr, time: started.elapsed() })
    }

    /// Moves weights, running statistics and their average.
    fn update(&mut self, lr: f64, gradients: &mut [f32]) {
        let (isa, step) = (self.workers.isa(), self.progress.step as u64);
        let chores = self.chores.as_ref();
        if let Some(ema) = self.ema.as_mut().filter(|_| step == 0) {
            ema.restore(&self.weights);
        }
        let weights = &mut self.weights;
        self.optimizer.step(isa, &self.network, step + 1, lr, weights, gradients, chores);
        if let Some(ema) = &mut self.ema {
            ema.update(isa, &self.weights, step + 1, chores);
        }
    }

    /// Whether everything is finite that the step would make of weights and running statistics: the
    /// backward pass may overflow where the forward pass has not.
    fn check_update(&self, gradients: &[f32]) -> Result<(), TrainError> {
        let isa = self.workers.isa();
        let finite = |values: &[f32]| kernels::all_finite(isa, values);
        if timed(self.chores.as_ref(), Chore::Optimiser, || finite(gradients)) {
            return Ok(());
        }
        // Of those that the overflow has reached, the nearest to the loss.
        let mut parameters = self.network.parameters().iter();
        let found = parameters.rfind(|p| !finite(p.place.of(gradients)));
        Err(TrainError::Update {
            parameter: found.map_or("(none)", |p| &p.name).to_owned(),
            step: self.progress.step + 1,
            epoch: self.progress.epoch + 1,
        })
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The weights as they are now, one flat buffer.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The weights, to be changed.
    pub fn weights_mut(&mut self) -> &mut [f32] {
        &mut self.weights
    }

    /// The data.
    pub fn data(&self) -> &'a Dataset {
        self.data
    }

    /// The threads.
    pub fn workers(&self) -> &'a Workers {
        self.workers
    }

    /// How many images an epoch has.
    pub fn training_images(&self) -> usize {
        self.training.len()
    }

    /// The images that it validates on.
    pub fn validation(&self) -> Option<(&'a Split, &[u32])> {
        self.validation.as_ref().map(|(split, images)| (*split, &images[..]))
    }

    /// How many images it validates on.
    pub fn validation_images(&self) -> usize {
        self.validation().map_or(0, |(_, images)| images.len())
    }

    /// The first images of the first epoch, at most as many, as the network sees them but for their
    /// scale, in rows of eight.
    pub fn first_images(&self, most: usize) -> Result<Raster, DataError> {
        let train = self.data.train()?;
        let mut order = match self.data.share() {
            Some(share) => share.own.clone().collect(),
            None => self.training.clone(),
        };
        shuffle(self.recipe.seed, 0, &mut order);
        order.truncate(most.min(self.recipe.data.batch_size));
        let [channels, height, width] = self.network.input();
        let changed: Vec<Vec<u8>> = order
            .iter()
            .map(|&image| {
                let mut to = vec![0; channels * height * width];
                self.augmentation.apply(0, image, train.image(image as usize), &mut to);
                to
            })
            .collect();
        Ok(Raster::grid([height, width, channels], 8, changed.iter().map(Vec::as_slice)))
    }

    /// The steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.steps_per_epoch
    }

    /// The steps of the run, unless it ends early.
    pub fn total_steps(&self) -> usize {
        self.total_steps
    }

    /// How far training has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The gradient of the last step, laid out as the weights, and clipped by value if the recipe says
    /// so (its norm is as it was); `None` before the first.
    pub fn gradients(&self) -> Option<&[f32]> {
        self.gradients.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Source;
    use crate::recipe::{Validation, ValidationSet};
    use kernels::Isa;
    use model::{Model, flatten, linear};

    /// Its file has the layers, not the recipe's preset.
    #[test]
    fn a_network_of_other_layers_is_saved_and_loaded() {
        let directory = tempfile::TempDir::new().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes);
        let images =
            [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..], &[9, 8, 7, 6]].concat();
        write("train-images-idx3-ubyte", &images).unwrap();
        write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]).unwrap();
        let data = Dataset::open(&Source::new(directory.path())).unwrap();
        let workers = Workers::new(Isa::detect(), 1).unwrap();
        let mut recipe = Recipe::default();
        recipe.data.validation = Validation::Named(ValidationSet::None);

        let layers = [flatten(), linear(2)];
        let mut trainer = Trainer::with_layers(&recipe, &layers, &data, &workers).unwrap();
        trainer.run(|_| {}).unwrap();
        let path = directory.path().join("model.safetensors");
        trainer.model().save(&path).unwrap();
        let model = Model::load(&path).unwrap();
        assert_eq!((&*model.preset, model.network.layers()), (CUSTOM, &layers[..]));
        assert_eq!(model.weights[..], *trainer.weights());
    }
}
