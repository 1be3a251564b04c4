//! A recipe: everything that, with the data, decides the trained weights.

mod check;
mod data;
mod model;
mod optimizer;
mod schedule;
mod settings;
mod stop;

pub use data::{AugmentSection, Auto, DataSection, Moments, Normalize, Validation, ValidationSet};
pub use model::{InitName, ModelSection};
pub use optimizer::{Group, OptimizerKind, OptimizerSection};
pub use schedule::{ScheduleKind, ScheduleSection};
pub use stop::{EventsSection, Every, Monitor, StopSection};

use check::require;
use serde::{Deserialize, Serialize};
use settings::{difference, field_at_fault, in_words, set, wrong_setting};
use std::path::Path;
use thiserror::Error;
use toml::Table;

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
    /// Random changes of training images.
    pub augment: AugmentSection,
    /// How weights follow gradients.
    pub optimizer: OptimizerSection,
    /// How the learning rate changes.
    pub schedule: ScheduleSection,
    /// When training ends.
    pub stop: StopSection,
    /// What happens on the way.
    pub events: EventsSection,
}

/// The recipes that come with the program: name and TOML, whose first line says what it is for.
const SHIPPED: [(&str, &str); 6] = [
    ("fast", include_str!("../../../recipes/fast.toml")),
    ("paper", include_str!("../../../recipes/paper.toml")),
    ("li", include_str!("../../../recipes/li.toml")),
    ("cnn-bn", include_str!("../../../recipes/cnn-bn.toml")),
    ("vgg", include_str!("../../../recipes/vgg.toml")),
    ("resnet", include_str!("../../../recipes/resnet.toml")),
];

/// TOML has no larger number.
const LARGEST: u64 = i64::MAX as u64;

/// Why a recipe cannot be used.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// Neither a shipped recipe nor a file.
    #[error(
        "unknown recipe `{name}`: expected {known} or the path of a TOML file that ends in .toml"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
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
        described(&SHIPPED)
    }

    /// A shipped recipe, or that of a TOML file, with some fields set: each setting is a path such
    /// as `optimizer.lr` and a TOML value; what is no TOML value is taken as a string.
    pub fn load(name: &str, settings: &[(String, String)]) -> Result<Recipe, RecipeError> {
        Recipe::parse(name, &read(name, &SHIPPED)?, settings)
    }

    /// A recipe from the text of a file of this name, with some fields set as in [`Recipe::load`].
    pub fn parse(
        name: &str,
        text: &str,
        settings: &[(String, String)],
    ) -> Result<Recipe, RecipeError> {
        let wrong = |error: toml::de::Error| malformed(name, text, &error);
        let mut table: Table = toml::from_str(text).map_err(wrong)?;
        let mut recipe: Recipe = toml::from_str(text).map_err(|error| {
            let RecipeError::Malformed { path, line, problem } = wrong(error) else {
                unreachable!("what `malformed` makes")
            };
            let problem = field_at_fault(&table, &problem).map_or(problem, |e| e.to_string());
            RecipeError::Malformed { path, line, problem }
        })?;
        // One after another, so that a problem is that of the last.
        for (field, value) in settings {
            set(&mut table, field, value)?;
            let result = table.clone().try_into();
            recipe = result.map_err(|error| wrong_setting(field, value, error.message()))?;
        }
        recipe.check()?;
        // Said, so that a recipe stays the same if the default changes.
        let preset = recipe.model.layers.is_none().then(|| recipe.model.name().to_owned());
        recipe.model.preset = preset;
        Ok(recipe)
    }

    /// As TOML, complete.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is a table of plain values")
    }

    /// The first field in which this recipe differs from another, other than `except`: its path, and its
    /// value here and there.
    pub fn difference(&self, other: &Recipe, except: &[&str]) -> Option<(String, String, String)> {
        let table = |recipe: &Recipe| Table::try_from(recipe).expect("plain values");
        difference(&table(self), &table(other), except)
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
        let whole = format!("a whole number from 0 to {LARGEST}");
        require(self.seed <= LARGEST, "seed", self.seed, whole)?;
        self.model.check()?;
        self.data.check(self.shard())?;
        self.augment.check()?;
        self.optimizer.check()?;
        self.schedule.check(self.optimizer.lr)?;
        self.stop.check()?;
        self.events.check()?;
        self.check_selection()
    }

    /// Whether validation is on images that neither training nor the final test sees, so that it may
    /// choose.
    pub fn may_select(&self) -> bool {
        self.data.may_select()
    }

    /// What chooses by the test set would make its result too good: that needs images of its own.
    fn check_selection(&self) -> Result<(), RecipeError> {
        let plateau = self.schedule.kind == ScheduleKind::Plateau;
        let (accuracy, patience) = (self.stop.target_accuracy, self.stop.patience);
        for (field, found) in [
            ("schedule.kind", plateau.then(|| "\"plateau\"".to_owned())),
            ("stop.target_accuracy", accuracy.map(|value| value.to_string())),
            ("stop.patience", patience.map(|value| value.to_string())),
        ] {
            let Some(found) = found.filter(|_| !self.data.may_select()) else { continue };
            let expected = "`data.validation` to be a number of training images, as the test set \
                            must not decide";
            return Err(RecipeError::value(field, found, expected));
        }
        Ok(())
    }
}

/// The text of one that is shipped, or of a TOML file.
pub(crate) fn read(name: &str, shipped: &[(&str, &str)]) -> Result<String, RecipeError> {
    if let Some((_, text)) = shipped.iter().find(|(own, _)| *own == name) {
        return Ok((*text).to_owned());
    }
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        return std::fs::read_to_string(name)
            .map_err(|error| RecipeError::Unreadable { path: name.to_owned(), error });
    }
    let known = shipped.iter().map(|(own, _)| *own).collect::<Vec<_>>().join(", ");
    Err(RecipeError::Unknown { name: name.to_owned(), known })
}

/// Each name with the first line of its text.
pub(crate) fn described(
    shipped: &[(&'static str, &'static str)],
) -> impl Iterator<Item = (&'static str, &'static str)> {
    shipped.iter().map(|&(name, text)| {
        (name, text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']))
    })
}

/// Where in a file the parser found what.
pub(crate) fn malformed(name: &str, text: &str, error: &toml::de::Error) -> RecipeError {
    let before = &text[..error.span().map_or(0, |span| span.start)];
    let line = 1 + before.matches('\n').count();
    RecipeError::Malformed { path: name.to_owned(), line, problem: in_words(error.message()) }
}

#[cfg(test)]
mod tests;
