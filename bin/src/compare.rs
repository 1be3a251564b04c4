//! `compare`: runs side by side.

use crate::cli::{Failure, Kind, check_name, flowing, run, say, say_all};
use clap::Parser;
use files::write_file;
use std::path::{Path, PathBuf};
use tracking::Comparison;

/// Compares runs: what differs in their recipes, and what came of each, the best first.
#[derive(Parser)]
#[command(name = "compare", args_override_self = true, after_help = flowing(AFTER_HELP))]
pub struct Arguments {
    /// Run directories, or directories that hold some, such as that of a sweep
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Write a page with the curves of all runs over each other
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace the file of --html whatever it is; without this only an older page of compare
    #[arg(long, requires = "html")]
    force: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values, as RFC 4180 has them
    #[arg(long)]
    csv: bool,
}

const AFTER_HELP: &str = "\
Examples:
  bobbin compare runs/fast-1 runs/fast-2
  bobbin compare runs                           every run in it
  bobbin compare runs/sweep-li-1 --html compare.html
  bobbin compare runs --json

Runs are in the order of their results: the highest top-1 of a validation, then the lowest validation
loss, then the lowest training loss; those that diverged are the last. Of the recipes the table has the
fields that differ; `data` is among them where the images, labels or names of classes do.

The JSON object has runs, the best first (name, directory, settings: the fields that differ, epochs,
state: ended, unfinished or diverged, best_top1, best_epoch, last_top1, validation_loss, loss and
images_per_second, the median over epochs), and best, the name of the best. What does not exist is null.

Exit codes: 0 compared; 1 a run or a file is wrong; 2 the command is wrong.";

pub fn compare(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(page) = arguments.html.as_ref().filter(|_| !arguments.force) {
        check_free(page)?;
    }
    let comparison = Comparison::open(&arguments.runs).map_err(run)?;
    if let Some(page) = &arguments.html {
        write_file(page, comparison.html().as_bytes()).map_err(run)?;
    }
    match (arguments.json, arguments.csv) {
        (true, _) => say(&comparison.json()),
        (_, true) => say_all(comparison.csv().as_bytes()),
        _ => say(comparison.text().trim_end()),
    }
    Ok(())
}

/// An error if the name is that of no file, or of a file that is no page of this command and would be lost. What is
/// not a file, such as a pipe, is written to.
fn check_free(page: &Path) -> Result<(), Failure> {
    check_name("--html", page, "file")?;
    if page.is_file() && !std::fs::read(page).is_ok_and(|bytes| Comparison::is_page(&bytes)) {
        let problem = "exists and is not a page of compare: choose another --html, or replace it with --force";
        return Err(Failure::new(Kind::File, format!("{}: {problem}", page.display())));
    }
    Ok(())
}
