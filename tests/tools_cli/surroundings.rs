//! What `import` is started in: the limits of the system.

use crate::import::{bytes, flat};
use crate::scratch::{BOBBIN, Scratch, failed, succeeded};
use std::process::Command;

/// A picture that cannot be opened as too many files are open is none that is left out: the data set would be another.
#[test]
fn few_files_may_be_open() {
    let scratch = Scratch::empty();
    flat(&scratch);
    let mut import = scratch.bobbin("import", &["pictures", "--out", "whole"]);
    succeeded(import.output().unwrap());
    let whole = bytes(&scratch.work("whole"));
    let (mut refused, mut ran) = (0, 0);
    for files in 4..16 {
        let mut command = scratch.set_up(Command::new("sh"));
        command.args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh", BOBBIN, "import"]);
        let output = command.args(["pictures", "--out", "set"]).output().unwrap();
        match output.status.code() {
            // The loader of programs.
            Some(127) => {}
            Some(0) => {
                assert_eq!(bytes(&scratch.work("set")), whole, "{files} files");
                std::fs::remove_dir_all(scratch.work("set")).unwrap();
                ran += 1;
            }
            _ => {
                let message = failed(1, &output);
                assert!(!message.starts_with("error: Too many open files"), "{message}");
                assert!(message.contains("Too many open files"), "{files} files: {message}");
                assert!(!scratch.work("set").exists());
                refused += 1;
            }
        }
    }
    assert!(refused > 1 && ran > 1, "{refused} were refused, {ran} ran");
}
