//! `--resume`: what it goes on from, and what it refuses.

use crate::same::assert_same;
use crate::scratch::*;
use std::fs;
use std::path::Path;

const STEPS: [&str; 3] =
    ["step-0000000000.safetensors", "step-0000000005.safetensors", "step-0000000010.safetensors"];

/// Flags of a run of epochs of five steps, at a rate that stays.
const RECIPE: [&str; 10] = [
    "--recipe",
    "fast",
    "--data",
    "../data",
    "--batch-size",
    "64",
    "--lr",
    "0.02",
    "--schedule",
    "constant",
];

/// A run of two epochs in `run`, with the checkpoints of steps 0, 5 and 10.
fn with_run() -> Scratch {
    let scratch = Scratch::with_data(1);
    begin(&scratch, "run", &["--epochs", "2"]);
    assert_eq!(entries(&scratch.work("run/checkpoints")), STEPS);
    scratch
}

fn begin(scratch: &Scratch, out: &str, more: &[&str]) {
    succeeded(scratch.command().args(RECIPE).args(["--out", out]).args(more).output().unwrap());
}

fn checkpoint(scratch: &Scratch, step: usize) -> std::path::PathBuf {
    scratch.work("run/checkpoints").join(format!("step-{step:010}.safetensors"))
}

#[test]
fn a_run_is_made_longer() {
    let scratch = with_run();
    begin(&scratch, "whole", &["--epochs", "4", "--keep", "1"]);
    let longer = ["--resume", "run", "--epochs", "4", "--keep", "1", "--threads", "1"];
    let printed = succeeded(scratch.command().args(longer).output().unwrap());
    assert!(printed.contains("\ngoing on after step 10; 2 of 4 epochs are complete\nepoch 3/4 "));
    assert_same(&scratch.work("whole"), &scratch.work("run"));

    // What is complete stays as it is, and fewer epochs are refused.
    succeeded(scratch.command().args(["--resume", "run"]).output().unwrap());
    assert_same(&scratch.work("whole"), &scratch.work("run"));
    scratch.refused(
        2,
        &["--resume", "run", "--epochs", "3"],
        &["--epochs: `stop.epochs` is 3: expected at least 4, the epochs that the run has begun"],
    );
}

/// A curve that depends on all epochs bends: that is said.
#[test]
fn a_schedule_that_is_stretched_is_named() {
    let scratch = Scratch::with_data(1);
    scratch.train(&["--out", "run"]);
    let longer = ["--resume", "run", "--epochs", "6"];
    let output = scratch.command().args(longer).output().unwrap();
    let message = said(&output);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(message.starts_with("warning: the schedule "), "{message}");
}

/// With the factors of the epochs to come; those that were trained with stay as they were.
#[test]
fn a_list_of_factors_is_made_longer() {
    let scratch = Scratch::with_data(1);
    let factors = |list: &str| {
        let kind = ["--set", "schedule.kind=list", "--set"].map(str::to_owned);
        [&kind[..], &[format!("schedule.factors={list}")]].concat()
    };
    let flags = |before: &[&str], list: &str| {
        let before = before.iter().map(|&flag| flag.to_owned());
        before.chain(factors(list)).collect::<Vec<_>>()
    };
    let run = |flags: &[String]| scratch.command().args(flags).output().unwrap();
    let first =
        |out, epochs| [&RECIPE[..], &["--keep", "1", "--out", out, "--epochs", epochs]].concat();
    succeeded(run(&flags(&first("whole", "2"), "[1, 0.5]")));
    succeeded(run(&flags(&first("run", "1"), "[1]")));
    let longer = ["--resume", "run", "--epochs", "2", "--keep", "1"];
    let message = said(&run(&flags(&longer, "[0.5, 1]")));
    assert!(message.contains("`schedule.factors` is [0.5, 1.0]: expected [1.0]"), "{message}");
    succeeded(run(&flags(&longer, "[1, 0.5]")));
    assert_same(&scratch.work("whole"), &scratch.work("run"));
}

