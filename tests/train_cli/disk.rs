//! Disks that are full. A limit on the size of a file stands for them: what a write has room for is
//! written, and the rest is not.
#![cfg(unix)]

use crate::same::assert_same;
use crate::scratch::*;
use std::fs;
use std::process::{Command, Output};

/// A network whose weights are smaller than a log, so that this is what meets the limit.
const SMALL: &str = "[data]\nbatch_size = 32\n[model]\nlayers = [{ kind = 'max-pool', kernel = 4 }, \
    { kind = 'flatten' }, { kind = 'linear' }]\n";

/// Flags that use it.
const RECIPE: [&str; 4] = ["--data", "../data", "--recipe", "small.toml"];

fn with_recipe() -> Scratch {
    let scratch = Scratch::with_data(1);
    fs::write(scratch.work("small.toml"), SMALL).unwrap();
    scratch
}

/// The program, with files of at most so many bytes.
fn limited(scratch: &Scratch, bytes: u64, arguments: &[&str]) -> Output {
    let mut command = scratch.set_up(Command::new("sh"));
    // In blocks of 512 bytes, by POSIX.
    let script = format!("ulimit -f {}; exec \"$@\"", bytes / 512);
    command.args(["-c", &script, "sh", BOBBIN, "train"]).args(arguments);
    command.output().unwrap()
}

/// A run that fails at a file, and goes on when there is room.
fn fails_and_goes_on(scratch: &Scratch, bytes: u64, arguments: &[&str], file: &str) {
    let message = failed(1, &limited(scratch, bytes, arguments));
    let start = format!("error: run/{file}");
    assert!(message.starts_with(&start) && message.contains(": cannot write: "), "{message}");
    assert!(message.ends_with("/bobbin train --resume run\n"), "{message}");
    for directory in ["run", "run/checkpoints"] {
        let left = entries(&scratch.work(directory));
        assert!(!left.iter().any(|name| name.starts_with("writing-")), "{left:?}");
    }
    let metrics = fs::read_to_string(scratch.work("run/metrics.jsonl")).unwrap();
    assert!(metrics.ends_with("}\n"), "{metrics}");
    succeeded(scratch.command().args(["--resume", "run"]).output().unwrap());
    assert_eq!(left(&scratch.work("run")), COMPLETE);
    assert_same(&scratch.work("whole"), &scratch.work("run"));
}

/// Runs without a limit, and keeps the last checkpoint.
fn train(scratch: &Scratch, out: &str, arguments: &[&str]) {
    let keep = ["--keep", "1", "--out", out];
    succeeded(scratch.command().args(arguments).args(keep).output().unwrap());
}

fn size(scratch: &Scratch, file: &str) -> u64 {
    fs::metadata(scratch.work(file)).unwrap().len()
}

#[test]
fn no_room_for_a_recipe() {
    let scratch = Scratch::with_data(1);
    let before = scratch.files();
    let output = limited(&scratch, 512, &[&SHORT[..], &["--out", "run"]].concat());
    let message = failed(1, &output);
    assert!(message.starts_with("error: run/recipe.toml: cannot write: "), "{message}");
    assert_eq!(scratch.files(), before);
}

/// All checkpoints of a run are of the same size, so the limit comes when it goes on.
#[test]
fn no_room_for_a_checkpoint() {
    let scratch = Scratch::with_data(1);
    let recipe = [&SHORT[..4], &["--schedule", "constant", "--batch-size", "64"]].concat();
    train(&scratch, "whole", &[&recipe[..], &["--epochs", "3"]].concat());
    train(&scratch, "run", &[&recipe[..], &["--epochs", "1"]].concat());
    let bytes = size(&scratch, "run/checkpoints/step-0000000005.safetensors") - 1024;
    let longer = ["--resume", "run", "--epochs", "3"];
    fails_and_goes_on(&scratch, bytes, &longer, "checkpoints/step-0000000010.safetensors");
}

