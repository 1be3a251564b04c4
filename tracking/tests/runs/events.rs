//! What a run tells TensorBoard's plugins, and what its files do not tell.

use crate::{data, trained};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tracking::tensorboard::{event, read_events, value};

/// The files in a directory and below it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn hyperparameters_and_the_recipe_are_told() {
    let (_guard, data) = data::random(64, [1, 16, 16], 3);
    let scratch = TempDir::new().unwrap();
    let recipe = data::recipe(&[
        ("stop.epochs", "1"),
        ("data.batch_size", "64"),
        ("optimizer.lr", "0.03125"),
    ]);
    let run = trained(&recipe, &data, &scratch.path().join("run"));
    let mut told = vec![];
    for event in read_events(run.path()).unwrap() {
        let Some(event::What::Summary(summary)) = event.what else { continue };
        for found in summary.value {
            let plugin = found.metadata.unwrap().plugin.unwrap();
            let Some(value::Data::Tensor(tensor)) = found.data else { panic!("{}", found.tag) };
            told.push((event.step, found.tag, plugin, tensor.strings));
        }
    }
    let tags: Vec<(i64, &str, &str)> =
        told.iter().map(|(step, tag, plugin, _)| (*step, &**tag, &*plugin.name)).collect();
    let expected = [
        (0, "_hparams_/session_start_info", "hparams"),
        (0, "Recipe", "text"),
        (1, "_hparams_/session_end_info", "hparams"),
    ];
    assert_eq!(tags, expected);
    // The number as it is in the message, little-endian.
    let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
    let start = &told[0].2.content;
    assert!(holds(start, b"optimizer.lr") && holds(start, &0.03125f64.to_le_bytes()));
    let text = String::from_utf8(told[1].3[0].clone()).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix("    ").unwrap()).collect();
    // Of the data's directory only the name.
    let mut recipe = recipe;
    recipe.data.directory = data.directory().file_name().map(PathBuf::from);
    assert_eq!(lines.join("\n").trim_end(), recipe.to_toml().trim_end());
}

/// What is shown to others says nothing of the user and the machine.
#[test]
fn reports_and_events_name_no_one() {
    let (_guard, data) = data::random(64, [1, 16, 16], 3);
    let scratch = TempDir::new().unwrap();
    let mut recipe = data::recipe(&[("stop.epochs", "1")]);
    recipe.data.directory = Some("/home/alice/digits".into());
    let run = trained(&recipe, &data, &scratch.path().join("run"));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut logs = 0;
    for path in files(run.path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_log = name.starts_with("events.out.tfevents.");
        if !is_log && name != "report.html" {
            continue;
        }
        logs += usize::from(is_log);
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(5).any(|part| part == b"alice"), "{}", path.display());
        assert!(host.is_empty() || !name.ends_with(&format!(".{}", host.trim())), "{name}");
    }
    assert_eq!(logs, 3, "of the run, of training, of validation");
    let report = fs::read_to_string(run.report()).unwrap();
    assert!(report.contains("directory = &quot;digits&quot;"), "{report}");
}
