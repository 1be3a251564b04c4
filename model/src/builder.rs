//! From layers to a network: shapes checked, parameters named and placed.

use crate::describe::in_words;
use crate::layer::{Kind, Layer};
use crate::model::{EMA, OPTIMIZER};
use crate::network::{EPSILON, Network, Node, Parameter, Role, ShapeError, Step, Summary};
use autograd::{BatchNorm, Param};
use kernels::{Convolution, LANES, Window};
use std::collections::HashSet;

/// The network of these layers on images of this shape.
pub(crate) fn build(input: [usize; 3], layers: &[Layer]) -> Result<Network, ShapeError> {
    let mut builder = Builder::default();
    let (mut nodes, output) = builder.sequence(layers, "", input, 0)?;
    if output[1..] != [1, 1] {
        let problem = "the network must end in vectors: add flatten and linear layers";
        let (name, kind) = ("(end)".to_owned(), "output".to_owned());
        return Err(ShapeError { name, kind, input: output, problem: problem.to_owned() });
    }
    let trained = builder.place(true, 0);
    let len = builder.place(false, trained);
    let Builder { parameters, summaries, .. } = builder;
    // Only now are the places known.
    let places: Vec<Param> = parameters.iter().map(|p| p.place).collect();
    nodes.iter_mut().for_each(|node| node.resolve(&places));
    let layers = layers.to_vec();
    Ok(Network { layers, nodes, input, output, parameters, trained, len, summaries })
}

/// What has been built so far.
#[derive(Default)]
struct Builder {
    parameters: Vec<Parameter>,
    summaries: Vec<Summary>,
    /// Of all parameters.
    floats: usize,
}

/// Blocks within blocks at most: a deeper list of layers is a mistake, and the stack is not endless.
const DEPTH: usize = 16;

/// Floats of all parameters at most, 1 GiB: training needs several times as much, for each thread.
const FLOATS: usize = 1 << 28;

/// Names that would be taken for other tensors of a checkpoint.
const RESERVED: [&str; 2] = [EMA, OPTIMIZER];

/// Whether the tables of the kernels, offsets of 32 bits, reach every float of an array.
fn addressable(dimensions: &[usize]) -> bool {
    let floats = dimensions.iter().try_fold(1usize, |floats, n| floats.checked_mul(*n));
    floats.is_some_and(|floats| floats <= u32::MAX as usize)
}

/// A layer in its place.
struct Site<'a> {
    /// With the names of the blocks that it is in.
    name: &'a str,
    kind: &'a Kind,
    input: [usize; 3],
    /// How many blocks it is in.
    depth: usize,
}

impl Site<'_> {
    fn wrong(&self, problem: &str) -> ShapeError {
        let (name, kind) = (self.name.to_owned(), in_words(self.kind));
        ShapeError { name, kind, input: self.input, problem: problem.to_owned() }
    }

    /// Whether the layer may have this name, and be as deep as it is.
    fn check_name(&self, own: &str) -> Result<(), ShapeError> {
        let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        if own.is_empty() || !own.chars().all(part) {
            return Err(self.wrong("a name has letters, digits, `_` and `-`, at least one"));
        }
        if self.depth == 0 && RESERVED.iter().any(|r| r.trim_end_matches('.') == own) {
            return Err(self.wrong("the name has a meaning of its own in checkpoints"));
        }
        if self.depth > DEPTH {
            return Err(self.wrong("blocks within blocks, too many of them"));
        }
        Ok(())
    }

    fn check_input(&self) -> Result<(), ShapeError> {
        let [channels, height, width] = self.input;
        if self.input.contains(&0) {
            return Err(self.wrong("there is nothing to compute with"));
        }
        if !addressable(&[LANES, channels, height, width.saturating_add(1)]) {
            return Err(self.wrong("its input is too large"));
        }
        Ok(())
    }

    /// The output of a window, of so many channels.
    fn windowed(&self, window: &Window, channels: usize) -> Result<[usize; 3], ShapeError> {
        let [_, height, width] = self.input;
        let output = window.output([height, width]);
        let [h, w] = output.ok_or_else(|| self.wrong("the window does not fit"))?;
        if !addressable(&[LANES, channels, h, w.saturating_add(1)]) {
            return Err(self.wrong("its output is too large"));
        }
        Ok([channels, h, w])
    }

    fn pooled(&self, window: &Window) -> Result<[usize; 3], ShapeError> {
        let output = self.windowed(window, self.input[0])?;
        if (0..2).any(|axis| window.padding[axis] > window.kernel[axis] / 2) {
            return Err(self.wrong("padding must be at most half the pooling window"));
        }
        Ok(output)
    }
}

