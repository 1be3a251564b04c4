//! Pooling.

use super::definition::{
    Call, FewCall, Form, Operation, Readable, Shape, Work, Written, addressable, product,
};
use super::fields::Fields;
use super::{Axes, Layer, window_in_words};
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::steps::Value;
use autograd::Var;
use kernels::{LANES, Pool, Window};

/// Maximum of each window: see [`max_pool2d`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct MaxPool2d {
    /// The sliding window.
    pub window: Window,
    /// Whether the output's size is rounded up.
    pub ceil: bool,
}

/// Mean of each window: see [`avg_pool2d`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct AvgPool2d {
    /// The sliding window.
    pub window: Window,
    /// Whether the output's size is rounded up.
    pub ceil: bool,
    /// Whether a mean counts positions in the padding.
    pub count_padding: bool,
}

/// Mean of each plane.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalAvgPool2d;

/// Max-pool with a square window and a stride of its size.
pub fn max_pool2d(kernel: impl Axes) -> MaxPool2d {
    MaxPool2d { window: tiling(kernel), ceil: false }
}

/// Average pool with a square window and a stride of its size; padding counts.
pub fn avg_pool2d(kernel: impl Axes) -> AvgPool2d {
    AvgPool2d { window: tiling(kernel), ceil: false, count_padding: true }
}

/// A window whose stride is its kernel.
fn tiling(kernel: impl Axes) -> Window {
    let kernel = kernel.axes();
    Window { stride: kernel, ..Window::new(kernel) }
}

impl MaxPool2d {
    /// The same with its output's size rounded up: a last window may reach beyond the plane.
    pub fn ceil(self) -> MaxPool2d {
        MaxPool2d { ceil: true, ..self }
    }

    fn pool(&self) -> Pool {
        Pool::Sliding { window: self.window, ceil: self.ceil, count_padding: true }
    }
}

impl AvgPool2d {
    /// The same with its output's size rounded up: a last window may reach beyond the plane.
    pub fn ceil(self) -> AvgPool2d {
        AvgPool2d { ceil: true, ..self }
    }

    /// The same whose means do not count positions in the padding.
    pub fn uncounted_padding(self) -> AvgPool2d {
        AvgPool2d { count_padding: false, ..self }
    }

    fn pool(&self) -> Pool {
        let AvgPool2d { window, ceil, count_padding } = *self;
        Pool::Sliding { window, ceil, count_padding }
    }
}

/// Mean of each plane.
#[must_use]
pub fn global_avg_pool2d() -> Layer {
    GlobalAvgPool2d.into()
}

const FIELDS: &[&str] =
    &["kernel", "stride", "padding", "dilation", "ceil_mode", "count_include_pad"];

impl Readable for MaxPool2d {
    const FORMS: &'static [Form] = &[Form {
        word: "max-pool",
        fields: FIELDS.split_at(5).0,
        read: |table| {
            let ceil = table.switch("ceil_mode")?.unwrap_or(false);
            Ok(MaxPool2d { window: table.window(|kernel| kernel)?, ceil }.into())
        },
    }];
}

impl Readable for AvgPool2d {
    const FORMS: &'static [Form] = &[Form {
        word: "avg-pool",
        fields: FIELDS,
        read: |table| {
            let ceil = table.switch("ceil_mode")?.unwrap_or(false);
            let count_padding = table.switch("count_include_pad")?.unwrap_or(true);
            let window = table.window(|kernel| kernel)?;
            Ok(AvgPool2d { window, ceil, count_padding }.into())
        },
    }];
}

impl Readable for GlobalAvgPool2d {
    const FORMS: &'static [Form] =
        &[Form { word: "global-avg-pool", fields: &[], read: |_| Ok(GlobalAvgPool2d.into()) }];
}

impl Written for MaxPool2d {
    fn word(&self) -> &'static str {
        "max-pool"
    }

    fn write(&self, fields: &mut Fields) {
        let padding =
            |fields: &mut Fields| fields.pair_unless("padding", self.window.padding, [0, 0]);
        fields.window(&self.window, self.window.kernel, padding);
        if self.ceil {
            fields.switch("ceil_mode", true);
        }
    }

    fn in_words(&self) -> String {
        format!("max-pool {}{}", window_in_words(&self.window), rounded(self.ceil))
    }
}

impl Written for AvgPool2d {
    fn word(&self) -> &'static str {
        "avg-pool"
    }

    fn write(&self, fields: &mut Fields) {
        let padding =
            |fields: &mut Fields| fields.pair_unless("padding", self.window.padding, [0, 0]);
        fields.window(&self.window, self.window.kernel, padding);
        if self.ceil {
            fields.switch("ceil_mode", true);
        }
        if !self.count_padding {
            fields.switch("count_include_pad", false);
        }
    }

    fn in_words(&self) -> String {
        format!("average pool {}{}", window_in_words(&self.window), rounded(self.ceil))
    }
}

impl Written for GlobalAvgPool2d {
    fn word(&self) -> &'static str {
        "global-avg-pool"
    }

    fn in_words(&self) -> String {
        "global average pool".into()
    }
}

fn rounded(ceil: bool) -> &'static str {
    if ceil { ", rounded up" } else { "" }
}

