//! Convolution.

use super::definition::{
    Call, FewCall, Form, Operation, Part, Readable, Shape, Work, Written, addressable, product,
};
use super::fields::Fields;
use super::table::{CLASSES, OUTPUTS, Table};
use super::{Axes, Kind, window_in_words};
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::parameter::Role;
use crate::steps::{Value, relu_if};
use autograd::Var;
use kernels::{
    Activation, Conv2dOptions, Convolution, Depthwise, LANES, PaddingMode, Window, Winograd,
};

/// Convolution to `outputs` channels: see [`conv2d`].
///
/// ```
/// let _ = model::conv2d(16, 5).padding(1).no_bias();
/// let _ = model::conv2d(32, [3, 1]).stride([2, 1]).groups(32).same();
/// let _ = model::conv2d(8, 3).uneven_padding([0, 1], [1, 2]).reflect();
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
    /// The sliding window, the padding around an image and what it holds, and the groups of channels.
    pub options: Conv2dOptions,
    /// Whether the padding is that which leaves an image its size, whatever the options say of it.
    pub same: bool,
    /// Whether a bias is added.
    pub bias: bool,
}

/// A convolution to `outputs` channels with this kernel, stride 1, no padding, one group, and a bias.
pub fn conv2d(outputs: usize, kernel: impl Axes) -> Conv2d {
    Conv2d { outputs, options: Window::new(kernel.axes()).into(), same: false, bias: true }
}

impl Conv2d {
    /// The same without a bias.
    pub fn no_bias(self) -> Conv2d {
        Conv2d { bias: false, ..self }
    }

    /// The same with so many rows and columns of padding on both sides.
    pub fn padding(self, padding: impl Axes) -> Conv2d {
        let sides = padding.axes();
        self.uneven_padding(sides, sides)
    }

    /// The same with so many rows and columns of padding before an image, and so many after it.
    pub fn uneven_padding(self, before: [usize; 2], after: [usize; 2]) -> Conv2d {
        Conv2d { options: self.options.padding(before, after), same: false, ..self }
    }

    /// The same with the padding that leaves an image its size, which needs stride 1: half of it before the image,
    /// half after it, where there is one row or column more if it cannot be halved (PyTorch's `padding="same"`).
    pub fn same(self) -> Conv2d {
        Conv2d { options: self.options.padding([0, 0], [0, 0]), same: true, ..self }
    }

    /// The same with padding that mirrors the image, without its first and last pixels, instead of zeros.
    pub fn reflect(self) -> Conv2d {
        Conv2d { options: self.options.padding_mode(PaddingMode::Reflect), ..self }
    }

    /// The same with this stride.
    pub fn stride(mut self, stride: impl Axes) -> Conv2d {
        self.options.window.stride = stride.axes();
        self
    }

    /// The same with this dilation.
    pub fn dilation(mut self, dilation: impl Axes) -> Conv2d {
        self.options.window.dilation = dilation.axes();
        self
    }

    /// The same with channels in so many groups, those of the input and the outputs alike: an output meets the input
    /// channels of its group alone. As many as input channels make it depthwise.
    pub fn groups(self, groups: usize) -> Conv2d {
        Conv2d { options: self.options.groups(groups), ..self }
    }

    /// The options with the padding in numbers; `None` if that cannot be counted.
    pub(crate) fn resolved(&self) -> Option<Conv2dOptions> {
        if self.same { self.options.checked_same() } else { Some(self.options) }
    }

    /// The kernels' description of it, on inputs of this shape.
    pub(crate) fn kernel(&self, [channels, height, width]: Shape) -> Option<Convolution> {
        Convolution::new(channels, [height, width], self.outputs, self.resolved()?)
    }

    /// What is wrong with the groups for so many input channels, or with the padding for such an image.
    fn check(&self, [channels, height, width]: Shape) -> Result<(), String> {
        let (groups, outputs) = (self.options.groups, self.outputs);
        for (what, n) in [("input channel", channels), ("output", outputs)] {
            if n.checked_rem(groups) != Some(0) {
                let plural = if n == 1 { "" } else { "s" };
                return Err(format!(
                    "{n} {what}{plural} cannot be cut into {groups} groups: expected a number of groups that divides \
                     the input channels ({channels}) and the outputs ({outputs})"
                ));
            }
        }
        let Window { stride, .. } = self.options.window;
        if self.same && stride != [1, 1] {
            let [rows, columns] = stride;
            return Err(format!(
                "padding \"same\" with a stride of {rows}×{columns}: expected stride 1, or padding in numbers"
            ));
        }
        let Some(options) = self.resolved() else { return Ok(()) };
        for (axis, (what, n)) in [("rows", height), ("columns", width)].into_iter().enumerate() {
            let padding = options.window.padding[axis].max(options.padding_after[axis]);
            if options.padding_mode == PaddingMode::Reflect && padding > 0 && padding >= n {
                return Err(format!(
                    "{padding} {what} of padding cannot mirror an image of {n}: expected fewer than the image has"
                ));
            }
        }
        Ok(())
    }

    /// How its padding is written.
    fn write_padding(&self, fields: &mut Fields) {
        let ([top, left], [bottom, right]) =
            (self.options.window.padding, self.options.padding_after);
        if self.same {
            fields.text("padding", "same");
        } else if [top, left] == [bottom, right] {
            fields.pair_unless("padding", [top, left], [0, 0]);
        } else {
            fields.wholes("padding", &[top, bottom, left, right]);
        }
    }
}

