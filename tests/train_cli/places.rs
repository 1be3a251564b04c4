//! Where a run is written: names that are not UTF-8, directories that are renamed or deleted, file
//! systems that cannot lock.

use crate::scratch::*;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// `train` on the small set, for so long that it does not end by itself.
fn long_run(scratch: &Scratch) -> Command {
    let mut command = scratch.command();
    command.args(SHORT).args(["--epochs", "100000", "--out", "run"]);
    command
}

/// How a run ends when this is done to its files after its first epoch: its exit code and stderr.
fn meddled(scratch: &Scratch, meddle: impl FnOnce(&Path)) -> (Option<i32>, String) {
    let mut command = long_run(scratch);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut meddle = Some(meddle);
    // Read to the end, so that the run is not held up.
    for line in lines {
        if line.unwrap().starts_with("epoch 1/")
            && let Some(meddle) = meddle.take()
        {
            meddle(&scratch.work("run"));
        }
    }
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    let message = heard(&message);
    (child.wait().unwrap().code(), message)
}

#[test]
fn a_run_that_is_renamed_ends_with_one_error() {
    let scratch = Scratch::with_data(1);
    let new = scratch.work("renamed");
    let (code, message) = meddled(&scratch, |run| fs::rename(run, &new).unwrap());
    assert_eq!((code, message.lines().count()), (Some(1), 1), "{message}");
    let now = new.canonicalize().unwrap();
    let words = format!(
        "error: run: no longer at this path: it is now {0}; go on with: {BOBBIN} train --resume {0}\n",
        now.display()
    );
    assert_eq!(message, words);
    assert!(!scratch.work("run").exists());
    // What there was has moved with it.
    let checkpoints = entries(&new.join("checkpoints"));
    assert!(!checkpoints.is_empty() && checkpoints.iter().all(|name| name.starts_with("step-")));
}

/// A link that leads elsewhere: its path is named, and that the run is where it was.
#[cfg(unix)]
#[test]
fn a_link_to_a_run_that_is_changed() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::with_data(1);
    for name in ["real", "other"] {
        fs::create_dir(scratch.work(name)).unwrap();
    }
    symlink("real", scratch.work("run")).unwrap();
    let (code, message) = meddled(&scratch, |link| {
        fs::remove_file(link).unwrap();
        symlink("other", link).unwrap();
    });
    let real = scratch.work("real").canonicalize().unwrap();
    let words =
        format!("error: run: no longer at this path: it is now {0}; go on with: ", real.display());
    assert_eq!((code, message.starts_with(&words)), (Some(1), true), "{message}");
    assert!(entries(&scratch.work("other")).is_empty());
}

#[test]
fn a_run_that_is_deleted_does_not_succeed() {
    let scratch = Scratch::with_data(1);
    let (code, message) = meddled(&scratch, |run| {
        // The run may put another file into it meanwhile.
        while run.exists() {
            let _ = fs::remove_dir_all(run);
        }
    });
    assert_eq!((code, message.lines().count()), (Some(1), 1), "{message}");
    // Of which file it is noticed first is chance.
    assert!(message.starts_with("error: run"), "{message}");
    assert!(!scratch.work("run").exists());
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::with_data(1);
    let name = OsStr::from_bytes(b"caf\xe9");
    let run = |arguments: &[&str]| {
        let mut command = scratch.command();
        command.args(SHORT).args(arguments).arg("--out").arg(name);
        succeeded(command.output().unwrap())
    };
    run(&["--epochs", "1"]);
    let path = scratch.path("work").join(name);
    assert_eq!(left(&path), COMPLETE);
    let mut resume = scratch.command();
    succeeded(resume.arg("--resume").arg(name).output().unwrap());
    fs::remove_dir_all(&path).unwrap();
    run(&["--epochs", "1", "--seeds", "2"]);
    assert!(run(&["--epochs", "1", "--seeds", "2"]).contains("seed=1, which is done"));
    let mut compare = scratch.bobbin("compare", &["--json"]);
    assert!(succeeded(compare.arg(name).output().unwrap()).contains("seed=2"));

    // Other flags are text.
    for flag in ["--recipe", "--sweep", "--model", "--optimizer", "--set", "--epochs"] {
        let output = scratch.command().arg(flag).arg(name).output().unwrap();
        let message = said(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        let words = format!("error: {flag}: found `caf\u{fffd}`: expected text in UTF-8\n");
        assert!(message.starts_with(&words), "{message}");
    }

    // A recipe is text, so data and weights need names in UTF-8.
    fs::rename(scratch.path("data"), scratch.path("").join(name)).unwrap();
    for flag in ["--data", "--init"] {
        let mut command = scratch.command();
        let output = command.arg(flag).arg(scratch.path("").join(name)).output().unwrap();
        let message = said(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.starts_with(&format!("error: {flag}: ")), "{message}");
        assert!(message.contains("expected a path in UTF-8"), "{message}");
    }
}

/// The directory in which the command runs may be called as it likes, but text of flags is UTF-8.
#[cfg(unix)]
#[test]
fn a_working_directory_that_is_not_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::with_data(1);
    let name = OsStr::from_bytes(b"caf\xe9");
    let path = scratch.path("work").join(name);
    fs::create_dir(&path).unwrap();
    let mut inside = scratch.command();
    let arguments = ["--data", "../../data", "--set", "stop.iterations=1", "--out", "in"];
    let output = inside.current_dir(&path).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut command = scratch.bobbin("evaluate", &["--weights", "none", "--data", "data"]);
    let words = "--prefix: found `caf\u{fffd}`: expected text in UTF-8";
    scratch.refuses(2, command.arg("--prefix").arg(name), &[words]);
}

