//! A recipe: everything that, with the data, decides the trained weights.

use model::PRESETS;
mod sections;

pub use sections::{
    Auto, DataSection, InitName, ModelSection, Moments, Normalize, OptimizerKind, OptimizerSection,
    ScheduleKind, ScheduleSection, StopSection, Validation, ValidationSet,
};

use serde::{Deserialize, Serialize};
use std::path::Path;
use thiserror::Error;
use toml::{Table, Value};

/// Everything that, with the data, decides the trained weights. Threads, paths and logs are not in
/// it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Decides every random choice.
    pub seed: u64,
    /// The network.
    pub model: ModelSection,
    /// What is made of the data.
    pub data: DataSection,
    /// How weights follow gradients.
    pub optimizer: OptimizerSection,
    /// How the learning rate changes.
    pub schedule: ScheduleSection,
    /// When training ends.
    pub stop: StopSection,
}

/// The recipes that come with the program: name and TOML, whose first line says what it is for.
const SHIPPED: [(&str, &str); 2] = [
    ("fast", include_str!("../../../recipes/fast.toml")),
    ("paper", include_str!("../../../recipes/paper.toml")),
];

/// TOML has no larger number.
const LARGEST: u64 = i64::MAX as u64;

/// Why a recipe cannot be used.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// Neither a shipped recipe nor a file.
    #[error(
        "unknown recipe `{0}`: expected {shipped} or the path of a TOML file that ends in .toml",
        shipped = SHIPPED.map(|(name, _)| name).join(", ")
    )]
    Unknown(String),
    /// The file cannot be read.
    #[error("{path}: cannot read the recipe: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not TOML, or a field is unknown or of the wrong type.
    #[error("{path}: line {line}: {problem}")]
    Malformed {
        /// The file.
        path: String,
        /// Where in the file, from one.
        line: usize,
        /// What was found and what was expected.
        problem: String,
    },
    /// A value is impossible.
    #[error("`{field}` is {found}: expected {expected}")]
    Value {
        /// Section and key.
        field: String,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A setting of a field that there is not.
    #[error("`{field}`: {problem}")]
    Field {
        /// Section and key.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
}

impl RecipeError {
    /// The field, as `section.key`, unless the recipe as a whole is at fault.
    pub fn field(&self) -> Option<&str> {
        match self {
            RecipeError::Value { field, .. } | RecipeError::Field { field, .. } => Some(field),
            _ => None,
        }
    }

    pub(crate) fn value(field: &str, found: impl ToString, expected: impl ToString) -> RecipeError {
        RecipeError::Value {
            field: field.to_owned(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }
}

impl Recipe {
    /// The recipes that come with the program: the name of each, and what it is for.
    pub fn shipped() -> impl Iterator<Item = (&'static str, &'static str)> {
        SHIPPED.into_iter().map(|(name, text)| {
            (name, text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']))
        })
    }

    /// A shipped recipe, or that of a TOML file, with some fields set: each setting is a path such
    /// as `optimizer.lr` and a TOML value; what is no TOML value is taken as a string.
    pub fn load(name: &str, settings: &[(String, String)]) -> Result<Recipe, RecipeError> {
        let text = match SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            Some((_, text)) => (*text).to_owned(),
            None if Path::new(name).extension().is_some_and(|e| e == "toml") => {
                std::fs::read_to_string(name)
                    .map_err(|error| RecipeError::Unreadable { path: name.to_owned(), error })?
            }
            None => return Err(RecipeError::Unknown(name.to_owned())),
        };
        Recipe::parse(name, &text, settings)
    }

    fn parse(name: &str, text: &str, settings: &[(String, String)]) -> Result<Recipe, RecipeError> {
        let malformed = |error: toml::de::Error| {
            let before = &text[..error.span().map_or(0, |span| span.start)];
            let line = 1 + before.matches('\n').count();
            let problem = in_words(error.message());
            RecipeError::Malformed { path: name.to_owned(), line, problem }
        };
        let mut recipe: Recipe = toml::from_str(text).map_err(malformed)?;
        let mut table: Table = toml::from_str(text).map_err(malformed)?;
        // One after another, so that a problem is that of the last.
        for (field, value) in settings {
            set(&mut table, field, value)?;
            let result = table.clone().try_into();
            recipe = result.map_err(|error| wrong_setting(field, value, error.message()))?;
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// As TOML, complete.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is a table of plain values")
    }

    /// Images per shard: by default an eighth of the batch, in whole sixteens, between 32 (or half of
    /// a smaller batch) and 64. Sixteen at a time cost LeNet 8 % more than 32, and give batch norm
    /// poorer statistics.
    pub fn shard(&self) -> usize {
        let part = |n: usize| self.data.batch_size.div_ceil(n).next_multiple_of(16);
        self.data.shard.unwrap_or(part(8).clamp(part(2).min(32), 64))
    }

    /// Whether every value is possible.
    pub fn check(&self) -> Result<(), RecipeError> {
        let require = |ok: bool, field: &str, found: &dyn ToString, expected: &str| {
            if ok { Ok(()) } else { Err(RecipeError::value(field, found.to_string(), expected)) }
        };
        let (model, data) = (&self.model, &self.data);
        let (optimizer, schedule) = (&self.optimizer, &self.schedule);
        let whole = format!("a whole number from 0 to {LARGEST}");
        require(self.seed <= LARGEST, "seed", &self.seed, &whole)?;
        let presets = format!("one of {}", PRESETS.map(|(name, _)| name).join(", "));
        let known = PRESETS.iter().any(|(name, _)| *name == model.preset);
        require(known, "model.preset", &format!("\"{}\"", model.preset), &presets)?;
        let smoothing = model.label_smoothing;
        let fraction = "a number of at least 0 and below 1";
        require((0.0..1.0).contains(&smoothing), "model.label_smoothing", &smoothing, fraction)?;
        let count = "a whole number from 1 to 1048576";
        let counts = 1..=1 << 20;
        let batch = data.batch_size;
        require(counts.contains(&batch), "data.batch_size", &batch, count)?;
        let shard = self.shard();
        let sixteens = counts.contains(&shard) && shard.is_multiple_of(16);
        require(sixteens, "data.shard", &shard, "a multiple of 16 from 16 to 1048576")?;
        if let Validation::HeldOut(images) = data.validation {
            let ok = (1..=u32::MAX as usize).contains(&images);
            let expected = "\"test\", \"none\" or a number of training images from 1";
            require(ok, "data.validation", &images, expected)?;
        }
        if let Normalize::Fixed(Moments { mean, std }) = &data.normalize {
            let finite = !mean.is_empty() && mean.iter().all(|m| m.is_finite());
            let expected = "a list of numbers, such as [0.5]";
            require(finite, "data.normalize.mean", &format!("{mean:?}"), expected)?;
            let positive = std.len() == mean.len() && std.iter().all(|s| s.is_finite() && *s > 0.0);
            let expected = "a list of as many positive numbers as `data.normalize.mean` has";
            require(positive, "data.normalize.std", &format!("{std:?}"), expected)?;
        }
        let lr = optimizer.lr;
        let positive = (f32::MIN_POSITIVE..=f32::MAX).contains(&(lr as f32));
        let expected = "a positive number from 1.2e-38 to 3.4e38";
        require(positive, "optimizer.lr", &format!("{lr:?}"), expected)?;
        let momentum = optimizer.momentum;
        require((0.0..1.0).contains(&momentum), "optimizer.momentum", &momentum, fraction)?;
        let nesterov = !optimizer.nesterov || momentum > 0.0;
        let expected = "false, as `optimizer.momentum` is 0";
        require(nesterov, "optimizer.nesterov", &true, expected)?;
        let decay = optimizer.weight_decay;
        let decays = (0.0..=f32::MAX).contains(&(decay as f32));
        let (found, expected) = (format!("{decay:?}"), "a number from 0 to 3.4e38");
        require(decays, "optimizer.weight_decay", &found, expected)?;
        let warmup = schedule.warmup;
        require((0.0..=1.0).contains(&warmup), "schedule.warmup", &warmup, "a number from 0 to 1")?;
        for (field, value) in [
            ("schedule.start_divisor", schedule.start_divisor),
            ("schedule.end_divisor", schedule.end_divisor),
        ] {
            let ok = value.is_finite() && value >= 1.0;
            require(ok, field, &value, "a number of at least 1")?;
        }
        let epochs = self.stop.epochs;
        require(counts.contains(&epochs), "stop.epochs", &epochs, count)
    }
}

/// Sets `section.key` of a table. Sections that are not there are made, and a value in the place of
/// a section gives way.
fn set(table: &mut Table, field: &str, value: &str) -> Result<(), RecipeError> {
    let mut section = table;
    let mut keys: Vec<&str> = field.split('.').map(str::trim).collect();
    if keys.contains(&"") {
        let problem = "expected a field such as optimizer.lr".to_owned();
        return Err(RecipeError::Field { field: field.to_owned(), problem });
    }
    let last = keys.pop().expect("splitting gives at least one part");
    for key in keys {
        let entry = section.entry(key).or_insert(Value::Boolean(false));
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        section = entry.as_table_mut().expect("made a table just now");
    }
    let value = value.parse().unwrap_or_else(|_| Value::String(value.to_owned()));
    section.insert(last.to_owned(), value);
    Ok(())
}

/// A setting that has no place in a recipe, by the words of the parser.
fn wrong_setting(field: &str, value: &str, problem: &str) -> RecipeError {
    let problem = in_words(problem);
    // `seed.x`: a section where there is a value.
    let misplaced = problem.starts_with("invalid type: map");
    match problem.rsplit_once("expected ") {
        Some((_, expected)) if !misplaced && !problem.starts_with("unknown field") => {
            RecipeError::value(field, value, expected)
        }
        _ if misplaced => {
            let problem = "there is no such field".to_owned();
            RecipeError::Field { field: field.to_owned(), problem }
        }
        _ => RecipeError::Field { field: field.to_owned(), problem },
    }
}

/// A message of the parser without the names of Rust's types, on one line.
fn in_words(problem: &str) -> String {
    let whole = format!("expected a whole number from 0 to {LARGEST}");
    let mut text = problem.trim().replace('\n', "; ");
    for (name, words) in [
        ("expected f64", "expected a number"),
        ("expected u64", &whole),
        ("expected usize", &whole),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list"),
    ] {
        text = text.replace(name, words);
    }
    text
}

#[cfg(test)]
mod tests;
