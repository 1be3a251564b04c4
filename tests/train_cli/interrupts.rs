//! Signals: the end in good order, the end at once, and going on.
#![cfg(unix)]

use crate::same::assert_same;
use crate::scratch::*;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Flags of a run of 40 epochs of 19 steps.
const LONG: [&str; 12] = [
    "--recipe",
    "fast",
    "--data",
    "../data",
    "--epochs",
    "40",
    "--batch-size",
    "16",
    "--lr",
    "0.02",
    "--set",
    "events.checkpoint={ epochs = 10 }",
];

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Waits at most a minute.
fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    panic!("does not end");
}

/// The step under way is finished, a checkpoint written, and the command printed with which a shell
/// goes on, whatever the directory is called.
#[test]
fn a_signal_ends_a_run_in_good_order() {
    let scratch = Scratch::with_data(1);
    let whole = scratch.work("whole");
    succeeded(scratch.command().args(LONG).args(["--out", "whole"]).output().unwrap());
    for (name, code, out) in
        [("INT", 130, "plain"), ("TERM", 143, "it's a $HOME"), ("HUP", 129, "-x")]
    {
        let mut command = scratch.command();
        command.args(LONG).arg(format!("--out={out}")).arg("--json");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It cannot run far ahead of a reader who stops in the first epoch: a pipe holds 64 KiB.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen =
            lines.find(|line| line.as_ref().unwrap().contains("\"step\":9,")).unwrap().unwrap();
        assert!(seen.starts_with("{\"event\":\"progress\",\"epoch\":1,"), "{seen}");
        signal(&child, name);
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        let mut message = String::new();
        child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        let message = heard(&message);
        assert_eq!(wait(&mut child).code(), Some(code), "{message}");

        let [.., last, failure] = &rest[..] else { panic!("{rest:?}") };
        let words = format!("{{\"event\":\"error\",\"exit\":{code},\"kind\":\"interrupted\",");
        assert!(failure.starts_with(&words), "{failure}");
        assert!(last.contains("\"event\":\"end\"") && last.contains("\"interrupted\""), "{last}");
        let (_, step) = message.split_once("interrupted after step ").unwrap();
        let (step, command) = step.split_once("; go on with: ").unwrap();
        assert!(last.contains(&format!("\"step\":{step},")), "{message}: {last}");
        let path = scratch.work(out);
        let step: usize = step.parse().unwrap();
        assert!(path.join(format!("checkpoints/step-{step:010}.safetensors")).is_file());
        assert!(!path.join("model.safetensors").exists());
        assert!(!path.join("report.html").exists());

        let mut shell = scratch.set_up(Command::new("sh"));
        let printed = succeeded(shell.args(["-c", command]).output().unwrap());
        let words =
            format!("\ngoing on after step {step}; {} of 40 epochs are complete\n", step / 19);
        assert!(printed.contains(&words), "{words}: {printed}");
        assert_same(&whole, &path);
    }
}

/// Of several runs those that are done stay, and the rest follows.
#[test]
fn several_runs_go_on() {
    let scratch = Scratch::with_data(1);
    let seeds = [&LONG[..], &["--seeds", "3"]].concat();
    succeeded(scratch.command().args(&seeds).args(["--out", "whole"]).output().unwrap());
    let mut command = scratch.command();
    command.args(&seeds).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .by_ref()
        .find(|line| line.as_ref().unwrap().contains("\"name\":\"seed=2\""))
        .unwrap()
        .unwrap();
    signal(&child, "INT");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    let message = heard(&message);
    assert_eq!(wait(&mut child).code(), Some(130), "{message}");
    assert!(rest.last().unwrap().contains("\"interrupted\""), "{rest:?}");
    let (_, command) = message.split_once("; go on with: ").unwrap();
    assert!(command.ends_with(" --json --out runs/fast-seeds-1\n"), "{command}");

    let mut shell = scratch.set_up(Command::new("sh"));
    let printed = succeeded(shell.args(["-c", command]).output().unwrap());
    let starts = |seed: &str| printed.contains(&format!("\"name\":\"seed={seed}\""));
    assert_eq!([starts("1"), starts("2"), starts("3")], [false, true, true]);
    assert!(printed.lines().last().unwrap().starts_with("{\"event\":\"results\","), "{printed}");
    for seed in ["seed=1", "seed=2", "seed=3"] {
        assert_same(
            &scratch.work("whole").join(seed),
            &scratch.work("runs/fast-seeds-1").join(seed),
        );
    }
}

