//! What the logs of a run that goes on do not tell: on a disk that lost power, or was damaged, they may end
//! before the checkpoint, or have a hole.

use super::logs::{Logs, Pace, first, is_kept};
use crate::log::metrics::Line;
use crate::log::tail::Tail;
use std::collections::BTreeSet;
use trainer::Trainer;

/// The steps that logs which were cut back to the trainer's step do not tell of, and which logs, in words; none
/// if they are whole. Of `metrics.jsonl` only the end is looked at, `tail`: logs are on the disk before a
/// checkpoint is, so what is missing is missing there, or from there on.
pub(super) fn missing(logs: &mut Logs, tail: &Tail, trainer: &Trainer<'_>) -> Option<String> {
    let (last, per_epoch) = (trainer.progress().step, trainer.steps_per_epoch());
    let before = tail.step_before();
    let ends = (1..=trainer.progress().epoch).map(|epoch| epoch * per_epoch);
    let found = |of: fn(&Line) -> Option<usize>| tail.lines.iter().filter_map(of).collect();
    let told = found(|line| matches!(line, Line::Progress(_)).then(|| line.step()));
    let epochs = found(|line| matches!(line, Line::Epoch(_)).then(|| line.step()));
    let validations: BTreeSet<usize> =
        found(|line| matches!(line, Line::Validation(_)).then(|| line.step()));

    let of_progress = |step: &usize| Pace::has_line(*step, per_epoch);
    let mut of_metrics = lacking((before + 1..=last).filter(of_progress), &told);
    of_metrics.extend(lacking(ends.filter(|end| *end > before), &epochs));
    let steps = logs.train.take_steps_before().into_iter().collect();
    let of_train = lacking((1..=last).filter(|step| is_kept(*step, first::SCALARS)), &steps);
    let validation = logs.validation.as_mut();
    let steps = validation.map(|log| log.take_steps_before().into_iter().collect());
    let of_validation = steps.map_or(vec![], |steps| lacking(validations.into_iter(), &steps));

    let logs = [("metrics.jsonl", of_metrics), ("train", of_train), ("validation", of_validation)];
    let words = logs.iter().filter_map(|(name, steps)| {
        let (first, last) = (steps.iter().min()?, steps.iter().max()?);
        Some(match first == last {
            true => format!("step {first} of {name}"),
            false => format!("steps {first} to {last} of {name}"),
        })
    });
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn lacking(expected: impl Iterator<Item = usize>, found: &BTreeSet<usize>) -> Vec<usize> {
    expected.filter(|step| !found.contains(step)).collect()
}
