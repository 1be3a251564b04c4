//! The examples, run. They are modules here, so that no test passes without the code that is shown.

#[allow(dead_code, reason = "the examples have a main function")]
#[path = "../examples/autograd.rs"]
mod autograd;
#[allow(dead_code, reason = "the examples have a main function")]
#[path = "../examples/own_loop.rs"]
mod own_loop;
#[allow(dead_code, reason = "the examples have a main function")]
#[path = "../examples/own_network.rs"]
mod own_network;
#[allow(dead_code, reason = "the examples have a main function")]
#[path = "../examples/serve.rs"]
mod serve;

use dataset::{Dataset, Source};
use model::Role;
use trainer::{Predictor, Workers};

#[test]
fn the_tape_agrees_with_calculus() {
    // Small whole and half numbers: every sum is exact.
    for (name, tape, by_hand) in [autograd::variables(), autograd::parameters()].concat() {
        assert_eq!(tape, by_hand, "{name}");
    }
}

#[test]
fn a_network_of_ones_own_learns() {
    let accuracy = own_network::train().unwrap();
    assert!(accuracy > 0.86, "{accuracy}");
}

/// Better than with running statistics that have stayed where they began.
#[test]
fn a_loop_of_ones_own_moves_running_statistics() {
    let data = Dataset::open(&Source::bundled().unwrap()).unwrap();
    let workers = Workers::from_env().unwrap();
    let mut model = own_loop::train(&data, &workers).unwrap();
    let moved = own_loop::accuracy(&model, &data, &workers).unwrap();
    for parameter in model.network.parameters().to_vec() {
        let values = parameter.place.of_mut(&mut model.weights);
        match parameter.role {
            Role::RunningMean => values.fill(0.0),
            Role::RunningVariance => values.fill(1.0),
            _ => {}
        }
    }
    let still = own_loop::accuracy(&model, &data, &workers).unwrap();
    assert!(moved > 0.75 && moved > still + 0.01, "{moved}, and {still} where they stay");
}

#[test]
fn a_picture_is_served() {
    let workers = bobbin::trainer::Workers::from_env().unwrap();
    let (model, picture) = serve::example(&workers).unwrap();
    let classes = serve::classify(&Predictor::new(&model, &workers).unwrap(), &picture);
    assert_eq!((classes.len(), classes[0].0), (10, "Ankle boot"), "{classes:?}");
    let sum: f64 = classes.iter().map(|(_, probability)| probability).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{classes:?}");
}

#[test]
fn the_readme_shows_the_example() {
    let example = include_str!("../examples/own_network.rs");
    let (_, code) = example.split_once("\n\n").unwrap();
    let block = format!("```rust\n{code}```\n");
    assert!(include_str!("../README.md").contains(&block), "README.md should show this:\n{block}");
}
