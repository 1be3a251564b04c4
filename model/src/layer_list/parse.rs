//! Data to layers: whatever is wrong is said of a layer, in the words of recipes.

use super::LayerList;
use crate::Layer;
use crate::layer::Kind;
use kernels::{Activation, Window};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

impl<'de> Deserialize<'de> for LayerList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LayerList, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let layers = list(&value, "").ok_or_else(|| format!("{}: {LIST}", shown(&value)));
        Ok(LayerList { layers: layers.and_then(|layers| layers).map_err(de::Error::custom)? })
    }
}

/// Each kind and its fields; every kind has [`COMMON`] besides.
const KINDS: [(&str, &[&str]); 12] = [
    ("conv", &["outputs", "kernel", "stride", "padding", "dilation", "bias"]),
    ("batch-norm", &[]),
    ("relu", &[]),
    ("leaky-relu", &["slope"]),
    ("gelu", &[]),
    ("max-pool", &["kernel", "stride", "padding", "dilation"]),
    ("avg-pool", &["kernel", "stride", "padding", "dilation"]),
    ("global-avg-pool", &[]),
    ("dropout", &["p"]),
    ("flatten", &[]),
    ("linear", &["outputs", "bias"]),
    ("residual", &["body", "shortcut"]),
];

const COMMON: [&str; 2] = ["kind", "name"];

const LIST: &str =
    "expected a list of layers, such as [{ kind = \"flatten\" }, { kind = \"linear\" }]";

/// Outputs of a layer at most.
const OUTPUTS: u64 = 65_536;

/// Rows or columns of anything about a window at most.
const STEPS: u64 = 4096;

/// The layers of a list; `None` if the value is none. `path` is what comes before their indices.
fn list(value: &Value, path: &str) -> Option<Result<Vec<Layer>, String>> {
    let values = value.as_array()?;
    Some(values.iter().enumerate().map(|(i, value)| layer(value, format!("{path}{i}"))).collect())
}

fn layer(value: &Value, path: String) -> Result<Layer, String> {
    let kinds = || KINDS.map(|(kind, _)| kind).join(", ");
    let Value::Object(table) = value else {
        let expected = "expected a table with a kind, such as { kind = \"relu\" }";
        return Err(format!("layer {path} is {}: {expected}", shown(value)));
    };
    let Some(kind) = table.get("kind") else {
        return Err(format!("layer {path} has no `kind`: expected one of {}", kinds()));
    };
    let known = KINDS.into_iter().find(|(known, _)| kind == known);
    let Some((kind, fields)) = known else {
        let found = shown(kind);
        return Err(format!("layer {path} is of unknown kind {found}: expected {}", kinds()));
    };
    let table = Table { layer: format!("layer {path} ({kind})"), path, fields: table };
    let known = |field: &str| COMMON.contains(&field) || fields.contains(&field);
    if let Some(field) = table.fields.keys().find(|field| !known(field)) {
        let expected = [fields, &COMMON[1..]].concat().join(", ");
        let Table { layer, .. } = table;
        return Err(format!("{layer}: there is no field `{field}`: expected {expected}"));
    }
    Ok(Layer { name: table.name()?, kind: table.kind(kind)? })
}

/// The table of a layer.
struct Table<'a> {
    /// How messages call it.
    layer: String,
    /// Its index, behind those of the blocks that it is in.
    path: String,
    fields: &'a Map<String, Value>,
}

