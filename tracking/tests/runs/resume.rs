//! A run that is interrupted and goes on leaves the same bits as one that is not.

use crate::data;
use crate::left::assert_same;
use dataset::Dataset;
use kernels::Isa;
use model::{batch_norm2d, conv2d, flatten, layers, leaky_relu, linear, residual};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use tracking::metrics::{Line, read_metrics};
use tracking::{Checkpoints, Destination, Outcome, Recorder, RunDirectory, RunDisplay};
use trainer::{Recipe, Step, Stop, Trainer, Workers};

/// Interrupts a run after one of its steps.
struct Interrupter<'f> {
    after: Option<usize>,
    flag: &'f AtomicBool,
}

impl RunDisplay for Interrupter<'_> {
    fn line(&mut self, line: &Line) {
        if matches!(line, Line::Start(_)) && self.after == Some(0) {
            self.flag.store(true, Ordering::Relaxed);
        }
    }

    fn step(&mut self, trainer: &Trainer<'_>, _: &Step) {
        if self.after.is_some_and(|step| trainer.progress().step >= step) {
            self.flag.store(true, Ordering::Relaxed);
        }
    }
}

/// Trains to the end, or until after a step, on this many threads.
fn go(
    trainer: &mut Trainer<'_>,
    directory: &RunDirectory,
    keep: usize,
    after: Option<usize>,
) -> Outcome {
    let flag = AtomicBool::new(false);
    let mut interrupter = Interrupter { after, flag: &flag };
    let ledger = directory.path().with_extension("ledger");
    let ledger = (trainer.total_steps() < 10_000).then_some(&*ledger);
    let recorder = Recorder::new(directory).keep(keep).interrupt(&flag).ledger(ledger);
    recorder.display(&mut interrupter).record(trainer).unwrap()
}

pub(crate) fn workers(threads: usize) -> Workers {
    Workers::new(Isa::detect(), threads).unwrap()
}

/// Begins a run.
pub(crate) fn begin(
    recipe: &Recipe,
    data: &Dataset,
    path: &Path,
    keep: usize,
    after: Option<usize>,
) -> Outcome {
    let directory = Destination::at(path, false).unwrap().make(recipe).unwrap();
    let workers = workers(2);
    go(&mut Trainer::new(recipe, data, &workers).unwrap(), &directory, keep, after)
}

/// Goes on with a run as a program does that knows its directory alone.
pub(crate) fn go_on(
    recipe: &Recipe,
    data: &Dataset,
    path: &Path,
    threads: usize,
    keep: usize,
    after: Option<usize>,
) -> Outcome {
    let directory = RunDirectory::open(path).unwrap();
    let (checkpoint, damaged) = Checkpoints::new(directory.checkpoints(), keep).latest().unwrap();
    assert!(damaged.is_empty(), "{damaged:?}");
    let workers = workers(threads);
    let mut trainer = Trainer::resume(recipe, data, &workers, checkpoint.state().unwrap()).unwrap();
    directory.rewrite_recipe(recipe).unwrap();
    go(&mut trainer, &directory, keep, after)
}

pub(crate) const ALL: usize = 1000;

/// Runs a recipe with and without interruptions, and compares.
fn compare(recipe: &Recipe, data: &Dataset, interruptions: &[usize]) {
    let scratch = TempDir::new().unwrap();
    let (whole, parts) = (scratch.path().join("whole"), scratch.path().join("parts"));
    let outcome = begin(recipe, data, &whole, ALL, None);
    let (first, rest) = interruptions.split_first().unwrap();
    let mut last = begin(recipe, data, &parts, ALL, Some(*first));
    let rest = rest.iter().copied().map(Some).chain([None]);
    for (i, after) in rest.enumerate() {
        assert_eq!(last.stop, Stop::Interrupted);
        assert!(!parts.join("model.safetensors").exists());
        last = go_on(recipe, data, &parts, i % 3 + 1, ALL, after);
    }
    assert_eq!((last.stop, last.step), (outcome.stop, outcome.step));
    assert_same(&whole, &parts);
    let ledgers =
        [&whole, &parts].map(|run| fs::read_to_string(run.with_extension("ledger")).unwrap());
    assert_eq!(ledgers[0].lines().count(), 2 + outcome.step);
    assert!(ledgers[0] == ledgers[1]);
}

