//! `train`: trains a network on a directory of IDX files.

mod cli;

use clap::{CommandFactory, FromArgMatches, Parser};
use cli::{Failure, run, say, usage};
use kernels::Isa;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trainer::{
    Dataset, Destination, Epoch, Event, Recipe, RecipeError, RunDirectory, RunDirectoryError,
    Source, TrainError, Trainer, Workers,
};

/// Trains a convolutional image classifier. Without arguments: LeNet on the Fashion-MNIST that comes
/// with Bobbin.
#[derive(Parser)]
#[command(name = "train", version, next_help_heading = "Run")]
struct Arguments {
    /// What to do: a name from the list below, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "fast")]
    recipe: String,
    /// Directory of IDX files, plain or gzipped [default: the bundled Fashion-MNIST]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Directory to write, new or empty [default: runs/RECIPE-NUMBER]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the run that is in --out
    #[arg(long, requires = "out")]
    force: bool,
    /// Threads; the weights do not depend on it [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Where gzipped files are unpacked [default: $BOBBIN_CACHE or ~/.cache/bobbin]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Measure every operation and print where the time went
    #[arg(long)]
    profile: bool,
    #[command(flatten, next_help_heading = "Instead of what the recipe says")]
    fields: Fields,
}

/// Flags that set fields of the recipe, which reads their values.
#[derive(clap::Args)]
struct Fields {
    /// The network: a name from the list below
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Passes over the training images
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    epochs: Option<String>,
    /// Images per step of the optimiser
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    batch_size: Option<String>,
    /// Learning rate (its peak, if it changes)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<String>,
    /// Momentum of the optimiser
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    momentum: Option<String>,
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
    fn flags(&self) -> [(&'static str, &'static str, &Option<String>); 8] {
        [
            ("--model", "model.preset", &self.model),
            ("--epochs", "stop.epochs", &self.epochs),
            ("--batch-size", "data.batch_size", &self.batch_size),
            ("--lr", "optimizer.lr", &self.lr),
            ("--momentum", "optimizer.momentum", &self.momentum),
            ("--seed", "seed", &self.seed),
            ("--shard", "data.shard", &self.shard),
            ("--validation", "data.validation", &self.validation),
        ]
    }
}

