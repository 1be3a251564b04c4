//! A network in words: what a layer is called, and the table of all of them.

use super::{Network, Products, Summary};
use kernels::Precision;

impl Network {
    /// A table with a line per layer: its name, what it is, the layers that it takes in where any names some,
    /// channels × rows × columns of its output, trained parameters, and millions of floating-point operations per
    /// image, forward: two for each multiply-add, those with padding left out. The line after them adds up, then
    /// one says what memory the values of an image take: see [`Network::training_bytes`],
    /// [`Network::inference_bytes`]. In another precision than `f32` the table says of each layer in which its
    /// [products](Network::products) are, and the last line what that means.
    #[must_use]
    pub fn describe(&self) -> String {
        let line = |name: &str, kind: &str, output, parameters, multiply_adds| Summary {
            name: name.to_owned(),
            kind: kind.to_owned(),
            from: vec![],
            inputs: vec![],
            output,
            parameters,
            multiply_adds,
        };
        let input = line("", "input", self.input(), 0, 0);
        let total = line("total", "", [0; 3], self.parameter_count(), self.multiply_adds());
        let titles = ["layer", "kind", "takes", "products", "output", "parameters", "MFLOP/image"];
        let lines = [&input].into_iter().chain(self.summaries()).chain([&total]);
        let products = self.products();
        let lines = lines.map(|line| cells(line, &products));
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(lines.map(Vec::from));
        if self.precision() == Precision::F32 {
            rows.iter_mut().for_each(|row| drop(row.remove(PRODUCTS)));
        }
        // A chain of layers needs no column for what they take in.
        if self.summaries().iter().all(|summary| summary.from.is_empty()) {
            rows.iter_mut().for_each(|row| drop(row.remove(TAKES)));
        }
        let memory = memory(self.training_bytes(), self.inference_bytes());
        let precision = match self.precision() {
            Precision::F32 => "",
            Precision::Bf16 => BF16,
        };
        format!("{}\n{memory}{precision}", aligned(&rows))
    }
}

/// The columns of what a layer takes in, and of the precision of its products.
const TAKES: usize = 2;
const PRODUCTS: usize = 3;

/// What `bf16` in the table means.
const BF16: &str = "\nbf16: the operands of these products are rounded to bfloat16, where that saves more time than it takes; \
                    weights, sums and all else are f32. Losses need no scaling, as bfloat16 has the range of f32";

/// What the table says of a layer; zeros are left out.
fn cells(line: &Summary, products: &[Products<'_>]) -> [String; 7] {
    let own = products.iter().find(|products| products.layer == line.name);
    let precision = own.map_or(String::new(), |own| match own.reason {
        Some(reason) => format!("{} ({reason})", own.precision),
        None => own.precision.to_string(),
    });
    let output = match line.output {
        [0, ..] => String::new(),
        [features, 1, 1] => features.to_string(),
        [channels, height, width] => format!("{channels}×{height}×{width}"),
    };
    let unless_zero = |count: usize, text: String| if count == 0 { String::new() } else { text };
    let megaflop = format!("{:.3}", 2e-6 * line.multiply_adds as f64);
    [
        line.name.clone(),
        line.kind.clone(),
        line.from.join(", "),
        precision,
        output,
        unless_zero(line.parameters, line.parameters.to_string()),
        unless_zero(line.multiply_adds, megaflop),
    ]
}

/// Memory of an image in a unit that suits the larger.
fn memory(training: u64, inference: u64) -> String {
    let (unit, size) = if training < 10_000 << 10 { ("KiB", 1024.0) } else { ("MiB", 1048576.0) };
    let [training, inference] = [training, inference].map(|bytes| bytes as f64 / size);
    format!("{unit}/image: {training:.1} in training, {inference:.1} in inference")
}

/// Lines of columns; the last three end in line.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| {
            if i + 3 < columns { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
