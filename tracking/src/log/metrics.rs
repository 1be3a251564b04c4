//! `metrics.jsonl`: what happened in a run, a JSON object to a line. `train --json` prints the same
//! lines.
//!
//! ```text
//! {"event":"epoch","epoch":1,"step":469,"loss":0.61,"accuracy":0.77,"validation_loss":0.44,…}
//! ```
//! `event` says which of the variants of [`Line`] it is, in lower case; the keys of each are the
//! fields of its struct, always all of them, with null for what there is not.

pub use super::measures::Measures;

use super::appender::Appender;
use super::tail::FromEnd;
use crate::collapse::Collapse;
use files::FileError;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::Path;
use trainer::Stop;

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the structs say it")]
#[non_exhaustive]
pub enum Line {
    Start(Start),
    Progress(Progress),
    Validation(Validation),
    Epoch(Epoch),
    Checkpoint(Checkpoint),
    End(End),
}

/// Training begins, or continues after [`Start::step`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Epochs that are complete.
    pub epoch: usize,
    /// Steps of the optimiser that have been done.
    pub step: usize,
    /// Name of the run.
    pub name: String,
    /// The preset, or `custom`.
    pub model: String,
    /// The number of trained values.
    pub parameters: usize,
    /// `f32`, or `bf16` where the operands of products are rounded to bfloat16; lines of older versions do not have
    /// this key.
    #[serde(default = "f32_word")]
    pub precision: String,
    /// The directory of the data.
    pub data: String,
    /// The [`Dataset::fingerprint`](dataset::Dataset::fingerprint) of the data; runs of older versions
    /// have none here.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// Channels, rows and columns of an image.
    pub image_shape: [usize; 3],
    /// The number of classes.
    pub classes: usize,
    /// Training images.
    pub images: usize,
    /// Images to validate on.
    pub validation_images: usize,
    /// Images per step.
    pub batch_size: usize,
    /// Images per shard.
    pub shard: usize,
    /// Epochs of the recipe.
    pub epochs: usize,
    /// The number of threads.
    pub threads: usize,
    /// The SIMD path.
    pub isa: String,
    /// The run directory.
    pub directory: String,
    /// What the logs do not tell of the steps before, if a run goes on whose logs were damaged; lines of
    /// older versions do not have this key.
    #[serde(default)]
    pub missing: Option<String>,
}

fn f32_word() -> String {
    "f32".to_owned()
}

/// The progress within an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The epoch, from one.
    pub epoch: usize,
    /// Steps so far, of all epochs.
    pub step: usize,
    /// Mean loss of an image of the step.
    pub loss: f64,
    /// Training images per second, since the last look.
    pub images_per_second: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// Time spent training in this epoch so far.
    pub seconds: f64,
}

/// Loss and accuracy on the validation images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// The epoch, from one.
    pub epoch: usize,
    /// Steps so far.
    pub step: usize,
    /// Mean loss of an image.
    pub validation_loss: f64,
    /// The fraction of images whose class has the highest logit.
    pub top1: f64,
    /// The part of images whose class is among the five highest logits; none where there are no more
    /// than five classes.
    pub top5: Option<f64>,
    /// The other measures.
    #[serde(flatten)]
    pub measures: Measures,
    /// The class or the labels that (nearly) every image is given, although the true ones differ.
    pub collapsed: Option<Collapse>,
    /// The time that it took.
    pub seconds: f64,
}

/// An epoch is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// The epoch, from one.
    pub epoch: usize,
    /// Steps so far.
    pub step: usize,
    /// Mean loss of its training images, each as the network was when it met them.
    pub loss: f64,
    /// The fraction of them that was classified correctly.
    pub accuracy: f64,
    /// Mean loss of the validation images after the epoch, if there was a validation then.
    pub validation_loss: Option<f64>,
    /// See [`Validation::top1`].
    pub top1: Option<f64>,
    /// See [`Validation::top5`].
    pub top5: Option<f64>,
    /// Training images per second.
    pub images_per_second: f64,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// Time spent training in this epoch.
    pub seconds: f64,
}

