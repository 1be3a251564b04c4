//! What every command says of itself.

use crate::scratch::*;

#[test]
fn help_has_examples_and_exit_codes() {
    let scratch = Scratch::empty();
    for (name, flag) in [
        ("train", "--recipe <NAME|FILE>"),
        ("evaluate", "--weights <FILE>"),
        ("predict", "--index <I,J..K>"),
        ("export", "--onnx <OUT.onnx>"),
        ("import", "--test-fraction <X>"),
        ("compare", "--html <FILE>"),
        ("verify", "--ledger <FILE>"),
    ] {
        let printed = succeeded(scratch.bobbin(name, &["--help"]).output().unwrap());
        let (usage, example) =
            (format!("Usage: bobbin {name} "), format!("\nExamples:\n  bobbin {name} "));
        for words in [flag, &usage, &example, "\nExit codes: 0 "] {
            assert!(printed.contains(words), "{words}: {printed}");
        }
        assert!(printed.lines().all(|line| line.chars().count() <= 120), "{printed}");
    }
}

/// Paragraphs follow the width, and examples stay as they are.
#[test]
fn help_follows_the_width_of_the_terminal() {
    let scratch = Scratch::empty();
    let mut lines = vec![];
    for width in ["60", "100"] {
        let mut command = scratch.bobbin("evaluate", &["--help"]);
        let printed = succeeded(command.env("COLUMNS", width).output().unwrap());
        assert!(printed.contains("\n  bobbin evaluate --weights runs/fast-1"), "{printed}");
        let (_, prose) = printed.split_once("\nWithout --data ").unwrap();
        let width: usize = width.parse().unwrap();
        let longest = prose.lines().map(|line| line.chars().count()).max().unwrap();
        assert!((width - 15..=width).contains(&longest), "{width}: {longest}: {printed}");
        lines.push(prose.lines().count());
    }
    assert!(lines[0] > lines[1] + 5, "{lines:?}");
}

#[test]
fn the_version_is_that_of_the_package() {
    let scratch = Scratch::empty();
    let version = succeeded(scratch.bobbin("--version", &[]).output().unwrap());
    assert_eq!(version, format!("bobbin {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn shells_complete_commands_and_flags() {
    let scratch = Scratch::empty();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = scratch.bobbin("completions", &[shell]).output().unwrap();
        let script = String::from_utf8(script.stdout).unwrap();
        for word in ["bobbin", "evaluate", "predict", "weights", "recipe"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        // The names that flags of train take; elvish and powershell complete no values.
        for name in ["paper", "sweep-li", "cnn-bn", "rmsprop", "one-cycle"] {
            let completes = ["bash", "zsh", "fish"].contains(&shell);
            assert!(!completes || script.contains(name), "{shell}: {name}");
        }
    }
}

/// A page for the program and one for each command.
#[test]
fn manual_pages() {
    let scratch = Scratch::empty();
    succeeded(scratch.bobbin("man", &["share/man1"]).output().unwrap());
    let pages = entries(&scratch.work("share/man1"));
    for page in ["bobbin.1", "bobbin-train.1", "bobbin-import.1"] {
        assert!(pages.contains(&page.to_owned()), "{pages:?}");
    }
    let page = std::fs::read_to_string(scratch.work("share/man1/bobbin-train.1")).unwrap();
    assert!(page.starts_with(".ie") && page.contains("\\-\\-recipe"), "{page}");
    // Examples and tables stand as they are, and the footer has the version.
    let examples = "Examples:\n.nf\n  bobbin train \\-\\-recipe paper \\-\\-seed 2\n";
    let recipes = "Recipes:\n.nf\n  fast      ";
    let footer = format!(" \"bobbin {}\"", env!("CARGO_PKG_VERSION"));
    for words in [examples, recipes, &footer] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(page.matches("\n.nf\n").count(), page.matches("\n.fi\n").count(), "{page}");
}