fn read(table: &Table<'_>) -> Result<Kind, String> {
    let outputs = table.required("outputs", table.outputs()?)?;
    let window = table.unpadded_window(|_| [1, 1])?;
    let padding = table.padding()?;
    let [before, after] = padding.unwrap_or_default();
    let mode = match table.choice("padding_mode", &["zeros", "reflect"])? {
        Some("reflect") => PaddingMode::Reflect,
        _ => PaddingMode::Zeros,
    };
    let groups = table.whole("groups", 1..=OUTPUTS)?.unwrap_or(1);
    let options = Conv2dOptions::from(window).padding(before, after);
    let options = options.padding_mode(mode).groups(groups);
    let bias = table.switch("bias")?.unwrap_or(true);
    Ok(Conv2d { outputs, options, same: padding.is_none(), bias }.into())
}

impl Readable for Conv2d {
    const FORMS: &'static [Form] = &[Form {
        word: "conv",
        fields: &[
            "outputs",
            "kernel",
            "stride",
            "padding",
            "padding_mode",
            "dilation",
            "groups",
            "bias",
        ],
        read,
    }];
}

impl Written for Conv2d {
    fn word(&self) -> &'static str {
        "conv"
    }

    fn write(&self, fields: &mut Fields) {
        match self.outputs {
            0 => fields.text("outputs", CLASSES),
            outputs => fields.whole("outputs", outputs),
        }
        fields.window(&self.options.window, [1, 1], |fields| {
            self.write_padding(fields);
            if self.options.padding_mode == PaddingMode::Reflect {
                fields.text("padding_mode", "reflect");
            }
        });
        if self.options.groups != 1 {
            fields.whole("groups", self.options.groups);
        }
        if !self.bias {
            fields.switch("bias", false);
        }
    }

    fn in_words(&self) -> String {
        let (mut window, after) = (self.options.window, self.options.padding_after);
        let before = window.padding;
        let mut rest = String::new();
        if self.same {
            rest += ", padding same";
        } else if before != after {
            window.padding = [0, 0];
            rest +=
                &format!(", padding [{}, {}, {}, {}]", before[0], after[0], before[1], after[1]);
        }
        if self.options.padding_mode == PaddingMode::Reflect {
            rest += ", mirrored";
        }
        if self.options.groups != 1 {
            rest += &format!(", {} groups", self.options.groups);
        }
        format!("convolution {}{rest}", window_in_words(&window))
    }
}

impl Operation for Conv2d {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        if self.outputs == 0 {
            return Err("a convolution needs at least one output channel".into());
        }
        self.check(x[0])?;
        let [_, height, width] = x[0];
        let output = self.resolved().and_then(|options| options.output([height, width]));
        let [h, w] = output.ok_or("the window does not fit")?;
        if !addressable(&[LANES, self.outputs, h, w.saturating_add(1)]) {
            return Err("its output is too large".into());
        }
        // The data gradient has them with the inputs of a group in whole vectors.
        let inputs = (x[0][0] / self.options.groups).next_multiple_of(LANES);
        let [rows, columns] = self.options.window.kernel;
        if !addressable(&[self.outputs, inputs, rows, columns]) {
            return Err("its weights are too large".into());
        }
        self.kernel(x[0]).ok_or("the window does not fit")?;
        Ok([self.outputs, h, w])
    }

    fn parameters(&self, x: &[Shape]) -> Vec<Part> {
        let [height, width] = self.options.window.kernel;
        affine(vec![self.outputs, x[0][0] / self.options.groups, height, width], self.bias)
    }

    fn work(&self, x: &[Shape], y: Shape) -> Work {
        let Some(convolution) = self.kernel(x[0]) else { return Work::default() };
        let mut tables = convolution.forward_bytes();
        if Depthwise::applies(&convolution) {
            tables = Depthwise::forward_bytes(&convolution);
        }
        if Winograd::applies(&convolution) {
            // Sixteen elements of a tile: of the weights, of sums as large, and of a row of both images.
            let tile = 16 * size_of::<f32>();
            let [inputs, outputs] = [x[0][0], self.outputs].map(|n| n.next_multiple_of(LANES));
            let row = product(&[tile, LANES, x[0][2].div_ceil(2) + 1, inputs + outputs]);
            tables = product(&[2 * tile, inputs, outputs]).saturating_add(row);
        }
        let steps = product(&y).saturating_mul(convolution.taps() as u64);
        Work { multiply_adds: convolution.multiply_adds(), steps, tables, is_along: false }
    }

    fn takes(&self, f: Activation) -> bool {
        f == Activation::Relu
    }

    fn reads_output(&self, activated: bool) -> bool {
        activated
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        let bias = call.params.get(1).copied();
        let options = self.resolved().expect("checked when the network was");
        call.tape.conv2d(call.x[0], call.params[0], bias, options, call.activation.is_some())
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let FewCall { steps, params, x, activation, .. } = call;
        let convolution = self.kernel(x[0].shape).expect("checked when the network was");
        let weights = params[0].of(steps.weights());
        let bias = params.get(1).map(|bias| bias.of(steps.weights()));
        Some(steps.convolution(&convolution, x[0], weights, bias, relu_if(activation.is_some())))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        let [x] = graph.planes(site, x);
        let options = self.resolved().expect("checked when the network was");
        graph.conv(site.name, graph.affine(site), &options, x)
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
