//! `train`: trains a network on a directory of IDX files.

mod find_lr;
mod job;
mod many;
#[cfg(not(feature = "mpi"))]
mod no_ranks;
mod preview;
#[cfg(feature = "mpi")]
mod ranks;
mod recipes;
mod show;

use crate::cli::interrupt::Interrupt;
use crate::cli::text::{number, one_of};
use crate::cli::threads::ThreadFlags;
use crate::cli::{self, Failure, Invocation, flowing, run, say};
use clap::Parser;
use job::{Job, out_failure, style};
#[cfg(not(feature = "mpi"))]
use no_ranks as ranks;
use recipes::{Fields, after_help, recipe_failure};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tracking::sweep::Sweep;
use tracking::{Destination, RunDirectory};
use trainer::Recipe;
use trainer::ranks::{Launch, launch};

/// Trains a convolutional image classifier. Without arguments: LeNet on the Fashion-MNIST that comes
/// with Bobbin.
#[derive(Parser)]
#[command(
    name = "train", args_override_self = true, next_help_heading = "Run", after_help = flowing(&after_help())
)]
pub struct Arguments {
    /// The recipe: a name from the list below or a TOML file [default: fast for the bundled data and with --partitioned, else pictures]
    #[arg(
        long, value_name = "NAME|FILE", hide_possible_values = true,
        value_parser = one_of(Recipe::shipped().map(|(name, _)| name))
    )]
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
    /// Resume the run in this directory; --epochs makes it longer
    #[arg(long, value_name = "DIR", conflicts_with_all = ["recipe", "out", "force"])]
    resume: Option<PathBuf>,
    /// Checkpoints to keep
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = number(1..=u32::MAX))]
    keep: u32,
    /// Run every combination of a sweep's values: a name from the list below or a TOML file
    #[arg(
        long, value_name = "NAME|FILE", hide_possible_values = true,
        value_parser = one_of(Sweep::shipped().map(|(name, _)| name)),
        conflicts_with_all = ["recipe", "resume", "seeds"]
    )]
    sweep: Option<String>,
    /// Run the recipe with this many seeds, and print mean ± standard deviation
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = number(1..=1000))]
    seeds: Option<u32>,
    /// File for the hashes of every step, which `bobbin verify --ledger` computes again (see docs/trust.md)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sweep", "seeds", "describe"])]
    ledger: Option<PathBuf>,
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
    /// Print the layers of the network and the memory of an image, and do not train
    #[arg(long, conflicts_with_all = ["resume", "sweep", "seeds", "json", "quiet", "profile"])]
    describe: bool,
    /// Train with a rising learning rate, draw the loss against it, suggest a rate, and keep nothing else
    #[arg(long, value_name = "FILE.svg", conflicts_with_all = [
        "resume", "sweep", "seeds", "ledger", "profile", "describe", "out", "force"
    ])]
    find_lr: Option<PathBuf>,
    /// Draw training images as the network sees them in the first epochs, and do not train
    #[arg(long, value_name = "FILE.png", conflicts_with_all = [
        "resume", "sweep", "seeds", "ledger", "profile", "describe", "find_lr", "out", "force"
    ])]
    preview: Option<PathBuf>,
    /// Print a JSON object per line: those of metrics.jsonl (see docs/metrics.md)
    #[arg(long)]
    json: bool,
    /// Print nothing but errors; with --json nothing but the object of the end
    #[arg(long)]
    quiet: bool,
    /// Measure every operation and print where the time went
    #[arg(long, conflicts_with_all = ["json", "quiet", "sweep", "seeds"])]
    profile: bool,
}

/// Does it. Arguments that are wrong are told by whoever speaks for the ranks.
pub fn start(arguments: Result<Arguments, clap::Error>, called: Invocation) -> u8 {
    let launch = launch();
    if let Some(launch) = launch.filter(|launch| launch.ranks > 1) {
        return ranks::train(launch, arguments, called);
    }
    #[cfg(feature = "mpi")]
    if launch.is_some() {
        trainer::ranks::end_with_launcher();
    }
    match arguments {
        Ok(arguments) => cli::end(train(&arguments, called)),
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

fn train(arguments: &Arguments, called: Invocation) -> Result<(), Failure> {
    let interrupt = Interrupt::watch().map_err(run)?;
    let style = style(&arguments.output);
    let job = Job { arguments, called, interrupt: &interrupt, style };
    if let Some(directory) = &arguments.resume {
        return resume(&job, directory);
    }
    if let Some(sweep) = &arguments.sweep {
        return many::sweep(&job, sweep);
    }
    let name = job.recipe_name();
    let recipe = job.recipe()?;
    let base = job.base_name();
    if let Some(count) = arguments.seeds {
        return many::seeds(&job, &recipe, &base, count as usize);
    }
    if let Some(file) = &arguments.output.find_lr {
        return find_lr::find(&job, &recipe, file);
    }
    if let Some(file) = &arguments.output.preview {
        return preview::draw(&job, &recipe, file);
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
    job.ended(outcome, &directory, &job.to_go_on(directory.path())).map(drop)
}

/// Goes on with a run from its latest checkpoint.
fn resume(job: &Job<'_>, path: &Path) -> Result<(), Failure> {
    let arguments = job.arguments;
    let directory = RunDirectory::open(path).map_err(run)?;
    directory.lock().map_err(run)?;
    let name = directory.recipe().display().to_string();
    let settings = arguments.fields.settings()?;
    let recipe = directory
        .read_recipe(&settings)
        .map_err(|error| recipe_failure(&arguments.fields, &name, error))?;
    let recipe = job.own(recipe)?;
    let (data, workers) = (job.open(&recipe)?, arguments.threads.start()?);
    let mut trainer = job.restore(&recipe, &directory, &data, &workers)?;
    directory.rewrite_recipe(&recipe).map_err(run)?;
    let outcome = job.run(&mut trainer, &directory);
    job.ended(outcome, &directory, &job.to_go_on(directory.path())).map(drop)
}