#[test]
fn other_recipes_are_refused() {
    let scratch = with_run();
    let refused = |arguments: &[&str], words: &[&str]| {
        let words = [words, &["of a run that goes on, only --epochs may change"]].concat();
        scratch.refused(2, &[&["--resume", "run"], arguments].concat(), &words);
    };
    for (arguments, words) in [
        (&["--lr", "0.1"][..], &["--lr: `optimizer.lr` is 0.1: expected 0.02, as in run/"][..]),
        (&["--set", "seed=9"], &["--set: `seed` is 9: expected 1"]),
        (&["--model", "vgg"], &["--model: `model.preset` is \"vgg\": expected \"lenet\""]),
        (&["--set", "stop.iterations=3"], &["--set: `stop.iterations` is 3: expected not set"]),
        (&["--optimizer", "adam"], &["--optimizer: `optimizer.kind` is \"adam\""]),
        (&["--validation", "60"], &["--validation: `data.validation` is 60"]),
    ] {
        refused(arguments, words);
    }
    // Also where the file was edited.
    let path = scratch.work("run/recipe.toml");
    let recipe = fs::read_to_string(&path).unwrap();
    for (from, to, words) in [
        ("momentum = 0.9", "momentum = 0.8", "run/recipe.toml: `optimizer.momentum` is 0.8"),
        ("preset = \"lenet\"", "layers = [{ kind = \"flatten\" }]", "run/recipe.toml: `model."),
    ] {
        assert!(recipe.contains(from), "{recipe}");
        fs::write(&path, recipe.replace(from, to)).unwrap();
        refused(&[], &[words]);
    }
    fs::write(&path, recipe.replace("seed = 1", "seed = x")).unwrap();
    scratch.refused(2, &["--resume", "run"], &["run/recipe.toml: line 1: "]);
    fs::remove_file(&path).unwrap();
    let words = ["run: not a run directory: it has no recipe.toml"];
    scratch.refused(1, &["--resume", "run"], &words);
    scratch.refused(1, &["--resume", "none"], &["none: not a run directory"]);
}

