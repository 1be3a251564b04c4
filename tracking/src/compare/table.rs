//! A comparison as a table.

use super::{Comparison, Row};
use crate::table::{align, cell, csv};

impl Comparison {
    /// A table for a terminal: a line per run, the best first. Of the recipes it has what differs.
    pub fn text(&self) -> String {
        let part = |value: Option<f64>| match value {
            Some(value) => format!("{:.2} %", 100.0 * value),
            None => "–".to_owned(),
        };
        let number = |value: Option<f64>, digits: usize| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "–".to_owned(),
        };
        let heading = [
            "epochs",
            "best top-1",
            "of epoch",
            "last top-1",
            "validation loss",
            "loss",
            "images/s",
            "run",
        ];
        let mut rows = vec![self.row(&heading)];
        for (i, run) in self.runs.iter().enumerate() {
            let row = &run.row;
            let mut name = row.name.clone();
            if i == 0 && self.best().is_some() {
                name += "  (best)";
            }
            if row.state != super::State::Ended {
                name += &format!("  ({})", row.state.name());
            }
            let results = [
                row.epochs.to_string(),
                part(row.best_top1),
                row.best_epoch.map_or("–".to_owned(), |epoch| epoch.to_string()),
                part(row.last_top1),
                number(row.validation_loss, 4),
                number(row.loss, 4),
                number(row.images_per_second, 0),
                name,
            ];
            rows.push(self.settings(row, "–").into_iter().chain(results).collect());
        }
        align(&rows)
    }

    /// The table for programs, as RFC 4180 has it: accuracies are parts of one, what there is not is
    /// empty.
    pub fn csv(&self) -> String {
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let heading = [
            "epochs",
            "state",
            "best_top1",
            "best_epoch",
            "last_top1",
            "validation_loss",
            "loss",
            "images_per_second",
            "name",
            "directory",
        ];
        let mut rows = vec![self.row(&heading)];
        for run in &self.runs {
            let row = &run.row;
            let results = [
                row.epochs.to_string(),
                row.state.name().to_owned(),
                number(row.best_top1),
                row.best_epoch.map(|epoch| epoch.to_string()).unwrap_or_default(),
                number(row.last_top1),
                number(row.validation_loss),
                number(row.loss),
                number(row.images_per_second),
                row.name.clone(),
                row.directory.clone(),
            ];
            rows.push(self.settings(row, "").into_iter().chain(results).collect());
        }
        csv(&rows)
    }

    /// The heading: the fields that differ, then these.
    fn row(&self, results: &[&str]) -> Vec<String> {
        self.differing.iter().cloned().chain(results.iter().map(|&name| name.to_owned())).collect()
    }

    /// The fields that differ, or what stands for one that is not set.
    fn settings(&self, row: &Row, none: &str) -> Vec<String> {
        let value = |field| row.settings.get(field).map_or_else(|| none.to_owned(), cell);
        self.differing.iter().map(value).collect()
    }
}
