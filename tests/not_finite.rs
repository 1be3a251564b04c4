//! A value that is not finite is noticed, named, and not trained over.

mod support {
    pub mod data;
}

use dataset::Dataset;
use kernels::Isa;
use support::data;
use tempfile::TempDir;
use trainer::{TrainError, Trainer, Workers};

fn workers() -> Workers {
    Workers::new(Isa::detect(), 2).unwrap()
}

/// Sixteen images as small as a preset can do with: of the last layers still every weight is used.
fn images(preset: &str) -> (TempDir, Dataset) {
    let side = if matches!(preset, "lenet" | "lenet-li" | "resnet") { 16 } else { 8 };
    data::random(16, [1, side, side], 10)
}

/// The name of the layer of a parameter.
fn layer(parameter: &str) -> &str {
    parameter.rsplit_once('.').expect("layer.part").0
}

/// One value in the midst of each parameter, one parameter at a time: found at the first step.
/// What the others are made of too.
const PRESETS: [&str; 5] = ["lenet", "lenet-li", "cnn-bn", "vgg", "resnet"];

#[test]
fn nan_in_each_parameter() {
    let workers = workers();
    for preset in PRESETS {
        let (_directory, data) = images(preset);
        let recipe = data::recipe(&[("model.preset", preset)]);
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        let parameters = trainer.network().parameters().to_vec();
        for parameter in parameters.iter().filter(|p| p.role.is_trained()) {
            let at = parameter.place.offset + parameter.place.len / 2;
            let sound = std::mem::replace(&mut trainer.weights_mut()[at], f32::NAN);
            let before: Vec<u32> = trainer.weights().iter().map(|w| w.to_bits()).collect();
            let error = trainer.run(|epoch| panic!("{}: {epoch:?}", parameter.name)).unwrap_err();
            let TrainError::NotFinite { loss, step: 1, epoch: 1, layer: found } = &error else {
                panic!("{preset}, {}: {error}", parameter.name)
            };
            assert_eq!(found, layer(&parameter.name), "{preset}");
            assert!(loss.is_nan(), "{error}");
            assert!(trainer.weights().iter().map(|w| w.to_bits()).eq(before), "weights changed");
            trainer.weights_mut()[at] = sound;
        }
    }
}

/// No training step reads a running statistic, so it is found when an epoch ends, even where nothing
/// is validated.
#[test]
fn nan_in_each_running_statistic() {
    let workers = workers();
    for preset in PRESETS {
        let (_directory, data) = images(preset);
        for validation in ["test", "none"] {
            let recipe = data::recipe(&[("model.preset", preset), ("data.validation", validation)]);
            let network = Trainer::new(&recipe, &data, &workers).unwrap().network().clone();
            let statistics = network.parameters().iter().filter(|p| !p.role.is_trained());
            for parameter in statistics {
                let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
                trainer.weights_mut()[parameter.place.offset] = f32::INFINITY;
                let error = trainer.run(|epoch| panic!("{epoch:?}")).unwrap_err();
                let TrainError::Weights { parameter: found, step: 1, epoch: 1 } = &error else {
                    panic!("{preset}, {}: {error}", parameter.name)
                };
                assert_eq!(*found, parameter.name, "{error}");
            }
        }
    }
}

/// The last step of all overflows: no later loss would tell.
#[test]
fn weights_that_the_last_step_broke() {
    let (_directory, data) = data::random(24, [1, 16, 16], 10);
    let workers = workers();
    let recipe = data::recipe(&[
        ("data.batch_size", "24"),
        ("data.validation", "none"),
        ("optimizer.lr", "1e30"),
        ("optimizer.weight_decay", "1e30"),
        ("stop.epochs", "1"),
    ]);
    let error = Trainer::new(&recipe, &data, &workers).unwrap().run(|_| {}).unwrap_err();
    assert_eq!(error.to_string(), "`conv1.weight` is not finite after step 1 (epoch 1)");
}

/// Weights so large that the gradient overflows on its way back, and inputs to them so small that the
/// loss does not.
#[test]
fn a_gradient_that_overflows() {
    let (_directory, data) = data::random(32, [1, 16, 16], 10);
    let workers = workers();
    let mut trainer = Trainer::new(&data::recipe(&[]), &data, &workers).unwrap();
    let parameters = trainer.network().parameters().to_vec();
    for (name, factor) in
        [("fc1.weight", 1e-25), ("fc1.bias", 1e-25), ("fc2.weight", 1e25), ("fc3.weight", 1e25)]
    {
        let parameter = parameters.iter().find(|p| p.name == name).unwrap();
        parameter.place.of_mut(trainer.weights_mut()).iter_mut().for_each(|w| *w *= factor);
    }
    let before = trainer.weights().to_vec();
    let error = trainer.run(|_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the update of `fc1.bias` at step 1 (epoch 1) is not finite, though the loss is; weights \
         are those before the step"
    );
    assert!(trainer.weights() == before);
}

/// Activations whose variance overflows are normalised to zeros, which no loss shows.
#[test]
fn a_variance_that_overflows() {
    let (_directory, data) = data::random(32, [1, 16, 16], 10);
    let workers = workers();
    let recipe = data::recipe(&[("model.preset", "cnn-bn")]);
    let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
    let first = trainer.network().parameters()[0].place;
    first.of_mut(trainer.weights_mut()).iter_mut().for_each(|w| *w *= 1e22);
    let error = trainer.run(|_| {}).unwrap_err();
    assert!(
        matches!(&error, TrainError::Update { parameter, step: 1, epoch: 1 }
        if parameter == "1.running_var"),
        "{error}"
    );
}

/// Finite weights and a finite training loss, but a statistic so large that validation overflows.
#[test]
fn validation_loss_that_is_not_finite() {
    let (_directory, data) = data::random(24, [1, 16, 16], 10);
    let workers = workers();
    for validation in ["test", "8"] {
        let recipe = data::recipe(&[("model.preset", "cnn-bn"), ("data.validation", validation)]);
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        let parameter = trainer.network().parameters().iter().find(|p| p.name == "1.running_mean");
        let place = parameter.unwrap().place;
        place.of_mut(trainer.weights_mut()).fill(-3e38);
        let error = trainer.run(|epoch| panic!("{epoch:?}")).unwrap_err();
        assert!(matches!(error, TrainError::Validation { step: 1, epoch: 1, .. }), "{error}");
        assert!(
            error.to_string().starts_with("the validation loss is NaN after step 1 (epoch 1)"),
            "{error}"
        );
    }
}

/// Steps far too long end in an error that names a layer, not in a model.
#[test]
fn divergence() {
    let (_directory, data) = data::random(60, [1, 16, 16], 10);
    let workers = workers();
    for preset in PRESETS {
        let recipe = data::recipe(&[("model.preset", preset), ("optimizer.lr", "1e30")]);
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        let error = trainer.run(|_| {}).unwrap_err();
        let TrainError::NotFinite { step, layer, .. } = &error else { panic!("{preset}: {error}") };
        assert!(*step > 1, "{preset}: {error}");
        let known = trainer.network().summaries().iter().any(|s| s.name == *layer);
        assert!(known || layer == "(loss)", "{preset}: {error}");
    }
}
