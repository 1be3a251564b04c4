//! The four networks, of Burn's layers.

use burn::module::{Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d, Relu};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use std::error::Error;

/// Layers on images, then layers on vectors with a ReLU between them.
#[derive(Module, Debug)]
pub struct Network {
    features: Vec<Layer>,
    classifier: Vec<Linear>,
    relu: Relu,
}

#[derive(Module, Debug)]
enum Layer {
    Convolution(Conv2d),
    Norm(Norm),
    Relu(Relu),
    MaxPool(MaxPool2d),
    GlobalAveragePool(AdaptiveAvgPool2d),
    Residual(Residual),
}

#[derive(Module, Debug)]
struct Norm {
    layer: BatchNorm,
    /// Images to normalise over, if not all.
    chunk: Option<usize>,
}

#[derive(Module, Debug)]
struct Residual {
    body: (Conv2d, Norm, Conv2d, Norm),
    shortcut: Option<(Conv2d, Norm)>,
    relu: Relu,
}

impl Network {
    /// The logits of images.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.features.iter().fold(images, |x, layer| layer.forward(x));
        let mut layers = self.classifier.iter();
        let first = layers.next().map(|layer| layer.forward(features.flatten(1, 3)));
        let first = first.expect("every network has a classifier");
        layers.fold(first, |x, layer| layer.forward(self.relu.forward(x)))
    }
}

impl Layer {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Layer::Convolution(layer) => layer.forward(x),
            Layer::Norm(layer) => layer.forward(x),
            Layer::Relu(layer) => layer.forward(x),
            Layer::MaxPool(layer) => layer.forward(x),
            Layer::GlobalAveragePool(layer) => layer.forward(x),
            Layer::Residual(layer) => layer.forward(x),
        }
    }
}

impl Norm {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self.chunk {
            Some(images) if x.device().is_autodiff() => {
                let chunks = x.split(images, 0).into_iter();
                Tensor::cat(chunks.map(|x| self.layer.forward(x)).collect(), 0)
            }
            _ => self.layer.forward(x),
        }
    }
}

impl Residual {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (first, first_norm, second, second_norm) = &self.body;
        let y = self.relu.forward(first_norm.forward(first.forward(x.clone())));
        let y = second_norm.forward(second.forward(y));
        let x = match &self.shortcut {
            Some((convolution, norm)) => norm.forward(convolution.forward(x)),
            None => x,
        };
        self.relu.forward(y + x)
    }
}

type Built<T> = Result<T, Box<dyn Error>>;

/// Makes layers with the parameters of a file that has PyTorch's names and shapes.
pub struct Builder<'a> {
    pub weights: SafeTensors<'a>,
    pub device: Device,
    pub norm_chunk: Option<usize>,
}

