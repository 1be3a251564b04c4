//! Training with every optimiser, groups of parameters, clipping and averaged weights.

mod support {
    pub mod data;
}

use dataset::Dataset;
use kernels::Isa;
use reference::{norm, widen};
use support::data;
use trainer::{Evaluation, Recipe, TrainError, Trainer, Workers};

/// Every rule, with a learning rate that suits it, and what else it can be told.
const RULES: [(&str, &[(&str, &str)]); 6] = [
    ("sgd", &[("optimizer.lr", "0.02"), ("optimizer.nesterov", "true")]),
    ("adam", &[("optimizer.lr", "2e-3"), ("optimizer.weight_decay", "1e-4")]),
    ("adamw", &[("optimizer.lr", "2e-3"), ("optimizer.betas", "[0.8, 0.99]")]),
    ("rmsprop", &[("optimizer.lr", "1e-3"), ("optimizer.alpha", "0.9")]),
    (
        "rmsprop",
        &[
            ("optimizer.lr", "5e-4"),
            ("optimizer.centered", "true"),
            ("optimizer.momentum", "0.5"),
            ("optimizer.eps", "1e-4"),
        ],
    ),
    ("adagrad", &[("optimizer.lr", "0.02"), ("optimizer.lr_decay", "1e-3")]),
];

/// The recipe of a rule in batches of 50, the last of an epoch smaller, with more fields set.
fn recipe((kind, settings): (&str, &[(&str, &str)]), more: &[(&str, &str)]) -> Recipe {
    let common = [
        ("model.preset", "cnn-bn"),
        ("model.init", "he"),
        ("data.batch_size", "50"),
        ("data.shard", "16"),
        ("optimizer.kind", kind),
        ("stop.epochs", "2"),
    ];
    data::recipe(&[&common, settings, more].concat())
}

/// The trainer after the recipe's epochs, and what it saw in each.
fn train<'a>(
    recipe: &Recipe,
    data: &'a Dataset,
    workers: &'a Workers,
) -> (Trainer<'a>, Vec<Evaluation>) {
    let mut trainer = Trainer::new(recipe, data, workers).unwrap();
    let mut epochs = vec![];
    trainer.run(|epoch| epochs.push(epoch.training)).unwrap();
    (trainer, epochs)
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|w| w.to_bits()).collect()
}

#[test]
fn every_optimiser_learns() {
    let (_directory, data) = data::random(200, [1, 16, 16], 4);
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    for rule in RULES {
        let (_, epochs) = train(&recipe(rule, &[("stop.epochs", "6")]), &data, &workers);
        let [first, .., last] = &epochs[..] else { panic!("six epochs") };
        assert!(last.loss < 0.3 * first.loss, "{rule:?}: {first:?} {last:?}");
    }
}

/// With groups, clipping and an average: 1, 2 and 5 threads.
#[test]
fn threads_change_no_bit() {
    let (_directory, data) = data::random(120, [1, 16, 16], 10);
    let more = [
        ("optimizer.groups", "[{ match = '*.bias', weight_decay = 0.0, lr_scale = 2.0 }]"),
        ("optimizer.clip_value", "0.05"),
        ("optimizer.clip_norm", "0.5"),
        ("optimizer.ema", "0.9"),
    ];
    for rule in RULES {
        let run = |threads| {
            let workers = Workers::new(Isa::detect(), threads).unwrap();
            let (trainer, _) = train(&recipe(rule, &more), &data, &workers);
            (bits(trainer.weights()), bits(trainer.evaluation_weights()))
        };
        let alone = run(1);
        assert!(alone == run(2) && alone == run(5), "{rule:?}");
    }
}

/// Not by gradients, momentum or decay; everything else moves.
#[test]
fn frozen_parameters_do_not_move() {
    let (_directory, data) = data::random(120, [1, 16, 16], 10);
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let groups = "[{ match = '?.weight', frozen = true }, { match = '1*.bias', frozen = true }]";
    let more = [("optimizer.groups", groups), ("optimizer.weight_decay", "0.1")];
    for rule in RULES {
        let recipe = recipe(rule, &more);
        let start = Trainer::new(&recipe, &data, &workers).unwrap().weights().to_vec();
        let (trainer, _) = train(&recipe, &data, &workers);
        let mut frozen = 0;
        for parameter in trainer.network().parameters() {
            let name = &*parameter.name;
            let here = name.len() == 8 && name.ends_with(".weight")
                || name.starts_with('1') && name.ends_with(".bias");
            let before = bits(parameter.place.of(&start));
            let same = before == bits(parameter.place.of(trainer.weights()));
            assert_eq!(same, here, "{rule:?}: {name}");
            frozen += usize::from(here);
        }
        assert!(frozen > 4, "{frozen}");
    }
}

