//! `verify`: published runs, and ledgers of one's own.

use crate::scratch::*;
use serde_json::Value;
use std::fs;

fn write(scratch: &Scratch, name: &str, text: String) {
    fs::write(scratch.work(name), text).unwrap();
}

#[test]
fn a_published_run_has_the_same_bits() {
    let scratch = Scratch::empty();
    let listed = succeeded(scratch.bobbin("verify", &["--list"]).output().unwrap());
    let first = listed.lines().next().unwrap();
    assert!(
        listed.lines().count() == 7 && first.starts_with("paper        40 steps  8eeb8c70"),
        "{listed}"
    );
    let output = scratch.bobbin("verify", &["paper", "--threads", "3", "--json"]).output().unwrap();
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    let found: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    assert_eq!((&found["name"], &found["threads"]), (&"paper".into(), &3.into()));
    if found["isa"] != "portable" {
        assert_eq!((&found["same"], &found["steps"]), (&true.into(), &40.into()), "{found}");
        assert_eq!(output.status.code(), Some(0));
    }
    scratch.refuses(
        2,
        &mut scratch.bobbin("verify", &["papers"]),
        &["found `papers`: expected one of paper,"],
    );
}

/// Where sums are rounded in other places it is said, by `verify` and by `train`.
#[test]
fn the_portable_path_is_named() {
    let scratch = Scratch::with_data(1);
    let words = "warning: the portable SIMD path rounds sums in other places";
    let mut verify = scratch.bobbin("verify", &["paper"]);
    let output = verify.env("BOBBIN_ISA", "portable").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with(words) && said.matches("warning").count() == 1, "{said}");
    assert!(
        said.contains("paper: portable, ") && said.contains(" step 1 is the first that differs: "),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));

    let mut train = scratch.command();
    let arguments = [
        "--recipe", "fast", "--data", "../data", "--epochs", "1", "--seeds", "2", "--out", "out",
        "--quiet",
    ];
    let output = train.args(arguments).env("BOBBIN_ISA", "portable").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with(words) && said.matches(words).count() == 1, "{said}");
}

#[test]
fn a_ledger_is_computed_again() {
    let scratch = Scratch::with_data(1);
    scratch.train(&["--epochs", "1", "--out", "run", "--ledger", "run.jsonl", "--threads", "1"]);
    let verify = |arguments: &[&str]| {
        scratch.bobbin("verify", &[&["--ledger", "run.jsonl"], arguments].concat())
    };
    // Whose data these are it does not tell.
    let text = fs::read_to_string(scratch.work("run.jsonl")).unwrap();
    assert!(!text.contains(scratch.path("").to_str().unwrap()), "{text}");
    scratch.refuses(2, &mut verify(&[]), &["its run has `data`", "expected --data"]);
    let printed = succeeded(verify(&["--data", "../data", "--threads", "2"]).output().unwrap());
    assert!(printed.contains(" steps, the same bits: "), "{printed}");
    // Another step, other data, and what is no ledger.
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[2] = lines[2].replacen("\"gradient\":\"", "\"gradient\":\"0", 1);
    write(&scratch, "run.jsonl", lines.join("\n") + "\n");
    let output = verify(&["--data", "../data", "--json"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&objects[0]["step"], &objects[0]["differs"][0]), (&2.into(), &"gradient".into()));
    assert_eq!((&objects[1]["kind"], output.status.code()), (&"bits-differ".into(), Some(1)));
    write(&scratch, "run.jsonl", text.replacen("\"data\":\"", "\"data\":\"0", 1));
    scratch.refuses(
        1,
        &mut verify(&["--data", "../data"]),
        &["these are not the data of the run of run.jsonl"],
    );
    write(&scratch, "run.jsonl", "{}\n".to_owned());
    scratch.refuses(
        1,
        &mut verify(&["--data", "../data"]),
        &["run.jsonl: line 1: not a line of a ledger"],
    );
}

#[test]
fn a_file_that_is_there_is_no_new_ledger() {
    let scratch = Scratch::with_data(1);
    write(&scratch, "notes", "mine\n".to_owned());
    let words = ["notes: exists and is not empty: expected a new file for --ledger"];
    scratch.refused(1, &["--data", "../data", "--ledger", "notes"], &words);
}

/// An interrupted run says how its ledger goes on, and the ledger is that of a run at one go.
#[test]
#[cfg(unix)]
fn a_ledger_goes_on_with_its_run() {
    let scratch = Scratch::with_data(1);
    let recipe = [
        "--recipe",
        "fast",
        "--data",
        "../data",
        "--batch-size",
        "64",
        "--schedule",
        "constant",
        "--lr",
        "0.02",
        "--epochs",
        "4",
    ];
    let run = |arguments: &[&str]| scratch.command().args(arguments).output().unwrap();
    succeeded(run(&[&recipe[..], &["--out", "whole", "--ledger", "whole.jsonl"]].concat()));
    succeeded(run(
        &[&recipe[..], &["--out", "part", "--ledger", "part.jsonl", "--keep", "9"]].concat()
    ));
    let whole = fs::read(scratch.work("whole.jsonl")).unwrap();
    assert!(whole == fs::read(scratch.work("part.jsonl")).unwrap());
    for path in
        fs::read_dir(scratch.work("part/checkpoints")).unwrap().map(|entry| entry.unwrap().path())
    {
        if !path.ends_with("step-0000000005.safetensors") {
            fs::remove_file(path).unwrap();
        }
    }
    succeeded(run(&["--resume", "part", "--ledger", "part.jsonl"]));
    assert!(whole == fs::read(scratch.work("part.jsonl")).unwrap());
    // A longer run is another one.
    scratch.refused(
        1,
        &["--resume", "part", "--epochs", "5", "--ledger", "whole.jsonl"],
        &["whole.jsonl: a ledger of another recipe: expected a new file, or the ledger of this run"],
    );
}
