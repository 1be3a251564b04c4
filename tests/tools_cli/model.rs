//! A model of the small data set, in the file that `train` writes.

use crate::scratch::Scratch;
use dataset::{Dataset, Source};
use kernels::Isa;
use model::Model;
use std::fs;
use trainer::{Recipe, Trainer, Workers};

/// Trains on the set until it knows most of it; the model is in `work/run/`.
pub fn train(scratch: &Scratch, preset: &str) -> Model {
    let settings = [
        ("model.preset", preset),
        ("data.batch_size", "32"),
        ("optimizer.lr", "0.02"),
        ("data.normalize", "auto"),
        ("stop.epochs", "3"),
    ];
    let settings = settings.map(|(field, value)| (field.to_owned(), value.to_owned()));
    let recipe = Recipe::load("paper", &settings).unwrap();
    let data = Dataset::open(&Source::new(scratch.path("data"))).unwrap();
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
    trainer.run(|_| {}).unwrap();
    let model = trainer.model();
    fs::create_dir_all(scratch.work("run")).unwrap();
    model.save(&scratch.work("run/model.safetensors")).unwrap();
    model
}
