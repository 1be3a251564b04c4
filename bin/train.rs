//! `train`: trains a network on a directory of IDX files.

use clap::{CommandFactory, FromArgMatches, Parser};
use kernels::Isa;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trainer::{Dataset, Epoch, Recipe, RecipeError, Source, TrainError, Trainer, Workers};

/// Trains a convolutional image classifier.
///
/// Without arguments: LeNet on the Fashion-MNIST that comes with Bobbin, by the recipe `fast`.
#[derive(Parser)]
#[command(name = "train", version, after_help = EXIT_CODES)]
struct Arguments {
    /// What to do: `fast`, `paper`, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "fast")]
    recipe: String,
    /// The network: lenet, cnn-bn, vgg or resnet
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// A directory of IDX files, plain or gzipped [default: the bundled Fashion-MNIST]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where gzipped files are unpacked to [default: $BOBBIN_CACHE or ~/.cache/bobbin]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Passes over the training images
    #[arg(long, value_name = "N")]
    epochs: Option<String>,
    /// Images per optimiser step
    #[arg(long, value_name = "N")]
    batch_size: Option<String>,
    /// Learning rate (its peak, where it has one)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<String>,
    /// Momentum of the optimiser
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    momentum: Option<String>,
    /// Decides every random choice
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    /// Images per shard, a multiple of 16; a step uses at most batch ÷ shard threads
    #[arg(long, value_name = "N")]
    shard: Option<String>,
    /// What to validate on: test, none, or a number of training images to hold out
    #[arg(long, value_name = "test|none|N")]
    validation: Option<String>,
    /// Any other field of the recipe, such as optimizer.weight_decay=5e-4; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Threads; the trained weights do not depend on it [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The run directory, to be made [default: runs/RECIPE-NUMBER]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write into a run directory that exists
    #[arg(long)]
    force: bool,
}

const EXIT_CODES: &str = "\
Exit codes: 0 trained; 1 the data, the files or the training failed; 2 the command is wrong.";

/// What went wrong, and so with which code to exit.
enum Failure {
    /// The command: 2.
    Usage(String),
    /// The data, a file, or the training: 1.
    Run(String),
}

fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match train(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(problem)) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
        Err(Failure::Run(problem)) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn train(arguments: &Arguments) -> Result<(), Failure> {
    let recipe = recipe(arguments)?;
    let isa = Isa::from_env().map_err(|e| Failure::Usage(e.to_string()))?;
    let data = open(arguments, &recipe)?;
    let threads = arguments.threads.map(usize::from).unwrap_or_else(processors);
    let workers = Workers::new(isa, threads).map_err(run_failure)?;
    let mut trainer = Trainer::new(&recipe, &data, &workers).map_err(failure)?;
    let out = run_directory(arguments)?;
    write(&out.join("recipe.toml"), recipe.to_toml().as_bytes())?;

    introduce(&trainer, isa, threads, &out);
    let epochs = recipe.stop.epochs;
    trainer.run(|epoch| println!("{}", line(epoch, epochs))).map_err(failure)?;

    let path = out.join("model.safetensors");
    trainer.model().save(&path).map_err(run_failure)?;
    println!("model: {}", path.display());
    Ok(())
}

/// The recipe with what the flags say.
fn recipe(arguments: &Arguments) -> Result<Recipe, Failure> {
    let flags = [
        ("model.preset", &arguments.model),
        ("stop.epochs", &arguments.epochs),
        ("data.batch_size", &arguments.batch_size),
        ("optimizer.lr", &arguments.lr),
        ("optimizer.momentum", &arguments.momentum),
        ("seed", &arguments.seed),
        ("data.shard", &arguments.shard),
        ("data.validation", &arguments.validation),
    ];
    let mut settings = vec![];
    for (field, value) in flags {
        settings.extend(value.as_ref().map(|value| (field.to_owned(), value.clone())));
    }
    for setting in &arguments.set {
        let Some((path, value)) = setting.split_once('=') else {
            return Err(Failure::Usage(format!(
                "--set: {}",
                RecipeError::Setting(setting.clone())
            )));
        };
        settings.push((path.to_owned(), value.to_owned()));
    }
    Recipe::load(&arguments.recipe, &settings).map_err(|error| match error {
        RecipeError::Unreadable { .. } => run_failure(error),
        error => Failure::Usage(error.to_string()),
    })
}

fn open(arguments: &Arguments, recipe: &Recipe) -> Result<Dataset, Failure> {
    let directory = match &arguments.data {
        Some(directory) => directory.clone(),
        None => trainer::bundled_directory().map_err(run_failure)?,
    };
    let mut source = Source::new(directory);
    source.prefix = recipe.data.prefix.clone();
    source.cache = arguments.cache.clone();
    Dataset::open(&source).map_err(run_failure)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Makes the run directory: the one asked for, or the first that is free.
fn run_directory(arguments: &Arguments) -> Result<PathBuf, Failure> {
    let cannot = |path: &Path, error| Failure::Run(format!("{}: {error}", path.display()));
    if let Some(out) = &arguments.out {
        let taken = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
        if taken && !arguments.force {
            let problem =
                "exists and is not empty: choose another --out, or overwrite with --force";
            return Err(Failure::Run(format!("{}: {problem}", out.display())));
        }
        std::fs::create_dir_all(out).map_err(|error| cannot(out, error))?;
        return Ok(out.clone());
    }
    let recipe = Path::new(&arguments.recipe).file_stem().unwrap_or_default();
    let runs = Path::new("runs");
    std::fs::create_dir_all(runs).map_err(|error| cannot(runs, error))?;
    for number in 1.. {
        let out = runs.join(format!("{}-{number}", recipe.to_string_lossy()));
        match std::fs::create_dir(&out) {
            Ok(()) => return Ok(out),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot(&out, error)),
        }
    }
    unreachable!("numbers do not end")
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let attempt = || {
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.persist(path).map_err(|e| e.error).map(drop)
    };
    attempt().map_err(|error: std::io::Error| Failure::Run(format!("{}: {error}", path.display())))
}

/// What is about to happen.
fn introduce(trainer: &Trainer<'_>, isa: Isa, threads: usize, out: &Path) {
    let (recipe, network) = (trainer.recipe(), trainer.network());
    let [channels, height, width] = network.input();
    println!(
        "{}: {} parameters, {channels}×{height}×{width} images, {} classes, batches of {} in shards \
         of {}; {threads} threads, {isa}; run directory {}",
        recipe.model.preset,
        network.parameter_count(),
        network.classes(),
        recipe.data.batch_size,
        recipe.shard(),
        out.display(),
    );
}

fn line(epoch: &Epoch, epochs: usize) -> String {
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

fn failure(error: TrainError) -> Failure {
    match error {
        TrainError::Recipe(_) | TrainError::HoldOut { .. } => Failure::Usage(error.to_string()),
        error => run_failure(error),
    }
}

fn run_failure(error: impl std::fmt::Display) -> Failure {
    Failure::Run(error.to_string())
}
