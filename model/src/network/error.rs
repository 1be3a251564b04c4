//! What is wrong with a layer in its place.

use crate::layers::definition::Shape;
use std::fmt;

/// A layer that does not fit what it takes in, or whose name or inputs are wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShapeError {
    /// The layer's name.
    pub name: String,
    /// Its kind, in words.
    pub kind: String,
    /// What is wrong.
    pub problem: String,
    /// The names of its inputs, where it names them, and their shapes; none if they were not found.
    pub inputs: Vec<(Option<String>, [usize; 3])>,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShapeError { name, kind, problem, inputs } = self;
        write!(f, "layer {name} ({kind}): {problem}")?;
        let named: Vec<String> = inputs.iter().map(shown).collect();
        match &named[..] {
            [] => return Ok(()),
            [one] => write!(f, "; its input is {one}")?,
            [first @ .., last] => write!(f, "; its inputs are {} and {last}", first.join(", "))?,
        }
        f.write_str(" (channels × rows × columns)")
    }
}

impl std::error::Error for ShapeError {}

fn shown((name, shape): &(Option<String>, Shape)) -> String {
    let shape = shape.map(|n| n.to_string()).join("×");
    match name {
        Some(name) => format!("{name} of {shape}"),
        None => shape,
    }
}