impl Table<'_> {
    fn kind(&self, kind: &str) -> Result<Kind, String> {
        Ok(match kind {
            "conv" => Kind::Conv2d {
                outputs: self.required("outputs", self.whole("outputs", 1..=OUTPUTS)?)?,
                window: self.window(|_| [1, 1])?,
                bias: self.switch("bias")?,
            },
            "batch-norm" => Kind::BatchNorm2d,
            "relu" => Kind::Activation(Activation::Relu),
            "leaky-relu" => {
                let expected = "a finite number";
                let slope = self.number("slope", 0.01, expected, f32::is_finite)?;
                Kind::Activation(Activation::LeakyRelu(slope))
            }
            "gelu" => Kind::Activation(Activation::Gelu),
            "max-pool" => Kind::MaxPool2d(self.window(|kernel| kernel)?),
            "avg-pool" => Kind::AvgPool2d(self.window(|kernel| kernel)?),
            "global-avg-pool" => Kind::GlobalAvgPool2d,
            "dropout" => {
                let expected = "a number of at least 0 and below 1";
                Kind::Dropout(self.number("p", 0.5, expected, |p| (0.0..1.0).contains(&p))?)
            }
            "flatten" => Kind::Flatten,
            "linear" => Kind::Linear {
                outputs: self.whole("outputs", 1..=OUTPUTS)?.unwrap_or(0),
                bias: self.switch("bias")?,
            },
            "residual" => Kind::Residual {
                body: self.required("body", self.list("body")?)?,
                shortcut: self.list("shortcut")?.unwrap_or_default(),
            },
            other => unreachable!("{other} is not in the list of kinds"),
        })
    }

    fn window(&self, stride: fn([usize; 2]) -> [usize; 2]) -> Result<Window, String> {
        let kernel = self.required("kernel", self.pair("kernel", 1..=STEPS)?)?;
        Ok(Window {
            kernel,
            stride: self.pair("stride", 1..=STEPS)?.unwrap_or(stride(kernel)),
            padding: self.pair("padding", 0..=STEPS)?.unwrap_or([0, 0]),
            dilation: self.pair("dilation", 1..=STEPS)?.unwrap_or([1, 1]),
        })
    }

    fn name(&self) -> Result<Option<String>, String> {
        match self.fields.get("name") {
            None => Ok(None),
            Some(Value::String(name)) => Ok(Some(name.clone())),
            Some(other) => Err(self.wrong("name", other, "a string")),
        }
    }

    fn switch(&self, field: &str) -> Result<bool, String> {
        match self.fields.get(field) {
            None => Ok(true),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(self.wrong(field, other, "true or false")),
        }
    }

    fn number(
        &self,
        field: &str,
        default: f32,
        expected: &str,
        allowed: fn(f32) -> bool,
    ) -> Result<f32, String> {
        let Some(value) = self.fields.get(field) else { return Ok(default) };
        let number = value.as_f64().map(|number| number as f32).filter(|n| allowed(*n));
        number.ok_or_else(|| self.wrong(field, value, expected))
    }

    fn whole(&self, field: &str, range: RangeInclusive<u64>) -> Result<Option<usize>, String> {
        let Some(value) = self.fields.get(field) else { return Ok(None) };
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        let number = within(value, &range);
        number.map(Some).ok_or_else(|| self.wrong(field, value, &expected()))
    }

    /// Rows and columns, which one number may stand for.
    fn pair(&self, field: &str, range: RangeInclusive<u64>) -> Result<Option<[usize; 2]>, String> {
        let Some(value) = self.fields.get(field) else { return Ok(None) };
        let pair = match value {
            Value::Array(both) if both.len() == 2 => {
                within(&both[0], &range).zip(within(&both[1], &range)).map(|(y, x)| [y, x])
            }
            other => within(other, &range).map(|both| [both; 2]),
        };
        let (least, most) = (range.start(), range.end());
        let expected = format!("a whole number from {least} to {most}, or [rows, columns] of such");
        pair.map(Some).ok_or_else(|| self.wrong(field, value, &expected))
    }

    fn list(&self, field: &str) -> Result<Option<Vec<Layer>>, String> {
        let Some(value) = self.fields.get(field) else { return Ok(None) };
        let layers = list(value, &format!("{}.{field}.", self.path));
        layers.ok_or_else(|| self.wrong(field, value, "a list of layers"))?.map(Some)
    }

    fn required<T>(&self, field: &str, value: Option<T>) -> Result<T, String> {
        value.ok_or_else(|| format!("{}: `{field}` is missing", self.layer))
    }

    fn wrong(&self, field: &str, found: &Value, expected: &str) -> String {
        format!("{}: `{field}` is {}: expected {expected}", self.layer, shown(found))
    }
}

fn within(value: &Value, range: &RangeInclusive<u64>) -> Option<usize> {
    value.as_u64().filter(|number| range.contains(number)).map(|number| number as usize)
}

/// A value in a message: its beginning, if it is long.
fn shown(value: &Value) -> String {
    let text = match value {
        // What serde_json makes of a float that it cannot write.
        Value::Null => return "not a number".to_owned(),
        value => value.to_string(),
    };
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
