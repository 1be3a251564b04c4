//! PReLU.

use super::definition::{Call, FewCall, Form, Operation, Part, Readable, Shape, Written};
use super::fields::Fields;
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::parameter::Role;
use crate::steps::Value;
use autograd::Var;
use kernels::Activation;

/// x where positive, else a trained slope times x: see [`prelu`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct Prelu {
    /// Whether each channel has a slope of its own.
    pub per_channel: bool,
}

/// x where positive, else a slope times x: one that is trained, 0.25 at first.
pub fn prelu() -> Prelu {
    Prelu { per_channel: false }
}

impl Prelu {
    /// The same with a slope for each channel.
    pub fn per_channel(self) -> Prelu {
        Prelu { per_channel: true }
    }
}

impl Readable for Prelu {
    const FORMS: &'static [Form] = &[Form {
        word: "prelu",
        fields: &["per_channel"],
        read: |table| {
            Ok(Prelu { per_channel: table.switch("per_channel")?.unwrap_or(false) }.into())
        },
    }];
}

impl Written for Prelu {
    fn word(&self) -> &'static str {
        "prelu"
    }

    fn write(&self, fields: &mut Fields) {
        if self.per_channel {
            fields.switch("per_channel", true);
        }
    }

    fn in_words(&self) -> String {
        if self.per_channel { "PReLU per channel" } else { "PReLU" }.into()
    }
}

impl Operation for Prelu {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        Ok(x[0])
    }

    fn parameters(&self, x: &[Shape]) -> Vec<Part> {
        let shape = vec![if self.per_channel { x[0][0] } else { 1 }];
        vec![Part { name: "weight", shape, role: Role::Slope }]
    }

    fn reads_output(&self, _: bool) -> bool {
        false
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.prelu(call.x[0], call.params[0])
    }

    /// With one slope it is a leaky ReLU.
    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let [slope] = call.params[0].of(call.steps.weights()) else { return None };
        let (x, f) = (call.x[0], Activation::LeakyRelu(*slope));
        Some(call.steps.kernel(&[x], x.shape, move |cores, x, _, y| {
            kernels::activate(cores.isa(), f, x.values(0), y);
        }))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        let count = if self.per_channel { site.inputs[0][0] } else { 1 };
        // Along the channels of planes; the features of a vector are its last axis as they are.
        let shape = if x[0].is_vector { vec![count] } else { vec![count, 1, 1] };
        let slope = graph.parameter_as(site, "weight", &shape);
        graph.node(site.name, "PRelu", &[x[0].name.clone(), slope], vec![], x[0].is_vector)
    }
}
