//! What many runs have come to: a table for people, for programs, and for spreadsheets.

use super::{Ended, Variant};
use crate::table::{align, cell, csv};
use files::{FileError, write_file};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The results of the runs; in JSON with `"event": "results"`, as they follow the lines of the runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "event", rename = "results")]
pub struct Results {
    /// A line per run: in the order of the runs, or of their results after [`Results::rank`].
    pub runs: Vec<Run>,
    /// The directory of the best run, if they are ranked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<String>,
    /// Mean and standard deviation over the runs, if these differ in their seed alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Its directory.
    #[serde(serialize_with = "lossy")]
    pub directory: PathBuf,
    /// The settings of the run.
    pub settings: BTreeMap<String, Json>,
    /// Epochs that were done.
    pub epochs: usize,
    /// Mean loss of the training images in the last epoch; like all that follows nothing if the run
    /// diverged.
    pub loss: Option<f64>,
    /// The fraction of them that was classified correctly.
    pub accuracy: Option<f64>,
    /// Mean loss of the validation images in the end.
    pub validation_loss: Option<f64>,
    /// The fraction of them that was classified correctly.
    pub top1: Option<f64>,
    /// Training images per second in the last epoch.
    pub images_per_second: Option<f64>,
    /// Why it diverged, and at which step.
    pub error: Option<String>,
}

/// Over several seeds, those that diverged left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Top-1 of the validation images.
    pub top1: Option<Sample>,
    /// Their loss.
    pub validation_loss: Option<Sample>,
    /// The loss of the training images.
    pub loss: Sample,
}

/// What several runs have found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, n − 1 in the denominator; one run has none.
    pub deviation: Option<f64>,
}

impl Results {
    /// Adds a run.
    pub fn add(&mut self, variant: &Variant, directory: &Path, ended: &Ended) {
        let (epochs, epoch, error) = match ended {
            Ended::Well(epoch) => (epoch.epoch, Some(epoch), None),
            Ended::Diverged { epochs, error } => (*epochs, None, Some(error.clone())),
        };
        let settings = variant.settings.iter();
        self.runs.push(Run {
            directory: directory.into(),
            settings: settings.map(|(field, value)| (field.clone(), json(value))).collect(),
            epochs,
            loss: epoch.map(|epoch| epoch.loss),
            accuracy: epoch.map(|epoch| epoch.accuracy),
            validation_loss: epoch.and_then(|epoch| epoch.validation_loss),
            top1: epoch.and_then(|epoch| epoch.top1),
            images_per_second: epoch.map(|epoch| epoch.images_per_second),
            error,
        });
    }

