//! The four networks, of Candle's layers.

use candle_core::{D, Result, Tensor};
use candle_nn::{
    BatchNorm, Conv2d, Conv2dConfig, Linear, Module, ModuleT, VarBuilder, batch_norm, conv2d,
    conv2d_no_bias, linear,
};

/// Layers one after another.
pub struct Network(Vec<Layer>);

enum Layer {
    Convolution(Conv2d),
    /// Normalises over runs of so many images, if it is given.
    Norm(BatchNorm, Option<usize>),
    Linear(Linear),
    Relu,
    /// Of 2×2.
    MaxPool(Pooling),
    GlobalAveragePool,
    Flatten,
    Residual(Network, Network),
}

/// How maxima of 2×2 pixels are found.
#[derive(Clone, Copy)]
pub enum Pooling {
    /// By Candle's `max_pool2d`. The gradient that Candle 0.11.1 has for it is a quarter of the right
    /// one wherever a window has one maximum: it is multiplied by the part of the window that is
    /// maximal, not divided by the number of maxima.
    MaxPool2d,
    /// By Candle's `maximum`, whose gradient is right.
    Maximum,
}

/// What networks are made with.
pub struct Builder<'a> {
    /// Parameters, by PyTorch's names.
    pub vb: VarBuilder<'a>,
    pub pooling: Pooling,
    /// Images that batch norm normalises over, if not all.
    pub norm_chunk: Option<usize>,
}

impl ModuleT for Network {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.0.iter().try_fold(x.clone(), |x, layer| layer.forward_t(&x, train))
    }
}

impl ModuleT for Layer {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        match self {
            Layer::Convolution(layer) => layer.forward(x),
            Layer::Norm(layer, Some(chunk)) if train => {
                let len = x.dim(0)?;
                let chunks = (0..len).step_by(*chunk).map(|first| {
                    let images = x.narrow(0, first, (*chunk).min(len - first))?;
                    layer.forward_t(&images, train)
                });
                Tensor::cat(&chunks.collect::<Result<Vec<_>>>()?, 0)
            }
            Layer::Norm(layer, _) => layer.forward_t(x, train),
            Layer::Linear(layer) => layer.forward(x),
            Layer::Relu => x.relu(),
            Layer::MaxPool(Pooling::MaxPool2d) => x.max_pool2d(2),
            Layer::MaxPool(Pooling::Maximum) => max_pool2x2(x),
            Layer::GlobalAveragePool => x.mean((D::Minus2, D::Minus1)),
            Layer::Flatten => x.flatten_from(1),
            Layer::Residual(body, shortcut) => {
                (body.forward_t(x, train)? + shortcut.forward_t(x, train)?)?.relu()
            }
        }
    }
}

fn max_pool2x2(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let x = x.reshape((n * c * h / 2, 2, w / 2, 2))?;
    let quarter = |row, column| x.narrow(1, row, 1)?.narrow(3, column, 1);
    let above = quarter(0, 0)?.maximum(&quarter(0, 1)?)?;
    let below = quarter(1, 0)?.maximum(&quarter(1, 1)?)?;
    above.maximum(&below)?.reshape((n, c, h / 2, w / 2))
}

impl<'a> Builder<'a> {
    /// The network of this name; `None` if there is none.
    pub fn network(self, name: &str) -> Result<Option<Network>> {
        if name == "lenet" {
            return Ok(Some(self.lenet()?));
        }
        let mut sequence = self.sequence(self.vb.clone());
        match name {
            "cnn-bn" => sequence.cnn_bn()?,
            "vgg" => sequence.vgg()?,
            "resnet" => sequence.resnet()?,
            _ => return Ok(None),
        }
        Ok(Some(Network(sequence.layers)))
    }

    fn sequence<'b>(&'b self, vb: VarBuilder<'b>) -> Sequence<'b> {
        Sequence { builder: self, vb, layers: vec![] }
    }

