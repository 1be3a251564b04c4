//! Dropout: of values, of channels, of images.

use super::Layer;
use super::definition::{Call, FewCall, Form, Operation, Readable, Shape, Written};
use super::fields::Fields;
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::steps::Value;
use autograd::Var;
use kernels::{LANES, Layout};

/// Zeroes values, channels or images with probability `p` in training, and divides the others by `1 − p`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// At least 0 and below 1.
    pub p: f32,
    /// What is dropped as a whole.
    pub unit: Unit,
}

/// What a dropout layer drops as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Each value by itself.
    Value,
    /// All pixels of a channel.
    Channel,
    /// All of an image: where the layer ends the body of a residual block, this is stochastic depth.
    Image,
}

/// Dropout with this probability.
#[must_use]
pub fn dropout(p: f32) -> Layer {
    Dropout { p, unit: Unit::Value }.into()
}

/// Dropout of whole channels with this probability.
#[must_use]
pub fn dropout2d(p: f32) -> Layer {
    Dropout { p, unit: Unit::Channel }.into()
}

/// Stochastic depth: the end of a residual block's body, which is left out for an image with this probability
/// (torchvision's mode `row`).
#[must_use]
pub fn stochastic_depth(p: f32) -> Layer {
    Dropout { p, unit: Unit::Image }.into()
}

/// The form of one of them.
macro_rules! form {
    ($word:literal, $unit:expr, $usual:literal) => {
        Form {
            word: $word,
            fields: &["p"],
            read: |table| {
                let expected = "a number of at least 0 and below 1";
                let p = table.number("p", $usual, expected, |p| (0.0..1.0).contains(&p))?;
                Ok(Dropout { p, unit: $unit }.into())
            },
        }
    };
}

impl Readable for Dropout {
    const FORMS: &'static [Form] = &[
        form!("dropout", Unit::Value, 0.5),
        form!("dropout2d", Unit::Channel, 0.5),
        form!("stochastic-depth", Unit::Image, 0.2),
    ];
}

impl Written for Dropout {
    fn word(&self) -> &'static str {
        match self.unit {
            Unit::Value => "dropout",
            Unit::Channel => "dropout2d",
            Unit::Image => "stochastic-depth",
        }
    }

    fn write(&self, fields: &mut Fields) {
        fields.decimal("p", self.p);
    }

    fn in_words(&self) -> String {
        let what = match self.unit {
            Unit::Value => "dropout",
            Unit::Channel => "dropout of channels",
            Unit::Image => "stochastic depth",
        };
        format!("{what} {}", self.p)
    }
}

impl Operation for Dropout {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        match (0.0..1.0).contains(&self.p) {
            true => Ok(x[0]),
            false => Err("the probability must be at least 0 and below 1".into()),
        }
    }

    fn is_identity(&self, _: &[Shape], is_training: bool) -> bool {
        !is_training || self.p == 0.0
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn reads_output(&self, _: bool) -> bool {
        false
    }

    /// A bit for each value.
    fn kept_bytes(&self, x: &[Shape]) -> u64 {
        let [channels, height, width] = x[0];
        let vectors = Layout::new(1, channels, [height, width]).len() / LANES;
        (vectors * size_of::<u16>()) as u64
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        let (x, p) = (call.x[0], self.p);
        match self.unit {
            Unit::Value => call.tape.dropout(x, p),
            Unit::Channel => call.tape.dropout2d(x, p),
            Unit::Image => call.tape.stochastic_depth(x, p),
        }
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        Some(call.x[0])
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, _: &mut Graph<'_>, _: &Site<'_>, mut x: Vec<Array>) -> Array {
        x.remove(0)
    }
}
