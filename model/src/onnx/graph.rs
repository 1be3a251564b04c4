//! The nodes of a network's graph.

use super::messages::*;
use crate::layer::{Kind, Layer};
use crate::network::EPSILON;
use crate::{Model, Network, Parameter};
use kernels::{Activation, Window};
use std::collections::HashMap;

/// The graph of a model as it grows.
pub(super) struct Graph<'a> {
    network: &'a Network,
    parameters: HashMap<&'a str, &'a Parameter>,
    weights: &'a [f32],
    fold_batch_norm: bool,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

/// An array of the graph: its name, and whether its shape is `[batch, features]`, not
/// `[batch, channels, rows, columns]`. Bobbin makes no difference between features and channels of
/// one pixel, ONNX does.
#[derive(Clone, PartialEq)]
struct Array {
    name: String,
    is_vector: bool,
}

/// The numbers of a convolution or linear layer.
struct Affine {
    shape: Vec<usize>,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Graph<'_> {
    /// The nodes from `image` to `logits`, and the constants that they use. Values that are not
    /// parameters have names with a slash, which no layer's has.
    pub fn of(model: &Model, fold_batch_norm: bool) -> (Vec<NodeProto>, Vec<TensorProto>) {
        let network = &model.network;
        let mut graph = Graph {
            network,
            parameters: network.parameters().iter().map(|p| (&*p.name, p)).collect(),
            weights: &model.weights,
            fold_batch_norm,
            nodes: vec![],
            constants: vec![],
        };
        let mut x = Array { name: "image".into(), is_vector: false };
        for (operation, values) in [("Sub", &model.mean), ("Div", &model.std)] {
            let name = format!("normalize/{}", operation.to_lowercase());
            let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            let constant = graph.floats(&format!("{name}/by"), &[1, values.len(), 1, 1], &values);
            x = graph.node(&name, operation, &[&x.name, &constant], vec![], false);
        }
        x = graph.sequence(network.layers(), "", x);
        let Array { name, .. } = graph.vector(x, "end");
        let last = graph.nodes.last_mut().expect("two nodes normalise");
        debug_assert_eq!(last.output[0], name);
        last.output[0] = "logits".into();
        (graph.nodes, graph.constants)
    }

    fn sequence(&mut self, layers: &[Layer], prefix: &str, mut x: Array) -> Array {
        let mut next = 0;
        while let Some(layer) = layers.get(next) {
            let name = |at: usize| match &layers[at].name {
                Some(name) => format!("{prefix}{name}"),
                None => format!("{prefix}{at}"),
            };
            let normalised =
                matches!(layers.get(next + 1).map(|l| &l.kind), Some(Kind::BatchNorm2d));
            let folded = (normalised && self.fold_batch_norm && layer.kind.is_affine())
                .then(|| name(next + 1));
            x = self.layer(&layer.kind, &name(next), folded.as_deref(), x);
            next += 1 + usize::from(folded.is_some());
        }
        x
    }

