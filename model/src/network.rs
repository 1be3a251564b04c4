//! An architecture: checked shapes, and the place of every parameter in one flat buffer.

use crate::builder;
use crate::layer::Layer;
use autograd::{BatchNorm, Param};
use kernels::{Activation, Window};
use thiserror::Error;

/// What batch norm adds to a variance.
pub(crate) const EPSILON: f32 = 1e-5;

/// A sequence of layers for images of one shape.
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
}

/// A layer that knows its parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Unique in the network.
    pub number: usize,
    pub step: Step,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Conv2d { weight: Param, bias: Option<Param>, window: Window },
    BatchNorm2d(BatchNorm),
    Activation(Activation),
    MaxPool2d(Window),
    AvgPool2d(Window),
    GlobalAvgPool2d,
    Dropout(f32),
    Flatten,
    Linear { weight: Param, bias: Option<Param> },
    Residual { body: Vec<Node>, shortcut: Vec<Node> },
}

/// A named part of the flat buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The name that PyTorch's `state_dict` has for it.
    pub name: String,
    /// Its shape, row-major, as in PyTorch.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub place: Param,
    /// What it is.
    pub role: Role,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weights or bias of a convolution or linear layer with this many inputs to an output.
    Weight {
        /// Inputs to an output.
        fan_in: usize,
    },
    /// The same for a bias.
    Bias {
        /// Inputs to an output.
        fan_in: usize,
    },
    /// The scale of a batch norm.
    Scale,
    /// The shift of a batch norm.
    Shift,
    /// The running mean of a batch norm: not trained.
    RunningMean,
    /// The running variance of a batch norm: not trained.
    RunningVariance,
    /// The number of batches that the running statistics have seen: not trained.
    BatchesTracked,
}

impl Role {
    /// Whether the optimiser changes it.
    pub fn is_trained(self) -> bool {
        !matches!(self, Role::RunningMean | Role::RunningVariance | Role::BatchesTracked)
    }
}

/// A line of the network's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The layer's name, that of its parameters.
    pub name: String,
    /// What it is, in words.
    pub kind: String,
    /// Channels, rows and columns of its output.
    pub output: [usize; 3],
    /// Trained parameters.
    pub parameters: usize,
    /// Multiply-adds per image, forward.
    pub multiply_adds: usize,
}

/// A layer that does not fit what comes before it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("layer {name} ({kind}): {problem}; its input is {}×{}×{} (channels × rows × columns)",
    input[0], input[1], input[2])]
pub struct ShapeError {
    /// The layer's name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// The shape before it.
    pub input: [usize; 3],
    /// What is wrong.
    pub problem: String,
}

impl Network {
    /// The network of these layers on images of this shape, `[channels, rows, columns]`.
    pub fn new(input: [usize; 3], layers: &[Layer]) -> Result<Network, ShapeError> {
        builder::build(input, layers)
    }

    /// The layers that it was made of.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Whether it ends in as many outputs as there are classes.
    pub fn check_classes(&self, classes: usize) -> Result<(), ShapeError> {
        if self.classes() == classes {
            return Ok(());
        }
        // Not the layers of blocks.
        let mut layers = self.summaries.iter().rev().filter(|s| !s.name.contains('.'));
        let last = layers.next();
        Err(ShapeError {
            name: last.map_or("(end)", |s| &s.name).to_owned(),
            kind: last.map_or("output", |s| &s.kind).to_owned(),
            input: layers.next().map_or(self.input, |s| s.output),
            problem: format!("it gives {} outputs for {classes} classes", self.classes()),
        })
    }

    /// Channels, rows and columns of an image.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.output[0]
    }

    /// Floats of the flat buffer.
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

    /// How many numbers are trained.
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
    /// layer, without the data-gradient of the first, which nothing needs.
    pub fn training_multiply_adds(&self) -> usize {
        let first = self.summaries.iter().find(|s| s.multiply_adds > 0);
        3 * self.multiply_adds() - first.map_or(0, |s| s.multiply_adds)
    }

    /// The name of the layer with this number.
    pub fn layer_name(&self, number: usize) -> &str {
        self.summaries.get(number).map_or("input", |s| &s.name)
    }
}
