//! Tables to layers: whatever is wrong is said of a layer, in the words of recipes.

use super::{KINDS, Layer};
use crate::suggestion;
use kernels::Window;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// The fields of every kind.
const COMMON: [&str; 3] = ["kind", "name", "from"];

/// Outputs of a layer at most.
pub(crate) const OUTPUTS: u64 = 65_536;

/// What stands for as many outputs as there are classes.
pub(crate) const CLASSES: &str = "classes";

/// Rows or columns of anything about a window at most.
pub(crate) const STEPS: u64 = 4096;

/// The layers of a list; `None` if the value is none. `path` is what comes before their indices.
pub(crate) fn list(value: &Value, path: &str) -> Option<Result<Vec<Layer>, String>> {
    let values = value.as_array()?;
    Some(values.iter().enumerate().map(|(i, value)| layer(value, format!("{path}{i}"))).collect())
}

fn layer(value: &Value, path: String) -> Result<Layer, String> {
    let forms = || KINDS.iter().flat_map(|forms| forms.iter());
    let words = || forms().map(|form| form.word).collect::<Vec<_>>().join(", ");
    let Value::Object(table) = value else {
        let expected = "expected a table with a kind, such as { kind = \"relu\" }";
        return Err(format!("layer {path} is {}: {expected}", shown(value)));
    };
    let Some(kind) = table.get("kind") else {
        return Err(format!("layer {path} has no `kind`: expected one of {}", words()));
    };
    let Some(form) = forms().find(|form| kind == form.word) else {
        let names = forms().map(|form| form.word);
        let meant = kind.as_str().and_then(|kind| suggestion(kind, names)).unwrap_or_default();
        let (found, words) = (shown(kind), words());
        return Err(format!("layer {path} is of unknown kind {found}: expected {words}{meant}"));
    };
    let table = Table { layer: format!("layer {path} ({})", form.word), path, fields: table };
    let known = |field: &str| COMMON.contains(&field) || form.fields.contains(&field);
    if let Some(field) = table.fields.keys().find(|field| !known(field)) {
        let names = [form.fields, &COMMON[1..]].concat();
        let others = forms().filter(|form| form.fields.contains(&&**field));
        let others: Vec<&str> = others.map(|form| form.word).collect();
        let meant = match &others[..] {
            [] => suggestion(field, names.iter().copied()).unwrap_or_default(),
            others => format!("; it is a field of {}", others.join(", ")),
        };
        let (layer, expected) = (table.layer, names.join(", "));
        return Err(format!("{layer}: there is no field `{field}`: expected {expected}{meant}"));
    }
    Ok(Layer { name: table.text("name")?, from: table.from()?, kind: (form.read)(&table)? })
}

/// The table of a layer.
pub(crate) struct Table<'a> {
    /// How messages call it.
    layer: String,
    /// Its index, behind those of the blocks that it is in.
    path: String,
    fields: &'a Map<String, Value>,
}