/// A checkpoint has been written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Epochs that are complete.
    pub epoch: usize,
    /// Steps that are in it.
    pub step: usize,
    /// The file.
    pub file: String,
}

/// Training is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Epochs that are complete.
    pub epoch: usize,
    /// Steps that were done.
    pub step: usize,
    /// Why it is over.
    pub reason: Stop,
    /// Mean loss of the training images in the last epoch.
    pub loss: Option<f64>,
    /// Mean loss of the validation images at the end.
    pub validation_loss: Option<f64>,
    /// See [`Validation::top1`].
    pub top1: Option<f64>,
    /// See [`Validation::top5`].
    pub top5: Option<f64>,
    /// See [`Validation::collapsed`], of the last validation.
    pub collapsed: Option<Collapse>,
    /// Time since the program was started, with everything.
    pub seconds: f64,
    /// The file of the trained network.
    pub model: Option<String>,
    /// What went wrong, if training diverged.
    pub error: Option<String>,
}

impl Line {
    /// The position in training that it tells of.
    pub fn step(&self) -> usize {
        match self {
            Line::Start(line) => line.step,
            Line::Progress(line) => line.step,
            Line::Validation(line) => line.step,
            Line::Epoch(line) => line.step,
            Line::Checkpoint(line) => line.step,
            Line::End(line) => line.step,
        }
    }

    /// What it tells of a complete epoch.
    pub fn into_epoch(self) -> Option<Epoch> {
        match self {
            Line::Epoch(epoch) => Some(epoch),
            _ => None,
        }
    }

    /// One line of JSON, without its end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("keys are text")
    }
}

/// Writes `metrics.jsonl`. Each line is in the file when [`MetricsWriter::write`] returns; every error
/// names the file, which then ends with a whole line.
#[derive(Debug)]
pub struct MetricsWriter {
    log: Appender,
}

impl MetricsWriter {
    /// A new file, or in the place of an older one.
    pub fn create(path: &Path) -> Result<MetricsWriter, FileError> {
        Ok(MetricsWriter { log: Appender::after(path.into(), 0)? })
    }

    /// Goes on after this step: lines beyond it are cut off, the end of a run that is extended too,
    /// and whatever is not a line.
    pub fn resume(path: &Path, step: usize) -> Result<MetricsWriter, FileError> {
        let beyond = |line: &Line| match line {
            Line::End(_) => true,
            // The run was resumed here before; step 0 is its own start.
            Line::Start(start) => start.step >= step && start.step > 0,
            line => line.step() > step,
        };
        let mut lines = FromEnd::open(path)?;
        let length = loop {
            match lines.next()? {
                Some((line, _)) if beyond(&line) => {}
                found => break found.map_or(0, |(_, end)| end),
            }
        };
        Ok(MetricsWriter { log: Appender::after(path.into(), length)? })
    }

    /// Adds a line.
    pub fn write(&mut self, line: &Line) -> Result<(), FileError> {
        self.log.append(|out| {
            out.extend(line.to_json().as_bytes());
            out.push(b'\n');
        })?;
        self.log.flush()
    }

    /// Waits until all lines are on the disk.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.log.sync()
    }
}

/// The lines of a file that a [`MetricsWriter`] wrote; whatever is not a line of ours is passed over. Without a
/// file there are none.
pub fn read_metrics(path: &Path) -> Result<Vec<Line>, FileError> {
    let cannot = |error| cannot_read(path, error);
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        file => file.map_err(cannot)?,
    };
    let (mut input, mut text, mut lines) = (BufReader::new(file), vec![], vec![]);
    while input.read_until(b'\n', &mut text).map_err(cannot)? > 0 {
        // The end of a file may be half a line.
        if text.ends_with(b"\n") {
            lines.extend(serde_json::from_slice::<Line>(&text));
        }
        text.clear();
    }
    Ok(lines)
}

pub(super) fn cannot_read(path: &Path, error: io::Error) -> FileError {
    FileError::Io { path: path.into(), action: "read", error }
}

#[cfg(test)]
mod tests;
