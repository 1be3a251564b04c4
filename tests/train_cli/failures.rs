//! What a program that fails tells the programs that start it: docs/metrics.md, "When a program fails".

use crate::scratch::*;
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Output};

const FILE: &str = "failure.json";

fn run(scratch: &Scratch, arguments: &[&str]) -> Output {
    let mut command = scratch.command();
    command.env("BOBBIN_ERROR_FILE", FILE).args(["--data", "../data"]).args(arguments);
    command.output().unwrap()
}

/// The last line that is printed with `--json`; without the flag there is no such line.
fn printed(output: &Output) -> Option<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let object = text.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    object.filter(|object| object["event"] == "error")
}

#[test]
fn a_failure_is_an_object_of_its_kind() {
    let scratch = Scratch::with_data(1);
    scratch.train(&["--out", "other"]);
    let short = ["--epochs", "1", "--batch-size", "64"];
    let with = |more: &[&'static str]| [&short[..], more].concat();
    let cases = [
        ("usage", 2, with(&["--lr", "-1"])),
        ("usage", 2, with(&["--no-such-flag"])),
        ("usage", 2, with(&["--recipe", "none.toml"])),
        ("data", 1, with(&["--set", "data.directory=/no/such"])),
        ("file", 1, with(&["--out", "other"])),
        ("file", 1, vec!["--resume", "none"]),
        ("file", 1, with(&["--init", "none.safetensors"])),
        ("diverged", 1, with(&["--lr", "1e30", "--schedule", "constant"])),
    ];
    for (kind, exit, arguments) in cases {
        let file = scratch.work(FILE);
        for json in [false, true] {
            let flags = if json { &["--json"][..] } else { &[] };
            let output = run(&scratch, &[&arguments[..], flags].concat());
            assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {output:?}");
            let object: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            assert_eq!(object["event"], "error");
            assert_eq!(
                (&object["kind"], &object["exit"]),
                (&json!(kind), &json!(exit)),
                "{object}"
            );
            let told = said(&output);
            let message = object["message"].as_str().unwrap();
            assert!(told.starts_with(&format!("error: {message}")), "{message}\n{told}");
            assert_eq!(printed(&output), json.then_some(object), "{arguments:?}");
            fs::remove_file(&file).unwrap();
        }
    }
}

/// Kinds that others than `train`'s users act on: python/bobbin_spark says them in its own words.
#[test]
fn data_that_are_missing_or_others_have_kinds_of_their_own() {
    let scratch = Scratch::with_data(1);
    let kind = |output: &Output| {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let object: Value = serde_json::from_slice(&fs::read(scratch.work(FILE)).unwrap()).unwrap();
        object["kind"].as_str().unwrap().to_owned()
    };
    scratch.train(&["--out", "run"]);
    let (labels, test) = (scratch.path("data").join(TRAIN_LABELS), scratch.path("data"));
    let mut bytes = fs::read(&labels).unwrap();
    bytes[8..].rotate_left(1);
    fs::write(&labels, bytes).unwrap();
    assert_eq!(kind(&run(&scratch, &["--resume", "run", "--epochs", "6"])), "other-data");
    for name in [TEST_IMAGES, TEST_LABELS] {
        fs::remove_file(test.join(name)).unwrap();
    }
    assert_eq!(kind(&run(&scratch, &["--recipe", "fast"])), "no-test-set");
}

#[test]
fn success_leaves_no_object() {
    let scratch = Scratch::with_data(1);
    let output = run(&scratch, &["--epochs", "1", "--json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(printed(&output), None);
    assert!(!scratch.work(FILE).exists());
}

/// A place that cannot be written is told, and changes nothing else.
#[test]
fn a_file_that_cannot_be_written_is_a_warning() {
    let scratch = Scratch::with_data(1);
    let mut command: Command = scratch.command();
    command.env("BOBBIN_ERROR_FILE", "none/failure.json").args(["--data", "../data", "--lr", "-1"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = said(&output);
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("warning: none/failure.json: cannot write: "), "{told}");
    assert!(lines[1].starts_with("error: --lr: "), "{told}");
}
