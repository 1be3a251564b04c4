//! Ledgers: the same on any number of threads, continued after any step (see `resume.rs`), and compared.

use crate::data;
use crate::resume::{recipe, workers};
use dataset::Dataset;
use serde_json::Value;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;
use tracking::ledger::{Comparison, Difference, Ledger};
use tracking::{Destination, Recorder};
use trainer::{Event, Recipe, Stop, Trainer};

fn record(recipe: &Recipe, data: &Dataset, directory: &Path, ledger: &Path, threads: usize) {
    let directory = Destination::at(directory, false).unwrap().make(recipe).unwrap();
    let workers = workers(threads);
    let mut trainer = Trainer::new(recipe, data, &workers).unwrap();
    Recorder::new(&directory).ledger(Some(ledger)).record(&mut trainer).unwrap();
}

/// Steps that are the same, and what is not.
fn compare(recipe: &Recipe, data: &Dataset, ledger: &Path) -> (usize, Option<Difference>) {
    let workers = workers(1);
    let mut trainer = Trainer::new(recipe, data, &workers).unwrap();
    let mut comparison = Comparison::new(Ledger::open(ledger).unwrap()).unwrap();
    trainer.run_observed(&mut comparison).unwrap();
    assert_eq!(comparison.model.is_some(), comparison.difference.is_none());
    (comparison.steps, comparison.difference)
}

#[test]
fn the_first_difference_is_named() {
    let (_directory, data) = data::random(120, [1, 16, 16], 4);
    let scratch = TempDir::new().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let recipe = recipe(&[("optimizer.kind", "adam")]);
    for threads in [1, 3] {
        let run = path(&format!("run-{threads}"));
        record(&recipe, &data, &run, &run.with_extension("jsonl"), threads);
    }
    let text = fs::read_to_string(path("run-1.jsonl")).unwrap();
    assert!(text == fs::read_to_string(path("run-3.jsonl")).unwrap());
    assert_eq!(compare(&recipe, &data, &path("run-1.jsonl")), (18, None));

    let changed = path("changed.jsonl");
    for (step, key, what) in [
        (1, "batch", "batch"),
        (4, "loss", "loss"),
        (7, "gradient", "gradient"),
        (9, "learning_rate", "learning rate"),
        (17, "optimizer", "optimizer"),
        (18, "weights", "weights"),
        (19, "model", "model"),
    ] {
        let mut lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let value = &mut lines[step][key];
        *value = if value.is_string() { "other".into() } else { 0.125.into() };
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&changed, lines).unwrap();
        let (same, difference) = compare(&recipe, &data, &changed);
        let difference = difference.unwrap();
        assert_eq!((same, difference.step), (step.min(19) - 1, step.min(18)));
        let names: Vec<&str> = difference.what.iter().map(|(what, ..)| *what).collect();
        assert_eq!(names, [what]);
        let words = format!("step {} is the first that differs: {what}: found ", difference.step);
        assert!(difference.to_string().starts_with(&words), "{difference}");
    }
    // The run of another recipe that has more steps or fewer, and a ledger that a killed run has left.
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (kept, end) in [(lines[..19].concat(), None), (lines[..18].concat() + lines[19], Some(18))]
    {
        fs::write(&changed, kept).unwrap();
        let workers = workers(1);
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        let mut comparison = Comparison::new(Ledger::open(&changed).unwrap()).unwrap();
        trainer.run_observed(&mut comparison).unwrap();
        assert_eq!(comparison.difference.map(|difference| difference.step), end);
    }
}

/// What proves nothing is no proof.
#[test]
fn a_ledger_with_a_hole_or_without_steps_is_refused() {
    let (_directory, data) = data::random(120, [1, 16, 16], 4);
    let scratch = TempDir::new().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let recipe = recipe(&[]);
    record(&recipe, &data, &path("run"), &path("run.jsonl"), 1);
    let text = fs::read_to_string(path("run.jsonl")).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let message = |kept: String| {
        fs::write(path("cut.jsonl"), kept).unwrap();
        let workers = workers(1);
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        match Comparison::new(Ledger::open(&path("cut.jsonl")).unwrap()) {
            Err(error) => error.to_string(),
            Ok(mut comparison) => trainer.run_observed(&mut comparison).unwrap_err().to_string(),
        }
    };
    for kept in [lines[0].to_owned(), lines[0].to_owned() + lines[lines.len() - 1]] {
        let message = message(kept);
        assert!(message.contains("cut.jsonl: line 2: found no `step`"), "{message}");
    }
    let message = message(lines[..4].concat() + &lines[6..].concat());
    assert!(message.contains("line 5: found step 6, expected 4"), "{message}");
}

#[test]
fn a_ledger_of_another_run_is_not_continued() {
    let (_directory, data) = data::random(120, [1, 16, 16], 4);
    let scratch = TempDir::new().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let (own, other) = (recipe(&[]), recipe(&[("seed", "77")]));
    record(&other, &data, &path("other"), &path("other.jsonl"), 1);
    // A run that stands after its fifth step.
    let directory = Destination::at(&path("own"), false).unwrap().make(&own).unwrap();
    let workers = workers(1);
    let mut trainer = Trainer::new(&own, &data, &workers).unwrap();
    let stop = trainer.run_observed(&mut |trainer: &Trainer<'_>, _: Event<'_>| {
        Ok(if trainer.progress().step < 5 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    });
    assert_eq!(stop.unwrap(), Stop::Interrupted);
    let state = trainer.state().into_owned();
    let interrupted = AtomicBool::new(true);
    let refused = |ledger: &Path| {
        let mut trainer = Trainer::resume(&own, &data, &workers, state.clone()).unwrap();
        let recorder = Recorder::new(&directory).interrupt(&interrupted).ledger(Some(ledger));
        recorder.record(&mut trainer).map(drop).map_err(|error| error.to_string())
    };
    let before = fs::read(path("other.jsonl")).unwrap();
    let message = refused(&path("other.jsonl")).unwrap_err();
    assert!(
        message.contains("other.jsonl: a ledger of another recipe: expected a new file"),
        "{message}"
    );
    assert!(before == fs::read(path("other.jsonl")).unwrap());
    fs::write(path("notes"), "no ledger\n").unwrap();
    let message = refused(&path("notes")).unwrap_err();
    assert!(message.contains("notes: not a ledger"), "{message}");
    assert_eq!(fs::read_to_string(path("notes")).unwrap(), "no ledger\n");
    // A new one begins where the run goes on.
    refused(&path("new.jsonl")).unwrap();
    assert_eq!(fs::read_to_string(path("new.jsonl")).unwrap().lines().count(), 1);
}
