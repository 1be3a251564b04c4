//! Linear layers.

use super::conv2d::affine;
use super::definition::{
    Call, FewCall, Form, Operation, Part, Readable, Shape, Work, Written, addressable, product,
};
use super::fields::Fields;
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::steps::{Value, relu_if};
use autograd::Var;
use kernels::{Activation, Convolution};

/// Linear map to `outputs` features: see [`linear`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct Linear {
    /// Features of the output.
    pub outputs: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// A linear map to `outputs` features with a bias.
pub fn linear(outputs: usize) -> Linear {
    Linear { outputs, bias: true }
}

impl Linear {
    /// The same without a bias.
    pub fn no_bias(self) -> Linear {
        Linear { bias: false, ..self }
    }
}

impl Readable for Linear {
    const FORMS: &'static [Form] = &[Form {
        word: "linear",
        fields: &["outputs", "bias"],
        read: |table| {
            // None: as many as there are classes.
            let outputs = table.outputs()?.unwrap_or(0);
            Ok(Linear { outputs, bias: table.switch("bias")?.unwrap_or(true) }.into())
        },
    }];
}

impl Written for Linear {
    fn word(&self) -> &'static str {
        "linear"
    }

    fn write(&self, fields: &mut Fields) {
        if self.outputs > 0 {
            fields.whole("outputs", self.outputs);
        }
        if !self.bias {
            fields.switch("bias", false);
        }
    }

    fn in_words(&self) -> String {
        "linear".into()
    }
}

impl Operation for Linear {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        let [inputs, height, width] = x[0];
        if [height, width] != [1, 1] {
            return Err("a linear layer takes vectors: put a flatten layer before it".into());
        }
        if self.outputs == 0 {
            return Err("a linear layer needs at least one output".into());
        }
        if !addressable(&[self.outputs, inputs]) {
            return Err("its weights are too large".into());
        }
        Ok([self.outputs, 1, 1])
    }

    fn parameters(&self, x: &[Shape]) -> Vec<Part> {
        affine(vec![self.outputs, x[0][0]], self.bias)
    }

    fn work(&self, x: &[Shape], y: Shape) -> Work {
        let inputs = x[0][0];
        Work {
            multiply_adds: inputs * self.outputs,
            steps: product(&y).saturating_mul(inputs as u64),
            // A table entry for each input.
            tables: product(&[inputs, 2 * size_of::<u32>()]),
            is_along: false,
        }
    }

    fn takes(&self, f: Activation) -> bool {
        f == Activation::Relu
    }

    fn reads_output(&self, activated: bool) -> bool {
        activated
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.linear(
            call.x[0],
            call.params[0],
            call.params.get(1).copied(),
            call.activation.is_some(),
        )
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let FewCall { steps, params, x, activation, .. } = call;
        let convolution = Convolution::linear(x[0].shape[0], self.outputs);
        let weights = params[0].of(steps.weights());
        let bias = params.get(1).map(|bias| bias.of(steps.weights()));
        Some(steps.convolution(&convolution, x[0], weights, bias, relu_if(activation.is_some())))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        let [x] = graph.vectors(site, x);
        graph.gemm(site.name, graph.affine(site), x)
    }
}