    /// A layer, and the batch norm of the name `folded` after it.
    fn layer(&mut self, kind: &Kind, name: &str, folded: Option<&str>, x: Array) -> Array {
        match kind {
            Kind::Conv2d { window, .. } => {
                let affine = self.affine(name, folded);
                self.conv(name, affine, window, 1, x)
            }
            Kind::Linear { .. } => {
                let x = self.vector(x, name);
                let inputs = self.affine_inputs(name, self.affine(name, folded), x);
                self.node(name, "Gemm", &refs(&inputs), vec![int("transB", 1)], true)
            }
            Kind::BatchNorm2d => {
                let mut inputs = vec![x.name];
                for part in ["weight", "bias", "running_mean", "running_var"] {
                    let values = self.parameter(name, part).to_vec();
                    inputs.push(self.floats(&format!("{name}.{part}"), &[values.len()], &values));
                }
                let epsilon = float("epsilon", EPSILON);
                self.node(name, "BatchNormalization", &refs(&inputs), vec![epsilon], x.is_vector)
            }
            Kind::Activation(Activation::Relu) => {
                self.node(name, "Relu", &[&x.name], vec![], x.is_vector)
            }
            Kind::Activation(Activation::LeakyRelu(slope)) => {
                self.node(name, "LeakyRelu", &[&x.name], vec![float("alpha", *slope)], x.is_vector)
            }
            Kind::Activation(Activation::Gelu) => self.gelu(name, x),
            Kind::MaxPool2d(w) => {
                let x = self.planes(x, name);
                let attributes = [window(w), vec![ints("dilations", &w.dilation)]].concat();
                self.node(name, "MaxPool", &[&x.name], attributes, false)
            }
            Kind::AvgPool2d(w) => self.average_pool(name, w, x),
            Kind::GlobalAvgPool2d => {
                let x = self.planes(x, name);
                self.node(name, "GlobalAveragePool", &[&x.name], vec![], false)
            }
            Kind::Dropout(_) => x,
            Kind::Flatten => self.vector(x, name),
            Kind::Residual { body, shortcut } => self.residual(name, body, shortcut, x),
        }
    }

    fn conv(&mut self, name: &str, affine: Affine, w: &Window, group: i64, x: Array) -> Array {
        let x = self.planes(x, name);
        let attributes =
            [window(w), vec![ints("dilations", &w.dilation), int("group", group)]].concat();
        let inputs = self.affine_inputs(name, affine, x);
        self.node(name, "Conv", &refs(&inputs), attributes, false)
    }

    /// Operator set 17 has no dilation of an average: a convolution of each channel by itself has.
    fn average_pool(&mut self, name: &str, w: &Window, x: Array) -> Array {
        let x = self.planes(x, name);
        if w.dilation == [1, 1] {
            let attributes = [window(w), vec![int("count_include_pad", 1)]].concat();
            return self.node(name, "AveragePool", &[&x.name], attributes, false);
        }
        let summary = self.network.summaries().iter().find(|s| s.name == name);
        let (channels, taps) = (summary.map_or(0, |s| s.output[0]), w.taps());
        let shape = vec![channels, 1, w.kernel[0], w.kernel[1]];
        let weight = vec![1.0 / taps as f32; channels * taps];
        self.conv(name, Affine { shape, weight, bias: None }, w, channels as i64, x)
    }

    /// x · ½(1 + erf(x/√2)): the operator Gelu is younger.
    fn gelu(&mut self, name: &str, x: Array) -> Array {
        let constants = [std::f32::consts::FRAC_1_SQRT_2, 1.0, 0.5];
        let [scale, one, half] = constants.map(|v| self.floats(&format!("{name}/{v}"), &[1], &[v]));
        let steps: [(&str, &str, Option<&str>); 5] = [
            ("scaled", "Mul", Some(&scale)),
            ("erf", "Erf", None),
            ("shifted", "Add", Some(&one)),
            ("times", "Mul", Some(&x.name)),
            ("", "Mul", Some(&half)),
        ];
        let mut y = x.clone();
        for (part, operation, other) in steps {
            let step = if part.is_empty() { name.to_owned() } else { format!("{name}/{part}") };
            let inputs: Vec<&str> = [&*y.name].into_iter().chain(other).collect();
            y = self.node(&step, operation, &inputs, vec![], x.is_vector);
        }
        y
    }

    fn residual(&mut self, name: &str, body: &[Layer], shortcut: &[Layer], x: Array) -> Array {
        let mut body = self.sequence(body, &format!("{name}.body."), x.clone());
        let mut beside = self.sequence(shortcut, &format!("{name}.shortcut."), x);
        if body.is_vector != beside.is_vector {
            body = self.vector(body, &format!("{name}.body"));
            beside = self.vector(beside, &format!("{name}.shortcut"));
        }
        let sum = format!("{name}/sum");
        let sum = self.node(&sum, "Add", &[&body.name, &beside.name], vec![], body.is_vector);
        self.node(name, "Relu", &[&sum.name], vec![], sum.is_vector)
    }

