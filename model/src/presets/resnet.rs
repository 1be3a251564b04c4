//! Residual networks: K. He et al., "Deep residual learning for image recognition", CVPR 2016, and S. Zagoruyko,
//! N. Komodakis, "Wide residual networks", BMVC 2016.

use super::stack::Stack;
use crate::layers;
use crate::layers::*;

/// torchvision's `resnet18`.
pub(super) fn resnet18(classes: usize) -> Vec<Layer> {
    stages(large_stem(), [64, 128, 256, 512].map(|channels| (channels, 2)), 1, basic, classes)
}

/// torchvision's `resnet50`.
pub(super) fn resnet50(classes: usize) -> Vec<Layer> {
    let stages_of = [(64, 3), (128, 4), (256, 6), (512, 3)];
    stages(large_stem(), stages_of, EXPANSION, bottleneck, classes)
}

/// The ResNet-20 of the paper's section on small pictures, with torchvision's blocks.
pub(super) fn resnet20(classes: usize) -> Vec<Layer> {
    let stem = Stack::new().then("", convolution(16, 3, 1, "conv1", "bn1", Some("relu")));
    stages(stem, [(16, 3), (32, 3), (64, 3)], 1, basic, classes)
}

/// The channels of a bottleneck's output, of those inside.
const EXPANSION: usize = 4;

/// A quarter of the size at once.
fn large_stem() -> Stack {
    let mut layers = convolution(64, 7, 2, "conv1", "bn1", Some("relu"));
    layers.push(max_pool2d(3).stride(2).padding(1).named("maxpool"));
    Stack::new().then("", layers)
}

/// Stages of so many channels and blocks, each but the first of half the size of the one before, then the classes. A
/// block gives `expansion` times the channels of its stage.
fn stages<const N: usize>(
    mut stack: Stack,
    of: [(usize, usize); N],
    expansion: usize,
    block: fn(usize, usize, bool) -> Vec<Layer>,
    classes: usize,
) -> Vec<Layer> {
    // What the stem gives.
    let mut inputs = of[0].0;
    for (stage, (channels, blocks)) in of.into_iter().enumerate() {
        for i in 0..blocks {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let changes = stride > 1 || inputs != channels * expansion;
            let at = format!("layer{}.{i}", stage + 1);
            stack = stack.then(&at, block(channels, stride, changes));
            inputs = channels * expansion;
        }
    }
    let head = layers![
        global_avg_pool2d().named("avgpool"),
        flatten().named("flatten"),
        linear(classes).named("fc"),
    ];
    stack.then("", head).layers()
}

/// Two 3×3 convolutions.
fn basic(channels: usize, stride: usize, changes: bool) -> Vec<Layer> {
    let body = [
        convolution(channels, 3, stride, "conv1", "bn1", Some("relu1")),
        convolution(channels, 3, 1, "conv2", "bn2", None),
    ];
    joined(body.concat(), "bn2", channels, stride, changes)
}

/// A 3×3 convolution between two of 1×1.
fn bottleneck(channels: usize, stride: usize, changes: bool) -> Vec<Layer> {
    let outputs = channels * EXPANSION;
    let body = [
        convolution(channels, 1, 1, "conv1", "bn1", Some("relu1")),
        convolution(channels, 3, stride, "conv2", "bn2", Some("relu2")),
        convolution(outputs, 1, 1, "conv3", "bn3", None),
    ];
    joined(body.concat(), "bn3", outputs, stride, changes)
}

/// The sum of a body, whose last layer is `end`, and its input, which has its shape by a 1×1 convolution if that
/// changes.
fn joined(
    mut body: Vec<Layer>,
    end: &str,
    outputs: usize,
    stride: usize,
    changes: bool,
) -> Vec<Layer> {
    let shortcut = if changes { "downsample.1" } else { INPUT };
    if changes {
        body.extend(layers![
            conv2d(outputs, 1).stride(stride).no_bias().named("downsample.0").taking([INPUT]),
            batch_norm2d().named("downsample.1"),
        ]);
    }
    body.extend(layers![add().taking([end, shortcut]).named("add"), relu().named("relu")]);
    body
}

/// A convolution without bias that keeps the size but for its stride, its batch norm, and a ReLU of this name.
fn convolution(
    outputs: usize,
    kernel: usize,
    stride: usize,
    name: &str,
    norm: &str,
    activation: Option<&str>,
) -> Vec<Layer> {
    let window = conv2d(outputs, kernel).stride(stride).padding(kernel / 2);
    let mut layers = layers![window.no_bias().named(name), batch_norm2d().named(norm)];
    layers.extend(activation.map(|name| relu().named(name)));
    layers
}

/// WRN-16-4, with the names of its most used implementation for PyTorch.
pub(super) fn wrn_16_4(classes: usize) -> Vec<Layer> {
    let mut stack =
        Stack::new().then("", layers![conv2d(16, 3).padding(1).no_bias().named("conv1")]);
    for (stage, channels) in [64, 128, 256].into_iter().enumerate() {
        for i in 0..2 {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let at = format!("block{}.layer.{i}", stage + 1);
            stack = stack.then(&at, wide(channels, stride, i == 0));
        }
    }
    let head = layers![
        batch_norm2d().named("bn1"),
        relu().named("relu"),
        global_avg_pool2d().named("avgpool"),
        flatten().named("flatten"),
        linear(classes).named("fc"),
    ];
    stack.then("", head).layers()
}

/// Two 3×3 convolutions, each behind batch norm and ReLU; the shortcut is the input, or where that has another shape a
/// 1×1 convolution of what the first ReLU gives.
fn wide(channels: usize, stride: usize, changes: bool) -> Vec<Layer> {
    let mut layers = layers![
        batch_norm2d().named("bn1").taking([INPUT]),
        relu().named("relu1"),
        conv2d(channels, 3).stride(stride).padding(1).no_bias().named("conv1"),
        batch_norm2d().named("bn2"),
        relu().named("relu2"),
        conv2d(channels, 3).padding(1).no_bias().named("conv2"),
    ];
    let shortcut = if changes { "convShortcut" } else { INPUT };
    if changes {
        let convolution = conv2d(channels, 1).stride(stride).no_bias();
        layers.push(convolution.named("convShortcut").taking(["relu1"]));
    }
    layers.push(add().taking([shortcut, "conv2"]).named("add"));
    layers
}
