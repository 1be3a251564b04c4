//! `compare`: runs side by side.

use crate::scratch::*;
use serde_json::Value;
use std::fs;

#[test]
fn runs_are_compared() {
    let scratch = Scratch::with_data(1);
    for (name, lr) in [("slow", "1e-6"), ("fast", "0.02")] {
        scratch.train(&["--epochs", "2", "--lr", lr, "--out", &format!("runs/{name}")]);
    }
    let compare =
        |arguments: &[&str]| succeeded(scratch.bobbin("compare", arguments).output().unwrap());
    let text = compare(&["runs"]);
    let rows: Vec<&str> = text.lines().collect();
    assert!(rows[0].starts_with("optimizer.lr  epochs  best top-1"), "{text}");
    assert!(rows[1].ends_with("  fast  (best)") && rows[2].ends_with("  slow"), "{text}");
    assert_eq!(compare(&["runs/slow", "runs/fast"]), text);

    let json: Value = serde_json::from_str(&compare(&["runs", "--json"])).unwrap();
    assert_eq!((&json["best"], &json["runs"][1]["name"]), (&"fast".into(), &"slow".into()));
    let csv = compare_csv(&scratch);
    assert!(csv.contains("\r\n0.02,2,ended,"), "{csv}");
    assert_eq!(compare(&["runs", "--html", "page.html"]), text);
    let page = fs::read_to_string(scratch.work("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<bdi>slow</bdi>"));
    assert!(page.contains("<title>2 runs – Bobbin</title>"), "{page}");
    // An older page gives way to a newer one.
    compare(&["runs/slow", "--html", "page.html"]);
    let page = fs::read_to_string(scratch.work("page.html")).unwrap();
    assert!(page.contains("<title>1 run – Bobbin</title>"), "{page}");
}

#[test]
fn other_files_are_not_overwritten() {
    let scratch = Scratch::with_data(1);
    scratch.train(&["--epochs", "1", "--out", "run"]);
    for file in ["run/recipe.toml", "run/report.html", "run/model.safetensors"] {
        let before = fs::read(scratch.work(file)).unwrap();
        let words = [&format!("{file}: exists and is not a page of compare"), "--force"];
        let mut command = scratch.bobbin("compare", &["run", "--html", file]);
        scratch.refuses(1, &mut command, &words);
        assert_eq!(fs::read(scratch.work(file)).unwrap(), before);
    }
    let mut command = scratch.bobbin("compare", &["run", "--html", "-"]);
    scratch.refuses(2, &mut command, &["--html: found `-`: expected the name of a file"]);
    let mut command = scratch.bobbin("export", &["--weights", "run", "--onnx", "-"]);
    scratch.refuses(2, &mut command, &["--onnx: found `-`: expected the name of a file"]);
    #[cfg(unix)]
    for flags in [&["export", "--weights", "run", "--onnx"][..], &["compare", "run", "--html"]] {
        let link = scratch.work("link");
        std::os::unix::fs::symlink("nothing", &link).unwrap();
        let mut command = scratch.bobbin(flags[0], &[&flags[1..], &["link", "--force"]].concat());
        scratch.refuses(
            1,
            &mut command,
            &["link: cannot write: a link to nothing, which does not exist"],
        );
        assert!(link.is_symlink() && !scratch.work("nothing").exists());
        fs::remove_file(link).unwrap();
    }
    let forced = ["run", "--html", "run/report.html", "--force"];
    succeeded(scratch.bobbin("compare", &forced).output().unwrap());
    let page = fs::read_to_string(scratch.work("run/report.html")).unwrap();
    assert!(page.contains("Bobbin comparison"), "{page}");
}

fn compare_csv(scratch: &Scratch) -> String {
    let output = scratch.bobbin("compare", &["runs", "--csv"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_no_run_is_refused() {
    let scratch = Scratch::with_data(1);
    let refused = |code, arguments: &[&str], words: &[&str]| {
        scratch.refuses(code, &mut scratch.bobbin("compare", arguments), words);
    };
    refused(1, &["nowhere"], &["nowhere: cannot read: "]);
    refused(
        1,
        &["../data"],
        &["../data: no run in it", "expected a run directory, or a directory"],
    );
    let usage = scratch.bobbin("compare", &[]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("<RUN>..."));
}
