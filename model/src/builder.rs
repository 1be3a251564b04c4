//! From layers to a network: shapes checked, parameters named and placed.

use crate::layer::{Kind, Layer};
use crate::network::{Network, Node, Parameter, Role, ShapeError, Step, Summary};
use autograd::{BatchNorm, Param};
use kernels::{Activation, Convolution, LANES, Window};

/// The network of these layers on images of this shape.
pub(crate) fn build(input: [usize; 3], layers: &[Layer]) -> Result<Network, ShapeError> {
    let mut builder = Builder::default();
    let (mut nodes, output) = builder.sequence(layers, "", input)?;
    if output[1..] != [1, 1] {
        let problem = "the network must end in vectors: add flatten and linear layers";
        return Err(shape_error("(end)", "output", output, problem));
    }
    let trained = builder.place(true, 0);
    let len = builder.place(false, trained);
    let Builder { parameters, summaries } = builder;
    // Only now are the places known.
    let places: Vec<Param> = parameters.iter().map(|p| p.place).collect();
    nodes.iter_mut().for_each(|node| node.resolve(&places));
    Ok(Network { nodes, input, output, parameters, trained, len, summaries })
}

/// What has been built so far.
#[derive(Default)]
struct Builder {
    parameters: Vec<Parameter>,
    summaries: Vec<Summary>,
}

fn shape_error(name: &str, kind: &str, input: [usize; 3], problem: &str) -> ShapeError {
    ShapeError { name: name.to_owned(), kind: kind.to_owned(), input, problem: problem.to_owned() }
}

/// Whether the tables of the kernels, offsets of 32 bits, reach every float of an array.
fn addressable(dimensions: &[usize]) -> bool {
    let floats = dimensions.iter().try_fold(1usize, |floats, n| floats.checked_mul(*n));
    floats.is_some_and(|floats| floats <= u32::MAX as usize)
}

impl Builder {
    /// Builds layers one after another; returns their nodes and the shape after the last.
    fn sequence(
        &mut self,
        layers: &[Layer],
        prefix: &str,
        mut shape: [usize; 3],
    ) -> Result<(Vec<Node>, [usize; 3]), ShapeError> {
        let mut nodes = vec![];
        for (i, layer) in layers.iter().enumerate() {
            let own = layer.name.clone().unwrap_or_else(|| i.to_string());
            let (node, output) = self.layer(&layer.kind, format!("{prefix}{own}"), shape)?;
            shape = output;
            nodes.push(node);
        }
        Ok((nodes, shape))
    }

