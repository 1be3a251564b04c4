//! The flags of `train` that set fields of the recipe, and the lists that its help shows.

use crate::cli::{Failure, usage};
use std::fmt::Write;
use std::path::PathBuf;
use trainer::sweep::Sweep;
use trainer::{Recipe, RecipeError};

/// Flags that set fields of the recipe, which reads their values.
#[derive(clap::Args)]
pub struct Fields {
    /// The network: a name from the list below
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Weights to fine-tune: a safetensors file, or a run directory
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Passes over the training images
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    epochs: Option<String>,
    /// Images per step of the optimiser
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    batch_size: Option<String>,
    /// The optimiser: sgd, adam, adamw, rmsprop or adagrad
    #[arg(long, value_name = "KIND")]
    optimizer: Option<String>,
    /// Learning rate (its peak, if it changes)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<String>,
    /// Momentum of the optimiser
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    momentum: Option<String>,
    /// How the learning rate changes: a kind from the list below
    #[arg(long, value_name = "KIND")]
    schedule: Option<String>,
    /// Decides every random choice
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<String>,
    /// Images per shard, a multiple of 16; a step uses at most batch ÷ shard threads
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    shard: Option<String>,
    /// Images to validate on: the test set, none, or N training images held out
    #[arg(long, value_name = "test|none|N", allow_negative_numbers = true)]
    validation: Option<String>,
    /// Any other field, such as optimizer.weight_decay=5e-4; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl Fields {
    /// Each flag with the field that it sets and the value it was given.
    fn flags(&self) -> [(&'static str, &'static str, Option<String>); 11] {
        // As TOML, so that a name such as `1e3` is not taken for a number.
        let init = self.init.as_ref().map(|path| format!("{:?}", path.to_string_lossy()));
        [
            ("--model", "model.preset", self.model.clone()),
            ("--init", "model.weights", init),
            ("--epochs", "stop.epochs", self.epochs.clone()),
            ("--batch-size", "data.batch_size", self.batch_size.clone()),
            ("--optimizer", "optimizer.kind", self.optimizer.clone()),
            ("--lr", "optimizer.lr", self.lr.clone()),
            ("--momentum", "optimizer.momentum", self.momentum.clone()),
            ("--schedule", "schedule.kind", self.schedule.clone()),
            ("--seed", "seed", self.seed.clone()),
            ("--shard", "data.shard", self.shard.clone()),
            ("--validation", "data.validation", self.validation.clone()),
        ]
    }

    /// The fields that are set, with their values.
    pub fn settings(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut settings = vec![];
        for (_, field, value) in self.flags() {
            settings.extend(value.map(|value| (field.to_owned(), value)));
        }
        for setting in &self.set {
            let Some((field, value)) = setting.split_once('=') else {
                let expected = "expected SECTION.KEY=VALUE, such as optimizer.lr=0.1";
                return Err(Failure::Usage(format!("--set: found `{setting}`: {expected}")));
            };
            settings.push((field.trim().to_owned(), value.to_owned()));
        }
        Ok(settings)
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

/// What is wrong with the recipe of this name, and whatever set the field that is wrong.
pub fn recipe_failure(fields: &Fields, name: &str, error: RecipeError) -> Failure {
    match error.field() {
        Some(field) => usage(format!("{}: {error}", fields.origin(field, name))),
        None => usage(error),
    }
}

/// The lists that the flags refer to, examples, and the exit codes.
pub fn after_help() -> String {
    let mut text = String::new();
    let mut list = |title: &str, items: &mut dyn Iterator<Item = (&str, &str)>| {
        let _ = writeln!(text, "{title}:");
        items.for_each(|(name, what)| _ = writeln!(text, "  {name:8}  {what}"));
        text.push('\n');
    };
    list("Recipes", &mut Recipe::shipped());
    list("Sweeps", &mut Sweep::shipped());
    list("Models", &mut model::PRESETS.into_iter());
    text + "\
Schedules:
  constant, step, multi-step, exponential, cosine, polynomial, one-cycle, plateau

Examples:
  train --recipe paper --seed 2
  train --model vgg --epochs 3 --lr 0.05 --out runs/vgg
  train --data ~/emnist --set data.prefix=emnist-letters --validation 5000
  train --recipe runs/fast-1/recipe.toml      the same weights again
  train --resume runs/fast-1 --epochs 40      the run made longer
  train --recipe paper --seeds 5              mean ± standard deviation
  train --sweep sweep-li                      a table of runs

Ctrl-C ends a run in good order, and the command is printed that goes on with it; Ctrl-C again, more
than a second later, stops at once, and the last checkpoint is what there is. For --sweep and
--seeds that is the same command with their directory as --out: runs in it that are done stay.

Exit codes: 0 trained; 1 the data, a file or the training failed; 2 the command or its recipe is
wrong; 130 (128 + the number of the signal) interrupted."
}
