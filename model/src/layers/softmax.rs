//! Softmax and its logarithm.

use super::Layer;
use super::definition::{Call, FewCall, Form, Operation, Readable, Shape, Work, Written, product};
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site, int};
use crate::steps::Value;
use autograd::Var;

/// Softmax over the channels of each pixel, or the features of a vector; or its logarithm.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// Whether the logarithm is taken.
    pub log: bool,
}

/// Softmax over the channels of each pixel, or the features of a vector.
#[must_use]
pub fn softmax() -> Layer {
    Softmax { log: false }.into()
}

/// The logarithm of softmax over the channels of each pixel, or the features of a vector.
#[must_use]
pub fn log_softmax() -> Layer {
    Softmax { log: true }.into()
}

impl Readable for Softmax {
    const FORMS: &'static [Form] = &[
        Form { word: "softmax", fields: &[], read: |_| Ok(Softmax { log: false }.into()) },
        Form { word: "log-softmax", fields: &[], read: |_| Ok(Softmax { log: true }.into()) },
    ];
}

impl Written for Softmax {
    fn word(&self) -> &'static str {
        if self.log { "log-softmax" } else { "softmax" }
    }

    fn in_words(&self) -> String {
        self.word().into()
    }
}

impl Operation for Softmax {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        Ok(x[0])
    }

    fn work(&self, _: &[Shape], y: Shape) -> Work {
        Work { steps: product(&y).saturating_mul(8), ..Work::default() }
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        match self.log {
            true => call.tape.log_softmax(call.x[0]),
            false => call.tape.softmax(call.x[0]),
        }
    }

    /// The sum over the channels of an image crosses lanes there.
    fn few_images(&self, _: FewCall<'_, '_>) -> Option<Value> {
        None
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        let operation = if self.log { "LogSoftmax" } else { "Softmax" };
        let input = std::slice::from_ref(&x[0].name);
        graph.node(site.name, operation, input, vec![int("axis", 1)], x[0].is_vector)
    }
}
