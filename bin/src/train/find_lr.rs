//! `--find-lr`: a learning rate to train with.

use super::job::Job;
use super::show::Style;
use crate::cli::{Failure, check_name, printable, quoted, run, say, usage, warn_of_portable};
use serde_json::json;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::Ordering;
use tracking::rate_chart;
use trainer::{RateSearch, Recipe};

/// Trains with a rising learning rate and draws what becomes of the loss; weights and run directories stay as
/// they are.
pub fn find(job: &Job<'_>, recipe: &Recipe, file: &Path) -> Result<(), Failure> {
    check_name("--find-lr", file, "file")?;
    if file.extension().is_none_or(|extension| extension != "svg") {
        let found = file.display();
        return Err(usage(format!("--find-lr: found {found}: expected a file that ends in .svg")));
    }
    let (data, workers) = (job.open(recipe)?, job.arguments.threads.start()?);
    let trainer = job.trainer(recipe, job.recipe_name(), &data, &workers)?;
    warn_of_portable(workers.isa());
    let interrupt = job.interrupt.flag();
    let go_on = || !interrupt.load(Ordering::Relaxed);
    let search = trainer.find_learning_rate(go_on).map_err(run)?;
    if !go_on() {
        let text = "interrupted; nothing is left of the search".to_owned();
        return Err(Failure::interrupted(text, job.interrupt.signal()));
    }
    files::write_file(file, rate_chart(&search).as_bytes()).map_err(run)?;
    match job.style {
        Style::Quiet => {}
        Style::Json | Style::JsonEnd => say(&object(&search, file)),
        Style::Plain | Style::Terminal => say(&text(job, &search, file)),
    }
    Ok(())
}

fn object(search: &RateSearch, file: &Path) -> String {
    let steps = search.steps.iter();
    let steps: Vec<_> = steps
        .map(|step| json!({ "learning_rate": step.rate, "loss": step.loss, "smoothed": step.smoothed }))
        .collect();
    let suggestion = search.suggestion.map(two_digits);
    json!({ "event": "find_lr", "suggestion": suggestion, "picture": file, "steps": steps })
        .to_string()
}

fn text(job: &Job<'_>, search: &RateSearch, file: &Path) -> String {
    let (steps, last) = (search.steps.len(), search.steps.last().map_or(0.0, |step| step.rate));
    let mut text = format!("learning rates up to {:e} tried in {steps} steps", two_digits(last));
    let lowest = search.steps.iter().min_by(|a, b| a.smoothed.total_cmp(&b.smoothed));
    if let Some(step) = lowest {
        text += &format!("; the loss is lowest at {:e}", two_digits(step.rate));
    }
    text += &format!("\npicture: {}", printable(&file.display().to_string()));
    let Some(rate) = search.suggestion.map(two_digits) else {
        return text + "\nno suggestion: the loss hardly fell at any learning rate";
    };
    // The same command, with the rate in the place of the search.
    let mut words: Vec<String> = vec![];
    let mut arguments = job.called.arguments();
    while let Some(argument) = arguments.next() {
        if argument == "--find-lr" {
            arguments.next();
        } else if !is_search(&argument) {
            words.push(quoted(&argument));
        }
    }
    let train = [vec![job.called.words("train")], words].concat().join(" ");
    // By --set, which wins over --lr and an earlier --set.
    text + &format!("\nsuggestion: {rate:e}; to train with it: {train} --set optimizer.lr={rate:e}")
}

fn is_search(argument: &OsString) -> bool {
    argument.to_str().is_some_and(|argument| argument.starts_with("--find-lr="))
}

/// A number rounded to two digits: more would say that it is known better.
fn two_digits(number: f64) -> f64 {
    format!("{number:.1e}").parse().expect("a number that was written")
}