#[test]
fn damaged_checkpoints_are_passed_over() {
    let scratch = with_run();
    begin(&scratch, "whole", &["--epochs", "3"]);
    let whole = fs::read(checkpoint(&scratch, 10)).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let damages: [&[u8]; 4] = [&whole[..whole.len() / 2], &flipped, b"", b"no checkpoint"];
    for (i, damage) in damages.into_iter().enumerate() {
        // Each time the latest of a run that has come to step 10 or 15.
        let step = if i == 0 { 10 } else { 15 };
        fs::write(checkpoint(&scratch, step), damage).unwrap();
        let arguments = ["--resume", "run", "--epochs", "3", "--quiet"];
        let output = scratch.command().args(arguments).output().unwrap();
        let message = said(&output);
        assert_eq!(output.status.code(), Some(0), "{message}");
        let words = format!("warning: run/checkpoints/step-{step:010}.safetensors: ");
        assert!(message.starts_with(&words), "{message}");
        assert!(message.ends_with("; going on from an older one\n"), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        for file in ["model.safetensors", "checkpoints/step-0000000015.safetensors"] {
            let read = |out: &str| fs::read(scratch.work(out).join(file)).unwrap();
            assert!(read("run") == read("whole"), "{file}");
        }
    }
}

/// The checkpoints of a run, changed by `change`, after which it cannot go on.
fn refused_after(change: impl Fn(&Scratch, &Path), words: &[&str]) {
    let scratch = with_run();
    change(&scratch, &scratch.work("run/checkpoints"));
    let output = scratch.command().args(["--resume", "run"]).output().unwrap();
    let code = output.status.code().unwrap();
    let message = failed(code, &output);
    assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
    scratch.refused(code, &["--resume", "run"], words);
}

#[test]
fn what_a_run_cannot_go_on_from() {
    let all = |path: &Path, bytes: &[u8]| {
        for step in STEPS {
            fs::write(path.join(step), bytes).unwrap();
        }
    };
    let none = "run/checkpoints: no checkpoint to go on from";
    refused_after(|_, path| fs::remove_dir_all(path).unwrap(), &[none]);
    refused_after(|_, path| all(path, b"short"), &[none, "; run/checkpoints/step-0000000010"]);
    refused_after(
        |scratch, path| all(path, &fs::read(scratch.work("run/model.safetensors")).unwrap()),
        &[none, "not a checkpoint"],
    );
    // Other labels, other images, other shapes.
    let words =
        ["run/checkpoints/step-0000000010.safetensors: the data are not those that the run"];
    let (images, mut labels) = patterns(300, 1, 1);
    labels[20] ^= 1;
    refused_after(|scratch, _| scratch.write(&format!("data/{TRAIN_LABELS}"), &labels), &words);
    let mut other = images.clone();
    other[100] ^= 1;
    refused_after(|scratch, _| scratch.write(&format!("data/{TRAIN_IMAGES}"), &other), &words);
    refused_after(
        |scratch, _| {
            let (images, labels) = patterns(301, 1, 1);
            scratch.write(&format!("data/{TRAIN_IMAGES}"), &images);
            scratch.write(&format!("data/{TRAIN_LABELS}"), &labels);
        },
        &words,
    );
    let no_data = |scratch: &Scratch, _: &Path| {
        fs::remove_dir_all(scratch.path("data")).unwrap();
        fs::create_dir(scratch.path("data")).unwrap();
    };
    refused_after(no_data, &["data: no IDX files found"]);
}

/// Of another network, of another data set, and later than its own: they are not its checkpoints.
#[test]
fn checkpoints_of_other_runs_are_passed_over() {
    let scratch = with_run();
    begin(&scratch, "whole", &["--epochs", "3"]);
    begin(&scratch, "network", &["--epochs", "3", "--model", "cnn-bn"]);
    fs::create_dir(scratch.path("other")).unwrap();
    for name in entries(&scratch.path("data")) {
        fs::copy(scratch.path("data").join(&name), scratch.path("other").join(&name)).unwrap();
    }
    let (_, mut labels) = patterns(300, 1, 1);
    labels[20] ^= 1;
    scratch.write(&format!("other/{TRAIN_LABELS}"), &labels);
    let of_data = ["--epochs", "4", "--data", "../other"];
    begin(&scratch, "data", &of_data);
    let copy = |from: &str, step: &str| {
        let to = scratch.work("run/checkpoints").join(step);
        fs::copy(scratch.work(from).join("checkpoints").join(step), to).unwrap();
    };
    copy("network", "step-0000000015.safetensors");
    copy("data", "step-0000000020.safetensors");
    let output = scratch.command().args(["--resume", "run", "--epochs", "3"]).output().unwrap();
    let told = said(&output);
    for words in ["step-0000000020", "step-0000000015.safetensors; of a run"] {
        let line = told.lines().find(|line| line.contains(words));
        let line = line.unwrap_or_else(|| panic!("{words}: {told}"));
        assert!(line.starts_with("warning: ") && line.ends_with("; going on from an older one"));
    }
    assert_eq!(told.lines().count(), 2, "{told}");
    let model = |out: &str| fs::read(scratch.work(out).join("model.safetensors")).unwrap();
    assert!(output.status.success() && model("run") == model("whole"));
}

/// The same data in another place are the same data.
#[test]
fn data_may_move() {
    let scratch = with_run();
    begin(&scratch, "whole", &["--epochs", "3"]);
    fs::rename(scratch.path("data"), scratch.path("moved")).unwrap();
    fs::create_dir(scratch.path("data")).unwrap();
    let arguments = ["--resume", "run", "--epochs", "3", "--data", "../moved"];
    succeeded(scratch.command().args(arguments).output().unwrap());
    let model = |out: &str| fs::read(scratch.work(out).join("model.safetensors")).unwrap();
    assert!(model("run") == model("whole"));
}
