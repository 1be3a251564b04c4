//! Whole networks by definition: the plain loops of [`kernels::reference`], composed in `f64`.
//!
//! It reads the same lists of [`Layer`]s as [`Network`] and the same flat buffer of parameters, which
//! it finds by name; everything else it does in its own way: row-major images, nothing fused, and for
//! each layer a closure that takes gradients back through it.

use autograd::{Philox, Purpose, unit};
use kernels::reference::*;
use kernels::{Activation, Window};
use model::{Kind, Layer, Network};

/// A network and its parameters.
pub struct Interpreter<'a> {
    pub network: &'a Network,
    pub layers: &'a [Layer],
    /// Laid out as the network says.
    pub params: &'a [f64],
}

/// Labelled images, and how a step of training sees them.
#[derive(Clone, Debug)]
pub struct Batch {
    pub images: usize,
    /// Row-major `[images][channels][rows][columns]`.
    pub x: Vec<f64>,
    pub labels: Vec<usize>,
    pub smoothing: f64,
    /// Images per shard, each of which is normalised on its own.
    pub shard: usize,
    pub seed: u64,
    pub epoch: u32,
}

/// What a step of training computes before the optimiser.
pub struct Step {
    /// Mean over the batch.
    pub loss: f64,
    pub logits: Vec<f64>,
    /// Laid out as the parameters; at running statistics, those of the batch.
    pub gradients: Vec<f64>,
    /// Of the images.
    pub dx: Vec<f64>,
}

/// From the gradient of a layer's output to that of its input; adds those of its parameters.
type Pullback<'a> = Box<dyn Fn(&[f64], &mut [f64]) -> Vec<f64> + 'a>;

/// A value, its shape, and the way back from it.
type Forward<'a> = (Vec<f64>, Planes, Pullback<'a>);

#[derive(Clone, Copy)]
enum Mode<'a> {
    Training { batch: &'a Batch, first: usize },
    Evaluation,
}

impl<'a> Interpreter<'a> {
    /// Forward and backward of a batch, shard by shard.
    pub fn step(&self, batch: &'a Batch) -> Step {
        let mut step = Step {
            loss: 0.0,
            logits: vec![],
            gradients: vec![0.0; self.network.len()],
            dx: vec![],
        };
        let image = self.network.input().iter().product::<usize>();
        for first in (0..batch.images).step_by(batch.shard) {
            let images = batch.shard.min(batch.images - first);
            let x = batch.x[first * image..][..images * image].to_vec();
            let mode = Mode::Training { batch, first };
            let (logits, _, back) = self.sequence(self.layers, "", x, self.input(images), mode);
            let labels = &batch.labels[first..first + images];
            let (classes, share) = (self.network.classes(), images as f64 / batch.images as f64);
            let loss = softmax_cross_entropy(&logits, labels, classes, batch.smoothing);
            step.loss += loss * share;
            let d = softmax_cross_entropy_backward(&logits, labels, classes, batch.smoothing);
            let d: Vec<f64> = d.iter().map(|d| d * share).collect();
            step.dx.extend(back(&d, &mut step.gradients));
            step.logits.extend(logits);
        }
        step
    }

    /// The logits with running statistics.
    pub fn evaluate(&self, x: &[f64], images: usize) -> Vec<f64> {
        self.sequence(self.layers, "", x.to_vec(), self.input(images), Mode::Evaluation).0
    }

    fn input(&self, images: usize) -> Planes {
        let [channels, rows, columns] = self.network.input();
        Planes { images, channels, size: [rows, columns] }
    }

    /// The place of a parameter in the flat buffer.
    fn place(&self, layer: &str, part: &str) -> std::ops::Range<usize> {
        let name = format!("{layer}.{part}");
        let parameter = self.network.parameters().iter().find(|p| p.name == name);
        let place = parameter.unwrap_or_else(|| panic!("no parameter {name}")).place;
        place.offset..place.offset + place.len
    }

