//! The nodes and constants of an ONNX graph as it grows; what the layers of a network are is said elsewhere.

pub(crate) mod messages;

use crate::parameter::Parameter;
use kernels::{Conv2dOptions, PaddingMode};
use messages::*;
use std::collections::HashMap;

/// The graph of a model as it grows.
pub(crate) struct Graph<'a> {
    weights: &'a [f32],
    pub nodes: Vec<NodeProto>,
    pub constants: Vec<TensorProto>,
    /// The place of each constant, by name.
    places: HashMap<String, usize>,
}

/// An array of the graph: its name, and whether its shape is `[batch, features]`, not
/// `[batch, channels, rows, columns]`. Bobbin makes no difference between features and channels of
/// one pixel, ONNX does.
#[derive(Clone, PartialEq)]
pub(crate) struct Array {
    pub name: String,
    pub is_vector: bool,
}

/// A layer whose nodes are written.
pub(crate) struct Site<'a> {
    pub name: &'a str,
    /// The shapes of its inputs: channels, rows and columns.
    pub inputs: &'a [[usize; 3]],
    /// Its parameters; those of another layer where it uses that again.
    pub parameters: &'a [&'a Parameter],
    /// The parameters of the batch norm that is put into its weights, and its ε.
    pub folded: Option<(&'a [&'a Parameter], f32)>,
}

/// The numbers of a convolution or linear layer.
pub(crate) struct Affine {
    /// What the names of its constants begin with.
    name: String,
    shape: Vec<usize>,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Affine {
    /// Weights that are no parameters.
    pub fn constant(site: &Site<'_>, shape: Vec<usize>, weight: Vec<f32>) -> Affine {
        Affine { name: site.name.to_owned(), shape, weight, bias: None }
    }
}

impl Site<'_> {
    /// The parameter whose name ends so.
    fn parameter(&self, part: &str) -> Option<&Parameter> {
        find(self.parameters, part)
    }
}

fn find<'p>(parameters: &[&'p Parameter], part: &str) -> Option<&'p Parameter> {
    parameters.iter().copied().find(|p| p.name.rsplit('.').next() == Some(part))
}

