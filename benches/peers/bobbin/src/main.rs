//! Bobbin among its peers.

use clap::Parser;
use dataset::{Dataset, PixelStatistics, Source};
use kernels::{Isa, fma_chains};
use model::{Kind, Layer, Model, preset};
use protocol::{Arguments, Contestant, Mode, exit, serve};
use serde_json::{Value, json};
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use trainer::recipe::{Normalize, PrecisionName, Validation, ValidationSet};
use trainer::{Predictor, Recipe, Scratch, Trainer, Workers};

fn main() -> ExitCode {
    exit(compete(&Arguments::parse()))
}

fn compete(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let data = Dataset::open(&Source::new(&arguments.data))?;
    let workers = Workers::new(Isa::from_env()?, arguments.threads())?;
    let mut recipe = Recipe { seed: 1, ..Recipe::default() };
    recipe.model.preset = Some(arguments.network.clone());
    if arguments.precision == "bf16" {
        recipe.model.precision = PrecisionName::Bf16;
    }
    recipe.data.batch_size = arguments.batch();
    let [channels, ..] = data.image_shape();
    let (mean, std) = (vec![0.2860; channels], vec![0.3530; channels]);
    recipe.data.normalize = Normalize::Fixed(PixelStatistics { mean, std });
    recipe.data.validation = Validation::Named(ValidationSet::None);
    (recipe.optimizer.lr, recipe.optimizer.momentum) = (0.01, Some(0.9));
    let mut trainer = if arguments.without_chance {
        let layers = without_chance(preset(&arguments.network, data.classes())?);
        Trainer::with_layers(&recipe, &layers, &data, &workers)?
    } else {
        Trainer::new(&recipe, &data, &workers)?
    };
    if let Some(path) = &arguments.write_weights {
        return Ok(trainer.model().save(path)?);
    }
    let mut model = Model::load(arguments.weights())?;
    model.network = model.network.in_precision(recipe.model.precision.precision());
    if model.preset != arguments.network {
        let path = arguments.weights().display();
        return Err(format!("{path}: holds {}, not {}", model.preset, arguments.network).into());
    }
    trainer.weights_mut().copy_from_slice(&model.weights);

    let mut logits = vec![0.0; arguments.batch() * model.network.classes()];
    let work = match arguments.mode {
        Mode::Train => Work::Train(Box::new(trainer)),
        Mode::Infer => Work::Infer(Box::new(Predictor::new(&model, &workers)?), &mut logits),
    };
    let mut images: Vec<u32> = (0..data.train()?.len() as u32).collect();
    images.truncate(images.len() / arguments.batch() * arguments.batch());
    let (data, workers) = (&data, &workers);
    let bobbin =
        Bobbin { arguments, shard: recipe.shard(), model: &model, data, workers, work, images };
    // The loop of a user is inside of the pool too.
    workers.run(|| serve(arguments, bobbin).map_err(|error| error.to_string()))?;
    Ok(())
}

/// Neither values nor branches are dropped; the weights are the same.
fn without_chance(mut layers: Vec<Layer>) -> Vec<Layer> {
    for layer in &mut layers {
        if let Kind::Dropout(dropout) = &mut layer.kind {
            dropout.p = 0.0;
        }
    }
    layers
}

struct Bobbin<'a> {
    arguments: &'a Arguments,
    shard: usize,
    model: &'a Model,
    data: &'a Dataset,
    workers: &'a Workers,
    work: Work<'a>,
    /// 0, 1, 2, …: those of whole batches.
    images: Vec<u32>,
}

enum Work<'a> {
    Train(Box<Trainer<'a>>),
    Infer(Box<Predictor<'a>>, &'a mut [f32]),
}

impl Contestant for Bobbin<'_> {
    /// The loss of a training step.
    type Output = Option<f64>;

    fn describe(&self) -> Value {
        json!({
            "framework": "Bobbin",
            "version": env!("CARGO_PKG_VERSION"),
            "setting": self.workers.isa().to_string(),
            "parameters": self.model.network.parameter_count(),
            "shard": self.shard,
        })
    }

    fn batches(&self) -> usize {
        self.images.len() / self.arguments.batch()
    }

    /// Batches are read from the mapped file, step by step.
    fn prepare(&mut self, _: usize) -> Result<(), Box<dyn Error>> {
        Ok(())
    }

    fn step(&mut self, batch: usize) -> Result<Option<f64>, Box<dyn Error>> {
        let len = self.arguments.batch();
        let images = &self.images[batch * len..][..len];
        match &mut self.work {
            Work::Train(trainer) => Ok(Some(trainer.step(images)?.loss / len as f64)),
            Work::Infer(predictor, logits) => {
                let split = self.data.train()?;
                predictor.logits_of(split, images, logits);
                Ok(None)
            }
        }
    }

    fn finish(&mut self, loss: Option<f64>) -> Result<Option<f64>, Box<dyn Error>> {
        Ok(loss)
    }

    fn own(&mut self, command: &Value) -> Option<Value> {
        let network = &self.model.network;
        if command["peak"] == true {
            Some(json!({ "gflops": peak(self.workers) / 1e9 }))
        } else if command["flops"] == true {
            let multiply_adds = match self.arguments.mode {
                Mode::Train => network.training_multiply_adds(),
                Mode::Infer => network.multiply_adds(),
            };
            Some(json!({ "flops_per_image": 2 * multiply_adds }))
        } else {
            None
        }
    }
}

/// The best rate of fused multiply-adds on all threads in some 20 milliseconds: in pieces so short
/// that no thread waits for another.
fn peak(workers: &Workers) -> f64 {
    const PIECES: usize = 32;
    const STEPS: usize = 20_000;
    let leaf = |_, _: &mut Scratch| fma_chains(workers.isa(), STEPS);
    let rate = || {
        let start = Instant::now();
        let flops = workers.sum(0..PIECES * workers.threads(), &leaf, &|a, b| a + b);
        flops as f64 / start.elapsed().as_secs_f64()
    };
    let start = Instant::now();
    let mut best = rate();
    while start.elapsed() < Duration::from_millis(20) {
        best = best.max(rate());
    }
    best
}
