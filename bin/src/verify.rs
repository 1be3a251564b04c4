//! `verify`: computes published runs, or the run of a ledger, again, and compares every step.

use crate::cli::data::{bundled, data_failure};
use crate::cli::text::one_of;
use crate::cli::threads::ThreadFlags;
use crate::cli::{Failure, Kind, complain, flowing, run, say, usage, warn_of_portable};
use clap::Parser;
use dataset::{Dataset, Source};
use serde_json::json;
use std::path::PathBuf;
use tracking::ledger::{Comparison, Difference, Ledger, Published, published};
use trainer::{Recipe, Trainer, Workers};

/// Computes short runs again whose bits are published, and compares every step.
#[derive(Parser)]
#[command(name = "verify", args_override_self = true, after_help = flowing(AFTER_HELP))]
pub struct Arguments {
    /// The recipes whose published runs are computed [default: all]
    #[arg(value_name = "RECIPE", value_parser = one_of(published().map(|row| row.recipe)))]
    recipes: Vec<String>,
    /// Print the published runs, and compute nothing
    #[arg(long, conflicts_with = "ledger")]
    list: bool,
    /// Compute the run again whose ledger `train --ledger` wrote to this file
    #[arg(long, value_name = "FILE", conflicts_with = "recipes")]
    ledger: Option<PathBuf>,
    /// For --ledger: the directory of the data of its run, if it is not the bundled Fashion-MNIST
    #[arg(long, value_name = "DIR", requires = "ledger")]
    data: Option<PathBuf>,
    /// For --ledger: the weights that its run was fine-tuned from
    #[arg(long, value_name = "FILE", requires = "ledger")]
    init: Option<PathBuf>,
    /// Where gzipped files are unpacked [default: $BOBBIN_CACHE or ~/.cache/bobbin]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadFlags,
    /// Print a JSON object for each run
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  bobbin verify                                 every published run; seconds each
  bobbin verify paper resnet --threads 7
  BOBBIN_ISA=avx2 bobbin verify
  bobbin train --recipe paper --ledger paper.jsonl
  bobbin verify --ledger paper.jsonl            the same run again, step by step

A published run is that of a shipped recipe on the bundled Fashion-MNIST, without validation, to a number of steps;
cnn-bn-bf16 is that of cnn-bn with --precision bf16.
Its weights do not depend on the number of threads, nor on the SIMD path, AVX-512 or AVX2; on processors that have
neither (portable) sums are rounded in other places, and the bits differ.

The first step that differs is told, and what of it, in the order in which a step computes it: batch (which images),
loss, gradient, learning rate, optimizer (its state), weights.

The JSON objects have name, steps (that were the same), isa, threads, model (its SHA-256, null if the ledger has
none), same, step (the first that differs, else null) and differs (what of it).

Exit codes: 0 the same bits; 1 other bits, or the data or a file is wrong; 2 the command is wrong.";

/// A run to be computed again.
struct Row {
    name: String,
    ledger: Ledger,
    recipe: Recipe,
}

pub fn verify(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.list {
        return list(arguments);
    }
    let workers = arguments.threads.start()?;
    warn_of_portable(workers.isa());
    let mut differing = vec![];
    for row in rows(arguments)? {
        let name = row.name.clone();
        let found = compute(arguments, row, &workers)?;
        show(arguments, &name, &found, &workers);
        differing.extend(found.difference.map(|difference| format!("{name}: {difference}")));
    }
    match differing.first() {
        None => Ok(()),
        Some(first) => Err(Failure::new(Kind::BitsDiffer, first.clone())),
    }
}

/// The published runs that are asked for.
fn chosen(arguments: &Arguments) -> Result<Vec<Published>, Failure> {
    let all = published();
    let known = |name: &String| {
        let found = all.iter().find(|row| row.recipe == name);
        found.copied().ok_or_else(|| {
            let names = all.map(|row| row.recipe).join(", ");
            usage(format!("found `{name}`: expected one of {names}"))
        })
    };
    match arguments.recipes.is_empty() {
        true => Ok(all.to_vec()),
        false => arguments.recipes.iter().map(known).collect(),
    }
}

fn list(arguments: &Arguments) -> Result<(), Failure> {
    for row in chosen(arguments)? {
        let (recipe, steps, model) = (row.recipe, row.steps(), row.model());
        say(&match arguments.json {
            true => json!({ "name": recipe, "steps": steps, "model": model }).to_string(),
            false => format!("{recipe:11} {steps:3} steps  {model}"),
        });
    }
    Ok(())
}

fn rows(arguments: &Arguments) -> Result<Vec<Row>, Failure> {
    if let Some(path) = &arguments.ledger {
        let ledger = Ledger::open(path).map_err(run)?;
        let mut recipe = ledger.recipe().map_err(run)?;
        let elsewhere = [
            ("--data", &arguments.data, &mut recipe.data.directory),
            ("--init", &arguments.init, &mut recipe.model.weights),
        ];
        for (flag, given, field) in elsewhere {
            if let (None, Some(name)) = (given, &*field) {
                let (ledger, name) = (path.display(), name.display());
                let problem =
                    format!("{ledger}: its run has `{name}`, of which it keeps the name alone");
                return Err(usage(format!("{problem}: expected {flag}")));
            }
            field.clone_from(given);
        }
        return Ok(vec![Row { name: path.display().to_string(), ledger, recipe }]);
    }
    let row = |row: Published| {
        let ledger = row.ledger().map_err(run)?;
        let recipe = ledger.recipe().map_err(run)?;
        Ok(Row { name: row.recipe.to_owned(), ledger, recipe })
    };
    chosen(arguments)?.into_iter().map(row).collect()
}

fn compute(arguments: &Arguments, row: Row, workers: &Workers) -> Result<Comparison, Failure> {
    let Row { name, ledger, recipe } = row;
    let source = match &recipe.data.directory {
        Some(directory) => Source::new(directory),
        None => bundled()?,
    };
    let (prefix, cache) = (recipe.data.prefix.clone(), arguments.cache.clone());
    let data = Dataset::open(&Source { prefix, cache, ..source });
    let data = data.map_err(|error| data_failure(&error, "--data "))?;
    if data.fingerprint() != ledger.data() {
        let problem = format!(
            "{}: these are not the data of the run of {name}; --data names others",
            data.directory().display()
        );
        return Err(Failure::new(Kind::OtherData, problem));
    }
    let mut trainer = Trainer::new(&recipe, &data, workers).map_err(run)?;
    let mut comparison = Comparison::new(ledger).map_err(run)?;
    trainer.run_observed(&mut comparison).map_err(run)?;
    Ok(comparison)
}

fn show(arguments: &Arguments, name: &str, found: &Comparison, workers: &Workers) {
    let Comparison { steps, model, difference, .. } = found;
    let (isa, threads) = (workers.isa().to_string(), workers.threads());
    if arguments.json {
        let same = difference.is_none();
        let step = difference.as_ref().map(|difference| difference.step);
        let names = |found: &Difference| found.what.iter().map(|(what, ..)| *what).collect();
        let differs: Vec<&str> = difference.as_ref().map_or(vec![], names);
        let object = json!({
            "name": name, "steps": steps, "isa": isa, "threads": threads, "model": model, "same": same,
            "step": step, "differs": differs,
        });
        return say(&object.to_string());
    }
    let on = format!("{isa}, {threads} {}", if threads == 1 { "thread" } else { "threads" });
    match (difference, model) {
        (Some(difference), _) => complain(name, &format!("{on}: {difference}")),
        (None, Some(model)) => say(&format!("{name}: {on}: {steps} steps, the same bits: {model}")),
        (None, None) => say(&format!("{name}: {on}: {steps} steps, the same bits; it has no end")),
    }
}