/// The shape after a pool.
pub(super) fn pooled(pool: Pool, [channels, height, width]: Shape) -> Result<Shape, String> {
    let output = pool.output([height, width]);
    let [h, w] = output.ok_or("the window does not fit")?;
    if !addressable(&[LANES, channels, h, w.saturating_add(1)]) {
        return Err("its output is too large".into());
    }
    if let Pool::Sliding { window, .. } = pool
        && (0..2).any(|axis| window.padding[axis] > window.kernel[axis] / 2)
    {
        return Err("padding must be at most half the pooling window".into());
    }
    Ok([channels, h, w])
}

fn work(window: &Window, y: Shape) -> Work {
    let steps = product(&y).saturating_mul(product(&window.kernel));
    Work { steps, ..Work::default() }
}

impl Operation for MaxPool2d {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        pooled(self.pool(), x[0])
    }

    fn work(&self, _: &[Shape], y: Shape) -> Work {
        work(&self.window, y)
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.max_pool2d(call.x[0], self.pool())
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        Some(call.steps.max_pool(call.x[0], self.pool()))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        export::max_pool(self, graph, site, x)
    }
}

impl Operation for AvgPool2d {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        pooled(self.pool(), x[0])
    }

    fn work(&self, _: &[Shape], y: Shape) -> Work {
        work(&self.window, y)
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn reads_output(&self, _: bool) -> bool {
        false
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.avg_pool2d(call.x[0], self.pool())
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        Some(call.steps.avg_pool(call.x[0], self.pool()))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        export::avg_pool(self, graph, site, x)
    }
}

impl Operation for GlobalAvgPool2d {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        Ok([x[0][0], 1, 1])
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn reads_output(&self, _: bool) -> bool {
        false
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.global_avg_pool2d(call.x[0])
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let x = call.x[0];
        Some(call.steps.kernel(&[x], [x.shape[0], 1, 1], |cores, x, _, y| {
            kernels::global_avg_pool(cores.isa(), x.values(0), &x.layout(0), y);
        }))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        let [x] = graph.planes(site, x);
        graph.node(site.name, "GlobalAveragePool", &[x.name], vec![], false)
    }
}

/// Nodes of operator set 17. What runs them does not agree on sizes rounded up, so the padding after a plane is
/// written out instead.
#[cfg(feature = "onnx")]
mod export {
    use super::{AvgPool2d, MaxPool2d};
    use crate::onnx_nodes::messages::AttributeProto;
    use crate::onnx_nodes::{Affine, Array, Graph, Site, int, ints};
    use kernels::{Pool, Window};

    pub(super) fn max_pool(
        layer: &MaxPool2d,
        graph: &mut Graph<'_>,
        site: &Site<'_>,
        x: Vec<Array>,
    ) -> Array {
        let [x] = graph.planes(site, x);
        let attributes = window(site, layer.pool(), &layer.window);
        graph.node(site.name, "MaxPool", &[x.name], attributes, false)
    }

    /// Where the divisors of means are none of those that the operator knows, or its taps are apart, a convolution of
    /// each channel with ones, and a factor for each output.
    pub(super) fn avg_pool(
        layer: &AvgPool2d,
        graph: &mut Graph<'_>,
        site: &Site<'_>,
        x: Vec<Array>,
    ) -> Array {
        let w = &layer.window;
        let [x] = graph.planes(site, x);
        let counts_alike = !layer.count_padding || !layer.ceil;
        if w.dilation == [1, 1] && counts_alike {
            let mut attributes = window(site, layer.pool(), w);
            attributes.retain(|attribute| attribute.name != "dilations");
            attributes.push(int("count_include_pad", i64::from(layer.count_padding)));
            return graph.node(site.name, "AveragePool", &[x.name], attributes, false);
        }
        let [channels, height, width] = site.inputs[0];
        let [rows, columns] = output(layer.pool(), [height, width]);
        let affine = Affine::constant(
            site,
            vec![channels, 1, w.kernel[0], w.kernel[1]],
            vec![1.0; channels * w.taps()],
        );
        let mut attributes = window(site, layer.pool(), w);
        attributes.push(int("group", channels as i64));
        let sums = graph.convolution(&format!("{}/sums", site.name), affine, attributes, x);
        let at = |i: usize| layer.pool().divisor([height, width], [i / columns, i % columns]);
        let factors: Vec<f32> = (0..rows * columns).map(|i| 1.0 / at(i) as f32).collect();
        let factors =
            graph.floats(&format!("{}/factors", site.name), &[1, 1, rows, columns], &factors);
        graph.node(site.name, "Mul", &[sums.name, factors], vec![], false)
    }

    fn output(pool: Pool, size: [usize; 2]) -> [usize; 2] {
        pool.output(size).expect("checked when the network was")
    }

    /// A window, with as much padding after the plane as its outputs reach.
    fn window(site: &Site<'_>, pool: Pool, w: &Window) -> Vec<AttributeProto> {
        let [_, height, width] = site.inputs[0];
        let outputs = output(pool, [height, width]);
        let is_ceil = matches!(pool, Pool::Sliding { ceil: true, .. });
        let after = |axis: usize, size: usize| {
            let extent = w.dilation[axis] * (w.kernel[axis] - 1) + 1;
            let reach = (outputs[axis] - 1) * w.stride[axis] + extent;
            if is_ceil { reach.saturating_sub(size + w.padding[axis]) } else { w.padding[axis] }
        };
        let pads = [w.padding[0], w.padding[1], after(0, height), after(1, width)];
        vec![
            ints("kernel_shape", &w.kernel),
            ints("strides", &w.stride),
            ints("pads", &pads),
            ints("dilations", &w.dilation),
        ]
    }
}
