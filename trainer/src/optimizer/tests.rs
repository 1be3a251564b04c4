//! Steps of small networks.

use super::*;
use crate::recipe::{Group, Recipe};
use kernels::Isa;
use model::{Init, again, batch_norm2d, conv2d, flatten, layers, linear};
use reference::uniform;
use std::ops::Range;

/// Parameters of 36, 4, 4, 4, 2560 and 10 floats, most of which end within a vector.
fn network() -> Network {
    let layers = layers![conv2d(4, 3), batch_norm2d(), flatten(), linear(10)];
    Network::new([1, 10, 10], &layers).unwrap()
}

fn recipe(settings: &str) -> Recipe {
    toml::from_str(&format!("[optimizer]\n{settings}")).unwrap()
}

fn group(pattern: &str) -> Group {
    Group { pattern: pattern.into(), lr_scale: 1.0, weight_decay: None, frozen: false }
}

fn ranges(recipe: &Recipe) -> Vec<Range<usize>> {
    let optimizer = Optimizer::new(&recipe.optimizer, &network()).unwrap();
    optimizer.spans.into_iter().map(|span| span.range).collect()
}

#[test]
fn neighbours_share_a_pass() {
    let trained = network().trained_len();
    let all = 0..trained;
    let mut recipe = Recipe::default();
    assert_eq!(ranges(&recipe), std::slice::from_ref(&all));
    // A group that changes nothing, and two that change the same.
    recipe.optimizer.groups = vec![group("*")];
    assert_eq!(ranges(&recipe), std::slice::from_ref(&all));
    let half = |pattern| Group { lr_scale: 0.5, ..group(pattern) };
    recipe.optimizer.groups = vec![half("0.*"), half("1.*")];
    assert_eq!(ranges(&recipe), [0..96, 96..trained]);
    // The first that matches holds.
    let frozen = |pattern| Group { frozen: true, ..group(pattern) };
    recipe.optimizer.groups = vec![half("1.bias"), frozen("1.*")];
    assert_eq!(ranges(&recipe), [0..64, 80..96, 96..trained]);
    recipe.optimizer.groups = vec![frozen("*")];
    assert_eq!(ranges(&recipe), []);
}

#[test]
fn a_group_without_parameters_is_an_error() {
    let mut recipe = Recipe::default();
    // Running statistics are not for an optimiser.
    for pattern in ["conv1.*", "1.running_mean"] {
        recipe.optimizer.groups = vec![group("*.weight"), group(pattern)];
        let error = Optimizer::new(&recipe.optimizer, &network()).err().unwrap();
        assert_eq!(error.field(), Some("optimizer.groups"));
        let message = error.to_string();
        let expected = format!(
            "`optimizer.groups`: match = \"{pattern}\" matches no parameter: expected a pattern for \
             some of 0.weight, 0.bias, 1.weight, 1.bias, 3.weight, 3.bias"
        );
        assert_eq!(message, expected);
    }
}

/// Some steps, each with a gradient of its own.
fn run(recipe: &Recipe, threads: usize, steps: Range<u64>) -> (Vec<f32>, Optimizer) {
    let network = network();
    let workers = Workers::new(Isa::detect(), threads).unwrap();
    let mut optimizer = Optimizer::new(&recipe.optimizer, &network).unwrap();
    let mut weights: Vec<f32> = uniform(network.len(), 1);
    go_on(&workers, &network, &mut optimizer, &mut weights, steps);
    (weights, optimizer)
}

fn go_on(
    workers: &Workers,
    network: &Network,
    optimizer: &mut Optimizer,
    weights: &mut [f32],
    steps: Range<u64>,
) {
    workers.run(|| {
        for step in steps {
            let mut gradients: Vec<f32> = uniform(network.len(), 100 + step);
            assert_eq!(optimizer.steps() + 1, step);
            optimizer.step(workers, 0.1, weights, &mut gradients);
        }
    });
}

