//! G. Huang et al., "Densely connected convolutional networks", CVPR 2017.

use super::stack::Stack;
use crate::layers;
use crate::layers::*;

/// Channels that a layer adds.
const GROWTH: usize = 32;

/// torchvision's `densenet121`.
pub(super) fn densenet121(classes: usize) -> Vec<Layer> {
    let stem = layers![
        conv2d(64, 7).stride(2).padding(3).no_bias().named("conv0"),
        batch_norm2d().named("norm0"),
        relu().named("relu0"),
        max_pool2d(3).stride(2).padding(1).named("pool0"),
    ];
    let mut stack = Stack::new().then("features", stem);
    let mut channels = 64;
    let blocks = [6, 12, 24, 16];
    for (block, count) in (1..).zip(blocks) {
        for i in 1..=count {
            stack = stack.then(&format!("features.denseblock{block}.denselayer{i}"), dense());
            channels += GROWTH;
        }
        if block < blocks.len() {
            channels /= 2;
            stack = stack.then(&format!("features.transition{block}"), transition(channels));
        }
    }
    let head = layers![
        batch_norm2d().named("features.norm5"),
        relu().named("relu"),
        global_avg_pool2d().named("avgpool"),
        flatten().named("flatten"),
        linear(classes).named("classifier"),
    ];
    stack.then("", head).layers()
}

/// What comes in, and behind it channels that are made of it: in torchvision the concatenation is the next layer's.
fn dense() -> Vec<Layer> {
    layers![
        batch_norm2d().named("norm1").taking([INPUT]),
        relu().named("relu1"),
        conv2d(4 * GROWTH, 1).no_bias().named("conv1"),
        batch_norm2d().named("norm2"),
        relu().named("relu2"),
        conv2d(GROWTH, 3).padding(1).no_bias().named("conv2"),
        concat().taking([INPUT, "conv2"]).named("concat"),
    ]
}

/// Half the channels, a quarter of the pixels.
fn transition(channels: usize) -> Vec<Layer> {
    layers![
        batch_norm2d().named("norm"),
        relu().named("relu"),
        conv2d(channels, 1).no_bias().named("conv"),
        avg_pool2d(2).named("pool"),
    ]
}
