//! How the run went, epoch by epoch.

use super::chart::{Chart, Line};
use super::format::{duration, percent, thousands};
use super::{History, Validated, section};
use crate::metrics::{Epoch, Progress};
use std::fmt::Write;

/// Rows of the table that are shown at most; of more, every so manieth.
const ROWS: usize = 200;

/// Places of a chart that say something when they are pointed at, at most.
const NOTES: usize = 100;

pub(super) fn html(history: &History<'_>) -> String {
    let mut text = String::new();
    if history.validations.is_empty() {
        text += "<p class=\"absent\">There were no validation images, so the curves are those of the \
                 training images alone.</p>\n";
    }
    text += "<div class=\"charts\">\n";
    for chart in charts(history) {
        text += &chart.html();
    }
    section("Training", &(text + "</div>\n"))
}

fn charts(history: &History<'_>) -> [Chart<'static>; 4] {
    let of_epochs = |value: fn(&Epoch) -> f64| -> Vec<(f64, f64)> {
        history.epochs.iter().map(|epoch| (history.place(epoch.step), value(epoch))).collect()
    };
    let of_steps = |value: fn(&Progress) -> f64| -> Vec<(f64, f64)> {
        history.progress.iter().map(|line| (history.place(line.step), value(line))).collect()
    };
    let of_validations = |value: fn(&Validated) -> f64| -> Vec<(f64, f64)> {
        let found = history.validations.iter();
        found.map(|(&step, found)| (history.place(step), value(found))).collect()
    };
    let line = |class, name, points| Line { class, name, points };
    let loss = vec![
        line("steps", "single steps", of_steps(|line| line.loss)),
        line("training", "training", of_epochs(|epoch| epoch.loss)),
        line("validation", "validation", of_validations(|found| found.loss)),
    ];
    let accuracy = vec![
        line("training", "training", of_epochs(|epoch| 100.0 * epoch.accuracy)),
        line("validation", "validation, top-1", of_validations(|found| 100.0 * found.top1)),
    ];
    let speed = of_epochs(|epoch| epoch.images_per_second);
    let mut rate = of_steps(|line| line.learning_rate);
    if rate.is_empty() {
        rate = of_epochs(|epoch| epoch.learning_rate);
    }
    let notes = notes(history);
    let last = history.last();
    let chart = |title, measure, lines| {
        let notes = notes.clone();
        Chart { title, measure, last, from_zero: true, logarithmic: false, lines, notes }
    };
    [
        Chart { logarithmic: true, ..chart("Loss", "nats", loss) },
        Chart { from_zero: false, ..chart("Accuracy", "% of images", accuracy) },
        chart("Throughput", "images/s", vec![line("training", "training", speed)]),
        chart("Learning rate", "", vec![line("training", "training", rate)]),
    ]
}

/// What each epoch brought, at its end.
fn notes(history: &History<'_>) -> Vec<(f64, String)> {
    let every = history.epochs.len().div_ceil(NOTES).max(1);
    let note = |epoch: &&Epoch| {
        let mut text = format!("epoch {}\nloss {:.4}", epoch.epoch, epoch.loss);
        if let Some(loss) = epoch.validation_loss {
            let _ = write!(text, ", validation {loss:.4}");
        }
        let _ = write!(text, "\naccuracy {}", percent(epoch.accuracy));
        if let Some(top1) = epoch.top1 {
            let _ = write!(text, ", validation {}", percent(top1));
        }
        let speed = thousands(epoch.images_per_second.round() as usize);
        let _ = write!(text, "\n{speed} images/s, learning rate {}", rate(epoch.learning_rate));
        (history.place(epoch.step), text)
    };
    history.epochs.iter().step_by(every).map(note).collect()
}

/// Every epoch in numbers.
pub(super) fn table(history: &History<'_>) -> String {
    if history.epochs.is_empty() {
        return String::new();
    }
    // Of five classes or fewer it is always 1.
    let has_top5 = history.epochs.iter().any(|epoch| epoch.top5.is_some());
    let top5 = if has_top5 { "<th>top-5" } else { "" };
    let mut text = format!(
        "<details>\n<summary>Every epoch in numbers</summary>\n<div class=\"wide\"><table>\n\
         <tr><th>epoch<th>loss<th>accuracy<th>validation loss<th>top-1{top5}<th>learning rate\
         <th>images/s<th>time</tr>\n",
    );
    let every = history.epochs.len().div_ceil(ROWS).max(1);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".into());
    for epoch in history.epochs.iter().rev().step_by(every).rev() {
        let mut cells = vec![
            epoch.epoch.to_string(),
            format!("{:.4}", epoch.loss),
            percent(epoch.accuracy),
            or_none(epoch.validation_loss.map(|loss| format!("{loss:.4}"))),
            or_none(epoch.top1.map(percent)),
        ];
        cells.extend(has_top5.then(|| or_none(epoch.top5.map(percent))));
        cells.extend([
            rate(epoch.learning_rate),
            thousands(epoch.images_per_second.round() as usize),
            duration(epoch.seconds),
        ]);
        let _ = writeln!(text, "<tr><td>{}</tr>", cells.join("<td>"));
    }
    text += "</table></div>\n";
    if every > 1 {
        let _ = writeln!(text, "<p>One row in {every}; metrics.jsonl has all of them.</p>");
    }
    section("Epochs", &(text + "</details>\n"))
}

/// Four digits of a learning rate, which may be small.
fn rate(rate: f64) -> String {
    if rate == 0.0 || rate >= 1e-3 { format!("{rate:.4}") } else { format!("{rate:.2e}") }
}
