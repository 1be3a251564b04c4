//! A run of a million steps: its logs stay small, and are those of a run at one go wherever it is interrupted.

use crate::data;
use crate::left::assert_same;
use crate::resume::{begin, go_on};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tracking::metrics::{Line, read_metrics};
use trainer::Stop;

const STEPS: usize = 1_000_000;

/// Of all files below a directory.
fn size(path: &Path) -> u64 {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                size(&entry.path())
            } else {
                entry.metadata().unwrap().len()
            }
        })
        .sum()
}

#[test]
fn a_million_steps_leave_little() {
    let (_directory, data) = data::random(1600, [1, 1, 1], 2);
    let recipe = data::recipe(&[
        ("model.layers", "[{ kind = 'flatten' }, { kind = 'linear' }]"),
        ("data.batch_size", "16"),
        ("data.validation", "none"),
        ("optimizer.lr", "1e-4"),
        ("stop.epochs", &(STEPS / 100).to_string()),
        ("events.checkpoint", "{ iterations = 400000 }"),
    ]);
    let scratch = TempDir::new().unwrap();
    let (whole, parts) = (scratch.path().join("whole"), scratch.path().join("parts"));
    let outcome = begin(&recipe, &data, &whole, 1, None);
    assert_eq!((outcome.stop, outcome.step), (Stop::Epochs, STEPS));
    // Interrupted where of the steps around it few are told.
    assert_eq!(begin(&recipe, &data, &parts, 1, Some(912_345)).stop, Stop::Interrupted);
    assert_eq!(go_on(&recipe, &data, &parts, 1, 1, None).stop, Stop::Epochs);
    assert_same(&whole, &parts);

    let lines = read_metrics(&whole.join("metrics.jsonl")).unwrap();
    let count = |of: fn(&Line) -> bool| lines.iter().filter(|line| of(line)).count();
    assert_eq!(count(|line| matches!(line, Line::Epoch(_))), STEPS / 100);
    let told = count(|line| matches!(line, Line::Progress(_)));
    assert!((30_000..40_000).contains(&told), "{told} lines of steps");
    let resumed = read_metrics(&parts.join("metrics.jsonl")).unwrap();
    assert!(
        resumed.iter().all(|line| !matches!(line, Line::Start(start) if start.missing.is_some()))
    );
    let sizes = [
        fs::metadata(whole.join("metrics.jsonl")).unwrap().len(),
        size(&whole.join("train")),
        fs::metadata(whole.join("report.html")).unwrap().len(),
    ];
    for (size, most) in sizes.into_iter().zip([12_000_000, 8_000_000, 500_000]) {
        assert!((most / 20..most).contains(&size), "{sizes:?}");
    }
}
