//! Layers side by side.

use super::Layer;
use super::definition::{Call, FewCall, Form, Operation, Readable, Shape, Written, addressable};
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site, int};
use crate::steps::Value;
use autograd::Var;
use kernels::LANES;
use std::ops::RangeInclusive;

/// The channels of two layers or more, one after the other; their rows and columns are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat;

/// The channels of two layers or more, which [`Layer::taking`] names.
#[must_use]
pub fn concat() -> Layer {
    Concat.into()
}

impl Readable for Concat {
    const FORMS: &'static [Form] =
        &[Form { word: "concat", fields: &[], read: |_| Ok(Concat.into()) }];
}

impl Written for Concat {
    fn word(&self) -> &'static str {
        "concat"
    }

    fn in_words(&self) -> String {
        "concatenation".into()
    }
}

impl Operation for Concat {
    fn inputs(&self) -> RangeInclusive<usize> {
        2..=usize::MAX
    }

    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        let [_, height, width] = x[0];
        if x.iter().any(|shape| shape[1..] != [height, width]) {
            return Err("all inputs must have as many rows and columns".into());
        }
        let channels = x.iter().map(|shape| shape[0]).fold(0, usize::saturating_add);
        if !addressable(&[LANES, channels, height, width.saturating_add(1)]) {
            return Err("its output is too large".into());
        }
        Ok([channels, height, width])
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn reads_output(&self, _: bool) -> bool {
        false
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.concat(call.x)
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let channels: Vec<usize> = call.x.iter().map(|x| x.shape[0]).collect();
        let [_, height, width] = call.x[0].shape;
        let output = [channels.iter().sum(), height, width];
        Some(call.steps.kernel(call.x, output, move |_, x, to, y| {
            let mut first = 0;
            for (i, channels) in channels.iter().enumerate() {
                kernels::place_channels(x.values(i), &x.layout(i), *channels, first, to, y);
                first += channels;
            }
        }))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        let x = graph.alike(site, x);
        let inputs: Vec<String> = x.iter().map(|x| x.name.clone()).collect();
        graph.node(site.name, "Concat", &inputs, vec![int("axis", 1)], x[0].is_vector)
    }
}
