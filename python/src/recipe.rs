//! Recipes as Python gives them.

use crate::error::of_recipe;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use trainer::Recipe;
use trainer::recipe::Facts;

/// The recipe that a caller means, sized to its data where it is that for pictures: text in TOML, or the name of
/// a shipped one or of a file, as `bobbin._fields` tells them apart; with some fields set.
pub fn recipe_of(
    given: &Bound<'_, PyAny>,
    settings: &[(String, String)],
    facts: Facts,
) -> PyResult<Recipe> {
    let helper = given.py().import("bobbin._fields")?;
    let (is_text, text): (bool, String) = helper.call_method1("recipe", (given,))?.extract()?;
    let recipe = match is_text {
        true => Recipe::parse("recipe", &text, settings),
        false => Recipe::load_for(&text, facts, settings),
    };
    recipe.map_err(of_recipe)
}

/// The fields that keywords set, with their values.
pub fn settings_of(fields: &Bound<'_, PyDict>) -> PyResult<Vec<(String, String)>> {
    fields.py().import("bobbin._fields")?.call_method1("settings", (fields,))?.extract()
}
