//! What a network, a recipe and a file ask of a kind of layer.

use super::Kind;
use super::fields::Fields;
use super::table::Table;
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::parameter::Role;
use crate::steps::{Steps, Value};
use autograd::{Param, Tape, Var};
use kernels::Activation;
use std::ops::RangeInclusive;

/// Channels, rows and columns.
pub(crate) type Shape = [usize; 3];

/// A kind as recipes and model files name it.
pub(crate) struct Form {
    pub word: &'static str,
    /// Its fields; those of all kinds (`kind`, `name`, `from`) come besides.
    pub fields: &'static [&'static str],
    pub read: fn(&Table<'_>) -> Result<Kind, String>,
}

/// The words of a kind, and how its fields are read.
pub(crate) trait Readable {
    const FORMS: &'static [Form];
}

/// How a kind is written.
pub(crate) trait Written {
    /// Its `kind` in recipes and model files.
    fn word(&self) -> &'static str;

    /// Its fields, but for those that have their default.
    fn write(&self, _fields: &mut Fields) {}

    /// What it is in a few words, for people.
    fn in_words(&self) -> String;
}

/// A kind of layer that computes a value.
pub(crate) trait Operation: Written {
    /// How many inputs it takes.
    fn inputs(&self) -> RangeInclusive<usize> {
        1..=1
    }

    /// The shape of what it computes; or what is wrong, in words that follow "layer NAME (KIND): ". Inputs are as many
    /// as it takes, not empty, and can be addressed.
    fn output(&self, x: &[Shape]) -> Result<Shape, String>;

    /// Its parameters, in the order of PyTorch's `state_dict`.
    fn parameters(&self, _x: &[Shape]) -> Vec<Part> {
        vec![]
    }

    /// What it costs.
    fn work(&self, _x: &[Shape], y: Shape) -> Work {
        Work { steps: product(&y), ..Work::default() }
    }

    /// Whether it gives its input as it is.
    fn is_identity(&self, _x: &[Shape], _is_training: bool) -> bool {
        false
    }

    /// Whether this activation after it is done in the same pass.
    fn takes(&self, _f: Activation) -> bool {
        false
    }

    /// Whether its backward pass reads its inputs.
    fn reads_inputs(&self) -> bool {
        true
    }

    /// Whether its backward pass reads what it computed, with an activation in its pass or without.
    fn reads_output(&self, _activated: bool) -> bool {
        true
    }

    /// Bytes that a step of training keeps of sixteen images besides values, for inputs of these shapes.
    fn kept_bytes(&self, _x: &[Shape]) -> u64 {
        0
    }

    /// Computes it on a tape.
    fn forward(&self, call: Call<'_, '_>) -> Var;

    /// The same with sixteen channels to a vector, to the bit, where that is known how.
    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value>;

    /// Its nodes in an ONNX graph.
    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array;
}

/// A parameter of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// What its name ends in, after the layer's and a dot.
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub role: Role,
}

/// What a layer costs for an image.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// Multiply-adds, those with padding left out.
    pub multiply_adds: usize,
    /// Products or other steps, those with padding too.
    pub steps: u64,
    /// Bytes that it keeps besides its values: tables of offsets, or weights in another form.
    pub tables: u64,
    /// Whether it writes no value of its own, being done with the layer before it.
    pub is_along: bool,
}

/// A layer to be computed on a tape.
pub(crate) struct Call<'c, 't> {
    pub tape: &'c mut Tape<'t>,
    /// The places of its parameters.
    pub params: &'c [Param],
    pub x: &'c [Var],
    /// What follows in its pass: only what the kind [takes](Operation::takes).
    pub activation: Option<Activation>,
}

/// A layer to be computed with sixteen channels to a vector.
pub(crate) struct FewCall<'c, 'w> {
    pub steps: &'c mut Steps<'w>,
    pub params: &'c [Param],
    pub x: &'c [Value],
    pub activation: Option<Activation>,
    /// Whether nothing else will read the first input, so that it may be overwritten.
    pub is_last_reader: bool,
}

/// The product of some numbers, or the largest number where it would be larger.
pub(crate) fn product(numbers: &[usize]) -> u64 {
    numbers.iter().fold(1, |product: u64, &n| product.saturating_mul(n as u64))
}

/// Whether the tables of the kernels, offsets of 32 bits, reach every float of an array.
pub(crate) fn addressable(dimensions: &[usize]) -> bool {
    let floats = dimensions.iter().try_fold(1usize, |floats, n| floats.checked_mul(*n));
    floats.is_some_and(|floats| floats <= u32::MAX as usize)
}
