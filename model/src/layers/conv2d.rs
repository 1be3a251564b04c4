//! Convolution.

use super::definition::{
    Call, FewCall, Form, Operation, Part, Readable, Shape, Work, Written, addressable, product,
};
use super::fields::Fields;
use super::table::OUTPUTS;
use super::{window_in_words, windowed};
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::parameter::Role;
use crate::steps::{Value, relu_if};
use autograd::Var;
use kernels::{Convolution, LANES, Window, Winograd};

/// Convolution to `outputs` channels: see [`conv2d`].
///
/// ```
/// let _ = model::conv2d(16, 5).padding(1).no_bias();
/// let _ = model::linear(10).no_bias();
/// let _ = model::max_pool2d(2).padding(1);
/// let _ = model::relu().named("relu1");
/// ```
/// What a kind of layer does not have, it cannot be given:
/// ```compile_fail,E0599
/// let _ = model::linear(10).padding(1);
/// ```
/// ```compile_fail,E0599
/// let _ = model::relu().no_bias();
/// ```
/// ```compile_fail,E0599
/// let _ = model::max_pool2d(2).no_bias();
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct Conv2d {
    /// Channels of the output.
    pub outputs: usize,
    /// The sliding window.
    pub window: Window,
    /// Whether a bias is added.
    pub bias: bool,
}

/// A convolution to `outputs` channels with a square kernel, stride 1, no padding, and a bias.
pub fn conv2d(outputs: usize, kernel: usize) -> Conv2d {
    Conv2d { outputs, window: Window::new([kernel; 2]), bias: true }
}

impl Conv2d {
    /// The same without a bias.
    pub fn no_bias(self) -> Conv2d {
        Conv2d { bias: false, ..self }
    }

    /// The kernels' description of it, on inputs of this shape.
    pub(crate) fn kernel(&self, [channels, height, width]: Shape) -> Option<Convolution> {
        Convolution::new(channels, [height, width], self.outputs, self.window)
    }
}

impl Readable for Conv2d {
    const FORMS: &'static [Form] = &[Form {
        word: "conv",
        fields: &["outputs", "kernel", "stride", "padding", "dilation", "bias"],
        read: |table| {
            let outputs = table.required("outputs", table.whole("outputs", 1..=OUTPUTS)?)?;
            let window = table.window(|_| [1, 1])?;
            Ok(Conv2d { outputs, window, bias: table.switch("bias")?.unwrap_or(true) }.into())
        },
    }];
}

impl Written for Conv2d {
    fn word(&self) -> &'static str {
        "conv"
    }

    fn write(&self, fields: &mut Fields) {
        fields.whole("outputs", self.outputs);
        fields.window(&self.window, [1, 1]);
        if !self.bias {
            fields.switch("bias", false);
        }
    }

    fn in_words(&self) -> String {
        format!("convolution {}", window_in_words(&self.window))
    }
}

impl Operation for Conv2d {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        if self.outputs == 0 {
            return Err("a convolution needs at least one output channel".into());
        }
        let output = windowed(&self.window, x[0], self.outputs)?;
        // The data gradient has them with inputs in whole vectors.
        let (inputs, [height, width]) = (x[0][0].next_multiple_of(LANES), self.window.kernel);
        if !addressable(&[self.outputs, inputs, height, width]) {
            return Err("its weights are too large".into());
        }
        self.kernel(x[0]).ok_or("the window does not fit")?;
        Ok(output)
    }

    fn parameters(&self, x: &[Shape]) -> Vec<Part> {
        let [height, width] = self.window.kernel;
        affine(vec![self.outputs, x[0][0], height, width], self.bias)
    }

    fn work(&self, x: &[Shape], y: Shape) -> Work {
        let Some(convolution) = self.kernel(x[0]) else { return Work::default() };
        let taps = product(&self.window.kernel).saturating_mul(x[0][0] as u64);
        let mut tables = convolution.forward_bytes();
        if Winograd::applies(&convolution) {
            // Sixteen elements of a tile: of the weights, of sums as large, and of a row of both images.
            let tile = 16 * size_of::<f32>();
            let [inputs, outputs] = [x[0][0], self.outputs].map(|n| n.next_multiple_of(LANES));
            let row = product(&[tile, LANES, x[0][2].div_ceil(2) + 1, inputs + outputs]);
            tables = product(&[2 * tile, inputs, outputs]).saturating_add(row);
        }
        let steps = product(&y).saturating_mul(taps);
        Work { multiply_adds: convolution.multiply_adds(), steps, tables, is_along: false }
    }

    fn takes_relu(&self) -> bool {
        true
    }

    fn reads_output(&self, relu: bool) -> bool {
        relu
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        let bias = call.params.get(1).copied();
        call.tape.conv2d(call.x[0], call.params[0], bias, self.window, call.relu)
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let FewCall { steps, params, x, relu, .. } = call;
        let convolution = self.kernel(x[0].shape).expect("checked when the network was");
        let weights = params[0].of(steps.weights());
        let bias = params.get(1).map(|bias| bias.of(steps.weights()));
        Some(steps.convolution(&convolution, x[0], weights, bias, relu_if(relu)))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        let [x] = graph.planes(site, x);
        graph.conv(site.name, graph.affine(site), &self.window, 1, x)
    }
}

/// The parameters of a convolution or linear layer.
pub(super) fn affine(shape: Vec<usize>, bias: bool) -> Vec<Part> {
    let (outputs, fan_in) = (shape[0], shape[1..].iter().product());
    let weight = Part { name: "weight", shape, role: Role::Weight { fan_in } };
    let bias =
        bias.then(|| Part { name: "bias", shape: vec![outputs], role: Role::Bias { fan_in } });
    [weight].into_iter().chain(bias).collect()
}
