//! The flags of `train` that set fields of the recipe, and the lists that its help shows.

use crate::cli::text::{one_of, text};
use crate::cli::{Failure, Kind, run, usage};
use serde_json::Value;
use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use tracking::sweep::Sweep;
use trainer::Recipe;
use trainer::recipe::{OptimizerKind, PrecisionName, RecipeError, ScheduleKind};

/// Flags that set fields of the recipe, which reads their values.
#[derive(clap::Args)]
pub struct Fields {
    /// The network, from the list below; all else stays as the recipe has it
    #[arg(
        long, value_name = "NAME", value_parser = one_of(model::PRESETS.map(|(name, _)| name)),
        hide_possible_values = true
    )]
    model: Option<String>,
    /// Weights to fine-tune: a file (.safetensors, or PyTorch's .pth or .pt), or a run directory
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Passes over the training images
    #[arg(long, value_name = "N", value_parser = text(), allow_negative_numbers = true)]
    epochs: Option<String>,
    /// Images per step of the optimiser
    #[arg(long, value_name = "N", value_parser = text(), allow_negative_numbers = true)]
    batch_size: Option<String>,
    /// sgd, adam, adamw, rmsprop or adagrad; another than the recipe's has its own defaults
    #[arg(
        long, value_name = "KIND", value_parser = one_of(OptimizerKind::ALL.map(OptimizerKind::word)), hide_possible_values = true
    )]
    optimizer: Option<String>,
    /// Learning rate; if it changes, the highest
    #[arg(long, value_name = "X", value_parser = text(), allow_negative_numbers = true)]
    lr: Option<String>,
    /// Momentum of the optimiser
    #[arg(long, value_name = "X", value_parser = text(), allow_negative_numbers = true)]
    momentum: Option<String>,
    /// Curve of the learning rate, from the list below; another has its own defaults
    #[arg(
        long, value_name = "KIND", value_parser = one_of(ScheduleKind::ALL.map(ScheduleKind::word)), hide_possible_values = true
    )]
    schedule: Option<String>,
    /// f32, or bf16 for products of numbers rounded to bfloat16, up to twice as fast on processors made for it
    #[arg(
        long, value_name = "NAME", value_parser = one_of(PrecisionName::WORDS), hide_possible_values = true
    )]
    precision: Option<String>,
    /// Decides every random choice
    #[arg(long, value_name = "N", value_parser = text(), allow_negative_numbers = true)]
    seed: Option<String>,
    /// Images per shard, a multiple of 16: what batch norm normalises over, and a leaf of the sum of gradients
    #[arg(long, value_name = "N", value_parser = text(), allow_negative_numbers = true)]
    shard: Option<String>,
    /// Images to validate on: the test set, none, or training images held out: 5000, 20%
    #[arg(
        long, value_name = "test|none|N", value_parser = text(), allow_negative_numbers = true
    )]
    validation: Option<String>,
    /// Any other field, such as optimizer.weight_decay=5e-4; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = text())]
    set: Vec<String>,
}

impl Fields {
    /// Each flag with the field that it sets and the value it was given.
    fn flags(&self) -> [(&'static str, &'static str, Option<String>); 12] {
        // As TOML, so that a name such as `1e3` is not taken for a number.
        let init = self.init.as_ref().map(|path| Value::from(path.to_string_lossy()).to_string());
        [
            ("--model", "model.preset", self.model.clone()),
            ("--init", "model.weights", init),
            ("--epochs", "stop.epochs", self.epochs.clone()),
            ("--batch-size", "data.batch_size", self.batch_size.clone()),
            ("--optimizer", "optimizer.kind", self.optimizer.clone()),
            ("--lr", "optimizer.lr", self.lr.clone()),
            ("--momentum", "optimizer.momentum", self.momentum.clone()),
            ("--schedule", "schedule.kind", self.schedule.clone()),
            ("--precision", "model.precision", self.precision.clone()),
            ("--seed", "seed", self.seed.clone()),
            ("--shard", "data.shard", self.shard.clone()),
            ("--validation", "data.validation", self.validation.clone()),
        ]
    }

