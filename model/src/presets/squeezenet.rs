//! F. N. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016, version 1.1.

use super::stack::Stack;
use crate::layers;
use crate::layers::*;

/// torchvision's `squeezenet1_1`.
pub(super) fn squeezenet1_1(classes: usize) -> Vec<Layer> {
    let mut stack = Stack::new().then(
        "features",
        layers![conv2d(64, 3).stride(2).named("0"), relu().named("1"), pool().named("2")],
    );
    for (at, squeezed) in
        [(3, 16), (4, 16), (6, 32), (7, 32), (9, 48), (10, 48), (11, 64), (12, 64)]
    {
        if at == 6 || at == 9 {
            stack = stack.then("features", vec![pool().named(&(at - 1).to_string())]);
        }
        stack = stack.then(&format!("features.{at}"), fire(squeezed));
    }
    let head = layers![
        dropout(0.5).named("0"),
        conv2d(classes, 1).named("1"),
        relu().named("2"),
        global_avg_pool2d().named("3"),
    ];
    stack.then("classifier", head).then("", layers![flatten().named("flatten")]).layers()
}

fn pool() -> MaxPool2d {
    max_pool2d(3).stride(2).ceil()
}

/// A 1×1 convolution to few channels, then one of 1×1 and one of 3×3 side by side, of four times as many each.
fn fire(squeezed: usize) -> Vec<Layer> {
    let expanded = 4 * squeezed;
    layers![
        conv2d(squeezed, 1).named("squeeze"),
        relu().named("squeeze_activation"),
        conv2d(expanded, 1).named("expand1x1"),
        relu().named("expand1x1_activation"),
        conv2d(expanded, 3).padding(1).named("expand3x3").taking(["squeeze_activation"]),
        relu().named("expand3x3_activation"),
        concat().taking(["expand1x1_activation", "expand3x3_activation"]).named("concat"),
    ]
}
