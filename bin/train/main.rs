//! `train`: trains a network on a directory of IDX files.

mod cli;
#[path = "cli/interrupt.rs"]
mod interrupt;
mod many;
#[cfg(feature = "mpi")]
mod ranks;
mod recipes;
mod show;
#[path = "cli/threads.rs"]
mod threads;

use clap::{CommandFactory, FromArgMatches, Parser};
use cli::{Failure, run, say, usage};
use interrupt::Interrupt;
use model::FileError;
use recipes::{Fields, after_help, recipe_failure};
use show::{Style, show};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use threads::ThreadFlags;
use trainer::{
    Checkpoint, CheckpointError, Checkpoints, Dataset, Destination, Outcome, Recipe, Recording,
    RunDirectory, RunDirectoryError, Source, Stop, TrainError, Trainer, Workers, launched_ranks,
    record,
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
    let arguments = match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => return cli::stop(&error),
    };
    match launched_ranks() {
        1 => cli::end(train(&arguments)),
        #[cfg(feature = "mpi")]
        _ => ranks::train(&arguments),
        #[cfg(not(feature = "mpi"))]
        ranks => cli::end(Err(run(format!(
            "one of {ranks} ranks of an MPI job, but built without MPI: cargo build --release --features \
             mpi"
        )))),
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

/// What all runs of a command share.
struct Job<'a> {
    arguments: &'a Arguments,
    interrupt: &'a Interrupt,
    style: Style,
}

impl Job<'_> {
    /// The recipe that is asked for.
    fn recipe_name(&self) -> &str {
        self.arguments.recipe.as_deref().unwrap_or("fast")
    }

    /// What the directory of a run is called after.
    fn base_name(&self) -> String {
        let stem = Path::new(self.recipe_name()).file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }

    /// The recipe with the files that the command names, wherever it is run from again.
    fn own(&self, mut recipe: Recipe) -> Result<Recipe, Failure> {
        let absolute = |path: &PathBuf| std::path::absolute(path).map_err(run);
        let set = self.arguments.fields.sets("data.directory");
        if let Some(directory) = self.arguments.data.as_ref().filter(|_| !set) {
            recipe.data.directory = Some(absolute(directory)?);
        }
        for path in [&mut recipe.data.directory, &mut recipe.model.weights] {
            *path = path.as_ref().map(absolute).transpose()?;
        }
        recipe.model.weights =
            recipe.model.weights.as_deref().map(cli::weights_file).transpose()?;
        Ok(recipe)
    }

    /// Where to write; `at` says whether the directory that the command names will do.
    fn destination(
        &self,
        base: &str,
        at: fn(&Path, bool) -> Result<Destination, RunDirectoryError>,
    ) -> Result<Destination, Failure> {
        match &self.arguments.out {
            Some(out) => at(out, self.arguments.force).map_err(out_failure),
            None => Ok(Destination::numbered(Path::new("runs"), base)),
        }
    }

    fn open(&self, recipe: &Recipe) -> Result<Dataset, Failure> {
        let source = match &recipe.data.directory {
            Some(directory) => Source::new(directory),
            None => Source::bundled().map_err(run)?,
        };
        let (prefix, cache) = (recipe.data.prefix.clone(), self.arguments.cache.clone());
        let data = Dataset::open(&Source { prefix, cache, ..source });
        data.map_err(|error| cli::data_failure(&error, "--set data.prefix="))
    }

    fn trainer<'d>(
        &self,
        recipe: &Recipe,
        name: &str,
        data: &'d Dataset,
        workers: &'d Workers,
    ) -> Result<Trainer<'d>, Failure> {
        let fields = &self.arguments.fields;
        Trainer::new(recipe, data, workers).map_err(|error| match error {
            TrainError::Recipe(error) => recipe_failure(fields, name, error),
            // Layers of one's own are the recipe's; a preset is as it is.
            error @ TrainError::Shape { .. } if recipe.model.layers.is_some() => usage(error),
            error => run(error),
        })
    }

    /// Trains, and shows it.
    fn run(
        &self,
        trainer: &mut Trainer<'_>,
        directory: &RunDirectory,
    ) -> Result<Outcome, TrainError> {
        let recording = Recording {
            directory,
            keep: self.arguments.keep as usize,
            interrupt: self.interrupt.flag(),
            profile: self.arguments.output.profile,
        };
        if let (Some(file), Style::Plain | Style::Terminal) =
            (&trainer.recipe().model.weights, self.style)
        {
            let fresh = trainer.fresh_parameters();
            let rest = if fresh.is_empty() { "" } else { "; for other classes, so at random: " };
            say(&format!("weights: {}{rest}{}", file.display(), fresh.join(", ")));
        }
        let mut listener = show(self.style);
        let outcome = record(trainer, recording, &mut *listener)?;
        drop(listener);
        if let Some(profile) = &outcome.profile {
            say(&format!("\n{profile}"));
        }
        Ok(outcome)
    }

    /// Goes on with a run.
    fn go_on(
        &self,
        recipe: &Recipe,
        directory: &RunDirectory,
        checkpoint: &Checkpoint,
        data: &Dataset,
        workers: &Workers,
    ) -> Result<Outcome, TrainError> {
        let mut trainer = Trainer::resume(recipe, data, workers, checkpoint)?;
        directory.rewrite_recipe(recipe)?;
        self.run(&mut trainer, directory)
    }

    /// What to say of the end of a run if it is not complete; the program goes on with it if called
    /// with these arguments.
    fn ended(
        &self,
        outcome: Result<Outcome, TrainError>,
        directory: &RunDirectory,
        arguments: &str,
    ) -> Result<Outcome, Failure> {
        let program = std::env::args_os().next().unwrap_or_else(|| "train".into());
        let program = word(Path::new(&program));
        match outcome {
            Ok(outcome) if outcome.stop == Stop::Interrupted => {
                let step = outcome.step;
                let text =
                    format!("interrupted after step {step}; go on with: {program} {arguments}");
                Err(Failure::Interrupted(text, self.interrupt.signal()))
            }
            Err(TrainError::File(error)) => {
                let begun = Checkpoints::new(directory.checkpoints(), 1).latest().is_ok();
                let hint = format!("; with that mended, go on with: {program} {arguments}");
                Err(run(format!("{error}{}", if begun { &hint } else { "" })))
            }
            outcome => outcome.map_err(run),
        }
    }
}

/// A path as a word for a shell, that is no flag.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    quoted(&text)
}

/// Text as a word for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=,:@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

fn style(output: &Output) -> Style {
    match output {
        Output { json: true, .. } => Style::Json,
        Output { quiet: true, .. } => Style::Quiet,
        _ if std::io::stdout().is_terminal() => Style::Terminal,
        _ => Style::Plain,
    }
}

fn out_failure(error: RunDirectoryError) -> Failure {
    let hint = match error {
        RunDirectoryError::Taken(_) => "choose another --out, or replace the run with --force",
        _ => "choose another place with --out",
    };
    run(format!("{error}; {hint}"))
}
