//! The names of layers: which may be given, and what they stand for.

use crate::layers::{INPUT, Layer};
use crate::names::{EMA, OPTIMIZER};
use crate::suggestion;
use std::collections::HashMap;

/// The layers so far, by name.
#[derive(Default)]
pub(super) struct Scope(HashMap<String, Found>);

/// A layer that is known by name.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The value that it computes.
    pub value: usize,
    pub is_block: bool,
}

/// A list of layers, and the place in it of the one that names others.
pub(super) struct List<'a> {
    /// What the names of its layers begin with.
    pub prefix: &'a str,
    /// The value that it takes in.
    pub input: usize,
    pub layers: &'a [Layer],
    pub at: usize,
}

/// Names that would be taken for other tensors of a checkpoint.
const RESERVED: [&str; 2] = [EMA, OPTIMIZER];

impl Scope {
    /// Whether a layer may have this name.
    pub fn check(&self, name: &str) -> Result<(), &'static str> {
        let letter = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        if name.split('.').any(|part| part.is_empty() || !part.chars().all(letter)) {
            return Err(
                "a name has letters, digits, `_` and `-`, at least one, in parts between dots",
            );
        }
        if RESERVED.iter().any(|reserved| format!("{name}.").starts_with(reserved)) {
            return Err("the name has a meaning of its own in checkpoints");
        }
        if self.0.contains_key(name) {
            return Err("another layer has this name");
        }
        Ok(())
    }

    pub fn add(&mut self, name: String, found: Found) {
        self.0.insert(name, found);
    }

    /// The value of this name for a layer of a list.
    pub fn value(&self, name: &str, list: &List<'_>) -> Result<usize, String> {
        match self.layer(name, list) {
            Ok(_) if name == INPUT => Err(format!(
                "`{INPUT}` is what its list of layers takes in, and a layer has this name: give \
                 the layer another"
            )),
            Ok(found) => Ok(found.value),
            Err(_) if name == INPUT => Ok(list.input),
            Err(problem) => Err(problem),
        }
    }

    /// The layer of this name, before another in a list.
    pub fn layer(&self, name: &str, list: &List<'_>) -> Result<Found, String> {
        let List { prefix, layers, at, .. } = list;
        if let Some(found) = self.0.get(&format!("{prefix}{name}")) {
            return Ok(*found);
        }
        let own = |i: usize| layers[i].name.clone().unwrap_or_else(|| i.to_string());
        if let Some(i) = (*at..layers.len()).find(|i| own(*i) == name) {
            let which = if i == *at { "is this layer itself" } else { "comes later" };
            return Err(format!("`{name}` {which}: a layer takes in what comes before it"));
        }
        let mut known: Vec<&str> = self.0.keys().filter_map(|n| n.strip_prefix(prefix)).collect();
        known.sort_unstable();
        let meant = suggestion(name, known.into_iter().chain([INPUT])).unwrap_or_default();
        Err(format!("there is no layer `{name}` before it{meant}"))
    }
}