    /// The fields that are set, with their values.
    pub fn settings(&self) -> Result<Vec<(String, String)>, Failure> {
        if let Some(path) = self.init.as_ref().filter(|path| path.to_str().is_none()) {
            let problem = "expected a path in UTF-8, as the recipe is to hold it";
            return Err(usage(format!("--init: {}: {problem}", path.display())));
        }
        let mut settings = vec![];
        for (_, field, value) in self.flags() {
            settings.extend(value.map(|value| (field.to_owned(), value)));
        }
        for setting in &self.set {
            let Some((field, value)) = setting.split_once('=') else {
                let expected = "expected SECTION.KEY=VALUE, such as optimizer.lr=0.1";
                return Err(usage(format!("--set: found `{setting}`: {expected}")));
            };
            settings.push((field.trim().to_owned(), value.to_owned()));
        }
        Ok(settings)
    }

    /// What the flags have done to the recipe of this name that one would not expect.
    pub fn notes(&self, name: &str, recipe: &Recipe) -> Vec<String> {
        let mut notes = vec![];
        let Ok(before) = Recipe::load(name, &[]) else { return notes };
        let (optimizer, kind) = (&recipe.optimizer, before.optimizer.kind);
        if optimizer.kind != before.optimizer.kind {
            notes.push(format!(
                "optimizer: {} with its own defaults: those of the recipe are for {kind}; learning rate {}, \
                 weight decay {}",
                optimizer.kind,
                optimizer.lr,
                optimizer.weight_decay(),
            ));
        }
        let (now, then) = (recipe.schedule.kind, before.schedule.kind);
        if now != then && then != ScheduleKind::Constant {
            notes.push(format!(
                "schedule: {now} with its own defaults: those of the recipe are for {then}"
            ));
        }
        if let Some(model) = &self.model
            && model != name
            && Recipe::shipped().any(|(recipe, _)| recipe == model)
        {
            notes.push(format!(
                "model: {model}, with the settings of the recipe {name}; --recipe {model} has settings made for it"
            ));
        }
        notes
    }

    /// Whether `--set` sets a field, or a part of it, or what it is a part of.
    pub fn sets(&self, field: &str) -> bool {
        let part = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'));
        let sets = |path: &str| path == field || part(field, path) || part(path, field);
        self.set.iter().filter_map(|setting| setting.split_once('=')).any(|(p, _)| sets(p.trim()))
    }

    /// What set a field: of several the last, as that is what counts; else the recipe of this name.
    pub fn origin(&self, field: &str, name: &str) -> String {
        let given =
            |(_, path, value): &(_, &str, Option<String>)| *path == field && value.is_some();
        match self.flags().into_iter().find(given) {
            _ if self.sets(field) => "--set".to_owned(),
            Some((flag, _, _)) => flag.to_owned(),
            None => format!("recipe {name}"),
        }
    }
}

/// The fields in sections whose key is this one.
fn fields_with_key(key: &str) -> Vec<String> {
    let recipe = serde_json::to_value(Recipe::default()).unwrap_or_default();
    let sections = recipe.as_object().into_iter().flatten();
    let has = |section: &Value| section.get(key).is_some();
    sections.filter(|(_, section)| has(section)).map(|(name, _)| format!("{name}.{key}")).collect()
}

/// What is wrong with the recipe of this name, and whatever set the field that is wrong.
pub fn recipe_failure(fields: &Fields, name: &str, error: RecipeError) -> Failure {
    let hint = confused(&error).unwrap_or_default();
    match error.field() {
        Some(key) if !key.contains('.') && !fields_with_key(key).is_empty() => {
            let meant = fields_with_key(key).join("` or `");
            usage(format!(
                "{}: `{key}`: there is no such field; did you mean `{meant}`?",
                fields.origin(key, name)
            ))
        }
        Some(field) => usage(format!("{}: {error}{hint}", fields.origin(field, name))),
        None => match error {
            RecipeError::Weights(error) => run(error),
            RecipeError::Unreadable { error: ref cause, .. } if !names_no_file(cause) => {
                Failure::new(Kind::File, error.to_string())
            }
            error => usage(format!("{error}{hint}")),
        },
    }
}

