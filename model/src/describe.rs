//! A network in words: what a layer is called, and the table of all of them.

use crate::layer::Kind;
use crate::{Network, Summary};
use kernels::{Activation, Window};

impl Network {
    /// A table with a line per layer: its name, what it is, channels × rows × columns of its output,
    /// trained parameters, and millions of floating-point operations per image, forward: two for each
    /// multiply-add, those with padding left out. The last line adds up.
    pub fn describe(&self) -> String {
        let line = |name: &str, kind: &str, output, parameters, multiply_adds| Summary {
            name: name.to_owned(),
            kind: kind.to_owned(),
            output,
            parameters,
            multiply_adds,
        };
        let input = line("", "input", self.input(), 0, 0);
        let total = line("total", "", [0; 3], self.parameter_count(), self.multiply_adds());
        let titles = ["layer", "kind", "output", "parameters", "MFLOP/image"].map(str::to_owned);
        let lines = [&input].into_iter().chain(self.summaries()).chain([&total]);
        aligned(&[titles].into_iter().chain(lines.map(cells)).collect::<Vec<_>>())
    }
}

/// What the table says of a layer; zeros are left out.
fn cells(line: &Summary) -> [String; 5] {
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
        output,
        unless_zero(line.parameters, line.parameters.to_string()),
        unless_zero(line.multiply_adds, megaflop),
    ]
}

/// Lines of columns; the first two are words, the others end in line.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| match i {
            0 | 1 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A layer in a few words.
pub(crate) fn in_words(kind: &Kind) -> String {
    let window = |w: &Window| {
        let pair = |[a, b]: [usize; 2]| if a == b { a.to_string() } else { format!("{a}×{b}") };
        let mut text = format!("{}×{}", w.kernel[0], w.kernel[1]);
        for (what, value, usual) in [
            ("stride", w.stride, [1, 1]),
            ("padding", w.padding, [0, 0]),
            ("dilation", w.dilation, [1, 1]),
        ] {
            if value != usual {
                text += &format!(", {what} {}", pair(value));
            }
        }
        text
    };
    match kind {
        Kind::Conv2d { window: w, .. } => format!("convolution {}", window(w)),
        Kind::BatchNorm2d => "batch norm".into(),
        Kind::Activation(Activation::Relu) => "ReLU".into(),
        Kind::Activation(Activation::LeakyRelu(slope)) => format!("leaky ReLU {slope}"),
        Kind::Activation(Activation::Gelu) => "GELU".into(),
        Kind::MaxPool2d(w) => format!("max-pool {}", window(w)),
        Kind::AvgPool2d(w) => format!("average pool {}", window(w)),
        Kind::GlobalAvgPool2d => "global average pool".into(),
        Kind::Dropout(p) => format!("dropout {p}"),
        Kind::Flatten => "flatten".into(),
        Kind::Linear { .. } => "linear".into(),
        Kind::Residual { .. } => "residual block".into(),
    }
}
