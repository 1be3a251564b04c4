//! `train`: trains a network on a directory of IDX files.

#[path = "../cli/mod.rs"]
mod cli;
#[path = "../cli/interrupt.rs"]
mod interrupt;
mod job;
mod many;
#[cfg(feature = "mpi")]
mod ranks;
#[cfg(not(feature = "mpi"))]
#[path = "no_ranks.rs"]
mod ranks;
mod recipes;
mod show;
#[path = "../cli/threads.rs"]
mod threads;

use clap::{CommandFactory, FromArgMatches, Parser};
use cli::{Failure, run, say, usage};
use interrupt::Interrupt;
use job::{Job, out_failure, style, word};
use model::FileError;
use recipes::{Fields, after_help, recipe_failure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use threads::ThreadFlags;
use trainer::{
    Checkpoint, CheckpointError, Checkpoints, Destination, Launch, Recipe, RunDirectory, launch,
};

/// Trains a convolutional image classifier. Without arguments: LeNet on the Fashion-MNIST that comes
/// with Bobbin.
#[derive(Parser)]
#[command(name = "train", version, args_override_self = true, next_help_heading = "Run")]
struct Arguments {
    /// What to do: a name from the list below, or a TOML file [default: fast]
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,
    /// Directory of IDX files, plain or gzipped [default: the bundled Fashion-MNIST]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Each rank of an MPI job has its own part of the training images in --data
    #[arg(long, requires = "data")]
    partitioned: bool,
    /// Directory to write, new or empty [default: runs/RECIPE-NUMBER]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the run that is in --out
    #[arg(long, requires = "out")]
    force: bool,
    /// Go on with the run in this directory; with --epochs it is made longer
    #[arg(long, value_name = "DIR", conflicts_with_all = ["recipe", "out", "force"])]
    resume: Option<PathBuf>,
    /// Checkpoints to keep
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Run every combination of a sweep's values: a name from the list below, or a TOML file
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["recipe", "resume", "seeds"])]
    sweep: Option<String>,
    /// Run the recipe with this many seeds, and print mean ± standard deviation
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: Option<u32>,
    #[command(flatten)]
    threads: ThreadFlags,
    /// Where gzipped files are unpacked [default: $BOBBIN_CACHE or ~/.cache/bobbin]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Output")]
    output: Output,
    #[command(flatten, next_help_heading = "Instead of what the recipe says")]
    fields: Fields,
}

#[derive(clap::Args)]
struct Output {
    /// Print the layers of the network, and do not train
    #[arg(long, conflicts_with_all = ["resume", "sweep", "seeds", "json", "quiet", "profile"])]
    describe: bool,
    /// Print a JSON object per line: those of metrics.jsonl (see docs/metrics.md)
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
    /// Measure every operation and print where the time went
    #[arg(long, conflicts_with_all = ["json", "quiet", "sweep", "seeds"])]
    profile: bool,
}

fn main() -> ExitCode {
    let matches = Arguments::command().after_help(after_help()).try_get_matches();
    let arguments = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    let launch = launch();
    if let Some(launch) = launch.filter(|launch| launch.ranks > 1) {
        return ranks::train(launch, arguments);
    }
    #[cfg(feature = "mpi")]
    if launch.is_some() {
        trainer::end_with_launcher();
    }
    match arguments {
        Ok(arguments) => cli::end(train(&arguments)),
        Err(error) => cli::stop(&error),
    }
}

/// Before ranks that cannot speak with each other tell of the same error: rank 0 does so at once, and its
/// end is that of the job, so that the others need not.
fn first_tells(launch: Launch) {
    if launch.rank > 0 {
        thread::sleep(Duration::from_secs(5));
    }
}

fn train(arguments: &Arguments) -> Result<(), Failure> {
    let interrupt = Interrupt::watch().map_err(run)?;
    let job = Job { arguments, interrupt: &interrupt, style: style(&arguments.output) };
    if let Some(directory) = &arguments.resume {
        return resume(&job, directory);
    }
    if let Some(sweep) = &arguments.sweep {
        return many::sweep(&job, sweep);
    }
    let name = job.recipe_name();
    let settings = arguments.fields.settings()?;
    let recipe = Recipe::load(name, &settings)
        .map_err(|error| recipe_failure(&arguments.fields, name, error))?;
    let recipe = job.own(recipe)?;
    let base = job.base_name();
    if let Some(count) = arguments.seeds {
        return many::seeds(&job, &recipe, &base, count as usize);
    }
    let destination = job.destination(&base, Destination::at)?;
    let (data, workers) = (job.open(&recipe)?, arguments.threads.start()?);
    let mut trainer = job.trainer(&recipe, name, &data, &workers)?;
    if arguments.output.describe {
        say(&trainer.network().describe());
        return Ok(());
    }
    let directory = destination.make(&recipe).map_err(out_failure)?;
    let outcome = job.run(&mut trainer, &directory);
    job.ended(outcome, &directory, &format!("--resume {}", word(directory.path()))).map(drop)
}

/// Goes on with a run from its latest checkpoint.
fn resume(job: &Job<'_>, path: &Path) -> Result<(), Failure> {
    let arguments = job.arguments;
    let directory = RunDirectory::open(path).map_err(run)?;
    directory.lock().map_err(run)?;
    let name = directory.recipe().display().to_string();
    let settings = arguments.fields.settings()?;
    let recipe = Recipe::load(&name, &settings)
        .map_err(|error| recipe_failure(&arguments.fields, &name, error))?;
    let recipe = job.own(recipe)?;
    let checkpoint = whole(Checkpoints::new(directory.checkpoints(), 1).latest())?;
    check_continuation(&checkpoint, &recipe, |field| arguments.fields.origin(field, &name))?;
    let (data, workers) = (job.open(&recipe)?, arguments.threads.start()?);
    let outcome = job.go_on(&recipe, &directory, &checkpoint, &data, &workers);
    job.ended(outcome, &directory, &format!("--resume {}", word(directory.path()))).map(drop)
}

/// Whether a run of this recipe can go on from a checkpoint; `origin` says what set a field.
fn check_continuation(
    checkpoint: &Checkpoint,
    recipe: &Recipe,
    origin: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    let except = ["stop.epochs", "data.directory"];
    if let Some((field, then, now)) = checkpoint.recipe().difference(recipe, &except) {
        let (origin, path) = (origin(&field), checkpoint.path().display());
        return Err(usage(format!(
            "{origin}: `{field}` is {now}: expected {then}, as in {path}; of a run that goes on, only \
             --epochs may change"
        )));
    }
    let (epochs, begun) = (recipe.stop.epochs, checkpoint.progress().epoch_under_way());
    if epochs < begun {
        let origin = origin("stop.epochs");
        return Err(usage(format!(
            "{origin}: `stop.epochs` is {epochs}: expected at least {begun}, the epochs that the run has \
             begun"
        )));
    }
    if checkpoint.recipe().stop.epochs != epochs && recipe.schedule.kind.follows_the_plan() {
        cli::complain(
            "warning",
            "the schedule of the learning rate depends on the number of epochs: the weights will not be \
             those of a run that was planned so from the start",
        );
    }
    Ok(())
}

/// The latest checkpoint that is whole. Others are named.
fn whole(
    latest: Result<(Checkpoint, Vec<FileError>), CheckpointError>,
) -> Result<Checkpoint, Failure> {
    let (checkpoint, damaged) = latest.map_err(run)?;
    for error in damaged {
        cli::complain("warning", &format!("{error}; going on from an older one"));
    }
    Ok(checkpoint)
}
