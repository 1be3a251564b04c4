//! M. Tan, Q. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019.

use super::stack::Stack;
use crate::layers;
use crate::layers::*;

/// A stage of blocks; the stride is that of the first.
struct Stage {
    expansion: usize,
    kernel: usize,
    stride: usize,
    outputs: usize,
    count: usize,
}

const STAGES: [Stage; 7] = [
    Stage { expansion: 1, kernel: 3, stride: 1, outputs: 16, count: 1 },
    Stage { expansion: 6, kernel: 3, stride: 2, outputs: 24, count: 2 },
    Stage { expansion: 6, kernel: 5, stride: 2, outputs: 40, count: 2 },
    Stage { expansion: 6, kernel: 3, stride: 2, outputs: 80, count: 3 },
    Stage { expansion: 6, kernel: 5, stride: 1, outputs: 112, count: 3 },
    Stage { expansion: 6, kernel: 5, stride: 2, outputs: 192, count: 4 },
    Stage { expansion: 6, kernel: 3, stride: 1, outputs: 320, count: 1 },
];

/// What the probability of leaving a block out grows to, from zero at the first.
const STOCHASTIC_DEPTH: f32 = 0.2;

/// torchvision's `efficientnet_b0`.
pub(super) fn efficientnet_b0(classes: usize) -> Vec<Layer> {
    let stem = activated(conv2d(32, 3).stride(2).padding(1), "0");
    let mut stack = Stack::new().then("features", stem);
    let blocks: usize = STAGES.iter().map(|stage| stage.count).sum();
    let (mut inputs, mut done) = (32, 0);
    for (number, stage) in (1..).zip(&STAGES) {
        for i in 0..stage.count {
            let first = Stage { stride: if i == 0 { stage.stride } else { 1 }, ..*stage };
            let p = STOCHASTIC_DEPTH * done as f32 / blocks as f32;
            stack = stack.then(&format!("features.{number}.{i}"), block(inputs, &first, p));
            (inputs, done) = (stage.outputs, done + 1);
        }
    }
    let end = activated(conv2d(1280, 1), &(STAGES.len() + 1).to_string());
    let head = layers![
        global_avg_pool2d().named("avgpool"),
        flatten().named("flatten"),
        dropout(0.2).named("classifier.0"),
        linear(classes).named("classifier.1"),
    ];
    stack.then("features", end).then("", head).layers()
}

/// A convolution without bias, its batch norm, and SiLU, below a name.
fn activated(convolution: Conv2d, at: &str) -> Vec<Layer> {
    let named = |i: usize| format!("{at}.{i}");
    layers![
        convolution.no_bias().named(&named(0)),
        batch_norm2d().named(&named(1)),
        silu().named(&named(2)),
    ]
}

/// More channels by a 1×1 convolution, a depthwise convolution, a factor for each channel by what all pixels have
/// in the mean, fewer channels; and the input added where the shape is the same. That is all there is of an image
/// with probability `p`.
fn block(inputs: usize, stage: &Stage, p: f32) -> Vec<Layer> {
    let Stage { expansion, kernel, stride, outputs, .. } = *stage;
    let hidden = inputs * expansion;
    let mut layers = vec![];
    let mut place = 0;
    if expansion > 1 {
        layers.extend(activated(conv2d(hidden, 1), "block.0"));
        place = 1;
    }
    let depthwise = conv2d(hidden, kernel).stride(stride).padding(kernel / 2).groups(hidden);
    layers.extend(activated(depthwise, &format!("block.{place}")));
    layers.extend(excitation(hidden, (inputs / 4).max(1), place));
    let end = format!("block.{}.1", place + 2);
    layers.extend(layers![
        conv2d(outputs, 1).no_bias().named(&format!("block.{}.0", place + 2)),
        batch_norm2d().named(&end),
    ]);
    if stride == 1 && inputs == outputs {
        layers.extend(layers![
            stochastic_depth(p).named("stochastic_depth"),
            add().taking(["stochastic_depth", INPUT]).named("add"),
        ]);
    }
    layers
}

/// Squeeze and excitation behind the layers of this place.
fn excitation(channels: usize, squeezed: usize, place: usize) -> Vec<Layer> {
    let (planes, at) = (format!("block.{place}.2"), format!("block.{}", place + 1));
    let named = |part: &str| format!("{at}.{part}");
    layers![
        global_avg_pool2d().named(&named("avgpool")),
        conv2d(squeezed, 1).named(&named("fc1")),
        silu().named(&named("activation")),
        conv2d(channels, 1).named(&named("fc2")),
        sigmoid().named(&named("scale_activation")),
        multiply().taking([&*named("scale_activation"), &planes]).named(&named("scale")),
    ]
}
