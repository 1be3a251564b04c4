//! The loop.

use crate::augment::Augmentation;
use crate::batch::{Batch, Evaluation, Images, Scaling, Spare, evaluate};
use crate::data::{Dataset, Split};
use crate::error::TrainError;
use crate::optimizer::Optimizer;
use crate::profile::{Chore, Chores, Profile, Totals, fma_peak, timed};
use crate::recipe::{
    InitName, Moments, Monitor, Normalize, Recipe, RecipeError, Validation, ValidationSet,
};
use crate::sampler::{hold_out, shuffle};
use crate::schedule::Schedule;
use crate::workers::Workers;
use autograd::Buffer;
use model::{CUSTOM, Init, Layer, Model, Network, preset};
use std::time::{Duration, Instant};

/// What an epoch brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Its number, from one.
    pub number: usize,
    /// Mean loss and accuracy on the training images, each as the network was when it met them.
    pub training: Evaluation,
    /// Loss and accuracy on the validation images after the epoch.
    pub validation: Option<Evaluation>,
    /// Time spent training, without validation.
    pub time: Duration,
    /// Time spent on validation and on looking whether every weight is finite.
    pub validation_time: Duration,
    /// Training images per second.
    pub images_per_second: f64,
}

/// What a step saw before it changed the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The sum of the losses of its images.
    pub loss: f64,
    /// How many of them were classified well.
    pub correct: usize,
}

/// A network in training.
pub struct Trainer<'a> {
    recipe: Recipe,
    preset: String,
    data: &'a Dataset,
    workers: &'a Workers,
    network: Network,
    weights: Buffer,
    optimizer: Optimizer,
    schedule: Schedule,
    augmentation: Augmentation,
    scaling: Scaling,
    moments: Moments,
    training: Vec<u32>,
    validation: Option<(&'a Split, Vec<u32>)>,
    spare: Spare,
    /// In a profiled run.
    chores: Option<Chores>,
    steps: usize,
    epochs: usize,
}

impl<'a> Trainer<'a> {
    /// The recipe's network on this data, with its initial weights.
    pub fn new(
        recipe: &Recipe,
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Result<Trainer<'a>, TrainError> {
        recipe.check()?;
        let layers = preset(&recipe.model.preset, data.classes());
        let layers = layers.expect("a checked recipe names a preset");
        let trainer = Trainer::with_layers(recipe, &layers, data, workers)?;
        Ok(Trainer { preset: recipe.model.preset.clone(), ..trainer })
    }

    /// A network of these layers instead of the recipe's; its models are [`CUSTOM`].
    pub fn with_layers(
        recipe: &Recipe,
        layers: &[Layer],
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Result<Trainer<'a>, TrainError> {
        recipe.check()?;
        let network = Network::new(data.image_shape(), layers)
            .map_err(|error| TrainError::Shape { directory: data.directory().into(), error })?;
        let init = match recipe.model.init {
            InitName::Pytorch => Init::Pytorch,
            InitName::He => Init::He,
        };
        let train = data.train()?;
        let (training, validation) = divide(recipe, data, train)?;
        let channels = network.input()[0];
        let moments = moments(recipe, train, &training, channels)?;
        let steps_per_epoch = training.len().div_ceil(recipe.data.batch_size);
        let steps = recipe.stop.epochs * steps_per_epoch;
        let steps = recipe.stop.iterations.map_or(steps, |iterations| steps.min(iterations));
        Ok(Trainer {
            weights: network.initialise(recipe.seed, init),
            optimizer: Optimizer::new(recipe, &network),
            schedule: Schedule::new(recipe, steps_per_epoch, steps),
            augmentation: Augmentation::new(recipe, network.input(), &moments.mean),
            scaling: Scaling::new(channels, &moments.mean, &moments.std),
            recipe: recipe.clone(),
            preset: CUSTOM.to_owned(),
            data,
            workers,
            network,
            moments,
            training,
            validation,
            spare: Spare::default(),
            chores: None,
            steps: 0,
            epochs: 0,
        })
    }

