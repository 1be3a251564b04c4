//! M. Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018.

use super::stack::Stack;
use crate::layers;
use crate::layers::*;

/// Stages of blocks: expansion, channels, how many, the stride of the first.
const STAGES: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

/// torchvision's `mobilenet_v2`.
pub(super) fn mobilenet_v2(classes: usize) -> Vec<Layer> {
    let stem = activated(conv2d(32, 3).stride(2).padding(1), "0");
    let mut stack = Stack::new().then("features", stem);
    let (mut inputs, mut at) = (32, 1);
    for [expansion, outputs, count, first_stride] in STAGES {
        for i in 0..count {
            let stride = if i == 0 { first_stride } else { 1 };
            stack =
                stack.then(&format!("features.{at}"), block(inputs, outputs, expansion, stride));
            (inputs, at) = (outputs, at + 1);
        }
    }
    let head = layers![
        global_avg_pool2d().named("avgpool"),
        flatten().named("flatten"),
        dropout(0.2).named("classifier.0"),
        linear(classes).named("classifier.1"),
    ];
    let end = activated(conv2d(1280, 1), &at.to_string());
    stack.then("features", end).then("", head).layers()
}

/// A convolution without bias, its batch norm, and ReLU6, below a name.
fn activated(convolution: Conv2d, at: &str) -> Vec<Layer> {
    let named = |i: usize| format!("{at}.{i}");
    layers![
        convolution.no_bias().named(&named(0)),
        batch_norm2d().named(&named(1)),
        relu6().named(&named(2)),
    ]
}

/// More channels by a 1×1 convolution, a depthwise 3×3 convolution, fewer channels; and the input added where the shape
/// is the same.
fn block(inputs: usize, outputs: usize, expansion: usize, stride: usize) -> Vec<Layer> {
    let hidden = inputs * expansion;
    let mut layers = vec![];
    let mut place = 0;
    if expansion > 1 {
        layers.extend(activated(conv2d(hidden, 1), "conv.0"));
        place = 1;
    }
    let depthwise = conv2d(hidden, 3).stride(stride).padding(1).groups(hidden);
    layers.extend(activated(depthwise, &format!("conv.{place}")));
    let end = format!("conv.{}", place + 2);
    layers.extend(layers![
        conv2d(outputs, 1).no_bias().named(&format!("conv.{}", place + 1)),
        batch_norm2d().named(&end),
    ]);
    if stride == 1 && inputs == outputs {
        layers.push(add().taking([INPUT, &end]).named("add"));
    }
    layers
}
