//! A recipe: everything that, with the data, decides the trained weights.

mod augment;
mod check;
mod data;
mod model;
mod optimizer;
mod pictures;
mod schedule;
mod settings;
pub mod shipped;
mod stop;
mod unused;

pub use augment::{AugmentSection, Fill};
pub use data::{Auto, DataSection, Fraction, Normalize, Sampling, Validation, ValidationSet};
pub use model::{Balanced, ClassWeights, InitName, LossName, ModelSection, PrecisionName};
pub use optimizer::{Group, OptimizerKind, OptimizerSection};
pub use pictures::{Facts, PICTURES};
pub use schedule::{ScheduleKind, ScheduleSection};
pub use stop::{EventsSection, Every, Monitor, StopSection};

use ::model::suggestion;
use check::require;
use files::FileError;
use serde::{Deserialize, Serialize};
use settings::{difference, field_at_fault, in_order, set, wrong_setting};
use shipped::{RECIPES, described, malformed};
use thiserror::Error;
use toml::Table;
use unused::{check_settings, check_values};

/// Everything that, with the data, decides the trained weights. Threads, paths and logs are not in
/// it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// The seed of every random choice.
    pub seed: u64,
    /// The network.
    pub model: ModelSection,
    /// How the data is used.
    pub data: DataSection,
    /// Random changes of training images.
    pub augment: AugmentSection,
    /// The optimiser.
    pub optimizer: OptimizerSection,
    /// The schedule of the learning rate.
    pub schedule: ScheduleSection,
    /// When training ends.
    pub stop: StopSection,
    /// What happens during training.
    pub events: EventsSection,
}

/// TOML has no larger number.
const LARGEST: u64 = i64::MAX as u64;

/// Why a recipe cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Neither a shipped recipe nor a file.
    #[error(
        "unknown recipe `{name}`: expected {known} or the path of a TOML file that ends in .toml{}",
        suggestion(name, known.split(", ")).unwrap_or_default()
    )]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names that exist.
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
    /// The file of weights does not say what network it is for.
    #[error(transparent)]
    Weights(FileError),
    /// A field is set that the recipe makes no use of.
    #[error("`{field}` would have no effect: {reason}")]
    Unused {
        /// Section and key.
        field: String,
        /// What it would need.
        reason: String,
    },
    /// A setting names a field that does not exist.
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
            RecipeError::Value { field, .. }
            | RecipeError::Unused { field, .. }
            | RecipeError::Field { field, .. } => Some(field),
            _ => None,
        }
    }

    /// A value that is impossible.
    #[must_use]
    pub fn value(field: &str, found: impl ToString, expected: impl ToString) -> RecipeError {
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
        described(&RECIPES)
    }

    /// A shipped recipe, or that of a TOML file, with some fields set: each setting is a path such
    /// as `optimizer.lr` and a TOML value; what is no TOML value is taken as a string.
    ///
    /// A setting of a field that the recipe makes no use of, such as `optimizer.betas` of SGD, is an error; what a
    /// file has there must be the default.
    ///
    /// [`PICTURES`] is sized to the bundled data; [`Recipe::load_for`] sizes it to others.
    ///
    /// If neither names the network, it is that of `model.weights`, where this is a model's file (or the
    /// directory of a run), else LeNet.
    pub fn load(name: &str, settings: &[(String, String)]) -> Result<Recipe, RecipeError> {
        Recipe::load_for(name, Facts::BUNDLED, settings)
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
        for (field, value) in in_order(settings) {
            set(&mut table, field, value)?;
            let result = table.clone().try_into();
            recipe = result.map_err(|error| wrong_setting(field, value, error.message()))?;
        }
        let optimizer = table.get("optimizer").and_then(|section| section.get("lr"));
        if optimizer.is_none() {
            recipe.optimizer.lr = recipe.optimizer.kind.lr();
        }
        // A recipe that a run has written does not say whose home directory it was.
        for path in [&mut recipe.data.directory, &mut recipe.model.weights].into_iter().flatten() {
            *path = files::home::expanded(path);
        }
        recipe.check()?;
        check_settings(&recipe, &table, settings)?;
        recipe.model.take_network_of_weights().map_err(RecipeError::Weights)?;
        // Said, so that a recipe stays the same if the default changes.
        let preset = recipe.model.layers.is_none().then(|| recipe.model.name().to_owned());
        recipe.model.preset = preset;
        Ok(recipe)
    }

    /// The complete recipe as TOML.
    ///
    /// # Panics
    /// If a path is not UTF-8 or the seed is above `i64::MAX`, as [`Recipe::check`] finds: TOML has neither.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe that was checked has nothing that TOML lacks")
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

    /// What is to be said where a run of this recipe goes on to another number of epochs than it was planned for.
    pub fn warning_of_epochs(&self, epochs: usize) -> Option<&'static str> {
        (epochs != self.stop.epochs && self.schedule.kind.follows_the_plan()).then_some(
            "the schedule of the learning rate depends on the number of epochs: the weights will not be \
             those of a run that was planned so from the start",
        )
    }

    /// Whether every value is possible, and every field that has another value than its default is used.
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
        self.check_selection()?;
        check_values(self)
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
            let why = match self.data.validation {
                Validation::Named(ValidationSet::None) => "it needs images to validate on",
                _ => "the test set must not influence the result",
            };
            let expected = format!(
                "`data.validation` to hold out training images, such as 5000 or 0.1: {why}"
            );
            return Err(RecipeError::value(field, found, expected));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
