//! Layers as data: as recipes and model files write them.
//!
//! ```toml
//! layers = [
//!     { kind = "conv", outputs = 16, kernel = 3, padding = 1, bias = false },
//!     { kind = "batch-norm" },
//!     { kind = "relu" },
//!     { kind = "residual", body = [{ kind = "conv", outputs = 16, kernel = [3, 1], padding = [1, 0] }] },
//!     { kind = "max-pool", kernel = 2 },
//!     { kind = "flatten" },
//!     { kind = "linear", name = "classifier" },
//! ]
//! ```

mod parse;
mod write;

use crate::layer::Kind;
use crate::{Layer, UnknownPreset, preset};

/// A list of layers that serde reads and writes. Each is a table with a `kind`:
///
/// | kind | fields, with their defaults |
/// |---|---|
/// | `conv` | `outputs`, `kernel`, `stride` = 1, `padding` = 0, `dilation` = 1, `bias` = true |
/// | `batch-norm`, `relu`, `gelu`, `global-avg-pool`, `flatten` | |
/// | `leaky-relu` | `slope` = 0.01 |
/// | `max-pool`, `avg-pool` | `kernel`, `stride` = `kernel`, `padding` = 0, `dilation` = 1 |
/// | `dropout` | `p` = 0.5 |
/// | `linear` | `outputs` = the number of classes, `bias` = true |
/// | `residual` | `body`, a list of layers, `shortcut` = \[\], the identity |
///
/// A kernel, stride, padding or dilation is a number or `[rows, columns]`. Every kind has a `name`
/// too: what the names of its parameters begin with, its index if it has none.
///
/// Reading checks kinds, fields, types and ranges; whether layers fit each other is found by
/// [`Network::new`](crate::Network::new).
#[derive(Clone, Debug, PartialEq)]
pub struct LayerList {
    /// A linear layer of no outputs, which no network can have, has as many as there are classes.
    layers: Vec<Layer>,
}

impl LayerList {
    /// The layers of a preset.
    pub fn preset(name: &str) -> Result<LayerList, UnknownPreset> {
        Ok(LayerList { layers: preset(name, 0)? })
    }

    /// The layers for this many classes.
    pub fn layers(&self, classes: usize) -> Vec<Layer> {
        with_classes(&self.layers, classes)
    }
}

impl From<&[Layer]> for LayerList {
    /// The list of these layers, of which none has no outputs.
    fn from(layers: &[Layer]) -> LayerList {
        LayerList { layers: layers.to_vec() }
    }
}

fn with_classes(layers: &[Layer], classes: usize) -> Vec<Layer> {
    let kind = |kind: &Kind| match kind {
        Kind::Linear { outputs: 0, bias } => Kind::Linear { outputs: classes, bias: *bias },
        Kind::Residual { body, shortcut } => Kind::Residual {
            body: with_classes(body, classes),
            shortcut: with_classes(shortcut, classes),
        },
        other => other.clone(),
    };
    layers.iter().map(|l| Layer { name: l.name.clone(), kind: kind(&l.kind) }).collect()
}

#[cfg(test)]
mod tests;