impl Builder {
    /// Builds layers one after another; returns their nodes and the shape after the last.
    fn sequence(
        &mut self,
        layers: &[Layer],
        prefix: &str,
        mut shape: [usize; 3],
        depth: usize,
    ) -> Result<(Vec<Node>, [usize; 3]), ShapeError> {
        let (mut nodes, mut names) = (vec![], HashSet::new());
        for (i, layer) in layers.iter().enumerate() {
            let own = layer.name.clone().unwrap_or_else(|| i.to_string());
            let name = format!("{prefix}{own}");
            let site = Site { name: &name, kind: &layer.kind, input: shape, depth };
            site.check_name(&own)?;
            if !names.insert(own) {
                return Err(site.wrong("another layer has this name"));
            }
            let (node, output) = self.layer(&site)?;
            shape = output;
            nodes.push(node);
        }
        Ok((nodes, shape))
    }

    fn layer(&mut self, site: &Site<'_>) -> Result<(Node, [usize; 3]), ShapeError> {
        site.check_input()?;
        let (number, first) = (self.summaries.len(), self.parameters.len());
        self.summaries.push(Summary {
            name: site.name.to_owned(),
            kind: in_words(site.kind),
            output: site.input,
            parameters: 0,
            multiply_adds: 0,
        });
        let (step, output, multiply_adds) = self.step(site)?;
        if self.floats > FLOATS {
            return Err(site.wrong("its weights are too large"));
        }
        // The layers of a block have lines of their own.
        let is_block = matches!(site.kind, Kind::Residual { .. });
        let own = if is_block { &[] } else { &self.parameters[first..] };
        let trained = own.iter().filter(|p| p.role.is_trained()).map(|p| p.place.len).sum();
        let summary = &mut self.summaries[number];
        (summary.output, summary.parameters, summary.multiply_adds) =
            (output, trained, multiply_adds);
        Ok((Node { number, step }, output))
    }

    /// What a layer does, the shape after it, and its own multiply-adds.
    fn step(&mut self, site: &Site<'_>) -> Result<(Step, [usize; 3], usize), ShapeError> {
        let (Site { name, input, .. }, [channels, height, width]) = (site, site.input);
        let (step, output) = match site.kind {
            Kind::Conv2d { outputs, window, bias } => {
                return self.convolution(site, *outputs, *window, *bias);
            }
            Kind::Linear { outputs, bias } => return self.linear(site, *outputs, *bias),
            Kind::BatchNorm2d => (Step::BatchNorm2d(self.batch_norm(name, channels)), *input),
            Kind::Activation(f) => (Step::Activation(*f), *input),
            Kind::MaxPool2d(window) => (Step::MaxPool2d(*window), site.pooled(window)?),
            Kind::AvgPool2d(window) => (Step::AvgPool2d(*window), site.pooled(window)?),
            Kind::GlobalAvgPool2d => (Step::GlobalAvgPool2d, [channels, 1, 1]),
            Kind::Dropout(p) if !(0.0..1.0).contains(p) => {
                return Err(site.wrong("the probability must be at least 0 and below 1"));
            }
            Kind::Dropout(p) => (Step::Dropout(*p), *input),
            Kind::Flatten => (Step::Flatten, [channels * height * width, 1, 1]),
            Kind::Residual { body, shortcut } => {
                let depth = site.depth + 1;
                let (body, after) = self.sequence(body, &format!("{name}.body."), *input, depth)?;
                let (shortcut, beside) =
                    self.sequence(shortcut, &format!("{name}.shortcut."), *input, depth)?;
                if after != beside {
                    let [after, beside] =
                        [after, beside].map(|shape| shape.map(|n| n.to_string()).join("×"));
                    let problem = format!("body gives {after} and shortcut {beside}");
                    return Err(site.wrong(&problem));
                }
                (Step::Residual { body, shortcut }, after)
            }
        };
        Ok((step, output, 0))
    }

