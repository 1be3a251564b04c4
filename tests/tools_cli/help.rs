//! What every program says of itself.

use crate::scratch::*;

#[test]
fn help_has_examples_and_exit_codes() {
    let scratch = Scratch::empty();
    for (name, path, flag) in [
        ("evaluate", env!("CARGO_BIN_EXE_evaluate"), "--weights <FILE>"),
        ("predict", env!("CARGO_BIN_EXE_predict"), "--index <I,J..K>"),
        ("import", env!("CARGO_BIN_EXE_import"), "--test-fraction <X>"),
    ] {
        let printed = succeeded(scratch.program(path, &["--help"]).output().unwrap());
        for words in [flag, "\nExamples:\n  ", "\nExit codes: 0 "] {
            assert!(printed.contains(words), "{words}: {printed}");
        }
        assert!(printed.lines().all(|line| line.chars().count() <= 120), "{printed}");
        let version = succeeded(scratch.program(path, &["--version"]).output().unwrap());
        assert_eq!(version, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
}
