//! Pooling to a given size.

use super::definition::{Call, FewCall, Form, Operation, Readable, Shape, Work, Written, product};
use super::fields::Fields;
use super::table::{STEPS, Table};
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::steps::Value;
use autograd::Var;
use kernels::Pool;

/// Maximum of each of so many windows, which cover a plane of any size: see [`adaptive_max_pool2d`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct AdaptiveMaxPool2d {
    /// Rows and columns of the output.
    pub size: [usize; 2],
}

/// Mean of each of so many windows, which cover a plane of any size: see [`adaptive_avg_pool2d`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct AdaptiveAvgPool2d {
    /// Rows and columns of the output.
    pub size: [usize; 2],
}

/// Maxima of planes of any size to so many rows and columns.
pub fn adaptive_max_pool2d(size: [usize; 2]) -> AdaptiveMaxPool2d {
    AdaptiveMaxPool2d { size }
}

/// Means of planes of any size to so many rows and columns.
pub fn adaptive_avg_pool2d(size: [usize; 2]) -> AdaptiveAvgPool2d {
    AdaptiveAvgPool2d { size }
}

fn size(table: &Table<'_>) -> Result<[usize; 2], String> {
    table.required("size", table.pair("size", 1..=STEPS)?)
}

impl Readable for AdaptiveMaxPool2d {
    const FORMS: &'static [Form] = &[Form {
        word: "adaptive-max-pool",
        fields: &["size"],
        read: |table| Ok(AdaptiveMaxPool2d { size: size(table)? }.into()),
    }];
}

impl Readable for AdaptiveAvgPool2d {
    const FORMS: &'static [Form] = &[Form {
        word: "adaptive-avg-pool",
        fields: &["size"],
        read: |table| Ok(AdaptiveAvgPool2d { size: size(table)? }.into()),
    }];
}

impl Written for AdaptiveMaxPool2d {
    fn word(&self) -> &'static str {
        "adaptive-max-pool"
    }

    fn write(&self, fields: &mut Fields) {
        fields.pair("size", self.size);
    }

    fn in_words(&self) -> String {
        format!("max-pool to {}×{}", self.size[0], self.size[1])
    }
}

impl Written for AdaptiveAvgPool2d {
    fn word(&self) -> &'static str {
        "adaptive-avg-pool"
    }

    fn write(&self, fields: &mut Fields) {
        fields.pair("size", self.size);
    }

    fn in_words(&self) -> String {
        format!("average pool to {}×{}", self.size[0], self.size[1])
    }
}

fn output(size: [usize; 2], [channels, height, width]: Shape) -> Result<Shape, String> {
    super::pool2d::pooled(Pool::Adaptive(size), [channels, height, width])
}

/// Every pixel is seen about once, or by every output if those are more.
fn work(x: Shape, y: Shape) -> Work {
    Work { steps: product(&x).saturating_mul(2).saturating_add(product(&y)), ..Work::default() }
}

impl Operation for AdaptiveMaxPool2d {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        output(self.size, x[0])
    }

    fn work(&self, x: &[Shape], y: Shape) -> Work {
        work(x[0], y)
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.max_pool2d(call.x[0], Pool::Adaptive(self.size))
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        Some(call.steps.max_pool(call.x[0], Pool::Adaptive(self.size)))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        export::adaptive(self.size, ["MaxPool", "ReduceMax"], graph, site, x)
    }
}

impl Operation for AdaptiveAvgPool2d {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        output(self.size, x[0])
    }

    fn work(&self, x: &[Shape], y: Shape) -> Work {
        work(x[0], y)
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn reads_output(&self, _: bool) -> bool {
        false
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.avg_pool2d(call.x[0], Pool::Adaptive(self.size))
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        Some(call.steps.avg_pool(call.x[0], Pool::Adaptive(self.size)))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        export::adaptive(self.size, ["AveragePool", "ReduceMean"], graph, site, x)
    }
}

/// ONNX has no such pools: a plain one where windows are alike; else its rows one by one, then its columns.
#[cfg(feature = "onnx")]
mod export {
    use crate::onnx_nodes::{Array, Graph, Site, int, ints};

    pub(super) fn adaptive(
        size: [usize; 2],
        [pool, reduce]: [&str; 2],
        graph: &mut Graph<'_>,
        site: &Site<'_>,
        x: Vec<Array>,
    ) -> Array {
        let [_, height, width] = site.inputs[0];
        let [x] = graph.planes(site, x);
        if height.is_multiple_of(size[0]) && width.is_multiple_of(size[1]) {
            let kernel = [height / size[0], width / size[1]];
            let attributes = vec![ints("kernel_shape", &kernel), ints("strides", &kernel)];
            return graph.node(site.name, pool, &[x.name], attributes, false);
        }
        let rows =
            lines(site, reduce, graph, x, [2, height, size[0]], &format!("{}/rows", site.name));
        lines(site, reduce, graph, rows, [3, width, size[1]], site.name)
    }

    /// Along an axis of so many positions, to so many.
    fn lines(
        site: &Site<'_>,
        reduce: &str,
        graph: &mut Graph<'_>,
        x: Array,
        [axis, from, to]: [usize; 3],
        last: &str,
    ) -> Array {
        let axes = graph.integers(&format!("{}/axis{axis}", site.name), &[axis as i64]);
        let mut parts = vec![];
        for o in 0..to {
            let name = format!("{}/{axis}.{o}", site.name);
            let ends = [o * from / to, ((o + 1) * from).div_ceil(to)].map(|end| [end as i64]);
            let [start, end] = [("start", ends[0]), ("end", ends[1])]
                .map(|(what, end)| graph.integers(&format!("{name}/{what}"), &end));
            let inputs = [x.name.clone(), start, end, axes.clone()];
            let slice = graph.node(&format!("{name}/slice"), "Slice", &inputs, vec![], false);
            let attributes = vec![ints("axes", &[axis]), int("keepdims", 1)];
            parts.push(graph.node(&name, reduce, &[slice.name], attributes, false).name);
        }
        graph.node(last, "Concat", &parts, vec![int("axis", axis as i64)], false)
    }
}
