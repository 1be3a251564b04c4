//! Writing tensors: the same content gives the same bytes.

use super::hash::HASH;
use crate::{Network, Role};
use files::digest;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    /// Its name, unlike that of any other.
    pub name: String,
    /// Its shape, row-major; empty for a lone number.
    pub shape: Vec<usize>,
    /// As many values as the shape has.
    pub values: Values<'a>,
}

/// The values of a tensor and their type.
#[derive(Clone, Debug, PartialEq)]
pub enum Values<'a> {
    /// Type `F32`.
    F32(&'a [f32]),
    /// Type `I64`.
    I64(Vec<i64>),
}

/// A safetensors file: the length of the header, the header (its keys sorted), the values in the
/// order of the entries, those of eight bytes first. The header ends on a multiple of eight bytes,
/// and every value lies on a multiple of its size.
///
/// Written here because the crate writes metadata in the order of a hash map.
///
/// # Panics
/// If two entries have one name, or an entry has another number of values than its shape.
#[must_use]
pub fn safetensors_bytes(metadata: &BTreeMap<String, String>, tensors: &[Entry<'_>]) -> Vec<u8> {
    let (places, values) = laid_out(tensors);
    [head(metadata, places), values].concat()
}

/// [`safetensors_bytes`] with one more entry in the metadata, [`HASH`]: the SHA-256 of the file without it.
///
/// # Panics
/// As [`safetensors_bytes`].
#[must_use]
pub fn hashed_safetensors_bytes(
    metadata: &BTreeMap<String, String>,
    tensors: &[Entry<'_>],
) -> Vec<u8> {
    let (places, values) = laid_out(tensors);
    let mut metadata = metadata.clone();
    metadata.remove(HASH);
    let mut digest = digest::Running::default();
    digest.update(&head(&metadata, places.clone()));
    digest.update(&values);
    metadata.insert(HASH.to_owned(), digest.finish());
    [head(&metadata, places), values].concat()
}

/// What the header says of each tensor, and the values behind it.
fn laid_out(tensors: &[Entry<'_>]) -> (Map<String, Value>, Vec<u8>) {
    let mut places = Map::new();
    let mut values = vec![];
    let (wide, narrow): (Vec<_>, Vec<_>) =
        tensors.iter().partition(|entry| matches!(entry.values, Values::I64(_)));
    for Entry { name, shape, values: own } in wide.into_iter().chain(narrow) {
        let start = values.len();
        let (dtype, count) = match own {
            Values::F32(own) => {
                values.extend(own.iter().flat_map(|v| v.to_le_bytes()));
                ("F32", own.len())
            }
            Values::I64(own) => {
                values.extend(own.iter().flat_map(|v| v.to_le_bytes()));
                ("I64", own.len())
            }
        };
        assert_eq!(count, shape.iter().product::<usize>(), "values of `{name}`");
        let about =
            json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, values.len()] });
        assert!(places.insert(name.clone(), about).is_none(), "two tensors `{name}`");
    }
    (places, values)
}

/// All that is before the values.
fn head(metadata: &BTreeMap<String, String>, mut header: Map<String, Value>) -> Vec<u8> {
    let before = header.insert("__metadata__".into(), json!(metadata));
    assert!(before.is_none(), "a tensor `__metadata__`");
    framed(Value::Object(header).to_string())
}

/// A header behind its length, ending on a multiple of eight bytes.
pub(super) fn framed(mut header: String) -> Vec<u8> {
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

impl Network {
    /// Every parameter with its value in `buffer`, its name behind `prefix`. The buffer is laid out as
    /// the weights are; it may end where the trained parameters do, as an optimiser's does, and then
    /// these alone are in it.
    pub fn entries<'a>(&self, buffer: &'a [f32], prefix: &str) -> Vec<Entry<'a>> {
        let within = self.parameters().iter().filter(|p| p.place.offset < buffer.len());
        within
            .map(|parameter| {
                let floats = parameter.place.of(buffer);
                let values = match parameter.role {
                    Role::BatchesTracked => Values::I64(vec![floats[0] as i64]),
                    _ => Values::F32(floats),
                };
                let name = format!("{prefix}{}", parameter.name);
                Entry { name, shape: parameter.shape.clone(), values }
            })
            .collect()
    }
}
