//! Sums of layers.

use super::Layer;
use super::definition::{Call, FewCall, Form, Operation, Readable, Shape, Work, Written, product};
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::steps::{Value, relu_if};
use autograd::Var;
use kernels::Activation;
use std::ops::RangeInclusive;

/// The sum of two layers or more, of one shape, from the first on.
#[derive(Clone, Debug, PartialEq)]
pub struct Add;

/// The sum of two layers or more, which [`Layer::taking`] names.
#[must_use]
pub fn add() -> Layer {
    Add.into()
}

impl Readable for Add {
    const FORMS: &'static [Form] = &[Form { word: "add", fields: &[], read: |_| Ok(Add.into()) }];
}

impl Written for Add {
    fn word(&self) -> &'static str {
        "add"
    }

    fn in_words(&self) -> String {
        "addition".into()
    }
}

impl Operation for Add {
    fn inputs(&self) -> RangeInclusive<usize> {
        2..=usize::MAX
    }

    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        match x.iter().all(|shape| *shape == x[0]) {
            true => Ok(x[0]),
            false => Err("all inputs must have one shape".into()),
        }
    }

    fn work(&self, x: &[Shape], y: Shape) -> Work {
        let steps = product(&y).saturating_mul(x.len() as u64 - 1);
        Work { steps, ..Work::default() }
    }

    fn takes(&self, f: Activation) -> bool {
        f == Activation::Relu
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn reads_output(&self, activated: bool) -> bool {
        activated
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.add_all(call.x, call.activation.is_some())
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let (epilogue, count) = (relu_if(call.activation.is_some()), call.x.len());
        Some(call.steps.kernel(call.x, call.x[0].shape, move |cores, x, _, y| {
            let isa = cores.isa();
            let epilogue = |last| if last { epilogue } else { kernels::Epilogue::None };
            kernels::add(isa, x.values(0), x.values(1), epilogue(count == 2), y);
            for i in 2..count {
                kernels::add_to(isa, y, x.values(i), epilogue(i + 1 == count));
            }
        }))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        let x = graph.alike(site, x);
        let mut sum = x[0].clone();
        for (i, next) in x.iter().enumerate().skip(1) {
            let last = i + 1 == x.len();
            let name = if last { site.name.to_owned() } else { format!("{}/sum{i}", site.name) };
            sum = graph.node(&name, "Add", &[sum.name, next.name.clone()], vec![], sum.is_vector);
        }
        sum
    }
}