    fn convolution(
        &mut self,
        site: &Site<'_>,
        outputs: usize,
        window: Window,
        bias: bool,
    ) -> Result<(Step, [usize; 3], usize), ShapeError> {
        let [channels, height, width] = site.input;
        if outputs == 0 {
            return Err(site.wrong("a convolution needs at least one output channel"));
        }
        let output = site.windowed(&window, outputs)?;
        if !addressable(&[outputs, channels, window.taps()]) {
            return Err(site.wrong("its weights are too large"));
        }
        let convolution = Convolution::new(channels, [height, width], outputs, window)
            .ok_or_else(|| site.wrong("the window does not fit"))?;
        let shape = vec![outputs, channels, window.kernel[0], window.kernel[1]];
        let (weight, bias) = self.affine(site.name, shape, convolution.taps(), bias);
        Ok((Step::Conv2d { weight, bias, window }, output, convolution.multiply_adds()))
    }

    fn linear(
        &mut self,
        site: &Site<'_>,
        outputs: usize,
        bias: bool,
    ) -> Result<(Step, [usize; 3], usize), ShapeError> {
        let [inputs, height, width] = site.input;
        if [height, width] != [1, 1] {
            return Err(site.wrong("a linear layer takes vectors: put a flatten layer before it"));
        }
        if outputs == 0 {
            return Err(site.wrong("a linear layer needs at least one output"));
        }
        if !addressable(&[outputs, inputs]) {
            return Err(site.wrong("its weights are too large"));
        }
        let (weight, bias) = self.affine(site.name, vec![outputs, inputs], inputs, bias);
        Ok((Step::Linear { weight, bias }, [outputs, 1, 1], inputs * outputs))
    }

    /// The parameters of a convolution or linear layer.
    fn affine(
        &mut self,
        name: &str,
        shape: Vec<usize>,
        fan_in: usize,
        bias: bool,
    ) -> (Param, Option<Param>) {
        let outputs = shape[0];
        let weight = self.parameter(name, "weight", shape, Role::Weight { fan_in });
        let bias = bias.then(|| self.parameter(name, "bias", vec![outputs], Role::Bias { fan_in }));
        (weight, bias)
    }

    fn batch_norm(&mut self, name: &str, channels: usize) -> BatchNorm {
        let mut each = |part, role| self.parameter(name, part, vec![channels], role);
        let norm = BatchNorm {
            weight: each("weight", Role::Scale),
            bias: each("bias", Role::Shift),
            mean: each("running_mean", Role::RunningMean),
            variance: each("running_var", Role::RunningVariance),
            epsilon: EPSILON,
        };
        self.parameter(name, "num_batches_tracked", vec![], Role::BatchesTracked);
        norm
    }

    /// Adds a parameter; until all are known its place is its index.
    fn parameter(&mut self, layer: &str, part: &str, shape: Vec<usize>, role: Role) -> Param {
        let place = Param { offset: self.parameters.len(), len: shape.iter().product() };
        let name = format!("{layer}.{part}");
        self.floats = self.floats.saturating_add(place.len);
        self.parameters.push(Parameter { name, shape, place, role });
        place
    }

    /// Gives the parameters that are (or are not) trained their places from `offset` on; returns the
    /// end.
    fn place(&mut self, trained: bool, mut offset: usize) -> usize {
        for parameter in self.parameters.iter_mut().filter(|p| p.role.is_trained() == trained) {
            parameter.place.offset = offset;
            offset += parameter.place.len.next_multiple_of(LANES);
        }
        offset
    }
}

impl Node {
    /// Replaces parameter indices (held in `offset` while building) by places.
    fn resolve(&mut self, places: &[Param]) {
        let fix = |param: &mut Param| *param = places[param.offset];
        match &mut self.step {
            Step::Conv2d { weight, bias, .. } | Step::Linear { weight, bias } => {
                fix(weight);
                bias.as_mut().map(fix);
            }
            Step::BatchNorm2d(norm) => {
                [&mut norm.weight, &mut norm.bias, &mut norm.mean, &mut norm.variance]
                    .into_iter()
                    .for_each(fix);
            }
            Step::Residual { body, shortcut } => {
                body.iter_mut().chain(shortcut).for_each(|node| node.resolve(places));
            }
            _ => {}
        }
    }
}