impl Builder<'_> {
    /// The network of this name.
    pub fn network(&self, name: &str) -> Built<Network> {
        let (features, classifier) = match name {
            "lenet" => self.lenet()?,
            "cnn-bn" => self.cnn_bn()?,
            "vgg" => self.vgg()?,
            "resnet" => self.resnet()?,
            _ => return Err(format!("unknown network {name}").into()),
        };
        Ok(Network { features, classifier, relu: Relu::new() })
    }

    fn lenet(&self) -> Built<(Vec<Layer>, Vec<Linear>)> {
        let mut features = vec![];
        for (name, channels) in [("conv1", [1, 6]), ("conv2", [6, 16])] {
            let convolution = self.convolution(name, Conv2dConfig::new(channels, [5, 5]))?;
            features.extend([Layer::Convolution(convolution), relu(), max_pool()]);
        }
        let linear = |name, inputs, outputs| self.linear(name, inputs, outputs);
        let classifier =
            vec![linear("fc1", 256, 120)?, linear("fc2", 120, 84)?, linear("fc3", 84, 10)?];
        Ok((features, classifier))
    }

    fn cnn_bn(&self) -> Built<(Vec<Layer>, Vec<Linear>)> {
        let mut features = vec![];
        for channels in [[1, 16], [16, 32]] {
            let at = features.len();
            let config = Conv2dConfig::new(channels, [5, 5]);
            let config = config.with_padding(PaddingConfig2d::Explicit(2, 2, 2, 2));
            features.push(Layer::Convolution(self.convolution(&at.to_string(), config)?));
            features.push(Layer::Norm(self.norm(&(at + 1).to_string(), channels[1])?));
            features.extend([relu(), max_pool()]);
        }
        // The number that PyTorch's `Sequential` has for it, after a layer that flattens.
        Ok((features, vec![self.linear("9", 32 * 7 * 7, 10)?]))
    }

    fn vgg(&self) -> Built<(Vec<Layer>, Vec<Linear>)> {
        let mut features = vec![];
        for (stage, [inputs, outputs]) in [[1, 64], [64, 128], [128, 256]].into_iter().enumerate() {
            if stage > 0 {
                features.push(max_pool());
            }
            for channels in [[inputs, outputs], [outputs; 2]] {
                let (convolution, norm) = self.normed("", features.len(), channels, [3, 1])?;
                features.extend([Layer::Convolution(convolution), Layer::Norm(norm), relu()]);
            }
        }
        features.push(global_average_pool());
        let name = (features.len() + 1).to_string();
        Ok((features, vec![self.linear(&name, 256, 10)?]))
    }

    fn resnet(&self) -> Built<(Vec<Layer>, Vec<Linear>)> {
        let (convolution, norm) = self.normed("", 0, [1, 16], [3, 1])?;
        let mut features = vec![Layer::Convolution(convolution), Layer::Norm(norm), relu()];
        let mut inputs = 16;
        for outputs in [16, 16, 32, 32, 64, 64, 128, 128] {
            let stride = if inputs == outputs { 1 } else { 2 };
            let at = features.len();
            let body = format!("{at}.body.");
            let (first, first_norm) = self.normed(&body, 0, [inputs, outputs], [3, stride])?;
            let (second, second_norm) = self.normed(&body, 3, [outputs; 2], [3, 1])?;
            let body = (first, first_norm, second, second_norm);
            let shortcut = format!("{at}.shortcut.");
            let shortcut = match stride {
                1 => None,
                _ => Some(self.normed(&shortcut, 0, [inputs, outputs], [1, stride])?),
            };
            features.push(Layer::Residual(Residual { body, shortcut, relu: Relu::new() }));
            inputs = outputs;
        }
        features.push(global_average_pool());
        let name = (features.len() + 1).to_string();
        Ok((features, vec![self.linear(&name, 128, 10)?]))
    }

    /// A convolution without bias that keeps the size (or divides it by the stride), and its batch
    /// norm: layers `at` and `at + 1`.
    fn normed(
        &self,
        prefix: &str,
        at: usize,
        channels: [usize; 2],
        [kernel, stride]: [usize; 2],
    ) -> Built<(Conv2d, Norm)> {
        let padding = kernel / 2;
        let config = Conv2dConfig::new(channels, [kernel; 2])
            .with_stride([stride; 2])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .with_bias(false);
        let convolution = self.convolution(&format!("{prefix}{at}"), config)?;
        Ok((convolution, self.norm(&format!("{prefix}{}", at + 1), channels[1])?))
    }

    fn convolution(&self, name: &str, config: Conv2dConfig) -> Built<Conv2d> {
        let mut layer = config.init(&self.device);
        layer.weight = self.parameter(name, "weight")?;
        if layer.bias.is_some() {
            layer.bias = Some(self.parameter(name, "bias")?);
        }
        Ok(layer)
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Built<Linear> {
        let mut layer = LinearConfig::new(inputs, outputs).init(&self.device);
        // Burn has inputs first.
        let weight = self.tensor::<2>(name, "weight")?.transpose();
        layer.weight = Param::from_data(weight.into_data(), &self.device);
        layer.bias = Some(self.parameter(name, "bias")?);
        Ok(layer)
    }

    fn norm(&self, name: &str, channels: usize) -> Built<Norm> {
        let mut layer = BatchNormConfig::new(channels).init(&self.device);
        layer.gamma = self.parameter(name, "weight")?;
        layer.beta = self.parameter(name, "bias")?;
        layer.running_mean = RunningState::new(self.tensor(name, "running_mean")?);
        layer.running_var = RunningState::new(self.tensor(name, "running_var")?);
        Ok(Norm { layer, chunk: self.norm_chunk })
    }

    fn parameter<const D: usize>(&self, layer: &str, part: &str) -> Built<Param<Tensor<D>>> {
        // From data on the device of the network, which says whether it is trained.
        let tensor: Tensor<D> = self.tensor(layer, part)?;
        Ok(Param::from_data(tensor.into_data(), &self.device))
    }

    fn tensor<const D: usize>(&self, layer: &str, part: &str) -> Built<Tensor<D>> {
        let view = self.weights.tensor(&format!("{layer}.{part}"))?;
        let values = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let data = TensorData::new(values.collect(), view.shape().to_vec());
        Ok(Tensor::from_data(data, &self.device.clone().without_autodiff()))
    }
}

fn relu() -> Layer {
    Layer::Relu(Relu::new())
}

fn max_pool() -> Layer {
    Layer::MaxPool(MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init())
}

fn global_average_pool() -> Layer {
    Layer::GlobalAveragePool(AdaptiveAvgPool2dConfig::new([1, 1]).init())
}
