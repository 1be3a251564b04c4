//! A recipe: everything that, with the data, decides the trained weights.

use model::PRESETS;
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
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
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
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
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
    /// With these.
    Fixed(Moments),
}

/// Mean and deviation to normalise with, one for all channels or one per channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Moments {
    /// Subtracted from pixel / 255.
    pub mean: Vec<f64>,
    /// What the difference is divided by.
    pub std: Vec<f64>,
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
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
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
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
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
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
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

/// The recipes that come with the program: name and TOML, whose first line says what it is for.
const SHIPPED: [(&str, &str); 2] = [
    ("fast", include_str!("../../recipes/fast.toml")),
    ("paper", include_str!("../../recipes/paper.toml")),
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

    /// Images per shard.
    pub fn shard(&self) -> usize {
        let eighth = self.data.batch_size.div_ceil(8).next_multiple_of(16).min(64);
        self.data.shard.unwrap_or(eighth)
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
        require(lr.is_finite() && lr > 0.0, "optimizer.lr", &lr, "a positive number")?;
        let momentum = optimizer.momentum;
        require((0.0..1.0).contains(&momentum), "optimizer.momentum", &momentum, fraction)?;
        let nesterov = !optimizer.nesterov || momentum > 0.0;
        let expected = "false, as `optimizer.momentum` is 0";
        require(nesterov, "optimizer.nesterov", &true, expected)?;
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
            ("stop.epochs", "1.5", "is 1.5: expected a whole number"),
            ("optimizer.lr", "fast", "is fast: expected a number"),
            ("optimizer.lr", "", "is : expected a number"),
            ("optimizer.kind", "adam", "expected `sgd`"),
            ("optimizer.nesterov", "yes", "expected true or false"),
            ("optimizer", "3", "expected a section of fields"),
            ("optimiser.lr", "1", "unknown field `optimiser`, expected one of `seed`"),
            ("optimizer.speed", "1", "unknown field `speed`, expected one of `kind`, `lr`"),
            ("data.normalize.mode", "1", "\"auto\" or { mean = [..], std = [..] }"),
            ("data.normalize.mean", "[1, 2]", "`data.normalize.std` is [0.5]: expected a list of"),
            ("data.validation", "0", "from 1"),
            ("seed", "-1", "is -1: expected a whole number from 0 to 9223372036854775807"),
            ("seed", "9223372036854775808", "is 9223372036854775808: expected a whole number"),
            ("seed", "1\nmodel.preset = 'vgg'", "expected a whole number"),
            ("seed.high", "1", "there is no such field"),
            ("", "1", "expected a field"),
            ("optimizer..lr", "1", "expected a field"),
            (".lr", "1", "expected a field"),
        ] {
            let list = settings(&[("seed", "3"), (path, value)]);
            let error = Recipe::load("paper", &list).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(word), "{path}={value}: {message}");
            assert!(message.contains(&format!("`{}`", error.field().unwrap())), "{message}");
        }
    }

    #[test]
    fn the_field_at_fault_is_the_one_that_was_set() {
        let list = settings(&[("optimizer.lr", "0.1"), ("seed", "no"), ("stop.epochs", "no")]);
        assert_eq!(Recipe::load("fast", &list).unwrap_err().field(), Some("seed"));
        let list = settings(&[("data.normalize.mean", "[0]"), ("optimizer.kind", "no")]);
        assert_eq!(Recipe::load("fast", &list).unwrap_err().field(), Some("optimizer.kind"));
    }

    #[test]
    fn unusable_files_are_named() {
        let message = |name: &str| Recipe::load(name, &[]).unwrap_err().to_string();
        for (name, words) in [
            ("slow", "unknown recipe `slow`: expected fast, paper or the path of a TOML file"),
            ("", "unknown recipe ``"),
            ("no.toml", "no.toml: cannot read the recipe: "),
        ] {
            assert!(message(name).starts_with(words), "{}", message(name));
        }
        for (text, words) in [
            ("seed = 1\n[optimizer]\nlr = = 2\n", "r.toml: line 3: extra `=`"),
            ("seed = 1\n[optimizer\nlr = 2\n", "r.toml: line 2: "),
            ("[optimizer]\nspeed = 2\n", "r.toml: line 2: unknown field `speed`"),
            ("[data]\n\nbatch_size = 1.5", "r.toml: line 3: invalid type: floating point `1.5`"),
            ("seed = 1\nseed = 2", "r.toml: line 2: duplicate key"),
            ("optimizer = 3", "r.toml: line 1: invalid type: integer `3`, expected a section"),
        ] {
            let message = Recipe::parse("r.toml", text, &[]).unwrap_err().to_string();
            assert!(message.starts_with(words), "{text}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn shipped_recipes_are_described() {
        for (name, description) in Recipe::shipped() {
            assert!((20..=80).contains(&description.len()), "{name}: {description}");
        }
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