impl<'a> Graph<'a> {
    /// A graph without nodes, of a model with these weights.
    pub fn new(weights: &'a [f32]) -> Graph<'a> {
        let (nodes, constants, places) = (vec![], vec![], HashMap::new());
        Graph { weights, nodes, constants, places }
    }

    /// A node, which has one output.
    pub fn node(
        &mut self,
        name: &str,
        operation: &str,
        inputs: &[String],
        attribute: Vec<AttributeProto>,
        is_vector: bool,
    ) -> Array {
        let output = format!("{name}/output");
        self.nodes.push(NodeProto {
            input: inputs.to_vec(),
            output: vec![output.clone()],
            name: name.to_owned(),
            op_type: operation.to_owned(),
            attribute,
        });
        Array { name: output, is_vector }
    }

    /// A constant, which is written once; returns its name.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let dims = shape.iter().map(|n| *n as i64).collect();
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, DataType::Float, dims, bytes)
    }

    /// A constant of whole numbers, which is written once; returns its name.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, DataType::Int64, vec![values.len() as i64], bytes)
    }

    /// # Panics
    /// If there is another constant of this name.
    fn constant(&mut self, name: &str, kind: DataType, dims: Vec<i64>, bytes: Vec<u8>) -> String {
        let (data_type, name) = (kind as i32, name.to_owned());
        let constant = TensorProto { dims, data_type, name: name.clone(), raw_data: bytes };
        match self.places.get(&name) {
            Some(&place) => assert!(self.constants[place] == constant, "two constants {name}"),
            None => {
                self.places.insert(name.clone(), self.constants.len());
                self.constants.push(constant);
            }
        }
        name
    }

    /// The values of a parameter.
    pub fn values(&self, parameter: &Parameter) -> &'a [f32] {
        parameter.place.of(self.weights)
    }

    /// The constant of the layer's parameter whose name ends so; returns its name.
    pub fn parameter_input(&mut self, site: &Site<'_>, part: &str) -> String {
        let parameter = site.parameter(part).expect("a parameter of the layer");
        self.floats(&parameter.name, &parameter.shape, self.values(parameter))
    }

    /// [`Graph::parameter_input`] in a shape of as many floats: a constant of its own, if it is another.
    pub fn parameter_as(&mut self, site: &Site<'_>, part: &str, shape: &[usize]) -> String {
        let parameter = site.parameter(part).expect("a parameter of the layer");
        if shape == parameter.shape {
            return self.parameter_input(site, part);
        }
        let name = format!("{}/{}d", parameter.name, shape.len());
        self.floats(&name, shape, self.values(parameter))
    }

    /// All of these as `[batch, features]`; for a layer of so many inputs.
    pub fn vectors<const N: usize>(&mut self, site: &Site<'_>, x: Vec<Array>) -> [Array; N] {
        let vectors = self.all(site, "flatten", x, Graph::vector);
        vectors.try_into().ok().expect("as many inputs as the layer takes")
    }

    /// All of these as `[batch, channels, rows, columns]`; for a layer of so many inputs.
    pub fn planes<const N: usize>(&mut self, site: &Site<'_>, x: Vec<Array>) -> [Array; N] {
        let planes = self.all(site, "planes", x, Graph::plane);
        planes.try_into().ok().expect("as many inputs as the layer takes")
    }

    /// Inputs of one shape but for the channels: all of them vectors if one is.
    pub fn alike(&mut self, site: &Site<'_>, x: Vec<Array>) -> Vec<Array> {
        match x.iter().all(|x| !x.is_vector) {
            true => x,
            false => self.all(site, "flatten", x, Graph::vector),
        }
    }

    fn all(
        &mut self,
        site: &Site<'_>,
        what: &str,
        x: Vec<Array>,
        change: fn(&mut Graph<'a>, &str, Array) -> Array,
    ) -> Vec<Array> {
        let count = x.len();
        let name = |i: usize| match count {
            1 => format!("{}/{what}", site.name),
            _ => format!("{}/{what}{i}", site.name),
        };
        x.into_iter().enumerate().map(|(i, x)| change(self, &name(i), x)).collect()
    }

    /// As `[batch, features]`, by a node of this name if it is not already.
    pub fn vector(&mut self, name: &str, x: Array) -> Array {
        if x.is_vector {
            return x;
        }
        self.node(name, "Flatten", &[x.name], vec![int("axis", 1)], true)
    }

    /// As `[batch, channels, 1, 1]`, by a node of this name if it is a vector.
    fn plane(&mut self, name: &str, x: Array) -> Array {
        if !x.is_vector {
            return x;
        }
        // As before, what remains, 1, 1.
        let shape = self.integers(&format!("{name}/shape"), &[0, -1, 1, 1]);
        let inputs = [x.name, shape];
        self.node(name, "Reshape", &inputs, vec![], false)
    }

    /// A convolution of planes; what is not zeros around them is put there by a node of its own.
    pub fn conv(&mut self, name: &str, affine: Affine, w: &Conv2dOptions, x: Array) -> Array {
        let ([top, left], [bottom, right]) = (w.window.padding, w.padding_after);
        // Those before both axes, then those after.
        let (mut pads, mut x) = ([top, left, bottom, right], x);
        if w.padding_mode == PaddingMode::Reflect && w.is_padded() {
            let [top, left, bottom, right] = pads.map(|n| n as i64);
            let of_all = [0, 0, top, left, 0, 0, bottom, right];
            let inputs = [x.name, self.integers(&format!("{name}/pads"), &of_all)];
            let mode = vec![text("mode", "reflect")];
            x = self.node(&format!("{name}/pad"), "Pad", &inputs, mode, false);
            pads = [0; 4];
        }
        let attributes = vec![
            ints("kernel_shape", &w.window.kernel),
            ints("strides", &w.window.stride),
            ints("pads", &pads),
            ints("dilations", &w.window.dilation),
            int("group", w.groups as i64),
        ];
        self.convolution(name, affine, attributes, x)
    }

    /// A convolution of planes with these attributes.
    pub fn convolution(
        &mut self,
        name: &str,
        affine: Affine,
        attributes: Vec<AttributeProto>,
        x: Array,
    ) -> Array {
        let inputs = self.affine_inputs(affine, x);
        self.node(name, "Conv", &inputs, attributes, false)
    }

    /// A linear map of vectors.
    pub fn gemm(&mut self, name: &str, affine: Affine, x: Array) -> Array {
        let inputs = self.affine_inputs(affine, x);
        self.node(name, "Gemm", &inputs, vec![int("transB", 1)], true)
    }

    fn affine_inputs(&mut self, affine: Affine, x: Array) -> Vec<String> {
        let Affine { name, shape, weight, bias } = affine;
        let mut inputs = vec![x.name, self.floats(&format!("{name}.weight"), &shape, &weight)];
        if let Some(bias) = bias {
            inputs.push(self.floats(&format!("{name}.bias"), &[bias.len()], &bias));
        }
        inputs
    }

    /// The numbers of a layer with those of the batch norm after it, if one is to be folded.
    pub fn affine(&self, site: &Site<'_>) -> Affine {
        let weight = site.parameter("weight").expect("a layer with weights");
        let (shape, mut values) = (weight.shape.clone(), self.values(weight).to_vec());
        let mut bias = site.parameter("bias").map(|bias| self.values(bias).to_vec());
        let owner = weight.name.strip_suffix(".weight").expect("the name of a weight");
        // Numbers with those of a batch norm in them are of this use of the layer alone.
        let name = match site.folded {
            Some(_) => format!("{}/folded", site.name),
            None => owner.to_owned(),
        };
        if let Some((norm, epsilon)) = site.folded {
            // Scale and shift may be missing.
            let part = |part, o: usize, usual: f64| {
                find(norm, part).map_or(usual, |parameter| f64::from(self.values(parameter)[o]))
            };
            let taps = values.len() / shape[0];
            let mut shifts = vec![];
            for (o, row) in values.chunks_exact_mut(taps).enumerate() {
                let deviation = (part("running_var", o, 1.0) + f64::from(epsilon)).sqrt();
                let scale = part("weight", o, 1.0) / deviation;
                row.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
                let start = bias.as_ref().map_or(0.0, |bias| f64::from(bias[o]));
                let shift = part("bias", o, 0.0) + (start - part("running_mean", o, 0.0)) * scale;
                shifts.push(shift as f32);
            }
            bias = Some(shifts);
        }
        Affine { name, shape, weight: values, bias }
    }
}

pub(crate) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.iter().map(|v| *v as i64).collect(),
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    let r#type = AttributeType::Int as i32;
    AttributeProto { name: name.to_owned(), i, r#type, ..AttributeProto::default() }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    let r#type = AttributeType::Float as i32;
    AttributeProto { name: name.to_owned(), f, r#type, ..AttributeProto::default() }
}

fn text(name: &str, s: &str) -> AttributeProto {
    let (r#type, s) = (AttributeType::String as i32, s.as_bytes().to_vec());
    AttributeProto { name: name.to_owned(), s, r#type, ..AttributeProto::default() }
}