/// Three epochs of six steps, the last of each a short one, with all that a run may have.
pub(crate) fn recipe(settings: &[(&str, &str)]) -> Recipe {
    let layers = "[{ kind = 'conv', outputs = 4, kernel = 5 }, { kind = 'batch-norm' }, \
        { kind = 'relu' }, { kind = 'max-pool', kernel = 4 }, { kind = 'dropout', p = 0.2 }, \
        { kind = 'flatten' }, { kind = 'linear' }]";
    let features = [
        ("model.layers", layers),
        ("model.label_smoothing", "0.1"),
        ("model.class_weights", "balanced"),
        ("data.sampling", "balanced"),
        ("data.batch_size", "17"),
        ("data.validation", "24"),
        ("augment.shift", "2"),
        ("augment.flip", "0.5"),
        ("augment.erase", "0.5"),
        ("augment.mixup", "0.4"),
        ("augment.cutmix", "1"),
        ("optimizer.lr", "0.01"),
        ("optimizer.weight_decay", "1e-3"),
        ("optimizer.ema", "0.9"),
        ("optimizer.clip_norm", "1"),
        ("optimizer.clip_value", "0.2"),
        (
            "optimizer.groups",
            "[{ match = '0.*', lr_scale = 0.5 }, { match = '1.bias', frozen = true }]",
        ),
        ("stop.epochs", "3"),
    ];
    data::recipe(&[&features[..], settings].concat())
}

#[test]
fn every_optimiser_goes_on_with_the_same_bits() {
    let (_directory, data) = data::random(120, [1, 16, 16], 4);
    let cases: [&[(&str, &str)]; 8] = [
        &[("optimizer.kind", "sgd"), ("optimizer.momentum", "0")],
        &[
            ("optimizer.momentum", "0.9"),
            ("optimizer.nesterov", "true"),
            ("schedule.kind", "one-cycle"),
        ],
        &[("optimizer.kind", "adam"), ("schedule.kind", "cosine"), ("schedule.warmup", "0.5")],
        &[("optimizer.kind", "adamw"), ("schedule.kind", "exponential")],
        &[("optimizer.kind", "rmsprop")],
        &[
            ("optimizer.kind", "rmsprop"),
            ("optimizer.centered", "true"),
            ("optimizer.momentum", "0.5"),
        ],
        &[("optimizer.kind", "adagrad"), ("schedule.kind", "polynomial")],
        &[
            ("optimizer.kind", "adagrad"),
            ("optimizer.lr_decay", "0.1"),
            ("optimizer.initial_accumulator", "0.1"),
        ],
    ];
    for case in cases {
        // In the middle of epochs, twice in a row, at the end of one.
        compare(&recipe(case), &data, &[2, 9, 10, 12]);
    }
}

#[test]
fn a_run_goes_on_from_any_step() {
    let (_directory, data) = data::random(120, [1, 16, 16], 4);
    let events =
        [("events.validate", "{ iterations = 4 }"), ("events.checkpoint", "{ iterations = 5 }")];
    let recipe = recipe(&[&events[..], &[("optimizer.kind", "adam")]].concat());
    for step in 0..18 {
        compare(&recipe, &data, &[step]);
    }
}

/// Its checkpoints say in which precision it is.
#[test]
fn a_run_in_bfloat16_goes_on_from_any_step() {
    let (_directory, data) = data::random(120, [1, 12, 12], 4);
    let layers = "[{ kind = 'conv', outputs = 16, kernel = 3 }, { kind = 'batch-norm' }, { kind = 'relu' }, \
        { kind = 'conv', outputs = 16, kernel = 3 }, { kind = 'relu' }, { kind = 'flatten' }, { kind = 'linear' }]";
    let settings = [("model.layers", layers), ("optimizer.groups", "[]"), ("stop.epochs", "1")];
    let recipe = recipe(&[&settings[..], &[("model.precision", "bf16")]].concat());
    let every: Vec<usize> = (0..6).collect();
    compare(&recipe, &data, &every);
}

/// What decides from validation to validation is in the checkpoint too.
#[test]
fn plateau_and_patience_go_on_counting() {
    let (_directory, data) = data::random(120, [1, 16, 16], 4);
    for validate in ["{ epochs = 1 }", "{ iterations = 2 }"] {
        let recipe = recipe(&[
            ("optimizer.kind", "rmsprop"),
            ("optimizer.lr", "0.05"),
            ("schedule.kind", "plateau"),
            ("schedule.patience", "0"),
            ("schedule.factor", "0.5"),
            ("events.validate", validate),
            ("stop.epochs", "40"),
            ("stop.patience", "4"),
            ("stop.min_delta", "0.01"),
        ]);
        let scratch = TempDir::new().unwrap();
        let path = scratch.path().join("whole");
        let outcome = begin(&recipe, &data, &path, 2, None);
        assert_eq!(outcome.stop, Stop::Patience, "after {} steps", outcome.step);
        let lines = read_metrics(&path.join("metrics.jsonl")).unwrap();
        let mut rates = lines.iter().filter_map(|line| match line {
            Line::Progress(progress) => Some(progress.learning_rate),
            _ => None,
        });
        assert!(rates.next_back().unwrap() < 0.05, "the plateau was reached");
        let steps = outcome.step;
        compare(&recipe, &data, &[1, steps / 2, steps / 2 + 1, steps - 1]);
    }
}