    /// The runs that diverged.
    pub fn failed(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.error.is_some())
    }

    /// Puts the best run first: that of the highest top-1, of several the one of the lowest validation
    /// loss; without validation that of the lowest loss. Runs that diverged are the last.
    pub fn rank(&mut self) {
        // A missing value, as that of a run that diverged, is worse than any.
        let low = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
        let key =
            |run: &Run| [low(run.top1.map(|top1| -top1)), low(run.validation_loss), low(run.loss)];
        self.runs.sort_by(|a, b| {
            let differences = key(a).into_iter().zip(key(b)).map(|(a, b)| a.total_cmp(&b));
            let by_result = differences.fold(Ordering::Equal, Ordering::then);
            a.error.is_some().cmp(&b.error.is_some()).then(by_result)
        });
        let best = self.runs.first().filter(|run| run.error.is_none());
        self.best = best.map(|run| run.directory.display().to_string());
    }

    /// Mean and standard deviation over the runs.
    pub fn summarise(&mut self) {
        let of = |value: &dyn Fn(&Run) -> Option<f64>| {
            let runs = self.runs.iter().filter(|run| run.error.is_none());
            let values: Option<Vec<f64>> = runs.map(value).collect();
            values.filter(|values| !values.is_empty()).map(|values| Sample::of(&values))
        };
        let Some(loss) = of(&|run| run.loss) else { return };
        let summary = Summary {
            top1: of(&|run| run.top1),
            validation_loss: of(&|run| run.validation_loss),
            loss,
        };
        self.summary = Some(summary);
    }

    /// Writes `NAME.txt`, `NAME.csv` and `NAME.json` into a directory.
    pub fn save(&self, directory: &Path, name: &str) -> Result<(), FileError> {
        let json = self.json() + "\n";
        for (extension, text) in [("txt", self.text()), ("csv", self.csv()), ("json", json)] {
            write_file(&directory.join(format!("{name}.{extension}")), text.as_bytes())?;
        }
        Ok(())
    }

    /// As a JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain values")
    }

    /// A table for people: a line per run, and the summary.
    pub fn text(&self) -> String {
        let mut cells = self.cells(&|value, digits| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "–".to_owned(),
        });
        // Errors are long, and have lines of their own.
        cells.iter_mut().for_each(|row| _ = row.pop());
        if let (Some(_), Some(directory)) =
            (&self.best, cells.get_mut(1).and_then(|r| r.last_mut()))
        {
            directory.push_str(" (best)");
        }
        let mut text = align(&cells);
        for run in self.failed() {
            let error = run.error.as_deref().unwrap_or_default();
            let _ = writeln!(text, "failed: {}: {error}", run.directory.display());
        }
        if let Some(summary) = &self.summary {
            let runs = self.runs.len() - self.failed().count();
            let seeds = if runs == 1 { "seed" } else { "seeds" };
            let _ = writeln!(text);
            if let Some(top1) = summary.top1 {
                let _ = writeln!(text, "top-1 {} % over {runs} {seeds}", top1.text(100.0, 2));
            }
            if let Some(loss) = summary.validation_loss {
                let _ = writeln!(text, "validation loss {}", loss.text(1.0, 4));
            }
            let _ = writeln!(text, "loss {}", summary.loss.text(1.0, 4));
        }
        text
    }

    /// The table for programs: RFC 4180.
    pub fn csv(&self) -> String {
        let cells =
            self.cells(&|value, _| value.map(|value| value.to_string()).unwrap_or_default());
        csv(&cells)
    }

    fn cells(&self, number: &dyn Fn(Option<f64>, usize) -> String) -> Vec<Vec<String>> {
        let fields: Vec<&String> =
            self.runs.first().map_or(vec![], |r| r.settings.keys().collect());
        let mut header: Vec<String> = fields.iter().map(|field| (*field).clone()).collect();
        let rest = ["epochs", "loss", "accuracy", "validation_loss", "top1", "images_per_second"];
        header.extend(rest.map(str::to_owned));
        header.extend(["directory".to_owned(), "error".to_owned()]);
        let mut rows = vec![header];
        for run in &self.runs {
            let mut row: Vec<String> = fields.iter().map(|f| cell(&run.settings[*f])).collect();
            row.extend([
                run.epochs.to_string(),
                number(run.loss, 4),
                number(run.accuracy, 4),
                number(run.validation_loss, 4),
                number(run.top1, 4),
                number(run.images_per_second, 0),
                run.directory.display().to_string(),
                run.error.clone().unwrap_or_default(),
            ]);
            rows.push(row);
        }
        rows
    }
}

impl Sample {
    fn of(values: &[f64]) -> Sample {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let deviation = (values.len() > 1).then(|| libm::sqrt(squares / (count - 1.0)));
        Sample { mean, deviation }
    }

    /// `mean ± deviation`, both times `unit`.
    fn text(&self, unit: f64, digits: usize) -> String {
        let mean = format!("{:.digits$}", unit * self.mean);
        match self.deviation {
            Some(deviation) => format!("{mean} ± {:.digits$}", unit * deviation),
            None => mean,
        }
    }
}

/// A path in JSON, which is UTF-8 even where the path is not.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// A TOML value as JSON.
fn json(value: &str) -> Json {
    let table = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
    let value = table.and_then(|mut table| serde_json::to_value(table.remove("value")?).ok());
    value.unwrap_or_default()
}
