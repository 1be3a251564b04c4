//! What the sections check their fields with.

use super::RecipeError;
use std::fmt::Display;
use std::path::Path;

/// What a count may be.
pub(crate) const COUNT: &str = "a whole number from 1 to 1048576";

/// What a part may be.
pub(crate) const PART: &str = "a number from 0 to 1";

/// An error that names the field, unless its value is possible.
pub(crate) fn require(
    possible: bool,
    field: &str,
    found: impl Display,
    expected: impl Display,
) -> Result<(), RecipeError> {
    if possible { Ok(()) } else { Err(RecipeError::value(field, found, expected)) }
}

pub(crate) fn count(field: &str, value: usize) -> Result<(), RecipeError> {
    require((1..=1 << 20).contains(&value), field, value, COUNT)
}

pub(crate) fn part(field: &str, value: f64) -> Result<(), RecipeError> {
    require((0.0..=1.0).contains(&value), field, value, PART)
}

pub(crate) fn below_one(field: &str, value: f64) -> Result<(), RecipeError> {
    require((0.0..1.0).contains(&value), field, value, "a number of at least 0 and below 1")
}

/// A positive number that is one in `f32` too.
pub(crate) fn positive(field: &str, value: f64) -> Result<(), RecipeError> {
    let possible = (f32::MIN_POSITIVE..=f32::MAX).contains(&(value as f32));
    let expected = "a positive number from 1.2e-38 to 3.4e38";
    require(possible, field, format!("{value:?}"), expected)
}

/// A number from 0 that is finite in `f32` too.
pub(crate) fn not_negative(field: &str, value: f64) -> Result<(), RecipeError> {
    let possible = (0.0..=f32::MAX).contains(&(value as f32));
    require(possible, field, format!("{value:?}"), "a number from 0 to 3.4e38")
}

/// A path that TOML can hold.
pub(crate) fn utf8(field: &str, path: Option<&Path>) -> Result<(), RecipeError> {
    let Some(path) = path.filter(|path| path.to_str().is_none()) else { return Ok(()) };
    Err(RecipeError::value(field, path.display(), "a path in UTF-8, as a recipe is"))
}