/// Every rule with the names of its state.
const RULES: [(&str, &[&str]); 7] = [
    ("kind = 'sgd'", &["momentum_buffer"]),
    ("kind = 'adam'", &["exp_avg", "exp_avg_sq"]),
    ("kind = 'adamw'", &["exp_avg", "exp_avg_sq"]),
    ("kind = 'rmsprop'", &["square_avg"]),
    ("kind = 'rmsprop'\ncentered = true", &["square_avg", "grad_avg"]),
    ("kind = 'rmsprop'\nmomentum = 0.5", &["square_avg", "momentum_buffer"]),
    ("kind = 'adagrad'\ninitial_accumulator = 0.5", &["sum"]),
];

/// The state, and nothing else, carries a run on.
#[test]
fn a_restored_optimiser_goes_on_as_if_nothing_had_been() {
    let network = network();
    for (settings, names) in RULES {
        let recipe = recipe(settings);
        let (expected, _) = run(&recipe, 1, 1..7);
        let (mut weights, first) = run(&recipe, 1, 1..4);
        let state = first.state();
        let found: Vec<&str> = state.iter().map(|(name, _)| *name).collect();
        assert_eq!(found, names, "{settings}");
        let mut second = Optimizer::new(&recipe.optimizer, &network).unwrap();
        for (name, values) in state {
            assert_eq!(values.len(), network.trained_len());
            assert!(second.restore(name, values), "{settings}: {name}");
            assert!(!second.restore(name, &values[1..]), "{settings}: {name}");
        }
        second.set_steps(first.steps());
        assert!(!second.restore("velocity", &vec![0.0; network.trained_len()]));
        let workers = Workers::new(Isa::detect(), 1).unwrap();
        go_on(&workers, &network, &mut second, &mut weights, 4..7);
        assert!(weights == expected, "{settings}");
    }
}

#[test]
fn what_a_rule_does_not_have_cannot_be_restored() {
    let mut sgd = Optimizer::new(&recipe("kind = 'sgd'").optimizer, &network()).unwrap();
    assert!(!sgd.restore("exp_avg", &vec![0.0; network().trained_len()]));
    assert!(!sgd.restore("grad_avg", &[]));
}

/// The sums of squares start where the recipe says.
#[test]
fn the_accumulator_has_its_start() {
    let recipe = recipe("kind = 'adagrad'\ninitial_accumulator = 0.5");
    let optimizer = Optimizer::new(&recipe.optimizer, &network()).unwrap();
    assert!(optimizer.state()[0].1.iter().all(|sum| *sum == 0.5));
}

/// With groups, every parameter moves as it would if its settings were those of all.
#[test]
fn a_group_is_as_if_its_settings_were_those_of_all() {
    let network = network();
    for (rule, _) in RULES {
        let mut mixed = recipe(&format!("{rule}\nweight_decay = 0.01"));
        mixed.optimizer.groups = vec![
            Group { frozen: true, ..group("0.bias") },
            Group { weight_decay: Some(0.0), ..group("*.bias") },
            Group { lr_scale: 0.25, weight_decay: Some(0.5), ..group("3.*") },
        ];
        let (weights, optimizer) = run(&mixed, 1, 1..4);
        assert_eq!(optimizer.spans.len(), 5);
        let start: Vec<f32> = uniform(network.len(), 1);
        let alone = |decay: f64, scale: f64| {
            let mut recipe = recipe(&format!("{rule}\nweight_decay = {decay:?}"));
            recipe.optimizer.groups = vec![Group { lr_scale: scale, ..group("*") }];
            run(&recipe, 1, 1..4).0
        };
        let (plain, undecayed, scaled) = (alone(0.01, 1.0), alone(0.0, 1.0), alone(0.5, 0.25));
        for parameter in network.parameters().iter().filter(|p| p.role.is_trained()) {
            let expected = match &*parameter.name {
                "0.bias" => &start,
                "1.bias" | "3.bias" => &undecayed,
                "3.weight" => &scaled,
                _ => &plain,
            };
            let same = parameter.place.of(&weights) == parameter.place.of(expected);
            assert!(same, "{rule}: {}", parameter.name);
        }
        for (name, state) in optimizer.state() {
            let frozen = &network.parameters()[1];
            let start = mixed.optimizer.initial_accumulator as f32;
            assert!(frozen.place.of(state).iter().all(|s| *s == start), "{rule}: {name}");
        }
    }
}