impl Table<'_> {
    /// The names of the layers that it takes in.
    fn from(&self) -> Result<Vec<String>, String> {
        let name = |value: &Value| value.as_str().map(str::to_owned);
        let names = match self.fields.get("from") {
            None => return Ok(vec![]),
            Some(value) => match value {
                Value::Array(names) if !names.is_empty() => names.iter().map(name).collect(),
                value => name(value).map(|name| vec![name]),
            }
            .ok_or(value),
        };
        let expected = "the name of a layer before it or \"input\", or a list of such";
        names.map_err(|value| self.wrong("from", value, expected))
    }

    /// A window; `stride` is its default by the kernel.
    pub fn window(&self, stride: fn([usize; 2]) -> [usize; 2]) -> Result<Window, String> {
        let padding = self.pair("padding", 0..=STEPS)?.unwrap_or([0, 0]);
        Ok(Window { padding, ..self.unpadded_window(stride)? })
    }

    /// A window, whose padding is read elsewhere.
    pub fn unpadded_window(&self, stride: fn([usize; 2]) -> [usize; 2]) -> Result<Window, String> {
        let kernel = self.required("kernel", self.pair("kernel", 1..=STEPS)?)?;
        Ok(Window {
            kernel,
            stride: self.pair("stride", 1..=STEPS)?.unwrap_or(stride(kernel)),
            padding: [0, 0],
            dilation: self.pair("dilation", 1..=STEPS)?.unwrap_or([1, 1]),
        })
    }

    /// Rows and columns of padding before an image, and after it; `None` for `"same"`.
    pub fn padding(&self) -> Result<Option<[[usize; 2]; 2]>, String> {
        let Some(value) = self.fields.get("padding") else { return Ok(Some([[0, 0]; 2])) };
        if value == "same" {
            return Ok(None);
        }
        let range = 0..=STEPS;
        let side = |n| within(n, &range);
        let sides: Option<Vec<usize>> =
            value.as_array().and_then(|sides| sides.iter().map(side).collect());
        let found = match sides.as_deref() {
            Some(&[top, bottom, left, right]) => Some([[top, left], [bottom, right]]),
            _ => pair(value, &range).map(|both| [both; 2]),
        };
        let expected = format!(
            "a whole number from 0 to {STEPS}, [rows, columns] or [top, bottom, left, right] of such, or \"same\""
        );
        found.map(Some).ok_or_else(|| self.wrong("padding", value, &expected))
    }

    /// How many outputs; 0 stands for `"classes"`, as many as there are.
    pub fn outputs(&self) -> Result<Option<usize>, String> {
        match self.fields.get("outputs") {
            Some(value) if value == CLASSES => Ok(Some(0)),
            _ => self.whole("outputs", 1..=OUTPUTS),
        }
    }

    /// Text.
    pub fn text(&self, field: &str) -> Result<Option<String>, String> {
        match self.fields.get(field) {
            None => Ok(None),
            Some(Value::String(name)) => Ok(Some(name.clone())),
            Some(other) => Err(self.wrong(field, other, "a string")),
        }
    }

    /// True or false.
    pub fn switch(&self, field: &str) -> Result<Option<bool>, String> {
        match self.fields.get(field) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(field, other, "true or false")),
        }
    }

    /// One of some words.
    pub fn choice(
        &self,
        field: &str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, String> {
        let Some(value) = self.fields.get(field) else { return Ok(None) };
        let expected =
            || words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let found = words.iter().find(|word| value == **word);
        found.map(|word| Some(*word)).ok_or_else(|| self.wrong(field, value, &expected()))
    }

    pub fn number(
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

    pub fn whole(&self, field: &str, range: RangeInclusive<u64>) -> Result<Option<usize>, String> {
        let Some(value) = self.fields.get(field) else { return Ok(None) };
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        let number = within(value, &range);
        number.map(Some).ok_or_else(|| self.wrong(field, value, &expected()))
    }

    /// Rows and columns, which one number may stand for.
    pub fn pair(
        &self,
        field: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<[usize; 2]>, String> {
        let Some(value) = self.fields.get(field) else { return Ok(None) };
        let (least, most) = (range.start(), range.end());
        let expected = format!("a whole number from {least} to {most}, or [rows, columns] of such");
        pair(value, &range).map(Some).ok_or_else(|| self.wrong(field, value, &expected))
    }

    pub fn layers(&self, field: &str) -> Result<Option<Vec<Layer>>, String> {
        let Some(value) = self.fields.get(field) else { return Ok(None) };
        let layers = list(value, &format!("{}.{field}.", self.path));
        layers.ok_or_else(|| self.wrong(field, value, "a list of layers"))?.map(Some)
    }

    pub fn required<T>(&self, field: &str, value: Option<T>) -> Result<T, String> {
        value.ok_or_else(|| format!("{}: `{field}` is missing", self.layer))
    }

    fn wrong(&self, field: &str, found: &Value, expected: &str) -> String {
        format!("{}: `{field}` is {}: expected {expected}", self.layer, shown(found))
    }
}

fn pair(value: &Value, range: &RangeInclusive<u64>) -> Option<[usize; 2]> {
    match value {
        Value::Array(both) if both.len() == 2 => {
            within(&both[0], range).zip(within(&both[1], range)).map(|(y, x)| [y, x])
        }
        other => within(other, range).map(|both| [both; 2]),
    }
}

fn within(value: &Value, range: &RangeInclusive<u64>) -> Option<usize> {
    value.as_u64().filter(|number| range.contains(number)).map(|number| number as usize)
}

/// A value in a message: its beginning, if it is long.
pub(crate) fn shown(value: &Value) -> String {
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