    fn layer(
        &mut self,
        kind: &Kind,
        name: String,
        input: [usize; 3],
    ) -> Result<(Node, [usize; 3]), ShapeError> {
        let described = describe(kind);
        let wrong = |problem: &str| shape_error(&name, &described, input, problem);
        let [channels, height, width] = input;
        if input.contains(&0) {
            return Err(wrong("there is nothing to compute with"));
        }
        if !addressable(&[LANES, channels, height, width.saturating_add(1)]) {
            return Err(wrong("its input is too large"));
        }
        let number = self.summaries.len();
        let parameters = self.parameters.len();
        self.summaries.push(Summary {
            name: name.clone(),
            kind: described.clone(),
            output: input,
            parameters: 0,
            multiply_adds: 0,
        });
        let mut multiply_adds = 0;
        let windowed = |window: &Window| {
            window.output([height, width]).ok_or_else(|| wrong("the window does not fit"))
        };
        let (step, output) = match kind {
            Kind::Conv2d { outputs, window, bias } => {
                let [h, w] = windowed(window)?;
                if *outputs == 0 {
                    return Err(wrong("a convolution needs at least one output channel"));
                }
                if !addressable(&[*outputs, channels, window.taps()]) {
                    return Err(wrong("its weights are too large"));
                }
                let convolution = Convolution::new(channels, [height, width], *outputs, *window)
                    .ok_or_else(|| wrong("the window does not fit"))?;
                multiply_adds = convolution.multiply_adds();
                let shape = vec![*outputs, channels, window.kernel[0], window.kernel[1]];
                let (weight, bias) = self.affine(&name, shape, convolution.taps(), *bias);
                (Step::Conv2d { weight, bias, window: *window }, [*outputs, h, w])
            }
            Kind::Linear { outputs, bias } => {
                if [height, width] != [1, 1] {
                    return Err(wrong(
                        "a linear layer takes vectors: put a flatten layer before it",
                    ));
                }
                if *outputs == 0 {
                    return Err(wrong("a linear layer needs at least one output"));
                }
                if !addressable(&[*outputs, channels]) {
                    return Err(wrong("its weights are too large"));
                }
                multiply_adds = channels * outputs;
                let shape = vec![*outputs, channels];
                let (weight, bias) = self.affine(&name, shape, channels, *bias);
                (Step::Linear { weight, bias }, [*outputs, 1, 1])
            }
            Kind::BatchNorm2d => (Step::BatchNorm2d(self.batch_norm(&name, channels)), input),
            Kind::Activation(f) => (Step::Activation(*f), input),
            Kind::MaxPool2d(window) | Kind::AvgPool2d(window) => {
                let [h, w] = windowed(window)?;
                if (0..2).any(|axis| 2 * window.padding[axis] > window.kernel[axis]) {
                    return Err(wrong("padding must be at most half the pooling window"));
                }
                let max = matches!(kind, Kind::MaxPool2d(_));
                let step = if max { Step::MaxPool2d(*window) } else { Step::AvgPool2d(*window) };
                (step, [channels, h, w])
            }
            Kind::GlobalAvgPool2d => (Step::GlobalAvgPool2d, [channels, 1, 1]),
            Kind::Dropout(p) if !(0.0..1.0).contains(p) => {
                return Err(wrong("the probability must be at least 0 and below 1"));
            }
            Kind::Dropout(p) => (Step::Dropout(*p), input),
            Kind::Flatten => (Step::Flatten, [channels * height * width, 1, 1]),
            Kind::Residual { body, shortcut } => {
                let (body, after) = self.sequence(body, &format!("{name}.body."), input)?;
                let (shortcut, beside) =
                    self.sequence(shortcut, &format!("{name}.shortcut."), input)?;
                if after != beside {
                    let problem = format!("body gives {after:?} and shortcut {beside:?}");
                    return Err(wrong(&problem));
                }
                (Step::Residual { body, shortcut }, after)
            }
        };
        // The layers of a block have lines of their own.
        let own = if matches!(kind, Kind::Residual { .. }) {
            &[]
        } else {
            &self.parameters[parameters..]
        };
        let trained = own.iter().filter(|p| p.role.is_trained()).map(|p| p.place.len).sum();
        let summary = &mut self.summaries[number];
        (summary.output, summary.parameters, summary.multiply_adds) =
            (output, trained, multiply_adds);
        Ok((Node { number, step }, output))
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
            epsilon: 1e-5,
        };
        self.parameter(name, "num_batches_tracked", vec![], Role::BatchesTracked);
        norm
    }

    /// Adds a parameter; until all are known its place is its index.
    fn parameter(&mut self, layer: &str, part: &str, shape: Vec<usize>, role: Role) -> Param {
        let place = Param { offset: self.parameters.len(), len: shape.iter().product() };
        let name = format!("{layer}.{part}");
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

/// A layer in a few words.
fn describe(kind: &Kind) -> String {
    let window = |w: &Window| {
        let pair = |[a, b]: [usize; 2]| if a == b { a.to_string() } else { format!("{a}×{b}") };
        let mut text = format!("{}×{}", w.kernel[0], w.kernel[1]);
        for (what, value, usual) in [
            ("stride", w.stride, [1, 1]),
            ("padding", w.padding, [0, 0]),
            ("dilation", w.dilation, [1, 1]),
        ] {
            if value != usual {
                text += &format!(", {what} {}", pair(value));
            }
        }
        text
    };
    match kind {
        Kind::Conv2d { window: w, .. } => format!("convolution {}", window(w)),
        Kind::BatchNorm2d => "batch norm".into(),
        Kind::Activation(Activation::Relu) => "ReLU".into(),
        Kind::Activation(Activation::LeakyRelu(slope)) => format!("leaky ReLU {slope}"),
        Kind::Activation(Activation::Gelu) => "GELU".into(),
        Kind::MaxPool2d(w) => format!("max-pool {}", window(w)),
        Kind::AvgPool2d(w) => format!("average pool {}", window(w)),
        Kind::GlobalAvgPool2d => "global average pool".into(),
        Kind::Dropout(p) => format!("dropout {p}"),
        Kind::Flatten => "flatten".into(),
        Kind::Linear { .. } => "linear".into(),
        Kind::Residual { .. } => "residual block".into(),
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
