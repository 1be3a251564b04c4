//! Images to vectors.

use super::Layer;
use super::definition::{Call, FewCall, Form, Operation, Readable, Shape, Written};
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::steps::Value;
use autograd::Var;

/// Flattens images to vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Flatten;

/// Flattens images to vectors.
#[must_use]
pub fn flatten() -> Layer {
    Flatten.into()
}

impl Readable for Flatten {
    const FORMS: &'static [Form] =
        &[Form { word: "flatten", fields: &[], read: |_| Ok(Flatten.into()) }];
}

impl Written for Flatten {
    fn word(&self) -> &'static str {
        "flatten"
    }

    fn in_words(&self) -> String {
        "flatten".into()
    }
}

impl Operation for Flatten {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        Ok([x[0].iter().product(), 1, 1])
    }

    fn is_identity(&self, x: &[Shape], _: bool) -> bool {
        x[0][1..] == [1, 1]
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn reads_output(&self, _: bool) -> bool {
        false
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.flatten(call.x[0])
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let x = call.x[0];
        let (channels, features) = (x.shape[0], x.shape.iter().product());
        Some(call.steps.kernel(&[x], [features, 1, 1], move |_, x, _, y| {
            kernels::flatten_channels(x.values(0), &x.layout(0), channels, y);
        }))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        let [x] = graph.vectors(site, x);
        x
    }
}
