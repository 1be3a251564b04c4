//! Networks by name. Those that torchvision has are in files of their own, with torchvision's names of parameters,
//! so that its weights can be taken; `tests/presets.rs` holds them against it.

mod densenet;
mod efficientnet;
mod mobilenet;
mod resnet;
mod squeezenet;
mod stack;
mod vgg;

use crate::layers;
use crate::layers::*;
use thiserror::Error;

/// The names of the presets and what they are.
pub const PRESETS: [(&str, &str); 14] = [
    ("lenet", "the paper's LeNet: two 5×5 convolutions of 6 and 16 channels, three linear layers"),
    ("lenet-li", "the cited article's LeNet: 6 and 12 channels, then 120, 60 and 10 features"),
    ("cnn-bn", "two 5×5 convolutions of 16 and 32 channels with batch norm, one linear layer"),
    ("vgg", "six 3×3 convolutions of 64 to 256 channels with batch norm"),
    ("resnet", "eight residual blocks of 16 to 128 channels with batch norm"),
    ("resnet20", "the ResNet-20 for small pictures: nine residual blocks of 16 to 64 channels"),
    ("wrn-16-4", "a wide residual network for small pictures: six blocks of 64 to 256 channels"),
    ("resnet18", "torchvision's ResNet-18: eight residual blocks of 64 to 512 channels"),
    ("resnet50", "torchvision's ResNet-50: sixteen bottleneck blocks of 256 to 2048 channels"),
    ("squeezenet1-1", "torchvision's SqueezeNet 1.1: eight pairs of convolutions side by side"),
    (
        "vgg11-bn",
        "torchvision's VGG-11: eight 3×3 convolutions with batch norm, three linear layers",
    ),
    ("densenet121", "torchvision's DenseNet-121: 58 layers that each add 32 channels"),
    ("mobilenet-v2", "torchvision's MobileNetV2: seventeen blocks with a depthwise convolution"),
    (
        "efficientnet-b0",
        "torchvision's EfficientNet-B0: sixteen depthwise blocks with squeeze and excitation",
    ),
];

/// A name that is not a preset.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown model `{0}`: expected {list}", list = PRESETS.map(|(name, _)| name).join(", "))]
pub struct UnknownPreset(pub String);

/// The layers of a preset for this many classes.
pub fn preset(name: &str, classes: usize) -> Result<Vec<Layer>, UnknownPreset> {
    match name {
        "lenet" => Ok(lenet([6, 16, 120, 84], classes)),
        "lenet-li" => Ok(lenet([6, 12, 120, 60], classes)),
        "cnn-bn" => Ok(cnn_bn(classes)),
        "vgg" => Ok(vgg(classes)),
        "resnet" => Ok(resnet(classes)),
        "resnet20" => Ok(resnet::resnet20(classes)),
        "wrn-16-4" => Ok(resnet::wrn_16_4(classes)),
        "resnet18" => Ok(resnet::resnet18(classes)),
        "resnet50" => Ok(resnet::resnet50(classes)),
        "squeezenet1-1" => Ok(squeezenet::squeezenet1_1(classes)),
        "vgg11-bn" => Ok(vgg::vgg11_bn(classes)),
        "densenet121" => Ok(densenet::densenet121(classes)),
        "mobilenet-v2" => Ok(mobilenet::mobilenet_v2(classes)),
        "efficientnet-b0" => Ok(efficientnet::efficientnet_b0(classes)),
        _ => Err(UnknownPreset(name.to_owned())),
    }
}

fn lenet([first, second, third, fourth]: [usize; 4], classes: usize) -> Vec<Layer> {
    layers![
        conv2d(first, 5).named("conv1"),
        relu(),
        max_pool2d(2),
        conv2d(second, 5).named("conv2"),
        relu(),
        max_pool2d(2),
        flatten(),
        linear(third).named("fc1"),
        relu(),
        linear(fourth).named("fc2"),
        relu(),
        linear(classes).named("fc3"),
    ]
}

fn cnn_bn(classes: usize) -> Vec<Layer> {
    let stage =
        |channels| layers![conv2d(channels, 5).padding(2), batch_norm2d(), relu(), max_pool2d(2)];
    [stage(16), stage(32), layers![flatten(), linear(classes)]].concat()
}

fn vgg(classes: usize) -> Vec<Layer> {
    let pair = |channels| (0..2).flat_map(move |_| convolution3x3(channels, 1, true));
    let mut layers: Vec<Layer> = pair(64).collect();
    for channels in [128, 256] {
        layers.push(max_pool2d(2).into());
        layers.extend(pair(channels));
    }
    layers.extend(layers![global_avg_pool2d(), flatten(), linear(classes)]);
    layers
}

fn resnet(classes: usize) -> Vec<Layer> {
    let mut layers = convolution3x3(16, 1, true);
    for (stage, channels) in [16, 32, 64, 128].into_iter().enumerate() {
        let stride = if stage == 0 { 1 } else { 2 };
        for stride in [stride, 1] {
            let mut body = convolution3x3(channels, stride, true);
            body.extend(convolution3x3(channels, 1, false));
            let shortcut = match stride {
                1 => vec![],
                _ => layers![conv2d(channels, 1).stride(stride).no_bias(), batch_norm2d()],
            };
            layers.push(residual(body, shortcut));
        }
    }
    layers.extend(layers![global_avg_pool2d(), flatten(), linear(classes)]);
    layers
}

/// A 3×3 convolution without bias, its batch norm, and a ReLU if asked for.
fn convolution3x3(channels: usize, stride: usize, activated: bool) -> Vec<Layer> {
    let mut layers =
        layers![conv2d(channels, 3).padding(1).stride(stride).no_bias(), batch_norm2d()];
    if activated {
        layers.push(relu());
    }
    layers
}