    fn lenet(&self) -> Result<Network> {
        let conv = |name, inputs, outputs| {
            let vb = self.vb.pp(name);
            conv2d(inputs, outputs, 5, Conv2dConfig::default(), vb).map(Layer::Convolution)
        };
        let linear =
            |name, inputs, outputs| linear(inputs, outputs, self.vb.pp(name)).map(Layer::Linear);
        Ok(Network(vec![
            conv("conv1", 1, 6)?,
            Layer::Relu,
            Layer::MaxPool(self.pooling),
            conv("conv2", 6, 16)?,
            Layer::Relu,
            Layer::MaxPool(self.pooling),
            Layer::Flatten,
            linear("fc1", 16 * 4 * 4, 120)?,
            Layer::Relu,
            linear("fc2", 120, 84)?,
            Layer::Relu,
            linear("fc3", 84, 10)?,
        ]))
    }
}

/// Layers whose parameters are named by their number, as in PyTorch's `Sequential`.
struct Sequence<'a> {
    builder: &'a Builder<'a>,
    vb: VarBuilder<'a>,
    layers: Vec<Layer>,
}

impl Sequence<'_> {
    /// Where the parameters of the next layer are.
    fn next(&self) -> VarBuilder<'_> {
        self.vb.pp(self.layers.len())
    }

    /// A 3×3 convolution without bias, its batch norm, and a ReLU if asked for.
    fn convolution3x3(&mut self, channels: [usize; 2], stride: usize, relu: bool) -> Result<()> {
        self.convolution(channels, 3, Conv2dConfig { padding: 1, stride, ..Default::default() })?;
        if relu {
            self.layers.push(Layer::Relu);
        }
        Ok(())
    }

    /// A convolution without bias and its batch norm.
    fn convolution(
        &mut self,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        config: Conv2dConfig,
    ) -> Result<()> {
        let layer = conv2d_no_bias(inputs, outputs, kernel, config, self.next())?;
        self.layers.push(Layer::Convolution(layer));
        self.norm(outputs)
    }

    fn norm(&mut self, channels: usize) -> Result<()> {
        let layer = batch_norm(channels, 1e-5, self.next())?;
        self.layers.push(Layer::Norm(layer, self.builder.norm_chunk));
        Ok(())
    }

    fn linear(&mut self, inputs: usize) -> Result<()> {
        let layer = linear(inputs, 10, self.next())?;
        self.layers.push(Layer::Linear(layer));
        Ok(())
    }

    fn cnn_bn(&mut self) -> Result<()> {
        for [inputs, outputs] in [[1, 16], [16, 32]] {
            let config = Conv2dConfig { padding: 2, ..Default::default() };
            let layer = conv2d(inputs, outputs, 5, config, self.next())?;
            self.layers.push(Layer::Convolution(layer));
            self.norm(outputs)?;
            self.layers.extend([Layer::Relu, Layer::MaxPool(self.builder.pooling)]);
        }
        self.layers.push(Layer::Flatten);
        self.linear(32 * 7 * 7)
    }

    fn vgg(&mut self) -> Result<()> {
        for [inputs, outputs] in [[1, 64], [64, 128], [128, 256]] {
            if inputs > 1 {
                self.layers.push(Layer::MaxPool(self.builder.pooling));
            }
            self.convolution3x3([inputs, outputs], 1, true)?;
            self.convolution3x3([outputs; 2], 1, true)?;
        }
        self.layers.extend([Layer::GlobalAveragePool, Layer::Flatten]);
        self.linear(256)
    }

    fn resnet(&mut self) -> Result<()> {
        self.convolution3x3([1, 16], 1, true)?;
        let mut inputs = 16;
        for outputs in [16, 16, 32, 32, 64, 64, 128, 128] {
            self.block([inputs, outputs])?;
            inputs = outputs;
        }
        self.layers.extend([Layer::GlobalAveragePool, Layer::Flatten]);
        self.linear(128)
    }

    fn block(&mut self, channels: [usize; 2]) -> Result<()> {
        let [inputs, outputs] = channels;
        let stride = if inputs == outputs { 1 } else { 2 };
        let part = |name| self.builder.sequence(self.next().pp(name));
        let (mut body, mut shortcut) = (part("body"), part("shortcut"));
        body.convolution3x3(channels, stride, true)?;
        body.convolution3x3([outputs; 2], 1, false)?;
        if stride == 2 {
            shortcut.convolution(channels, 1, Conv2dConfig { stride, ..Default::default() })?;
        }
        let [body, shortcut] = [body, shortcut].map(|part| Network(part.layers));
        self.layers.push(Layer::Residual(body, shortcut));
        Ok(())
    }
}