    /// Trains to the end of the recipe; `report` is called after each epoch.
    pub fn run(&mut self, mut report: impl FnMut(&Epoch) + Send) -> Result<(), TrainError> {
        let workers = self.workers;
        workers.run(|| {
            while self.epochs < self.recipe.stop.epochs {
                report(&self.epoch()?);
            }
            Ok(())
        })
    }

    /// [`Trainer::run`], with a clock at every operation: the same weights, and where the time went.
    /// After each epoch milliseconds of multiply-adds find the peak that rates are compared with.
    pub fn run_profiled(
        &mut self,
        mut report: impl FnMut(&Epoch) + Send,
    ) -> Result<Profile, TrainError> {
        let (workers, steps, epochs) = (self.workers, self.steps, self.epochs);
        let mut totals = Totals { threads: workers.threads(), ..Totals::default() };
        self.chores = Some(Chores::default());
        workers.start_profile();
        let result = self.run(|epoch| {
            totals.training += epoch.time;
            totals.validation += epoch.validation_time;
            totals.peak = totals.peak.max(fma_peak(workers));
            report(epoch);
        });
        let operations = workers.finish_profile();
        let chores = self.chores.take().expect("put there above");
        result?;
        totals.steps = self.steps - steps;
        totals.images = (self.epochs - epochs) * self.training.len();
        Ok(Profile::new(&self.network, operations, &chores, totals))
    }

    /// One pass over the training images, and validation.
    fn epoch(&mut self) -> Result<Epoch, TrainError> {
        let train = self.data.train()?;
        train.check_unchanged()?;
        let started = Instant::now();
        let mut order = self.training.clone();
        shuffle(self.recipe.seed, self.epochs as u32, &mut order);
        let (mut loss, mut correct) = (0.0, 0);
        for indices in order.chunks(self.recipe.data.batch_size) {
            let step = self.step_inside(indices)?;
            loss += step.loss;
            correct += step.correct;
        }
        let time = started.elapsed();
        self.epochs += 1;
        let trained = Instant::now();
        self.check_weights()?;
        let validation = self.validate()?;
        let images = order.len() as f64;
        Ok(Epoch {
            number: self.epochs,
            training: Evaluation { loss: loss / images, accuracy: correct as f64 / images },
            validation,
            time,
            validation_time: trained.elapsed(),
            images_per_second: images / time.as_secs_f64(),
        })
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
        let train = self.data.train()?;
        let isa = self.workers.isa();
        let batch = Batch {
            network: &self.network,
            weights: &self.weights,
            images: Images { split: train, indices, scaling: &self.scaling },
            augmentation: Some(&self.augmentation).filter(|a| !a.is_identity()),
            shard: self.recipe.shard(),
            seed: self.recipe.seed,
            epoch: self.epochs as u32,
            smoothing: self.recipe.model.label_smoothing as f32,
            chores: self.chores.as_ref(),
        };
        let sums = batch.gradient(self.workers, &self.spare);
        if !sums.loss.is_finite() {
            let layer = batch.find_fault(isa).map_or("(loss)", |n| self.network.layer_name(n));
            return Err(TrainError::NotFinite {
                loss: sums.loss,
                step: self.steps + 1,
                epoch: self.epochs + 1,
                layer: layer.to_owned(),
            });
        }
        self.check_update(&sums.gradients)?;
        let lr = self.schedule.learning_rate(self.steps);
        let chores = self.chores.as_ref();
        let weights = &mut self.weights;
        self.optimizer.step(isa, &self.network, lr, weights, &sums.gradients, chores);
        self.spare.put(sums.gradients);
        self.steps += 1;
        Ok(Step { loss: sums.loss, correct: sums.correct })
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
            step: self.steps + 1,
            epoch: self.epochs + 1,
        })
    }

    fn validate(&mut self) -> Result<Option<Evaluation>, TrainError> {
        let Some((split, indices)) = &self.validation else { return Ok(None) };
        split.check_unchanged()?;
        let images = Images { split, indices, scaling: &self.scaling };
        let found = evaluate(self.workers, &self.network, &self.weights, images);
        if !found.loss.is_finite() {
            return Err(TrainError::Validation { loss: found.loss, epoch: self.epochs });
        }
        let monitored = match self.recipe.stop.monitor {
            Monitor::Loss => found.loss,
            Monitor::Accuracy => found.accuracy,
        };
        self.schedule.observe(self.steps, monitored);
        Ok(Some(found))
    }

    /// Whether everything is finite that the epoch has left: the running statistics, which no
    /// training step reads, and the weights of the last step, whose loss nobody has seen.
    fn check_weights(&self) -> Result<(), TrainError> {
        let finite = |values: &[f32]| kernels::all_finite(self.workers.isa(), values);
        let mut parameters = self.network.parameters().iter();
        match parameters.find(|p| !finite(p.place.of(&self.weights))) {
            None => Ok(()),
            Some(p) => Err(TrainError::Weights { parameter: p.name.clone(), epoch: self.epochs }),
        }
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

    /// The network as it is now.
    pub fn model(&self) -> Model {
        Model {
            preset: self.preset.clone(),
            network: self.network.clone(),
            weights: self.weights.clone(),
            classes: self.data.class_names().to_vec(),
            mean: self.moments.mean.clone(),
            std: self.moments.std.clone(),
        }
    }
}

