//! Layers as data: as recipes and model files write them.
//!
//! ```toml
//! layers = [
//!     { kind = "conv", outputs = 16, kernel = 3, padding = 1, bias = false },
//!     { kind = "batch-norm" },
//!     { kind = "relu" },
//!     { kind = "residual", body = [{ kind = "conv", outputs = 16, kernel = [3, 1], padding = [1, 0] }] },
//!     { kind = "max-pool", kernel = 2, name = "pool" },
//!     { kind = "conv", outputs = 16, kernel = 3, padding = 1 },
//!     { kind = "add", from = ["pool", "5"] },
//!     { kind = "flatten" },
//!     { kind = "linear", name = "classifier" },
//! ]
//! ```

use crate::layers::{Conv2d, Kind, Linear, List, Residual, list, shown};
use crate::{Layer, UnknownPreset, preset};
use serde::ser::{Serialize, Serializer};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// A list of layers that serde reads and writes. Each is a table with a `kind`; the table of kinds and their fields is
/// in `docs/recipes.md`.
///
/// A kernel, stride, padding or dilation is a number or `[rows, columns]`. Every kind has a `name`
/// too: what the names of its parameters begin with, its index if it has none; and `from`, the name of the layer that
/// it takes in or a list of such, the layer before it if it has none. In `from`, `input` is what the list takes in.
///
/// A linear layer without `outputs`, or a layer of `outputs = "classes"`, has as many as there are classes.
///
/// Reading checks kinds, fields, types and ranges; whether layers fit each other is found by
/// [`Network::new`](crate::Network::new).
#[derive(Clone, Debug, PartialEq)]
pub struct LayerList {
    /// A linear layer or a convolution of no outputs, which no network can have, has as many as there are classes.
    layers: Vec<Layer>,
}

const LIST: &str =
    "expected a list of layers, such as [{ kind = \"flatten\" }, { kind = \"linear\" }]";

impl<'de> Deserialize<'de> for LayerList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LayerList, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let layers = list(&value, "").ok_or_else(|| format!("{}: {LIST}", shown(&value)));
        Ok(LayerList { layers: layers.and_then(|layers| layers).map_err(de::Error::custom)? })
    }
}

impl Serialize for LayerList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        List(&self.layers).serialize(serializer)
    }
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

    /// The same with the number of classes left open, if the last layer with weights is linear or a convolution and has
    /// as many outputs.
    pub(crate) fn open(mut self, classes: usize) -> LayerList {
        let mut kinds = self.layers.iter_mut().map(|layer| &mut layer.kind);
        let outputs = match kinds.rfind(|kind| kind.has_weights()) {
            Some(Kind::Linear(Linear { outputs, .. }) | Kind::Conv2d(Conv2d { outputs, .. })) => {
                Some(outputs)
            }
            _ => None,
        };
        if let Some(outputs) = outputs.filter(|outputs| **outputs == classes) {
            *outputs = 0;
        }
        self
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
        Kind::Linear(Linear { outputs: 0, bias }) => {
            Linear { outputs: classes, bias: *bias }.into()
        }
        Kind::Residual(Residual { body, shortcut }) => Kind::Residual(Residual {
            body: with_classes(body, classes),
            shortcut: with_classes(shortcut, classes),
        }),
        Kind::Conv2d(convolution) if convolution.outputs == 0 => {
            Conv2d { outputs: classes, ..convolution.clone() }.into()
        }
        other => other.clone(),
    };
    layers.iter().map(|layer| Layer { kind: kind(&layer.kind), ..layer.clone() }).collect()
}

#[cfg(test)]
mod tests;
