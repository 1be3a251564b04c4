//! A recipe: everything that, with the data, decides the trained weights.

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

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// One of [`model::PRESETS`].
    pub preset: String,
    /// How its weights start.
    pub init: InitName,
    /// Label smoothing of its loss, at least 0 and below 1.
    pub label_smoothing: f64,
}

/// How weights start: see [`model::Init`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitName {
    /// PyTorch's default.
    Pytorch,
    /// He's.
    He,
}

/// What is made of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSection {
    /// Images per optimiser step.
    pub batch_size: usize,
    /// Images per shard, a multiple of 16: the unit of work of a thread, and what batch norm
    /// normalises over. By default an eighth of the batch, in whole sixteens, at most 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<usize>,
    /// What validation uses.
    pub validation: Validation,
    /// What is done to pixels.
    pub normalize: Normalize,
    /// The set to use where several share a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// What validation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"test\", \"none\" or a number of training images")]
pub enum Validation {
    /// A set by name.
    Named(ValidationSet),
    /// This many training images, held out.
    HeldOut(usize),
}

/// A set that validation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValidationSet {
    /// The test set.
    Test,
    /// There is no validation.
    None,
}

/// What is done to pixels: (pixel / 255 − mean) / std.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"auto\" or { mean = [..], std = [..] }")]
pub enum Normalize {
    /// With mean and deviation of the training images, per channel.
    Auto(Auto),
    /// With these, one for all channels or one per channel.
    Fixed {
        /// Subtracted from pixel / 255.
        mean: Vec<f64>,
        /// What the difference is divided by.
        std: Vec<f64>,
    },
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auto {
    /// The word `auto`.
    Auto,
}

/// How weights follow gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSection {
    /// The rule.
    pub kind: OptimizerKind,
    /// The learning rate; the peak of a one-cycle schedule.
    pub lr: f64,
    /// What remains of the velocity at each step, at least 0 and below 1.
    pub momentum: f64,
    /// Whether to look one step of velocity ahead.
    pub nesterov: bool,
    /// The factor of the weights that is added to their gradient.
    pub weight_decay: f64,
}

/// The rule of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent.
    Sgd,
}

/// How the learning rate changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSection {
    /// The curve.
    pub kind: ScheduleKind,
    /// One-cycle: the part of the steps before the peak.
    pub warmup: f64,
    /// One-cycle: the peak divided by the first learning rate.
    pub start_divisor: f64,
    /// One-cycle: the first learning rate divided by the last.
    pub end_divisor: f64,
}

/// The curve of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Always the same.
    Constant,
    /// Up and down again, in halves of cosines: L. Smith, "Super-convergence", 2017, in PyTorch's
    /// form.
    OneCycle,
}

/// When training ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StopSection {
    /// Passes over the training images.
    pub epochs: usize,
}

impl Default for ModelSection {
    fn default() -> Self {
        ModelSection { preset: "lenet".into(), init: InitName::Pytorch, label_smoothing: 0.0 }
    }
}

impl Default for DataSection {
    fn default() -> Self {
        DataSection {
            batch_size: 64,
            shard: None,
            validation: Validation::Named(ValidationSet::Test),
            normalize: Normalize::Auto(Auto::Auto),
            prefix: None,
        }
    }
}

impl Default for OptimizerSection {
    fn default() -> Self {
        OptimizerSection {
            kind: OptimizerKind::Sgd,
            lr: 0.01,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
        }
    }
}

impl Default for ScheduleSection {
    fn default() -> Self {
        ScheduleSection {
            kind: ScheduleKind::Constant,
            warmup: 0.3,
            start_divisor: 25.0,
            end_divisor: 1e4,
        }
    }
}

impl Default for StopSection {
    fn default() -> Self {
        StopSection { epochs: 10 }
    }
}

/// The recipes that come with the program: name and TOML.
pub const SHIPPED: [(&str, &str); 2] = [
    ("fast", include_str!("../../recipes/fast.toml")),
    ("paper", include_str!("../../recipes/paper.toml")),
];