#[test]
fn more_epochs_are_those_of_the_longer_run() {
    let (_directory, data) = data::random(120, [1, 16, 16], 4);
    let recipe = |epochs| recipe(&[("optimizer.kind", "adam"), ("stop.epochs", epochs)]);
    let scratch = TempDir::new().unwrap();
    let (whole, parts) = (scratch.path().join("whole"), scratch.path().join("parts"));
    begin(&recipe("4"), &data, &whole, ALL, None);
    let first = begin(&recipe("2"), &data, &parts, ALL, None);
    assert_eq!((first.stop, first.step), (Stop::Epochs, 12));
    // It is of another recipe, and would not be continued.
    fs::remove_file(parts.with_extension("ledger")).unwrap();
    let outcome = go_on(&recipe("4"), &data, &parts, 1, ALL, None);
    assert_eq!((outcome.stop, outcome.step), (Stop::Epochs, 24));
    assert_same_but_for_earlier_recipes(&whole, &parts);
    // Nothing is left to do, and the same is said again.
    go_on(&recipe("4"), &data, &parts, 2, ALL, None);
    assert_same_but_for_earlier_recipes(&whole, &parts);
}

/// The checkpoints of a run that was made longer hold the recipe that it had then.
fn assert_same_but_for_earlier_recipes(whole: &Path, parts: &Path) {
    for step in [0, 6, 12] {
        let name = format!("checkpoints/step-{step:010}.safetensors");
        let _ = fs::remove_file(parts.join(name));
    }
    assert_same(whole, parts);
}

fn checkpoints(path: &Path) -> Vec<usize> {
    let mut steps: Vec<usize> = fs::read_dir(path.join("checkpoints"))
        .unwrap()
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let step = name.strip_prefix("step-").unwrap().strip_suffix(".safetensors").unwrap();
            step.parse().unwrap()
        })
        .collect();
    steps.sort();
    steps
}

#[test]
fn the_last_checkpoints_are_kept() {
    let (_directory, data) = data::random(120, [1, 16, 16], 4);
    let recipe = recipe(&[("events.checkpoint", "{ iterations = 4 }")]);
    let scratch = TempDir::new().unwrap();
    let path = |name| scratch.path().join(name);
    begin(&recipe, &data, &path("all"), ALL, None);
    assert_eq!(checkpoints(&path("all")), [0, 4, 8, 12, 16, 18]);
    begin(&recipe, &data, &path("two"), 2, None);
    assert_eq!(checkpoints(&path("two")), [16, 18]);
    begin(&recipe, &data, &path("part"), 2, Some(10));
    assert_eq!(checkpoints(&path("part")), [8, 10]);
    go_on(&recipe, &data, &path("part"), 2, 3, None);
    assert_eq!(checkpoints(&path("part")), [12, 16, 18]);
    assert_same(&path("two"), &path("part"));
    begin(&recipe, &data, &path("one"), 0, None);
    assert_eq!(checkpoints(&path("one")), [18]);
}

/// Layers that are not from a recipe become those of the run's: it goes on, and is repeated, by what its
/// directory alone says.
#[test]
fn layers_of_ones_own_are_in_the_recipe() {
    let (_directory, data) = data::random(120, [1, 16, 16], 4);
    let recipe = data::recipe(&[("optimizer.kind", "adam"), ("stop.epochs", "2")]);
    assert_eq!(recipe.model.name(), "lenet");
    let body = layers![conv2d(4, 3).padding(1).no_bias(), batch_norm2d(), leaky_relu(0.1)];
    let layers = layers![
        conv2d(4, 5).stride(2),
        residual(body, layers![]),
        flatten(),
        linear(4).named("head"),
    ];
    let scratch = TempDir::new().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let start = |name: &str, after| {
        let directory = Destination::at(&path(name), false).unwrap().make(&recipe).unwrap();
        let workers = workers(2);
        let mut trainer = Trainer::with_layers(&recipe, &layers, &data, &workers).unwrap();
        assert_eq!(trainer.network().layers(), &layers[..]);
        go(&mut trainer, &directory, ALL, after)
    };
    assert_eq!(start("whole", None).stop, Stop::Epochs);
    assert_eq!(start("parts", Some(5)).stop, Stop::Interrupted);
    let load =
        |name: &str| Recipe::load(path(name).join("recipe.toml").to_str().unwrap(), &[]).unwrap();
    let kept = load("parts");
    assert_eq!(kept.model.name(), "custom");
    assert_eq!(kept.data.directory, Some(data.directory().canonicalize().unwrap()));
    go_on(&kept, &data, &path("parts"), 1, ALL, None);
    assert_same(&path("whole"), &path("parts"));
    begin(&load("whole"), &data, &path("again"), ALL, None);
    assert_same(&path("whole"), &path("again"));
    let lines = read_metrics(&path("whole").join("metrics.jsonl")).unwrap();
    assert!(matches!(&lines[0], Line::Start(start) if start.model == "custom"));
}