/// The first signal finds a run that waits for a reader of what it prints, so the good order would
/// last for ever.
#[test]
fn a_second_signal_ends_a_run_at_once() {
    let scratch = Scratch::with_data(1);
    let (reader, mut writer) = std::io::pipe().unwrap();
    // All the room that Linux gives a pipe, or more: then it is full when this thread waits too.
    let mut filler = writer.try_clone().unwrap();
    std::thread::spawn(move || filler.write_all(&[b'\n'; 1 << 20]));
    sleep(Duration::from_millis(50));
    writer.flush().unwrap();
    let mut command = scratch.command();
    command.args(LONG).args(["--out", "run", "--json"]).stdout(writer).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(command);
    let metrics = scratch.work("run/metrics.jsonl");
    let started = Instant::now();
    while !fs::read(&metrics).is_ok_and(|text| !text.is_empty()) {
        assert!(started.elapsed() < Duration::from_secs(60), "does not begin");
        sleep(Duration::from_millis(5));
    }
    // What follows at once is the same signal, which `timeout` sends twice.
    for _ in 0..3 {
        signal(&child, "INT");
        sleep(Duration::from_millis(50));
    }
    assert_eq!(child.try_wait().unwrap(), None);
    for arguments in [&["--resume", "run"][..], &[&LONG[..], &["--out", "run", "--force"]].concat()]
    {
        scratch.refused(1, arguments, &["error: run: a run is going on in it"]);
    }
    sleep(Duration::from_millis(1000));
    assert_eq!(child.try_wait().unwrap(), None);
    signal(&child, "INT");
    assert_eq!(wait(&mut child).code(), Some(130));
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    let message = heard(&message);
    assert_eq!(message, "stopped at once\n");
    drop(reader);
}

/// A program that is killed again and again, anywhere, still comes to the same weights.
#[test]
fn a_run_survives_being_killed() {
    let scratch = Scratch::with_data(1);
    let recipe = [
        "--recipe",
        "fast",
        "--data",
        "../data",
        "--epochs",
        "4",
        "--batch-size",
        "16",
        "--model",
        "cnn-bn",
        "--set",
        "events.checkpoint={ iterations = 7 }",
        "--validation",
        "50",
        "--optimizer",
        "adam",
    ];
    let from_start = |out: &str| {
        let mut command = scratch.command();
        command.args(recipe).args(["--out", out, "--force", "--quiet"]);
        command
    };
    let started = Instant::now();
    succeeded(from_start("whole").output().unwrap());
    // Of what a run takes, parts that differ.
    let whole = started.elapsed();
    let mut kills = 0;
    let path = scratch.work("parts");
    let mut command = from_start("parts");
    loop {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        if kills < 12 {
            sleep(whole * (1 + kills * 7 % 12) / 40);
            let _ = child.kill();
            kills += 1;
        }
        if wait(&mut child).success() {
            break;
        }
        let begun = path.join("checkpoints").exists()
            && entries(&path.join("checkpoints")).iter().any(|name| name.starts_with("step-"));
        command = if begun { scratch.command() } else { from_start("parts") };
        if begun {
            command.args(["--resume", "parts", "--quiet"]);
        }
    }
    assert!(kills > 2, "{kills}");
    assert_same(&scratch.work("whole"), &path);
    no_unfinished(&path);
}

fn no_unfinished(path: &Path) {
    for directory in [path.to_owned(), path.join("checkpoints")] {
        let left = entries(&directory);
        assert!(!left.iter().any(|name| name.starts_with("writing-")), "{left:?}");
    }
}

/// `nohup`, and shells that start a program in the background, have it ignore signals: it goes on.
#[test]
fn a_signal_that_is_ignored_stays_so() {
    let scratch = Scratch::with_data(1);
    let mut shell = scratch.set_up(Command::new("sh"));
    shell.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh", BOBBIN, "train"]).args(LONG);
    shell.args(["--out", "run", "--epochs", "4000", "--json"]).stdout(Stdio::piped());
    let mut child = shell.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |word: &str| {
        lines.find(|line| line.as_ref().unwrap().contains(word)).expect(word).unwrap();
    };
    until("\"step\":9,");
    signal(&child, "HUP");
    signal(&child, "INT");
    // Many steps later, as the pipe holds some of them.
    until("\"event\":\"progress\",\"epoch\":60,");
    signal(&child, "TERM");
    until("\"interrupted\"");
    assert_eq!(wait(&mut child).code(), Some(143));
}
