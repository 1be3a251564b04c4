//! The logs that a run writes, and how often.

use crate::fields::{fields, with_names_only};
use crate::ledger::LedgerWriter;
use crate::log::metrics::MetricsWriter;
use crate::log::tensorboard::EventWriter;
use crate::run_directory::RunDirectory;
use files::{FileError, sync_directory};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use trainer::{Stop, Trainer};

/// The logs of a run.
pub(super) struct Logs {
    pub metrics: MetricsWriter,
    /// Of the run as a whole: its recipe and hyperparameters.
    pub run: EventWriter,
    pub train: EventWriter,
    pub validation: Option<EventWriter>,
    /// If one is asked for.
    pub ledger: Option<LedgerWriter>,
}

impl Logs {
    /// New ones for a run that begins; those of a run that goes on are cut back to its step.
    pub fn open(
        trainer: &Trainer<'_>,
        directory: &RunDirectory,
        ledger: Option<&Path>,
    ) -> Result<Logs, FileError> {
        // First, as it may be refused.
        let ledger = ledger.map(|path| LedgerWriter::open(path, trainer)).transpose()?;
        let step = trainer.progress().step;
        let events = |path: &Path| match step {
            0 => EventWriter::create(path),
            _ => EventWriter::resume(path, step),
        };
        let validates = trainer.validation_images() > 0;
        let logs = Logs {
            metrics: match step {
                0 => MetricsWriter::create(&directory.metrics())?,
                _ => MetricsWriter::resume(&directory.metrics(), step)?,
            },
            // Told anew each time, as a run that goes on may be to have more epochs.
            run: EventWriter::create(directory.path())?,
            train: events(&directory.train_events())?,
            validation: validates.then(|| events(&directory.validation_events())).transpose()?,
            ledger,
        };
        sync_directory(&directory.train_events())?;
        if validates {
            sync_directory(&directory.validation_events())?;
        }
        sync_directory(directory.path())?;
        Ok(logs)
    }

    /// Tells TensorBoard's HParams what the run is made of, and its Text the recipe.
    pub fn start_session(&mut self, trainer: &Trainer<'_>) -> Result<(), FileError> {
        let recipe = with_names_only(trainer.recipe());
        self.run.start_session(&fields(&recipe))?;
        // Four spaces make a block of code in Markdown.
        let recipe: String = recipe.to_toml().lines().map(|line| format!("    {line}\n")).collect();
        self.run.text("Recipe", 0, &recipe)
    }

    /// Tells HParams that the run has ended, unless it is to go on.
    pub fn end_session(&mut self, step: usize, stop: Stop) -> Result<(), FileError> {
        match stop {
            Stop::Interrupted => Ok(()),
            stop => self.run.end_session(step, stop != Stop::Diverged),
        }
    }

    /// Waits until everything told so far is on the disk.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.metrics.sync()?;
        self.run.sync()?;
        self.train.sync()?;
        self.validation.as_mut().map_or(Ok(()), EventWriter::sync)?;
        self.ledger.as_mut().map_or(Ok(()), LedgerWriter::sync)
    }

    pub fn flush(&mut self) -> Result<(), FileError> {
        self.run.flush()?;
        self.train.flush()?;
        self.validation.as_mut().map_or(Ok(()), EventWriter::flush)
    }
}

/// Records of which only some are written once there are many: see [`is_kept`].
pub(super) mod first {
    /// Steps with scalars for TensorBoard.
    pub const SCALARS: usize = 8192;
    /// Lines of a part of an epoch.
    pub const LINES: usize = 8192;
    /// Epochs with histograms, which are large.
    pub const HISTOGRAMS: usize = 128;
}

/// Whether of regular records the one of this number, from one, is written: the first `all` are, of those up to
/// twice as many every second one, of those up to four times as many every fourth, and so on. It follows from the
/// number alone, so that a run that goes on writes what it would have written at one go.
pub(super) fn is_kept(number: usize, all: usize) -> bool {
    number.is_multiple_of(number.div_ceil(all).next_power_of_two())
}

/// When to tell of steps.
pub(super) struct Pace {
    pub started: Instant,
    pub flushed: Instant,
    /// Since the last line: images and the time that they took.
    pub images: usize,
    pub time: Duration,
    /// Since the epoch or the run began.
    pub epoch_time: Duration,
}

impl Pace {
    /// Lines of an epoch about a part of it.
    const LINES: usize = 50;
    /// How long a TensorBoard waits for what has happened.
    pub const FLUSH: Duration = Duration::from_secs(1);

    /// Whether there is a line about this step, where epochs have as many steps.
    pub fn has_line(step: usize, steps_per_epoch: usize) -> bool {
        let every = steps_per_epoch.div_ceil(Self::LINES);
        let (epochs, within) = ((step - 1) / steps_per_epoch, (step - 1) % steps_per_epoch + 1);
        let number = epochs * (steps_per_epoch / every) + within / every;
        within.is_multiple_of(every) && is_kept(number, first::LINES)
    }

    #[must_use]
    pub fn new() -> Pace {
        let now = Instant::now();
        Pace {
            started: now,
            flushed: now,
            images: 0,
            time: Duration::ZERO,
            epoch_time: Duration::ZERO,
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_and_more_are_left_out() {
        let kept = |first: usize, last: usize| {
            (first..=last).filter(|n| is_kept(*n, 8)).collect::<Vec<_>>()
        };
        assert_eq!(kept(1, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(kept(9, 32), [10, 12, 14, 16, 20, 24, 28, 32]);
        assert_eq!(kept(33, 1 << 20).len(), 4 * 15);
    }

    #[test]
    fn lines_are_counted_over_epochs() {
        // 105 steps: a line for every third, 35 to an epoch.
        let lines = |steps: usize| (1..=steps).filter(|step| Pace::has_line(*step, 105)).count();
        assert_eq!((lines(2), lines(3), lines(105)), (0, 1, 35));
        assert_eq!(lines(105 * 234), 35 * 234);
        let (all, steps) = (first::LINES, 105 * (first::LINES / 35 * 4));
        assert!(lines(steps).abs_diff(2 * all) < 40, "{} lines", lines(steps));
    }
}