/// Whether what was named is no text file: the command is wrong, not the disk.
fn names_no_file(cause: &io::Error) -> bool {
    use ErrorKind::{InvalidData, InvalidFilename, IsADirectory, NotADirectory, NotFound};
    matches!(cause.kind(), NotFound | IsADirectory | NotADirectory | InvalidData | InvalidFilename)
}

/// What to say if a recipe, a model or a sweep was named where another of them belongs.
fn confused(error: &RecipeError) -> Option<String> {
    let recipe = |name: &str| Recipe::shipped().any(|(known, _)| known == name);
    let sweep = |name: &str| Sweep::shipped().any(|(known, _)| known == name);
    let model = |name: &str| model::PRESETS.iter().any(|(known, _)| *known == name);
    match error {
        RecipeError::Value { field, found, .. } if field == "model.preset" => {
            let name = found.trim_matches('"');
            recipe(name).then(|| format!("; `{name}` is a recipe: --recipe {name}"))
        }
        RecipeError::Unknown { name, .. } if model(name) => {
            Some(format!("; `{name}` is a model: --model {name}"))
        }
        RecipeError::Unknown { name, .. } if sweep(name) => {
            Some(format!("; `{name}` is a sweep: --sweep {name}"))
        }
        _ => None,
    }
}

/// The lists that the flags refer to, examples, and the exit codes.
pub fn after_help() -> String {
    let mut text = String::new();
    let mut list = |title: &str, items: Vec<(&str, &str)>| {
        let _ = writeln!(text, "{title}:");
        let width = items.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        items.iter().for_each(|(name, what)| _ = writeln!(text, "  {name:width$}  {what}"));
        text.push('\n');
    };
    list("Recipes", Recipe::shipped().collect());
    list("Sweeps", Sweep::shipped().collect());
    list("Models", model::PRESETS.to_vec());
    let _ =
        writeln!(text, "Schedules:\n  {}\n", ScheduleKind::ALL.map(ScheduleKind::word).join(", "));
    text + "\
Examples:
  bobbin train --recipe paper --seed 2
  bobbin train --recipe vgg                          the network vgg, with settings made for it
  bobbin train --model vgg --epochs 3 --lr 0.05      the network vgg, else as the recipe fast has it
  bobbin train --data ~/emnist --set data.prefix=emnist-letters --validation 5000
  bobbin train --recipe runs/fast-1/recipe.toml      the same weights again
  bobbin train --resume runs/fast-1 --epochs 40      the run made longer
  bobbin train --recipe paper --seeds 5              mean ± standard deviation
  bobbin train --sweep sweep-li                      a table of runs

Ctrl-C ends a run in good order, and the command is printed that goes on with it; Ctrl-C again, more
than a second later, stops at once, and the last checkpoint is what there is. For --sweep and
--seeds that is the same command with their directory as --out: runs in it that are done stay.

Exit codes: 0 trained; 1 the data, a file or the training failed; 2 the command or its recipe is
wrong; 130 (128 + the number of the signal) interrupted."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shells_complete_are_the_kinds_of_recipes() {
        let optimizers = OptimizerKind::ALL.map(OptimizerKind::word);
        let schedules = ScheduleKind::ALL.map(ScheduleKind::word);
        let fields = [
            ("optimizer.kind", &optimizers[..]),
            ("schedule.kind", &schedules),
            ("model.precision", &PrecisionName::WORDS),
        ];
        for (field, names) in fields {
            let wrong = Recipe::load("li", &[(field.to_owned(), "none".to_owned())]).unwrap_err();
            let listed: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            // Serde joins two names by a word.
            let joined = listed.join(if listed.len() == 2 { " or " } else { ", " });
            assert!(wrong.to_string().contains(&joined), "{wrong}");
        }
    }
}
