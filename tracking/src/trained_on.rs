//! Which data a run was trained on.

use crate::checkpoint::Checkpoints;
use crate::log::metrics::Line;
use crate::run_directory::RunDirectory;

/// The [`Dataset::fingerprint`](dataset::Dataset::fingerprint) of the data that a run was trained on, by the lines
/// of its `metrics.jsonl`, or by its checkpoints where those have none; `None` if neither says.
pub fn trained_on(directory: &RunDirectory, lines: &[Line]) -> Option<String> {
    let of_line = |line: &Line| match line {
        Line::Start(start) => start.fingerprint.clone(),
        _ => None,
    };
    lines.iter().rev().find_map(of_line).or_else(|| {
        let (checkpoint, _) = Checkpoints::new(directory.checkpoints(), 1).latest().ok()?;
        Some(checkpoint.data().to_owned())
    })
}
