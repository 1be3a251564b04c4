//! Whole networks by definition: the plain loops of [`reference`], composed in `f64`.
//!
//! It reads the same lists of [`Layer`]s as [`Network`] and the same flat buffer of parameters, which
//! it finds by name; everything else it does in its own way: row-major images, nothing fused, and for
//! each layer a closure that takes gradients back through it.

use crate::definitions::{
    Forward, Joined, Pullback, accumulate, average, join, largest, over_classes,
};
use autograd::{Philox, Purpose, unit};
use kernels::{NormSets, Pool};
use model::{
    Again, AvgPool2d, BatchNorm2d, Conv2d, Dropout, Kind, Layer, Linear, MaxPool2d, Network,
    Residual, Unit,
};
use reference::*;

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
        x: Vec<f64>,
        planes: Planes,
        mode: Mode<'a>,
    ) -> Forward<'a> {
        let own = |i: usize| layers[i].name.clone().unwrap_or_else(|| i.to_string());
        // What the list takes in, then what each layer computes.
        let mut values = vec![(x, planes)];
        let mut backs: Vec<(Vec<usize>, Joined<'a>)> = vec![];
        for (i, layer) in layers.iter().enumerate() {
            let place = |name: &String| (0..i).find(|j| own(*j) == *name).map_or(0, |j| j + 1);
            let from = match &layer.from[..] {
                [] => vec![i],
                from => from.iter().map(place).collect(),
            };
            let (name, inputs) =
                (own(i), from.iter().map(|j| values[*j].clone()).collect::<Vec<_>>());
            let (x, planes) = inputs[0].clone();
            let (mut kind, mut owner) = (&layer.kind, format!("{prefix}{name}"));
            while let Kind::Again(Again { layer }) = kind {
                (kind, owner) = (&layers[place(layer) - 1].kind, format!("{prefix}{layer}"));
            }
            let (y, shape, back) = match kind {
                Kind::Add(_) | Kind::Multiply(_) | Kind::Concat(_) => join(kind, inputs),
                kind => {
                    let name = format!("{prefix}{name}");
                    let (y, shape, back) = self.layer(kind, [owner, name], x, planes, mode);
                    let back: Joined<'a> = Box::new(move |dy, g| vec![back(dy, g)]);
                    (y, shape, back)
                }
            };
            values.push((y, shape));
            backs.push((from, back));
        }
        let (y, shape) = values.pop().expect("what the list takes in, if nothing else");
        let mut lengths: Vec<usize> = values.iter().map(|(x, _)| x.len()).collect();
        lengths.push(y.len());
        let back: Pullback<'a> = Box::new(move |dy, gradients| {
            let mut d: Vec<Vec<f64>> = lengths.iter().map(|len| vec![0.0; *len]).collect();
            accumulate(d.last_mut().expect("the output"), dy);
            for (i, (from, back)) in backs.iter().enumerate().rev() {
                let dx = back(&d[i + 1], gradients);
                from.iter().zip(dx).for_each(|(j, dx)| accumulate(&mut d[*j], &dx));
            }
            d.swap_remove(0)
        });
        (y, shape, back)
    }

    /// A layer of one input: the names are those of the layer whose parameters it has, and its own.
    fn layer(
        &self,
        kind: &'a Kind,
        [name, own]: [String; 2],
        x: Vec<f64>,
        planes: Planes,
        mode: Mode<'a>,
    ) -> Forward<'a> {
        let vector = |channels| Planes { channels, size: [1, 1], ..planes };
        match kind {
            Kind::Conv2d(conv) => self.convolution(&name, x, planes, conv),
            Kind::Linear(Linear { outputs, bias }) => {
                self.linear(&name, x, planes, *outputs, *bias)
            }
            Kind::BatchNorm2d(norm) => self.batch_norm([&name, &own], norm, x, planes, mode),
            Kind::GroupNorm(norm) => self.image_norm(
                &name,
                NormSets::Groups(norm.groups),
                norm.eps,
                norm.affine,
                x,
                planes,
            ),
            Kind::LayerNorm(norm) => {
                let sets = if norm.pixels { NormSets::Groups(1) } else { NormSets::Pixels };
                self.image_norm(&name, sets, norm.eps, norm.affine, x, planes)
            }
            Kind::InstanceNorm(norm) => {
                let sets = NormSets::Groups(planes.channels);
                self.image_norm(&name, sets, norm.eps, norm.affine, x, planes)
            }
            Kind::Prelu(_) => {
                let place = self.place(&name, "weight");
                let slopes = &self.params[place.clone()];
                let y = prelu(&planes, &x, slopes);
                let back: Pullback<'a> = Box::new(move |dy, gradients| {
                    let (dx, dslopes) = prelu_backward(&planes, &x, slopes, dy);
                    accumulate(&mut gradients[place.clone()], &dslopes);
                    dx
                });
                (y, planes, back)
            }
            Kind::Softmax(softmax) => over_classes(softmax.log, x, planes),
            Kind::Activation(f) => {
                let (y, f) = (activation(*f, &x), *f);
                (y, planes, Box::new(move |dy, _| activation_backward(f, &x, dy)))
            }
            Kind::MaxPool2d(MaxPool2d { window, ceil }) => {
                let (window, ceil) = (*window, *ceil);
                largest(Pool::Sliding { window, ceil, count_padding: true }, x, planes)
            }
            Kind::AdaptiveMaxPool2d(pool) => largest(Pool::Adaptive(pool.size), x, planes),
            Kind::AvgPool2d(AvgPool2d { window, ceil, count_padding }) => {
                let (window, ceil, count_padding) = (*window, *ceil, *count_padding);
                average(Pool::Sliding { window, ceil, count_padding }, x, planes)
            }
            Kind::AdaptiveAvgPool2d(pool) => average(Pool::Adaptive(pool.size), x, planes),
            Kind::GlobalAvgPool2d(_) => {
                let y = global_avg_pool2d(&planes, &x);
                let back: Pullback<'a> =
                    Box::new(move |dy, _| global_avg_pool2d_backward(&planes, dy));
                (y, vector(planes.channels), back)
            }
            Kind::Dropout(Dropout { p, unit }) => match mode {
                Mode::Evaluation => (x, planes, Box::new(|dy, _| dy.to_vec())),
                Mode::Training { batch, first } => {
                    let keep = self.dropout_mask(&own, planes, (*p, *unit), batch, first);
                    let rate = f64::from(*p);
                    let y = dropout(&x, &keep, rate);
                    (y, planes, Box::new(move |dy, _| dropout_backward(&keep, rate, dy)))
                }
            },
            Kind::Flatten(_) => {
                (x, vector(planes.channels * planes.pixels()), Box::new(|dy, _| dy.to_vec()))
            }
            Kind::Residual(Residual { body, shortcut }) => {
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
            other => panic!("no definition of {other:?}"),
        }
    }

    fn convolution(&self, name: &str, x: Vec<f64>, planes: Planes, layer: &Conv2d) -> Forward<'a> {
        let Planes { images, channels: inputs, size } = planes;
        let options = if layer.same { layer.options.same() } else { layer.options };
        let conv = Conv { images, inputs, outputs: layer.outputs, size, options };
        let weight = self.place(name, "weight");
        let bias = layer.bias.then(|| self.place(name, "bias"));
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
        let shape = reference::Linear { images: planes.images, inputs: planes.channels, outputs };
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

    /// A norm of each image by itself.
    fn image_norm(
        &self,
        name: &str,
        sets: NormSets,
        eps: f32,
        affine: bool,
        x: Vec<f64>,
        planes: Planes,
    ) -> Forward<'a> {
        let places = ["weight", "bias"].map(|part| match affine {
            true => self.place(name, part),
            false => 0..0,
        });
        let [gamma, beta] = places.clone().map(|place| &self.params[place]);
        let eps = f64::from(eps);
        let y = image_norm(&planes, sets, &x, (gamma, beta), eps);
        let back: Pullback<'a> = Box::new(move |dy, gradients| {
            let found = image_norm_backward(&planes, sets, &x, (gamma, beta), eps, dy);
            for (place, sum) in places.iter().zip([found.dgamma, found.dbeta]) {
                accumulate(&mut gradients[place.clone()], &sum);
            }
            found.dx
        });
        (y, planes, back)
    }

    fn batch_norm(
        &self,
        [name, own]: [&str; 2],
        norm: &BatchNorm2d,
        x: Vec<f64>,
        planes: Planes,
        mode: Mode<'a>,
    ) -> Forward<'a> {
        let epsilon = f64::from(norm.eps);
        let affine = norm.affine;
        let places = ["weight", "bias", "running_mean", "running_var"].map(|part| {
            let is_there = affine || part.starts_with("running");
            if is_there { self.place(name, part) } else { 0..0 }
        });
        let batches = self.place(name, "num_batches_tracked");
        let [gamma, beta, mean, variance] = places.clone().map(|place| &self.params[place]);
        // Scale and shift, if there are any.
        let or = |own: &[f64], usual: f64| match affine {
            true => own.to_vec(),
            false => vec![usual; planes.channels],
        };
        let (gamma, beta) = (or(gamma, 1.0), or(beta, 0.0));
        let Mode::Training { batch, .. } = mode else {
            let y = batch_norm2d_eval(&planes, &x, (mean, variance), (&gamma, &beta), epsilon);
            return (y, planes, Box::new(|_, _| panic!("evaluation has no backward")));
        };
        let found = batch_norm2d(&planes, &x, &gamma, &beta, epsilon);
        let images = planes.images as f64 / batch.images as f64;
        // What later uses of the same leave of it.
        let summaries = self.network.summaries();
        let used_again = format!(", that of {name}");
        let later = summaries.iter().skip_while(|s| s.name != own).skip(1);
        let later = later.filter(|s| s.kind.ends_with(&used_again)).count();
        let share = images * (1.0 - f64::from(norm.momentum)).powi(later as i32);
        let count = (planes.images * planes.pixels()) as f64;
        let unbiased = share * count / (count - 1.0).max(1.0);
        let back: Pullback<'a> = Box::new(move |dy, gradients| {
            let back = batch_norm2d_backward(&planes, &x, &gamma, epsilon, dy);
            let mean: Vec<f64> = found.mean.iter().map(|v| share * v).collect();
            let variance: Vec<f64> = found.variance.iter().map(|v| unbiased * v).collect();
            let sums = [back.dgamma, back.dbeta, mean, variance, vec![images]];
            for (place, sum) in places.iter().chain([&batches]).zip(sums) {
                accumulate(&mut gradients[place.clone()], &sum);
            }
            back.dx
        });
        (found.y, planes, back)
    }

    /// Element `e` of an image (a value, a channel, or the image as number 0) takes word `e mod 4` of the counter
    /// (epoch, image, layer, ⌊e / 4⌋), and is kept if that is, as a fraction of one, at least `p`.
    fn dropout_mask(
        &self,
        name: &str,
        planes: Planes,
        (p, whole): (f32, Unit),
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
            .map(|(i, e)| match whole {
                Unit::Value => keep(i, e),
                Unit::Channel => keep(i, e / planes.pixels() as u32),
                _ => keep(i, 0),
            })
            .collect()
    }
}
