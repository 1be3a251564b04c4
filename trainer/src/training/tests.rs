//! What is trained is what is kept.

use super::*;
use crate::recipe::{Normalize, Validation, ValidationSet};
use dataset::{PixelStatistics, Samples, Source};
use kernels::Isa;
use model::{CUSTOM, Model, flatten, layers, linear};

/// Its file has the layers, not the recipe's preset.
#[test]
fn a_network_of_other_layers_is_saved_and_loaded() {
    let directory = tempfile::TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes);
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..], &[9, 8, 7, 6]].concat();
    write("train-images-idx3-ubyte", &images).unwrap();
    write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]).unwrap();
    let data = Dataset::open(&Source::new(directory.path())).unwrap();
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let mut recipe = Recipe::default();
    recipe.data.validation = Validation::Named(ValidationSet::None);

    let layers = layers![flatten(), linear(2)];
    let mut trainer = Trainer::with_layers(&recipe, &layers, &data, &workers).unwrap();
    trainer.run(|_| {}).unwrap();
    let path = directory.path().join("model.safetensors");
    trainer.model().save(&path).unwrap();
    let model = Model::load(&path).unwrap();
    assert_eq!((&*model.preset, model.network.layers()), (CUSTOM, &layers[..]));
    assert_eq!(model.weights[..], *trainer.weights());
    // The recipe that is kept says which data they were, and only that has changed.
    let kept = trainer.recipe().data.directory.as_ref().unwrap();
    assert_eq!(*kept, directory.path().canonicalize().unwrap());
    let again = Trainer::with_layers(trainer.recipe(), &layers, &data, &workers).unwrap();
    assert_eq!(again.recipe(), trainer.recipe());
}

/// Steps on images that are handed over: on from a state that was taken over, with another rate and other settings.
#[test]
fn steps_go_on_from_a_state_on_other_data() {
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let labels = [0u32, 1, 2, 1];
    let pixels: Vec<f32> = (0..4 * 16).map(|i| (i * i % 23) as f32 / 7.0 - 1.0).collect();
    let samples = Samples::new(&pixels[..], &labels);
    let names = ["a", "b", "c"].map(str::to_owned);
    let data = Dataset::in_memory([1, 4, 4], &names, samples, None).unwrap();
    let others = [7u8; 3 * 16];
    let others = Samples::new(&others[..], &labels[..3]);
    let others = Dataset::in_memory([1, 4, 4], &names, others, None).unwrap();
    let mut recipe = Recipe::default();
    recipe.data.validation = Validation::Named(ValidationSet::None);
    // Of other data other statistics would be found.
    recipe.data.normalize = Normalize::Fixed(PixelStatistics { mean: vec![0.5], std: vec![0.25] });
    let layers = layers![flatten(), model::dropout(0.5), linear(3)];
    let start = |data| Trainer::with_layers(&recipe, &layers, data, &workers).unwrap();

    let mut first = start(&data);
    for _ in 0..3 {
        first.step_on_next(samples).unwrap();
    }
    let mut second = start(&others);
    second.adopt(&first.state()).unwrap();
    assert_eq!((second.progress().step, second.progress().handed), (3, 12));
    let ends = [&mut first, &mut second].map(|trainer| {
        trainer.set_learning_rate(Some(0.125));
        let step = trainer.step_on_next(samples).unwrap();
        assert_eq!(step.learning_rate, 0.125);
        trainer.set_learning_rate(None);
        let mut section = trainer.recipe().optimizer.clone();
        section.momentum = Some(0.5);
        section.lr = 0.25;
        trainer.set_optimizer(section).unwrap();
        assert_eq!(trainer.step_on_next(samples).unwrap().learning_rate, 0.25);
        trainer.weights().to_vec()
    });
    assert_eq!(ends[0], ends[1]);

    // At rate 0 nothing moves, and another rule has another memory.
    first.set_learning_rate(Some(0.0));
    first.step_on_next(samples).unwrap();
    assert_eq!(first.weights(), ends[0]);
    let mut section = first.recipe().optimizer.clone();
    section.kind = crate::recipe::OptimizerKind::Adam;
    section.momentum = None;
    let error = first.set_optimizer(section).unwrap_err().to_string();
    assert!(error.contains("optimizer.kind") && error.contains("training began with"), "{error}");
}