    /// As `[batch, features]`, if it is not already; for the layer of this name.
    fn vector(&mut self, x: Array, layer: &str) -> Array {
        if x.is_vector {
            return x;
        }
        self.node(&format!("{layer}/flatten"), "Flatten", &[&x.name], vec![int("axis", 1)], true)
    }

    /// As `[batch, channels, 1, 1]`, if it is a vector.
    fn planes(&mut self, x: Array, layer: &str) -> Array {
        if !x.is_vector {
            return x;
        }
        let name = format!("{layer}/planes");
        let shape = TensorProto {
            dims: vec![4],
            data_type: DataType::Int64 as i32,
            name: format!("{name}/shape"),
            // As before, what remains, 1, 1.
            raw_data: [0i64, -1, 1, 1].iter().flat_map(|n| n.to_le_bytes()).collect(),
        };
        let inputs = [&*x.name, &shape.name].map(str::to_owned);
        self.constants.push(shape);
        self.node(&name, "Reshape", &refs(&inputs), vec![], false)
    }

    fn node(
        &mut self,
        name: &str,
        operation: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
        is_vector: bool,
    ) -> Array {
        let output = format!("{name}/output");
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.clone()],
            name: name.to_owned(),
            op_type: operation.to_owned(),
            attribute,
        });
        Array { name: output, is_vector }
    }

    /// A constant; returns its name.
    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.constants.push(TensorProto {
            dims: shape.iter().map(|n| *n as i64).collect(),
            data_type: DataType::Float as i32,
            name: name.to_owned(),
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        });
        name.to_owned()
    }

    fn affine_inputs(&mut self, name: &str, affine: Affine, x: Array) -> Vec<String> {
        let Affine { shape, weight, bias } = affine;
        let mut inputs = vec![x.name, self.floats(&format!("{name}.weight"), &shape, &weight)];
        if let Some(bias) = bias {
            inputs.push(self.floats(&format!("{name}.bias"), &[bias.len()], &bias));
        }
        inputs
    }

    /// The numbers of a layer with those of the batch norm after it, if one is to be folded.
    fn affine(&self, name: &str, folded: Option<&str>) -> Affine {
        let shape = self.parameters[&*format!("{name}.weight")].shape.clone();
        let mut weight = self.parameter(name, "weight").to_vec();
        let bias = self.parameters.get(&*format!("{name}.bias"));
        let mut bias = bias.map(|bias| bias.place.of(self.weights).to_vec());
        if let Some(norm) = folded {
            let part = |part, o: usize| f64::from(self.parameter(norm, part)[o]);
            let taps = weight.len() / shape[0];
            let mut shifts = vec![];
            for (o, row) in weight.chunks_exact_mut(taps).enumerate() {
                let deviation = (part("running_var", o) + f64::from(EPSILON)).sqrt();
                let scale = part("weight", o) / deviation;
                row.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
                let start = bias.as_ref().map_or(0.0, |bias| f64::from(bias[o]));
                let shift = part("bias", o) + (start - part("running_mean", o)) * scale;
                shifts.push(shift as f32);
            }
            bias = Some(shifts);
        }
        Affine { shape, weight, bias }
    }

    fn parameter(&self, layer: &str, part: &str) -> &[f32] {
        self.parameters[&*format!("{layer}.{part}")].place.of(self.weights)
    }
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

/// What convolutions and pools have in common. Pads are those before both axes, then those after.
fn window(w: &Window) -> Vec<AttributeProto> {
    let [y, x] = w.padding;
    vec![ints("kernel_shape", &w.kernel), ints("strides", &w.stride), ints("pads", &[y, x, y, x])]
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.iter().map(|v| *v as i64).collect(),
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    let r#type = AttributeType::Int as i32;
    AttributeProto { name: name.to_owned(), i, r#type, ..AttributeProto::default() }
}

fn float(name: &str, f: f32) -> AttributeProto {
    let r#type = AttributeType::Float as i32;
    AttributeProto { name: name.to_owned(), f, r#type, ..AttributeProto::default() }
}
