//! Products of layers.

use super::Layer;
use super::definition::{Call, FewCall, Form, Operation, Readable, Shape, Written};
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::steps::Value;
use autograd::Var;
use std::ops::RangeInclusive;

/// The product of two layers, value by value; or of the planes of one and the values of another, which has one for
/// each plane, as in squeeze-and-excitation.
#[derive(Clone, Debug, PartialEq)]
pub struct Multiply;

/// The product of two layers, which [`Layer::taking`] names.
#[must_use]
pub fn multiply() -> Layer {
    Multiply.into()
}

impl Readable for Multiply {
    const FORMS: &'static [Form] =
        &[Form { word: "multiply", fields: &[], read: |_| Ok(Multiply.into()) }];
}

impl Written for Multiply {
    fn word(&self) -> &'static str {
        "multiply"
    }

    fn in_words(&self) -> String {
        "product".into()
    }
}

/// Which input has the planes, if the other has a value for each.
fn planes(x: &[Shape]) -> Option<usize> {
    let differ = x[0][0] == x[1][0] && x[0] != x[1];
    (0..2).find(|planes| differ && x[1 - planes][1..] == [1, 1])
}

impl Operation for Multiply {
    fn inputs(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        match planes(x) {
            _ if x[0] == x[1] => Ok(x[0]),
            Some(planes) => Ok(x[planes]),
            None => {
                Err("its inputs must have one shape, or one of them a value for each plane of \
                         the other"
                    .into())
            }
        }
    }

    fn reads_output(&self, _: bool) -> bool {
        false
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        let [a, b] = [call.x[0], call.x[1]];
        let size = |x| call.tape.value(x).size();
        if size(a) == size(b) {
            return call.tape.mul(a, b);
        }
        let (x, factors) = if size(b) == [1, 1] { (a, b) } else { (b, a) };
        call.tape.scale_planes(x, factors)
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let shapes = [call.x[0].shape, call.x[1].shape];
        let Some(planes) = planes(&shapes) else {
            return Some(call.steps.kernel(call.x, shapes[0], |cores, x, _, y| {
                let store = kernels::Store::Overwrite;
                kernels::mul(cores.isa(), x.values(0), x.values(1), y, store);
            }));
        };
        Some(call.steps.kernel(call.x, shapes[planes], move |cores, x, _, y| {
            let (from, factors) = (x.values(planes), x.values(1 - planes));
            let store = kernels::Store::Overwrite;
            kernels::scale_planes(cores.isa(), &x.layout(planes), from, factors, y, store);
        }))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        let x = match planes(site.inputs) {
            Some(_) => Vec::from(graph.planes::<2>(site, x)),
            None => graph.alike(site, x),
        };
        let inputs = [x[0].name.clone(), x[1].name.clone()];
        graph.node(site.name, "Mul", &inputs, vec![], x[0].is_vector)
    }
}