    fn sequence(
        &self,
        layers: &'a [Layer],
        prefix: &str,
        mut x: Vec<f64>,
        mut planes: Planes,
        mode: Mode<'a>,
    ) -> Forward<'a> {
        let mut backs = vec![];
        for (i, layer) in layers.iter().enumerate() {
            let name = layer.name.clone().unwrap_or_else(|| i.to_string());
            let (y, shape, back) =
                self.layer(&layer.kind, prefix.to_owned() + &name, x, planes, mode);
            (x, planes) = (y, shape);
            backs.push(back);
        }
        let back: Pullback<'a> = Box::new(move |dy, gradients| {
            backs.iter().rev().fold(dy.to_vec(), |dy, back| back(&dy, gradients))
        });
        (x, planes, back)
    }

    fn layer(
        &self,
        kind: &'a Kind,
        name: String,
        x: Vec<f64>,
        planes: Planes,
        mode: Mode<'a>,
    ) -> Forward<'a> {
        let vector = |channels| Planes { channels, size: [1, 1], ..planes };
        match kind {
            Kind::Conv2d { outputs, window, bias } => {
                self.convolution(&name, x, planes, *outputs, *window, *bias)
            }
            Kind::Linear { outputs, bias } => self.linear(&name, x, planes, *outputs, *bias),
            Kind::BatchNorm2d => self.batch_norm(&name, x, planes, mode),
            Kind::Activation(f) => {
                let (y, f) = (activate(*f, &x), *f);
                (y, planes, Box::new(move |dy, _| activate_backward(f, &x, dy)))
            }
            Kind::MaxPool2d(window) => {
                let y = max_pool2d(&planes, window, &x);
                let back: Pullback<'a> =
                    Box::new(move |dy, _| max_pool2d_backward(&planes, window, &x, dy));
                (y, planes.through(window), back)
            }
            Kind::AvgPool2d(window) => {
                let y = avg_pool2d(&planes, window, &x);
                let back: Pullback<'a> =
                    Box::new(move |dy, _| avg_pool2d_backward(&planes, window, dy));
                (y, planes.through(window), back)
            }
            Kind::GlobalAvgPool2d => {
                let y = global_avg_pool2d(&planes, &x);
                let back: Pullback<'a> =
                    Box::new(move |dy, _| global_avg_pool2d_backward(&planes, dy));
                (y, vector(planes.channels), back)
            }
            Kind::Dropout(p) => match mode {
                Mode::Evaluation => (x, planes, Box::new(|dy, _| dy.to_vec())),
                Mode::Training { batch, first } => {
                    let keep = self.dropout_mask(&name, planes, *p, batch, first);
                    let rate = f64::from(*p);
                    let y = dropout(&x, &keep, rate);
                    (y, planes, Box::new(move |dy, _| dropout_backward(&keep, rate, dy)))
                }
            },
            Kind::Flatten => {
                (x, vector(planes.channels * planes.pixels()), Box::new(|dy, _| dy.to_vec()))
            }
            Kind::Residual { body, shortcut } => {
                let inside = |part| format!("{name}.{part}.");
                let (b, shape, body) =
                    self.sequence(body, &inside("body"), x.clone(), planes, mode);
                let (s, _, shortcut) =
                    self.sequence(shortcut, &inside("shortcut"), x, planes, mode);
                let sum = add(&b, &s);
                let y = relu(&sum);
                let back: Pullback<'a> = Box::new(move |dy, gradients| {
                    let d = relu_backward(&sum, dy);
                    add(&body(&d, gradients), &shortcut(&d, gradients))
                });
                (y, shape, back)
            }
        }
    }

    fn convolution(
        &self,
        name: &str,
        x: Vec<f64>,
        planes: Planes,
        outputs: usize,
        window: Window,
        bias: bool,
    ) -> Forward<'a> {
        let Planes { images, channels: inputs, size } = planes;
        let conv = Conv { images, inputs, outputs, size, window };
        let weight = self.place(name, "weight");
        let bias = bias.then(|| self.place(name, "bias"));
        let params = self.params;
        let y = conv2d(&conv, &x, &params[weight.clone()], bias.clone().map(|b| &params[b]));
        let back: Pullback<'a> = Box::new(move |dy, gradients| {
            let found = conv2d_backward(&conv, &x, &params[weight.clone()], dy);
            accumulate(&mut gradients[weight.clone()], &found.dw);
            if let Some(bias) = &bias {
                accumulate(&mut gradients[bias.clone()], &found.db);
            }
            found.dx
        });
        (y, conv.output(), back)
    }

    fn linear(
        &self,
        name: &str,
        x: Vec<f64>,
        planes: Planes,
        outputs: usize,
        bias: bool,
    ) -> Forward<'a> {
        let shape = Linear { images: planes.images, inputs: planes.channels, outputs };
        let weight = self.place(name, "weight");
        let bias = bias.then(|| self.place(name, "bias"));
        let params = self.params;
        let y = linear(&shape, &x, &params[weight.clone()], bias.clone().map(|b| &params[b]));
        let back: Pullback<'a> = Box::new(move |dy, gradients| {
            let found = linear_backward(&shape, &x, &params[weight.clone()], dy);
            accumulate(&mut gradients[weight.clone()], &found.dw);
            if let Some(bias) = &bias {
                accumulate(&mut gradients[bias.clone()], &found.db);
            }
            found.dx
        });
        (y, Planes { channels: outputs, ..planes }, back)
    }

    fn batch_norm(&self, name: &str, x: Vec<f64>, planes: Planes, mode: Mode<'a>) -> Forward<'a> {
        const EPSILON: f64 = 1e-5;
        let places = ["weight", "bias", "running_mean", "running_var"].map(|p| self.place(name, p));
        let [gamma, beta, mean, variance] = places.clone().map(|place| &self.params[place]);
        let Mode::Training { batch, .. } = mode else {
            let y = batch_norm2d_eval(&planes, &x, (mean, variance), (gamma, beta), EPSILON);
            return (y, planes, Box::new(|_, _| panic!("evaluation has no backward")));
        };
        let found = batch_norm2d(&planes, &x, gamma, beta, EPSILON);
        let share = planes.images as f64 / batch.images as f64;
        let count = (planes.images * planes.pixels()) as f64;
        let unbiased = share * count / (count - 1.0).max(1.0);
        let back: Pullback<'a> = Box::new(move |dy, gradients| {
            let back = batch_norm2d_backward(&planes, &x, gamma, EPSILON, dy);
            let mean: Vec<f64> = found.mean.iter().map(|v| share * v).collect();
            let variance: Vec<f64> = found.variance.iter().map(|v| unbiased * v).collect();
            let sums = [back.dgamma, back.dbeta, mean, variance];
            for (place, sum) in places.iter().zip(sums) {
                accumulate(&mut gradients[place.clone()], &sum);
            }
            back.dx
        });
        (found.y, planes, back)
    }

    /// Element `e` of an image takes word `e mod 4` of the counter (epoch, image, layer, ⌊e / 4⌋), and
    /// is kept if that is, as a fraction of one, at least `p`.
    fn dropout_mask(
        &self,
        name: &str,
        planes: Planes,
        p: f32,
        batch: &Batch,
        first: usize,
    ) -> Vec<bool> {
        let layer = self.network.summaries().iter().position(|s| s.name == name).expect("a layer");
        let philox = Philox::new(batch.seed, Purpose::Dropout);
        let elements = (planes.channels * planes.pixels()) as u32;
        let keep = |image: usize, e: u32| {
            let counter = [batch.epoch, (first + image) as u32, layer as u32, e / 4];
            unit(philox.words(counter)[e as usize % 4]) >= p
        };
        (0..planes.images)
            .flat_map(|i| (0..elements).map(move |e| (i, e)))
            .map(|(i, e)| keep(i, e))
            .collect()
    }
}

fn accumulate(sum: &mut [f64], values: &[f64]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

fn activate(f: Activation, x: &[f64]) -> Vec<f64> {
    match f {
        Activation::Relu => relu(x),
        Activation::LeakyRelu(slope) => leaky_relu(x, f64::from(slope)),
        Activation::Gelu => gelu(x),
    }
}

fn activate_backward(f: Activation, x: &[f64], dy: &[f64]) -> Vec<f64> {
    match f {
        Activation::Relu => relu_backward(x, dy),
        Activation::LeakyRelu(slope) => leaky_relu_backward(x, f64::from(slope), dy),
        Activation::Gelu => gelu_backward(x, dy),
    }
}