/// The images to train on, and those to validate on.
type Division<'a> = (Vec<u32>, Option<(&'a Split, Vec<u32>)>);

fn divide<'a>(
    recipe: &Recipe,
    data: &'a Dataset,
    train: &'a Split,
) -> Result<Division<'a>, TrainError> {
    let all = |split: &Split| (0..split.len() as u32).collect::<Vec<_>>();
    match recipe.data.validation {
        Validation::Named(ValidationSet::None) => Ok((all(train), None)),
        Validation::Named(ValidationSet::Test) => {
            let test = data.test().map_err(TrainError::NoTest)?;
            Ok((all(train), Some((test, all(test)))))
        }
        Validation::HeldOut(held_out) if held_out >= train.len() => {
            let expected = format!("fewer than the {} images of the training set", train.len());
            Err(RecipeError::value("data.validation", held_out, expected).into())
        }
        Validation::HeldOut(held_out) => {
            let (training, validation) = hold_out(recipe.seed, train.len(), held_out);
            Ok((training, Some((train, validation))))
        }
    }
}

/// Mean and std to normalise with: the recipe's, or those of the training images, whose sums are
/// exact integers.
fn moments(
    recipe: &Recipe,
    train: &Split,
    indices: &[u32],
    channels: usize,
) -> Result<Moments, TrainError> {
    if let Normalize::Fixed(moments) = &recipe.data.normalize {
        if moments.mean.len() != 1 && moments.mean.len() != channels {
            let (field, found) = ("data.normalize.mean", format!("{:?}", moments.mean));
            let expected = format!("1 number or {channels}, one per channel of the images");
            return Err(RecipeError::value(field, found, expected).into());
        }
        return Ok(moments.clone());
    }
    let mut sums = vec![(0u64, 0u64); channels];
    for &i in indices {
        for pixel in train.image(i as usize).chunks_exact(channels) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                sum.0 += u64::from(value);
                sum.1 += u64::from(value) * u64::from(value);
            }
        }
    }
    let pixels = (train.image(0).len() / channels * indices.len()) as f64;
    let (mean, std) = sums
        .into_iter()
        .map(|(sum, squares)| {
            let mean = sum as f64 / pixels;
            let variance = squares as f64 / pixels - mean * mean;
            // A channel that never changes is left at its mean.
            let std = if variance > 0.0 { libm::sqrt(variance) / 255.0 } else { 1.0 };
            (mean / 255.0, std)
        })
        .unzip();
    Ok(Moments { mean, std })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Source;
    use kernels::Isa;
    use model::{FileError, flatten, linear};

    /// A file that took the recipe's preset for its own could not be read, and would not say why.
    #[test]
    fn a_network_of_other_layers_is_not_taken_for_a_preset() {
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
        let error = Model::load(&path).unwrap_err();
        assert!(matches!(error, FileError::Content { .. }));
        assert!(error.to_string().contains("unknown model `custom`"), "{error}");
    }
}