#[test]
fn no_room_for_a_first_checkpoint() {
    let scratch = Scratch::with_data(1);
    let arguments = [&SHORT[..], &["--out", "run"]].concat();
    let message = failed(1, &limited(&scratch, 64 << 10, &arguments));
    let start = "error: run/checkpoints/step-0000000000.safetensors: cannot write: ";
    assert!(message.starts_with(start) && !message.contains("--resume"), "{message}");
    assert_eq!(entries(&scratch.work("run/checkpoints")), [""; 0]);
    scratch.refused(1, &["--resume", "run"], &["run/checkpoints: no checkpoint to go on from"]);
}

#[test]
fn no_room_for_curves() {
    let scratch = with_recipe();
    let recipe = [&RECIPE[..], &["--epochs", "30"]].concat();
    train(&scratch, "whole", &recipe);
    let log = format!("whole/train/{}", entries(&scratch.work("whole/train"))[0]);
    let bytes = size(&scratch, &log) * 3 / 4;
    assert!(bytes > size(&scratch, "whole/checkpoints/step-0000000300.safetensors"));
    let arguments = [&recipe[..], &["--out", "run"]].concat();
    fails_and_goes_on(&scratch, bytes, &arguments, "train/events.out.tfevents.");
}

/// Curves go on in a new file, lines in their own.
#[test]
fn no_room_for_lines() {
    let scratch = with_recipe();
    train(&scratch, "whole", &[&RECIPE[..], &["--epochs", "22"]].concat());
    train(&scratch, "run", &[&RECIPE[..], &["--epochs", "20"]].concat());
    let bytes = size(&scratch, "run/metrics.jsonl") + 1500;
    let longer = ["--resume", "run", "--epochs", "22"];
    fails_and_goes_on(&scratch, bytes, &longer, "metrics.jsonl");
}

#[test]
fn no_room_for_a_report() {
    let scratch = with_recipe();
    let recipe = [&RECIPE[..], &["--epochs", "1"]].concat();
    train(&scratch, "whole", &recipe);
    let bytes = size(&scratch, "whole/report.html") - 1024;
    let log = format!("whole/train/{}", entries(&scratch.work("whole/train"))[0]);
    assert!(bytes > size(&scratch, &log));
    let arguments = [&recipe[..], &["--out", "run"]].concat();
    fails_and_goes_on(&scratch, bytes, &arguments, "report.html");
}

/// Something that is no file is where the model shall be.
#[test]
fn no_place_for_a_model() {
    let scratch = with_recipe();
    train(&scratch, "whole", &[&RECIPE[..], &["--epochs", "2"]].concat());
    train(&scratch, "run", &[&RECIPE[..], &["--epochs", "1"]].concat());
    let model = scratch.work("run/model.safetensors");
    fs::remove_file(&model).unwrap();
    fs::create_dir(&model).unwrap();
    let output = scratch.command().args(["--resume", "run", "--epochs", "2"]).output().unwrap();
    let message = failed(1, &output);
    assert!(message.starts_with("error: run/model.safetensors: cannot write: "), "{message}");
    fs::remove_dir(&model).unwrap();
    succeeded(scratch.command().args(["--resume", "run"]).output().unwrap());
    assert_eq!(left(&scratch.work("run")), COMPLETE);
}

/// What is printed is lost, but not the run.
#[cfg(target_os = "linux")]
#[test]
fn no_room_for_what_is_printed() {
    let scratch = with_recipe();
    let recipe = [&RECIPE[..], &["--epochs", "1"]].concat();
    for more in [&["--describe"][..], &["--out", "run"], &["--out", "json", "--json"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = scratch.command().args(&recipe).args(more).stdout(full).output().unwrap();
        let message = failed(1, &output);
        assert!(message.starts_with("error: standard output: cannot write: "), "{message}");
    }
    for run in ["run", "json"] {
        assert_eq!(left(&scratch.work(run)), COMPLETE);
    }
}
