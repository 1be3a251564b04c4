//! Many runs of one recipe: the product of listed values, or several seeds.

mod begun;
mod results;

pub use begun::{Begun, Ended, Other};
pub use results::{Results, Run, Sample, Summary};

use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;
use toml::Value;
use trainer::Recipe;
use trainer::recipe::{RecipeError, shipped};

/// A recipe and the values to try.
///
/// ```toml
/// recipe = "li"
/// [values]
/// "optimizer.lr" = [0.01, 0.001]
/// "data.batch_size" = [100, 1000]
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The recipe that all runs share: shipped, or the path of a TOML file from this one.
    pub recipe: String,
    /// For each field the values that it takes. Fields are in the order of their names, and the last
    /// changes fastest.
    pub values: toml::map::Map<String, Value>,
}

/// One of many runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// A name that is a file's: what it sets, such as `lr=0.01,batch_size=100`.
    pub name: String,
    /// What it sets: fields and values.
    pub settings: Vec<(String, String)>,
    /// Its recipe.
    pub recipe: Recipe,
}

impl Sweep {
    /// Reads a sweep: one that is shipped, or a TOML file.
    pub fn load(name: &str) -> Result<Sweep, RecipeError> {
        let text = shipped::read(name, &SHIPPED)?;
        let mut sweep: Sweep =
            toml::from_str(&text).map_err(|error| shipped::malformed(name, &text, &error))?;
        for (field, values) in &sweep.values {
            let list = values.as_array().map_or(&[][..], |list| list);
            let repeated = list.iter().enumerate().any(|(i, value)| list[..i].contains(value));
            if list.is_empty() || repeated {
                let expected = "a list of values to try, each once";
                return Err(RecipeError::value(&format!("values.{field}"), values, expected));
            }
        }
        if sweep.recipe.ends_with(".toml") {
            let beside = Path::new(name).with_file_name(&sweep.recipe);
            sweep.recipe = beside.display().to_string();
        }
        let mut runs = sweep.values.values().filter_map(Value::as_array).map(Vec::len);
        let runs = runs.try_fold(1usize, usize::checked_mul);
        if sweep.values.is_empty() || runs.is_none_or(|runs| runs > MOST) {
            let found = match runs {
                _ if sweep.values.is_empty() => "empty".to_owned(),
                Some(runs) => format!("of {runs} runs"),
                None => "of too many runs".to_owned(),
            };
            let expected = format!("fields with lists of values, whose product is at most {MOST}");
            return Err(RecipeError::value("values", found, expected));
        }
        Ok(sweep)
    }

    /// The sweeps that come with the program: the name of each, and what it is for.
    pub fn shipped() -> impl Iterator<Item = (&'static str, &'static str)> {
        shipped::described(&SHIPPED)
    }

    /// Whether it gives values to this field.
    pub fn sets(&self, field: &str) -> bool {
        self.values.contains_key(field)
    }

    /// Every run, with these settings on top. A field of the sweep that is set there too is an error.
    pub fn variants(&self, settings: &[(String, String)]) -> Result<Vec<Variant>, RecipeError> {
        let mut products: Vec<Vec<(String, String)>> = vec![vec![]];
        for (field, values) in &self.values {
            if settings.iter().any(|(set, _)| set == field) {
                let problem = "cannot be set here: the sweep varies it".to_owned();
                return Err(RecipeError::Field { field: field.clone(), problem });
            }
            let values: Vec<String> =
                values.as_array().into_iter().flatten().map(written).collect();
            products = products
                .into_iter()
                .flat_map(|begun| {
                    values.iter().map(move |value| {
                        let mut product = begun.clone();
                        product.push((field.clone(), value.clone()));
                        product
                    })
                })
                .collect();
        }
        let variant = |own: Vec<(String, String)>| {
            let all = [settings, &own[..]].concat();
            let recipe = Recipe::load(&self.recipe, &all)?;
            Ok(Variant { name: name(&own), settings: own, recipe })
        };
        let mut variants: Vec<Variant> =
            products.into_iter().map(variant).collect::<Result<_, _>>()?;
        let distinct: BTreeSet<&str> = variants.iter().map(|variant| &*variant.name).collect();
        // Names that were cut, or whose differences files cannot be called.
        if distinct.len() < variants.len() {
            for (number, variant) in variants.iter_mut().enumerate() {
                variant.name = format!("{}-{}", number + 1, variant.name);
            }
        }
        Ok(variants)
    }
}

/// A value as TOML: of a number that has many digits as `1e30`.
fn written(value: &Value) -> String {
    let plain = value.to_string();
    match value {
        Value::Float(number) if plain.len() > 12 => {
            let short = format!("{number:e}");
            if short.len() < plain.len() { short } else { plain }
        }
        _ => plain,
    }
}

/// The sweeps that come with the program.
const SHIPPED: [(&str, &str); 1] = [("sweep-li", include_str!("../../sweeps/sweep-li.toml"))];

/// Runs of a sweep.
const MOST: usize = 10_000;

/// As many runs of a recipe with seeds that follow its own.
pub fn seeds(recipe: &Recipe, count: usize) -> Vec<Variant> {
    let variant = |i: usize| {
        let seed = recipe.seed.saturating_add(i as u64);
        let settings = vec![("seed".to_owned(), seed.to_string())];
        Variant { name: name(&settings), settings, recipe: Recipe { seed, ..recipe.clone() } }
    };
    (0..count).map(variant).collect()
}

/// The settings as the name of a directory: without sections, and without what files cannot be called.
fn name(settings: &[(String, String)]) -> String {
    let one = |(field, value): &(String, String)| {
        let key = field.rsplit('.').next().unwrap_or(field);
        let plain = |c: char| if c.is_alphanumeric() || "=._-".contains(c) { c } else { '_' };
        format!("{key}={}", value.trim_matches('"')).chars().map(plain).collect::<String>()
    };
    let mut name = settings.iter().map(one).collect::<Vec<_>>().join(",");
    // Files of 255 bytes are the longest everywhere.
    while name.len() > 120 {
        name.pop();
    }
    name
}
