//! What two run directories have in common, but for times and paths.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use tracking::tensorboard::{event, read_events, value};

/// Asserts that a run and another, which was interrupted any number of times, left the same: bytes of
/// weights and of the checkpoints that both have, the last of them included, lines of metrics, curves.
pub fn assert_same(run: &Path, other: &Path) {
    for file in ["model.safetensors", "best.safetensors", "recipe.toml"] {
        let read = |directory: &Path| fs::read(directory.join(file)).ok();
        assert!(read(run) == read(other), "{file} of {}", other.display());
    }
    let names = |directory: &Path| -> BTreeSet<OsString> {
        let entries = fs::read_dir(directory.join("checkpoints")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    let (mine, others) = (names(run), names(other));
    assert_eq!(mine.last(), others.last());
    for name in mine.intersection(&others) {
        let read = |directory: &Path| fs::read(directory.join("checkpoints").join(name)).unwrap();
        assert!(read(run) == read(other), "{} of {}", name.display(), other.display());
    }
    assert_eq!(metrics(run), metrics(other));
    for log in ["train", "validation", ""] {
        let (mine, others) = (curves(&run.join(log)), curves(&other.join(log)));
        assert!(mine == others, "{log} of {}: {mine:?}\n{others:?}", other.display());
    }
}

/// The lines of a run without those that tell of interruptions, and without what a run has of its own:
/// times, paths, threads, and the epochs that it was to have when it began.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut lines = vec![];
    for line in text.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let of_an_interruption = match line["event"].as_str().unwrap() {
            "start" => line["step"] != 0,
            "checkpoint" => true,
            _ => false,
        };
        let own =
            ["seconds", "images_per_second", "threads", "name", "directory", "model", "epochs"];
        for key in own {
            if let Some(value) = line.get_mut(key) {
                *value = json!(null);
            }
        }
        if !of_an_interruption {
            lines.push(line);
        }
    }
    lines
}

/// Every point of every curve, in the order of the files.
fn curves(directory: &Path) -> Vec<(String, i64, String)> {
    let mut points = vec![];
    for event in if directory.exists() { read_events(directory).unwrap() } else { vec![] } {
        let Some(event::What::Summary(summary)) = event.what else { continue };
        for value in summary.value {
            let data = match value.data {
                Some(value::Data::Scalar(_)) if value.tag == "Throughput" => String::new(),
                // With the time in it.
                Some(value::Data::Tensor(_)) if value.tag.starts_with("_hparams_/") => {
                    String::new()
                }
                data => format!("{data:?}"),
            };
            points.push((value.tag, event.step, data));
        }
    }
    points
}