/// Against a plain computation: the value first, then the norm of what is not frozen.
#[test]
fn clipping() {
    let network = network();
    let isa = Isa::detect();
    let original: Vec<f32> = uniform(network.len(), 5);
    let part = |settings: &str| {
        let mut recipe = recipe(&format!("lr = 1.0\nmomentum = 0.0\n{settings}"));
        recipe.optimizer.groups = vec![Group { frozen: true, ..group("3.bias") }];
        let mut optimizer = Optimizer::new(&recipe.optimizer, &network).unwrap();
        let mut weights = vec![0.0; network.len()];
        let mut gradients = original.clone();
        let workers = Workers::new(isa, 1).unwrap();
        workers.run(|| {
            optimizer.step(&workers, 1.0, &mut weights, &mut gradients);
        });
        weights
    };
    // The gaps between parameters are zero in a run, but not here: they count.
    let frozen = network.parameters().iter().find(|p| p.name == "3.bias").unwrap().place.offset;
    for (settings, value, norm) in [
        ("", 1e9, 1e9),
        ("clip_value = 0.3", 0.3, 1e9),
        ("clip_norm = 2.5", 1e9, 2.5),
        ("clip_norm = 1000.0", 1e9, 1000.0),
        ("clip_value = 0.3\nclip_norm = 2.5", 0.3, 2.5),
    ] {
        let cut = |x: f32| f64::from(x).clamp(-f64::from(value as f32), f64::from(value as f32));
        let whole: f64 = original[..frozen].iter().map(|x| cut(*x).powi(2)).sum::<f64>().sqrt();
        let factor = (norm / (whole + 1e-6)).min(1.0);
        assert!(norm > 100.0 || factor < 0.2, "{settings} does something");
        let weights = part(settings);
        for (i, weight) in weights[..network.trained_len()].iter().enumerate() {
            let expected = if i < frozen { -cut(original[i]) * factor } else { 0.0 };
            assert!((f64::from(*weight) - expected).abs() < 2e-7, "{settings}, {i}: {weight}");
        }
    }
}

/// 1, 2 and 5 threads, on a network of several pieces.
#[test]
fn threads_change_no_bit() {
    let layers = layers![conv2d(8, 3), flatten(), linear(100), linear(10)];
    let network = Network::new([3, 20, 20], &layers).unwrap();
    assert!(network.trained_len() > 250_000);
    for (rule, _) in RULES {
        let recipe = recipe(&format!(
            "{rule}\nclip_value = 0.9\nclip_norm = 1.5\n[[optimizer.groups]]\nmatch = '*.bias'\n\
             lr_scale = 0.5"
        ));
        let weights = |threads| {
            let workers = Workers::new(Isa::detect(), threads).unwrap();
            let mut optimizer = Optimizer::new(&recipe.optimizer, &network).unwrap();
            let mut ema = Ema::new(0.5, &network);
            let mut weights: Vec<f32> = uniform(network.len(), 1);
            for steps in 1..4 {
                go_on(&workers, &network, &mut optimizer, &mut weights, steps..steps + 1);
                workers.run(|| ema.update(&workers, &weights, steps, None));
            }
            weights.extend(ema.weights());
            weights.iter().map(|w| w.to_bits()).collect::<Vec<u32>>()
        };
        let one = weights(1);
        assert!(one == weights(2) && one == weights(5), "{rule}");
    }
}

