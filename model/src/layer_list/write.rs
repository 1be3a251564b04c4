//! Layers to data: what has its default is left out.

use super::LayerList;
use crate::Layer;
use crate::layer::Kind;
use kernels::{Activation, Window};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

impl Serialize for LayerList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        List(&self.layers).serialize(serializer)
    }
}

struct List<'a>(&'a [Layer]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        self.0.iter().try_for_each(|layer| list.serialize_element(&Table(layer)))?;
        list.end()
    }
}

struct Table<'a>(&'a Layer);

impl Serialize for Table<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = serializer.serialize_map(None)?;
        table.serialize_entry("kind", self.0.kind.word())?;
        if let Some(name) = &self.0.name {
            table.serialize_entry("name", name)?;
        }
        fields(&mut table, &self.0.kind)?;
        table.end()
    }
}

fn fields<M: SerializeMap>(table: &mut M, kind: &Kind) -> Result<(), M::Error> {
    match kind {
        Kind::Conv2d { outputs, window: w, bias } => {
            table.serialize_entry("outputs", outputs)?;
            window(table, w, [1, 1])?;
            if !bias {
                table.serialize_entry("bias", &false)?;
            }
        }
        Kind::Linear { outputs, bias } => {
            if *outputs > 0 {
                table.serialize_entry("outputs", outputs)?;
            }
            if !bias {
                table.serialize_entry("bias", &false)?;
            }
        }
        Kind::Activation(Activation::LeakyRelu(slope)) => {
            table.serialize_entry("slope", &decimal(*slope))?;
        }
        Kind::MaxPool2d(w) | Kind::AvgPool2d(w) => window(table, w, w.kernel)?,
        Kind::Dropout(p) => table.serialize_entry("p", &decimal(*p))?,
        Kind::Residual { body, shortcut } => {
            table.serialize_entry("body", &List(body))?;
            if !shortcut.is_empty() {
                table.serialize_entry("shortcut", &List(shortcut))?;
            }
        }
        Kind::BatchNorm2d | Kind::Activation(_) | Kind::GlobalAvgPool2d | Kind::Flatten => {}
    }
    Ok(())
}

fn window<M: SerializeMap>(table: &mut M, w: &Window, stride: [usize; 2]) -> Result<(), M::Error> {
    // No default kernel: none has no rows.
    for (field, value, default) in [
        ("kernel", w.kernel, [0, 0]),
        ("stride", w.stride, stride),
        ("padding", w.padding, [0, 0]),
        ("dilation", w.dilation, [1, 1]),
    ] {
        match value {
            _ if value == default => {}
            [rows, columns] if rows == columns => table.serialize_entry(field, &rows)?,
            both => table.serialize_entry(field, &both)?,
        }
    }
    Ok(())
}

/// The shortest decimal that is this number in 32 bits: 0.1, not 0.10000000149.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
