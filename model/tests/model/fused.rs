//! What evaluation computes in one pass has the bits that it has in several.

use crate::networks::{evaluate, weights};
use kernels::Isa;
use model::*;
use reference::uniform;

/// A convolution, its batch norm, perhaps a sum, and an activation; in several passes where something that does nothing
/// in evaluation lies before the activation.
fn network(activation: &Layer, sum: bool, apart: bool) -> Network {
    let mut layers = layers![
        conv2d(5, 3).padding(1).named("stem"),
        conv2d(5, 3).padding(1).named("conv"),
        batch_norm2d().named("norm"),
    ];
    if sum {
        layers.push(add().taking(["norm", "stem"]));
    }
    if apart {
        layers.push(dropout(0.5));
    }
    layers.push(activation.clone());
    layers.extend(layers![flatten(), linear(3).named("head")]);
    Network::new([2, 5, 7], &layers).unwrap()
}

#[test]
fn activations_after_a_normalised_convolution() {
    let activations = layers![
        relu(),
        relu6(),
        silu(),
        hardswish(),
        hardsigmoid(),
        gelu(),
        tanh(),
        elu(0.7),
        leaky_relu(0.1)
    ];
    let x: Vec<f32> = uniform::<f64>(20 * 2 * 35, 3).iter().map(|x| 9.0 * *x as f32).collect();
    for (activation, sum) in activations.iter().flat_map(|f| [(f, false), (f, true)]) {
        let [together, apart] = [false, true].map(|apart| network(activation, sum, apart));
        let values = weights(&together, 7);
        for isa in Isa::available() {
            let [one, several] =
                [&together, &apart].map(|network| evaluate(isa, network, &values, &x, 20));
            let bits = |rows: &[f32]| rows.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&one), bits(&several), "{activation:?}, {sum}, {isa}");
            assert!(one.windows(2).any(|pair| pair[0] != pair[1]));
        }
    }
}
