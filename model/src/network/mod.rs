//! An architecture: checked shapes, and the place of every parameter in one flat buffer.

mod builder;
mod cost;
mod describe;
mod error;
mod memory;
mod passes;
mod plan;
mod precision;
mod scope;
mod statistics;
mod witness;

pub use error::ShapeError;
pub use memory::is_large;
pub(crate) use passes::{Pass, halving};
pub(crate) use plan::{Graph, Plan, Planned};
pub use precision::Products;
pub use statistics::{Movement, StatisticsError};

use crate::layers::definition::{Operation, Shape};
use crate::layers::{Conv2d, Kind, Layer};
use crate::parameter::Parameter;
use autograd::{BatchNorm, Param};
use files::Limits;
use kernels::Precision;
use witness::Witness;

/// Layers for images of one shape, each with what it takes in.
///
/// Its parameters lie in one flat buffer, first those that are trained, then the running statistics
/// of batch norm; each starts on a cache line.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub(crate) layers: Vec<Layer>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) input: [usize; 3],
    pub(crate) output: [usize; 3],
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) trained: usize,
    pub(crate) len: usize,
    pub(crate) summaries: Vec<Summary>,
    /// The passes of evaluation and of training.
    plans: [Plan; 2],
    precision: Precision,
    witness: Witness,
}

/// A layer that computes a value, and knows what it reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Its name, or for the parts of a block what tells their values apart.
    pub name: String,
    /// Its line in the description; the parts of a block have that of the block.
    pub number: usize,
    /// The layer whose parameters it has: itself, unless that is used again.
    pub owner: usize,
    pub kind: Kind,
    /// The places of its parameters.
    pub params: Vec<Param>,
    /// The values that it reads: see [`Graph`].
    pub inputs: Vec<usize>,
    /// The shape of what it computes.
    pub shape: Shape,
}

impl Node {
    /// What it computes.
    pub fn operation(&self) -> &dyn Operation {
        self.kind.operation().expect("a network has no layers that stand for others")
    }

    pub fn conv2d(&self) -> Option<&Conv2d> {
        match &self.kind {
            Kind::Conv2d(conv) => Some(conv),
            _ => None,
        }
    }
}

/// A line of the network's description.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The layer's name, that of its parameters.
    pub name: String,
    /// What it is, in words.
    pub kind: String,
    /// The names of the layers that it takes in, where it names them.
    pub from: Vec<String>,
    /// Channels, rows and columns of its inputs.
    pub inputs: Vec<[usize; 3]>,
    /// Channels, rows and columns of its output.
    pub output: [usize; 3],
    /// Trained parameters.
    pub parameters: usize,
    /// Multiply-adds per image, forward.
    pub multiply_adds: usize,
}

impl Summary {
    /// That of a layer of which nothing is known yet but what it is.
    fn new(name: &str, layer: &Layer) -> Summary {
        let (name, kind, from) =
            (name.to_owned(), layer.kind.written().in_words(), layer.from.clone());
        Summary {
            name,
            kind,
            from,
            inputs: vec![],
            output: [0; 3],
            parameters: 0,
            multiply_adds: 0,
        }
    }

    fn wrong(&self, problem: &str) -> ShapeError {
        let Summary { name, kind, .. } = self.clone();
        let from = |i: usize| self.from.get(i).cloned();
        let inputs = self.inputs.iter().enumerate().map(|(i, shape)| (from(i), *shape)).collect();
        ShapeError { name, kind, problem: problem.to_owned(), inputs }
    }
}

impl Network {
    /// The network of these layers on images of this shape, `[channels, rows, columns]`, if it costs no more
    /// than [`Limits::in_force`] allow.
    pub fn new(input: [usize; 3], layers: &[Layer]) -> Result<Network, ShapeError> {
        builder::build(input, layers, &Limits::in_force())
    }

    /// [`Network::new`] within other limits.
    pub fn within(
        input: [usize; 3],
        layers: &[Layer],
        limits: &Limits,
    ) -> Result<Network, ShapeError> {
        builder::build(input, layers, limits)
    }

    /// The layers that it was built from.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Checks that it ends in as many outputs as there are classes.
    pub fn check_classes(&self, classes: usize) -> Result<(), ShapeError> {
        if self.classes() == classes {
            return Ok(());
        }
        let problem = format!("it gives {} outputs for {classes} classes", self.classes());
        Err(match self.nodes.last() {
            Some(last) => self.summaries[last.number].wrong(&problem),
            None => builder::end_error(self.input, problem),
        })
    }

    /// Channels, rows and columns of an image.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.output[0]
    }

    /// The length of the flat buffer, in floats.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no parameters.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Floats of the first part of the buffer, which the optimiser changes; gaps between parameters
    /// count.
    pub fn trained_len(&self) -> usize {
        self.trained
    }

    /// Every parameter, in the order of PyTorch's `state_dict`.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().filter(|p| p.role.is_trained()).map(|p| p.place.len).sum()
    }

    /// A line per layer.
    pub fn summaries(&self) -> &[Summary] {
        &self.summaries
    }

    /// Multiply-adds per image, forward. Products with padding are not counted.
    pub fn multiply_adds(&self) -> usize {
        self.summaries.iter().map(|s| s.multiply_adds).sum()
    }

    /// Multiply-adds per image of a training step: forward, weight-gradient and data-gradient of each
    /// layer, without the data-gradients that nothing needs: those of layers before which nothing is trained.
    pub fn training_multiply_adds(&self) -> usize {
        let mut needed = vec![false; self.nodes.len() + 1];
        let mut left_out = 0;
        for (value, node) in (1..).zip(&self.nodes) {
            let is_needed = node.inputs.iter().any(|input| needed[*input]);
            if !is_needed {
                left_out += self.summaries[node.number].multiply_adds;
            }
            let is_trained = node.params.iter().any(|param| param.offset < self.trained);
            needed[value] = is_needed || is_trained;
        }
        3 * self.multiply_adds() - left_out
    }

    /// The passes of a tape that records, or of one that does not.
    pub(crate) fn plan(&self, is_training: bool) -> &Plan {
        &self.plans[usize::from(is_training)]
    }

    /// The batch norm that a node is.
    pub(crate) fn norm(&self, node: usize) -> BatchNorm {
        let Node { kind, params, .. } = &self.nodes[node];
        match kind {
            Kind::BatchNorm2d(norm) => norm.norm(params),
            other => panic!("{other:?} is no batch norm"),
        }
    }

    /// The places where a batch norm normalises, one that is used again included: the layer's name there, and the shape of
    /// what it takes in and gives.
    pub fn batch_norms(&self) -> impl Iterator<Item = (&str, [usize; 3])> {
        let norms = self.nodes.iter().filter(|node| matches!(node.kind, Kind::BatchNorm2d(_)));
        norms.map(|node| (&*node.name, node.shape))
    }

    /// The name of the layer with this number.
    pub fn layer_name(&self, number: usize) -> &str {
        self.summaries.get(number).map_or("input", |s| &s.name)
    }
}
