//! What a program is started in: its directory, its variables, the limits of the system.

use crate::scratch::{BOBBIN, SHORT, Scratch, failed, said};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// `bobbin train`, started by a shell after this.
fn after(scratch: &Scratch, script: &str, arguments: &[&str]) -> Command {
    let mut command = scratch.set_up(Command::new("sh"));
    let script = format!("{script}; exec \"$@\"");
    command.args(["-c", &script, "sh", BOBBIN, "train"]).args(arguments);
    command
}

#[test]
fn a_current_directory_that_is_gone() {
    let scratch = Scratch::with_data(1);
    let gone = |arguments: &[&str]| after(&scratch, "mkdir a && cd a && rmdir ../a", arguments);
    for (flag, file) in [("--data", "data"), ("--init", "net.pth")] {
        let words = format!("{flag}: {file}: the current directory cannot be found: ");
        scratch.refuses(1, &mut gone(&[flag, file]), &[&words]);
    }
    let (data, out) = (scratch.path("data"), scratch.work("run"));
    let [data, out] = [&data, &out].map(|path| path.to_str().unwrap());
    let words = "runs: cannot make the run directory: ";
    scratch.refuses(1, &mut gone(&["--data", data]), &[words]);
    let whole = ["--recipe", "fast", "--data", data, "--out", out, "--epochs", "1"];
    let output = gone(&whole).output().unwrap();
    assert_eq!((output.status.code(), &*said(&output)), (Some(0), ""));
}

#[test]
fn an_empty_path_is_none() {
    let scratch = Scratch::with_data(1);
    let words = "--data: found an empty path, expected a file or directory";
    scratch.refused(2, &["--set", "data.directory=\"\""], &[words]);
}

#[test]
fn a_variable_that_is_not_utf_8_is_no_simd_path() {
    let scratch = Scratch::with_data(1);
    let mut command = scratch.command();
    command.args(SHORT).env("BOBBIN_ISA", OsStr::from_bytes(b"avx2\xff"));
    let words = "BOBBIN_ISA=avx2\u{fffd}: expected avx512bf16, avx512, avx2 or portable";
    scratch.refuses(2, &mut command, &[words]);
}

/// However few files may be open, the run is whole, or one line says what could not be opened.
#[test]
fn few_files_may_be_open() {
    let scratch = Scratch::with_data(1);
    scratch.train(&["--epochs", "1", "--out", "whole"]);
    let model = fs::read(scratch.work("whole/model.safetensors")).unwrap();
    let (mut refused, mut ran) = (0, 0);
    for files in 4..24 {
        let arguments = [&SHORT[..], &["--epochs", "1", "--out", "run"]].concat();
        let output = after(&scratch, &format!("ulimit -n {files}"), &arguments).output().unwrap();
        match output.status.code() {
            // The loader of programs.
            Some(127) => {}
            Some(0) => {
                assert_eq!(said(&output), "", "{files} files");
                assert!(fs::read(scratch.work("run/model.safetensors")).unwrap() == model);
                ran += 1;
            }
            _ => {
                let message = failed(1, &output);
                assert!(!message.starts_with("error: Too many open files"), "{message}");
                assert!(message.contains("Too many open files"), "{files} files: {message}");
                refused += 1;
            }
        }
        let _ = fs::remove_dir_all(scratch.work("run"));
    }
    assert!(refused > 2 && ran > 2, "{refused} were refused, {ran} ran");
}