/// A command that is printed to be typed does what it says, whatever the bytes of a path.
#[cfg(unix)]
#[test]
fn commands_with_names_that_are_not_utf_8_can_be_pasted() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::with_data(1);
    let mut command = scratch.command();
    command.args(SHORT).args(["--epochs", "100000", "--out"]);
    command.arg(OsStr::from_bytes(b"nu\xff x/o"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("epoch 1/")));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    lines.for_each(drop);
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    let message = heard(&message);
    assert_eq!(child.wait().unwrap().code(), Some(143), "{message}");
    let (_, again) = message.trim_end().split_once("; go on with: ").unwrap();
    assert!(again.ends_with(r" --resume $'nu\xff x/o'"), "{again}");
    let mut shell = scratch.set_up(Command::new("bash"));
    // It is complete after the epoch that is under way.
    let output = shell.args(["-c", &format!("{again} --epochs 1")]).output().unwrap();
    let message = said(&output);
    assert!(!message.contains("not a run directory"), "{message}");
    assert!(
        !message.contains("error: ") || message.contains("`stop.epochs` is 1: expected at least"),
        "{message}"
    );
}

/// A library in front of the system's stands for a file system without locks.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_locked_is_told_once() {
    let scratch = Scratch::with_data(1);
    scratch.write(
        "no_lock.c",
        b"#include <errno.h>\nint flock(int f, int o) { errno = ENOLCK; return -1; }\n",
    );
    let built = Command::new("gcc")
        .args(["-shared", "-fPIC", "-o"])
        .args([scratch.path("no_lock.so"), scratch.path("no_lock.c")])
        .status();
    assert!(built.unwrap().success());
    let mut command = scratch.command();
    command.args(SHORT).args(["--epochs", "1", "--seeds", "2", "--out", "all"]);
    let output = command.env("LD_PRELOAD", scratch.path("no_lock.so")).output().unwrap();
    let message = said(&output);
    assert!(output.status.success(), "{message}");
    let told: Vec<&str> = message.lines().filter(|line| line.contains("cannot lock")).collect();
    assert_eq!(told.len(), 1, "{message}");
    assert!(told[0].starts_with("warning: all/seed="), "{message}");
}

/// What a run leaves may be given to others: neither the home directory nor the machine is named, and the run goes on
/// and is repeated all the same.
#[test]
#[cfg(unix)]
fn files_of_a_run_do_not_say_whose_they_are() {
    let scratch = Scratch::with_data(1);
    let home = scratch.path("").canonicalize().unwrap();
    let train = |arguments: &[&str]| {
        let mut command = scratch.command();
        succeeded(command.args(arguments).env("HOME", &home).output().unwrap())
    };
    let data = home.join("data");
    train(&[
        "--data",
        data.to_str().unwrap(),
        "--epochs",
        "1",
        "--out",
        "run",
        "--validation",
        "20%",
    ]);
    let recipe = fs::read_to_string(scratch.work("run/recipe.toml")).unwrap();
    assert!(recipe.contains("directory = \"~/data\""), "{recipe}");
    let own = home.to_str().unwrap().as_bytes();
    let told = |path: &Path| fs::read(path).unwrap().windows(own.len()).any(|bytes| bytes == own);
    let mut looked_at = 0;
    for folder in ["run", "run/train", "run/validation", "run/checkpoints"] {
        for entry in fs::read_dir(scratch.work(folder)).unwrap().map(|entry| entry.unwrap().path())
        {
            // The log of the run, for its user and for programs, has paths that can be opened.
            if entry.is_file() && !entry.ends_with("metrics.jsonl") {
                assert!(!told(&entry), "{}", entry.display());
                looked_at += 1;
            }
        }
    }
    assert!(looked_at >= 8, "{looked_at} files");
    train(&["--resume", "run"]);
    train(&["--recipe", "run/recipe.toml", "--out", "again"]);
    let model = |run: &str| fs::read(scratch.work(run).join("model.safetensors")).unwrap();
    assert!(model("run") == model("again"));
}