/// Why a recipe cannot be used.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// Neither a shipped recipe nor a file.
    #[error("unknown recipe `{0}`: expected {list} or a TOML file", list = SHIPPED.map(|(n, _)| n).join(", "))]
    Unknown(String),
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is not TOML, or a field is unknown or of the wrong type.
    #[error("recipe `{name}`: {problem}")]
    Malformed {
        /// The recipe.
        name: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A value is impossible.
    #[error("`{field}` is {found}: expected {expected}")]
    Value {
        /// Section and key.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A setting that is not `section.key=value`.
    #[error("`{0}`: expected section.key=value")]
    Setting(String),
}

impl Recipe {
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
        let malformed = |error: toml::de::Error| RecipeError::Malformed {
            name: name.to_owned(),
            problem: error.to_string().trim().replace('\n', "; "),
        };
        let mut table: Table = text.parse().map_err(malformed)?;
        for (path, value) in settings {
            set(&mut table, path, value).ok_or_else(|| RecipeError::Setting(path.clone()))?;
        }
        let recipe: Recipe = table.try_into().map_err(malformed)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// As TOML, complete.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is a table of plain values")
    }

    /// Images per shard.
    pub fn shard(&self) -> usize {
        let eighth = self.data.batch_size.div_ceil(8).next_multiple_of(16).min(64);
        self.data.shard.unwrap_or(eighth)
    }

    /// Whether every value is possible.
    pub fn check(&self) -> Result<(), RecipeError> {
        let require = |ok: bool, field, found: &dyn ToString, expected| {
            let found = found.to_string();
            if ok { Ok(()) } else { Err(RecipeError::Value { field, found, expected }) }
        };
        let (model, data) = (&self.model, &self.data);
        let (optimizer, schedule) = (&self.optimizer, &self.schedule);
        if model::preset(&model.preset, 2).is_err() {
            let found = format!("\"{}\"", model.preset);
            let expected = "one of lenet, cnn-bn, vgg, resnet";
            return Err(RecipeError::Value { field: "model.preset", found, expected });
        }
        let smoothing = model.label_smoothing;
        let fraction = "a number of at least 0 and below 1";
        require((0.0..1.0).contains(&smoothing), "model.label_smoothing", &smoothing, fraction)?;
        let batch = (1..=1 << 20).contains(&data.batch_size);
        require(batch, "data.batch_size", &data.batch_size, "a number from 1 to 1048576")?;
        let shard = self.shard();
        let sixteens = shard > 0 && shard.is_multiple_of(16) && shard <= 1 << 20;
        require(sixteens, "data.shard", &shard, "a multiple of 16 above 0")?;
        if let Normalize::Fixed { mean, std } = &data.normalize {
            let finite = !mean.is_empty() && mean.iter().all(|m| m.is_finite());
            require(finite, "data.normalize.mean", &format!("{mean:?}"), "finite numbers")?;
            let positive = std.len() == mean.len() && std.iter().all(|s| s.is_finite() && *s > 0.0);
            let expected = "as many positive numbers as `mean` has";
            require(positive, "data.normalize.std", &format!("{std:?}"), expected)?;
        }
        let lr = optimizer.lr;
        require(lr.is_finite() && lr > 0.0, "optimizer.lr", &lr, "a positive number")?;
        let momentum = optimizer.momentum;
        require((0.0..1.0).contains(&momentum), "optimizer.momentum", &momentum, fraction)?;
        let nesterov = !optimizer.nesterov || momentum > 0.0;
        require(nesterov, "optimizer.nesterov", &true, "false, as there is no momentum")?;
        let decay = optimizer.weight_decay;
        let decays = decay.is_finite() && decay >= 0.0;
        require(decays, "optimizer.weight_decay", &decay, "a number of at least 0")?;
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
        require(
            (1..=1 << 20).contains(&epochs),
            "stop.epochs",
            &epochs,
            "a number from 1 to 1048576",
        )
    }
}

/// Sets `section.key` of a table; `None` if the path is not one.
fn set(table: &mut Table, path: &str, value: &str) -> Option<()> {
    let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
    let last = keys.pop().filter(|key| !key.is_empty())?;
    let mut section = table;
    for key in keys.into_iter().filter(|key| !key.is_empty()) {
        let entry = section.entry(key).or_insert_with(|| Value::Table(Table::new()));
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        section = entry.as_table_mut()?;
    }
    let parsed = format!("value = {value}").parse::<Table>().ok();
    let parsed = parsed.and_then(|mut table| table.remove("value"));
    section.insert(last.to_owned(), parsed.unwrap_or_else(|| Value::String(value.to_owned())));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn shipped_recipes_are_valid_and_complete() {
        for (name, text) in SHIPPED {
            let recipe = Recipe::parse(name, text, &[]).unwrap();
            let again = Recipe::parse(name, &recipe.to_toml(), &[]).unwrap();
            assert_eq!(recipe, again);
        }
    }

    #[test]
    fn settings_reach_every_field() {
        let list = settings(&[
            ("optimizer.lr", "0.5"),
            ("data.validation", "1000"),
            ("data.prefix", "emnist-letters"),
            ("data.normalize", "auto"),
            ("seed", "7"),
        ]);
        let recipe = Recipe::load("paper", &list).unwrap();
        assert_eq!((recipe.optimizer.lr, recipe.seed), (0.5, 7));
        assert_eq!(recipe.data.validation, Validation::HeldOut(1000));
        assert_eq!(recipe.data.prefix.as_deref(), Some("emnist-letters"));
    }

    #[test]
    fn impossible_values_are_named() {
        for (path, value, word) in [
            ("optimizer.lr", "nan", "optimizer.lr"),
            ("optimizer.lr", "-1", "positive"),
            ("optimizer.momentum", "1", "momentum"),
            ("data.batch_size", "0", "data.batch_size"),
            ("data.batch_size", "-3", "batch_size"),
            ("data.shard", "20", "multiple of 16"),
            ("data.validation", "some", "\"test\""),
            ("model.preset", "alexnet", "lenet"),
            ("stop.epochs", "0", "stop.epochs"),
            ("stop.epochs", "many", "epochs"),
            ("optimiser.lr", "1", "optimiser"),
            ("optimizer.speed", "1", "speed"),
        ] {
            let error = Recipe::load("paper", &settings(&[(path, value)])).unwrap_err().to_string();
            assert!(error.contains(word), "{path}={value}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(Recipe::load("slow", &[]).unwrap_err().to_string().contains("fast, paper"));
        assert!(Recipe::load("no.toml", &[]).unwrap_err().to_string().contains("no.toml"));
    }

    #[test]
    fn shards_depend_on_the_batch_alone() {
        let shard = |batch: usize| {
            let list = settings(&[("data.batch_size", &batch.to_string())]);
            Recipe::load("paper", &list).unwrap().shard()
        };
        assert_eq!([1, 64, 128, 200, 256, 512, 4096].map(shard), [16, 16, 16, 32, 32, 64, 64]);
    }
}