/// The step of plain descent, with the gradient that an unclipped run has seen: by the norm of what is
/// trained, and not of frozen parameters and running statistics.
#[test]
fn the_gradient_is_clipped_by_its_norm() {
    let (_directory, data) = data::random(50, [1, 16, 16], 10);
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let images: Vec<u32> = (0..50).collect();
    let step = |more: &[(&str, &str)]| {
        let more = [&[("optimizer.groups", "[{ match = '0.*', frozen = true }]")], more].concat();
        let settings = [("optimizer.lr", "1.0"), ("optimizer.momentum", "0.0")];
        let recipe = recipe(("sgd", &settings), &more);
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        let start = trainer.weights().to_vec();
        trainer.step(&images).unwrap();
        (trainer, start)
    };
    let (unclipped, start) = step(&[]);
    let gradients = unclipped.gradients().unwrap();
    let counted = |name: &str| !name.starts_with("0.") && !name.contains("running_");
    let parameters = unclipped.network().parameters().iter();
    let parts = parameters.filter(|p| p.role.is_trained() && counted(&p.name));
    let values: Vec<f64> = parts.clone().flat_map(|p| widen(p.place.of(gradients))).collect();
    let whole = norm(&values);
    for part in [0.25, 2.0] {
        let limit = format!("{:?}", part * whole);
        let (clipped, _) = step(&[("optimizer.clip_norm", &limit)]);
        for parameter in parts.clone() {
            for i in parameter.place.offset..parameter.place.offset + parameter.place.len {
                let expected = f64::from(start[i]) - part.min(1.0) * f64::from(gradients[i]);
                let error = (f64::from(clipped.weights()[i]) - expected).abs();
                // PyTorch adds 1e-6 to the norm.
                let allowed = 1e-6 * (1.0 + expected.abs()) * (1.0 + 1.0 / whole);
                assert!(error <= allowed, "{} of the norm: `{}`", part, parameter.name);
            }
        }
    }
}

/// What is validated and saved is the average of the weights, step by step, from the initial ones on.
#[test]
fn the_average_of_the_weights() {
    let (_directory, data) = data::random(50, [1, 16, 16], 10);
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let images: Vec<u32> = (0..50).collect();
    let settings = [("optimizer.lr", "0.05"), ("optimizer.ema", "0.3")];
    let mut trainer = Trainer::new(&recipe(("sgd", &settings), &[]), &data, &workers).unwrap();
    // Weights of one's own count from the first step.
    trainer.weights_mut().iter_mut().for_each(|w| *w *= 0.5);
    assert_eq!(trainer.evaluation_weights(), trainer.weights());
    let mut expected = widen(trainer.weights());
    for decay in [2.0 / 11.0, 3.0 / 12.0, 0.3, 0.3] {
        trainer.step(&images).unwrap();
        for (expected, weight) in expected.iter_mut().zip(trainer.weights()) {
            *expected = decay * *expected + (1.0 - decay) * f64::from(*weight);
        }
        let counts = trainer.network().parameters().iter();
        for counter in counts.filter(|p| p.name.ends_with("num_batches_tracked")) {
            expected[counter.place.offset] = f64::from(counter.place.of(trainer.weights())[0]);
        }
        for (got, expected) in trainer.evaluation_weights().iter().zip(&expected) {
            let error = (f64::from(*got) - expected).abs();
            assert!(error <= 1e-6 * (1.0 + expected.abs()), "{got} {expected}");
        }
    }
    assert_ne!(trainer.evaluation_weights(), trainer.weights());
    assert_eq!(trainer.model().weights[..], *trainer.evaluation_weights());
}

/// Weights that are set in a run are what is validated and saved next, and the average goes on from them.
#[test]
fn the_average_of_weights_that_were_set() {
    let (_directory, data) = data::random(50, [1, 16, 16], 10);
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let images: Vec<u32> = (0..50).collect();
    let settings = [("optimizer.lr", "0.05"), ("optimizer.ema", "0.9")];
    let mut trainer = Trainer::new(&recipe(("sgd", &settings), &[]), &data, &workers).unwrap();
    trainer.step(&images).unwrap();
    let halves: Vec<f32> = trainer.weights().iter().map(|w| 0.5 * w).collect();
    trainer.set_weights(&halves);
    assert_eq!((trainer.weights(), trainer.evaluation_weights()), (&halves[..], &halves[..]));
    assert_eq!(trainer.model().weights[..], halves);
    trainer.step(&images).unwrap();
    // The second step: the average keeps 3/12 of itself.
    let place = trainer.network().parameters()[0].place;
    let all = [trainer.evaluation_weights(), trainer.weights(), &halves[..]];
    let [average, moved, before] = all.map(|weights| place.of(weights));
    assert_ne!(moved, before);
    for ((average, moved), before) in average.iter().zip(moved).zip(before) {
        let expected = 0.25 * f64::from(*before) + 0.75 * f64::from(*moved);
        let error = (f64::from(*average) - expected).abs();
        assert!(error <= 1e-6 * (1.0 + expected.abs()), "{average} {expected}");
    }
}

#[test]
fn a_group_that_matches_nothing() {
    let (_directory, data) = data::random(20, [1, 16, 16], 10);
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let groups = [("optimizer.groups", "[{ match = 'fc9.*', frozen = true }]")];
    let recipe = data::recipe(&[("model.preset", "lenet"), groups[0]]);
    let error = Trainer::new(&recipe, &data, &workers).err().unwrap();
    assert!(matches!(error, TrainError::Recipe(_)));
    let message = error.to_string();
    let expected = "`optimizer.groups`: match = \"fc9.*\" matches no parameter: expected a pattern for \
                    some of conv1.weight, conv1.bias, ";
    assert!(message.starts_with(expected) && message.ends_with("fc3.bias"), "{message}");
}