fn main() -> ExitCode {
    let matches = Arguments::command().after_help(after_help()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli::end(train(&arguments))
}

/// Everything that can be wrong is found before anything is written.
fn train(arguments: &Arguments) -> Result<(), Failure> {
    let recipe = recipe(arguments)?;
    let isa = Isa::from_env().map_err(usage)?;
    let destination = destination(arguments)?;
    let data = open(arguments, &recipe)?;
    let workers = match arguments.threads {
        Some(threads) => Workers::new(isa, threads.into()),
        None => Workers::from_env(),
    };
    let workers = workers.map_err(|error| Failure::Run(format!("--threads: {error}")))?;
    let cannot_train = |error| match error {
        TrainError::Recipe(error) => recipe_failure(arguments, error),
        error => run(error),
    };
    let mut trainer = Trainer::new(&recipe, &data, &workers).map_err(cannot_train)?;

    let directory = destination.make(&recipe).map_err(out_failure)?;
    say(&introduction(&trainer, &data, &workers, &directory));
    let mut observer = |_: &Trainer<'_>, event: Event<'_>| {
        if let Event::Epoch(epoch) = event {
            say(&progress(epoch, recipe.stop.epochs));
        }
        Ok(ControlFlow::Continue(()))
    };
    if arguments.profile {
        let profile = trainer.run_profiled(&mut observer).map_err(cannot_train)?;
        say(&format!("\n{profile}"));
    } else {
        trainer.run_observed(&mut observer).map_err(cannot_train)?;
    }
    let model = directory.save(&trainer.model()).map_err(run)?;
    say(&format!("model: {}", model.display()));
    Ok(())
}

/// The recipe with what the flags say.
fn recipe(arguments: &Arguments) -> Result<Recipe, Failure> {
    let mut settings = vec![];
    for (_, field, value) in arguments.fields.flags() {
        settings.extend(value.as_ref().map(|value| (field.to_owned(), value.clone())));
    }
    for setting in &arguments.fields.set {
        let Some((field, value)) = setting.split_once('=') else {
            let expected = "expected SECTION.KEY=VALUE, such as optimizer.lr=0.1";
            return Err(Failure::Usage(format!("--set: found `{setting}`: {expected}")));
        };
        settings.push((field.to_owned(), value.to_owned()));
    }
    Recipe::load(&arguments.recipe, &settings).map_err(|error| recipe_failure(arguments, error))
}

/// Names whatever set the field that is wrong: of several the last, as that is what counts.
fn recipe_failure(arguments: &Arguments, error: RecipeError) -> Failure {
    let Some(field) = error.field() else { return usage(error) };
    let set = |setting: &&String| setting.split_once('=').is_some_and(|(path, _)| path == field);
    let given = |(_, path, value): &(_, &str, &Option<String>)| *path == field && value.is_some();
    let origin = match arguments.fields.flags().into_iter().find(given) {
        _ if arguments.fields.set.iter().any(|setting| set(&setting)) => "--set".to_owned(),
        Some((flag, _, _)) => flag.to_owned(),
        None => format!("recipe {}", arguments.recipe),
    };
    Failure::Usage(format!("{origin}: {error}"))
}

fn destination(arguments: &Arguments) -> Result<Destination, Failure> {
    match &arguments.out {
        Some(out) => Destination::at(out, arguments.force).map_err(out_failure),
        None => {
            let recipe = Path::new(&arguments.recipe).file_stem().unwrap_or_default();
            Ok(Destination::numbered(Path::new("runs"), &recipe.to_string_lossy()))
        }
    }
}

fn open(arguments: &Arguments, recipe: &Recipe) -> Result<Dataset, Failure> {
    let source = match &arguments.data {
        Some(directory) => Source::new(directory),
        None => Source::bundled().map_err(run)?,
    };
    let (prefix, cache) = (recipe.data.prefix.clone(), arguments.cache.clone());
    Dataset::open(&Source { prefix, cache, ..source }).map_err(run)
}

/// What is about to happen.
fn introduction(
    trainer: &Trainer<'_>,
    data: &Dataset,
    workers: &Workers,
    directory: &RunDirectory,
) -> String {
    let (recipe, network) = (trainer.recipe(), trainer.network());
    let [channels, height, width] = network.input();
    format!(
        "data: {}, images of {channels}×{height}×{width}, {} classes\n\
         model: {}, {} parameters\n\
         training: batches of {} in shards of {}, {} threads, {}\n\
         run directory: {}",
        data.directory().display(),
        network.classes(),
        recipe.model.name(),
        network.parameter_count(),
        recipe.data.batch_size,
        recipe.shard(),
        workers.threads(),
        workers.isa(),
        directory.path().display(),
    )
}

fn progress(epoch: &Epoch, epochs: usize) -> String {
    let training = epoch.training;
    let mut line = format!(
        "epoch {}/{epochs}  loss {:.4}  accuracy {:.2} %",
        epoch.number,
        training.loss,
        100.0 * training.accuracy
    );
    if let Some(validation) = epoch.validation {
        line += &format!(
            "  validation loss {:.4}  validation accuracy {:.2} %",
            validation.loss,
            100.0 * validation.accuracy
        );
    }
    let seconds = epoch.time.as_secs_f64();
    line + &format!("  {:.0} images/s  {seconds:.2} s", epoch.images_per_second)
}

/// The lists that the flags refer to, examples, and the exit codes.
fn after_help() -> String {
    let mut text = String::new();
    let mut list = |title: &str, items: &mut dyn Iterator<Item = (&str, &str)>| {
        let _ = writeln!(text, "{title}:");
        items.for_each(|(name, what)| _ = writeln!(text, "  {name:8} {what}"));
        text.push('\n');
    };
    list("Recipes", &mut Recipe::shipped());
    list("Models", &mut model::PRESETS.into_iter());
    text + "\
Examples:
  train --recipe paper --seed 2
  train --model vgg --epochs 3 --lr 0.05 --out runs/vgg
  train --data ~/emnist --set data.prefix=emnist-letters --validation 5000
  train --recipe runs/fast-1/recipe.toml      the same weights again

Exit codes: 0 trained; 1 the data, a file or the training failed; 2 the command or its recipe is
wrong."
}

fn out_failure(error: RunDirectoryError) -> Failure {
    let hint = match error {
        RunDirectoryError::Taken(_) => "choose another --out, or replace the run with --force",
        _ => "choose another place with --out",
    };
    Failure::Run(format!("{error}; {hint}"))
}