#[test]
fn the_average_follows_the_weights() {
    let network = network();
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let mut ema = Ema::new(0.5, &network);
    assert!(!ema.restore(&[1.0]));
    let start: Vec<f32> = uniform(network.len(), 1);
    assert!(ema.restore(&start));
    assert_eq!(ema.weights(), start);
    let mut expected: Vec<f64> = start.iter().map(|w| f64::from(*w)).collect();
    let counts =
        network.parameters().iter().find(|p| p.role == model::Role::BatchesTracked).unwrap();
    for steps in 1..20u64 {
        let weights: Vec<f32> = uniform(network.len(), 10 + steps);
        ema.update(&workers, &weights, steps, None);
        // From 2/11 to a half at step 8.
        let decay = ((1 + steps) as f64 / (10 + steps) as f64).min(0.5);
        for (expected, weight) in expected.iter_mut().zip(&weights) {
            *expected = decay * *expected + (1.0 - decay) * f64::from(*weight);
        }
        expected[counts.place.offset] = f64::from(weights[counts.place.offset]);
        for (got, expected) in ema.weights().iter().zip(&expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-6, "step {steps}: {got} {expected}");
        }
    }
}

/// Each batch norm's running statistics move by its own momentum; without scale and shift it has nothing else.
#[test]
fn running_statistics_move_by_their_own_momentum() {
    let layers = layers![
        conv2d(4, 3),
        batch_norm2d(),
        batch_norm2d().momentum(0.25).affine(false),
        flatten(),
        linear(3),
    ];
    let network = Network::new([1, 10, 10], &layers).unwrap();
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let mut optimizer = Optimizer::new(&recipe("lr = 0.1").optimizer, &network).unwrap();
    let mut weights = vec![0.5; network.len()];
    let mut gradients: Vec<f32> = uniform(network.len(), 1);
    let found = gradients.clone();
    optimizer.step(&workers, 0.1, &mut weights, &mut gradients);
    for (layer, momentum) in [("1", 0.1f32), ("2", 0.25)] {
        for part in ["running_mean", "running_var", "num_batches_tracked"] {
            let name = format!("{layer}.{part}");
            let place = network.parameters().iter().find(|p| p.name == name).unwrap().place;
            for (moved, batch) in place.of(&weights).iter().zip(place.of(&found)) {
                let expected = match part {
                    "num_batches_tracked" => 1.5,
                    _ => (1.0 - momentum) * 0.5 + momentum * batch,
                };
                assert_eq!(*moved, expected, "{name}");
            }
        }
    }
    assert!(network.parameters().iter().all(|p| p.name != "2.weight" && p.name != "2.bias"));
}

/// The running statistics of a batch norm in two places are those of two batches, one after the other.
#[test]
fn a_batch_norm_used_again_sees_as_many_batches() {
    let norm = batch_norm2d().momentum(0.25).named("n");
    let network =
        Network::new([1, 2, 2], &layers![norm, again("n"), flatten(), linear(2)]).unwrap();
    let place = |name: &str| network.parameters().iter().find(|p| p.name == name).unwrap().place;
    let (mean, batches) = (place("n.running_mean"), place("n.num_batches_tracked"));
    let mut weights = network.initialise(1, Init::Pytorch);
    let mut gradients = Buffer::zeros(network.len());
    mean.of_mut(&mut weights)[0] = 4.0;
    // As the tape adds up the means 1, which is the earlier, and 2.
    mean.of_mut(&mut gradients)[0] = 0.75 * 1.0 + 2.0;
    let mut optimizer = Optimizer::new(&Recipe::default().optimizer, &network).unwrap();
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    optimizer.step(&workers, 0.1, &mut weights, &mut gradients);
    let expected = [1.0, 2.0].iter().fold(4.0, |running, found| 0.75 * running + 0.25 * found);
    assert_eq!((mean.of(&weights)[0], batches.of(&weights)[0]), (expected, 2.0));
}
