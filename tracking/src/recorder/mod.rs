//! A run from a trainer to everything in its run directory.

mod logs;
mod missing;
mod page;
mod session;

use crate::checkpoint::Checkpoints;
use crate::collapse::Collapse;
use crate::error::RunError;
use crate::log::metrics::{self, Line};
use crate::log::tail::Tail;
use crate::run_directory::RunDirectory;
use files::{FileError, remove_unfinished};
use logs::{Logs, Pace};
use missing::missing;
use session::Session;
use std::fmt::{self, Debug, Formatter};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use trainer::profile::Profile;
use trainer::{Step, Stop, Trainer};

/// Trains and writes everything that a run leaves into a [`RunDirectory`].
///
/// ```no_run
/// # fn run(trainer: &mut trainer::Trainer<'_>) -> Result<(), tracking::RunError> {
/// use tracking::{Destination, Recorder};
///
/// let directory = Destination::numbered("runs".as_ref(), "own").make(trainer.recipe())?;
/// let outcome = Recorder::new(&directory).keep(1).record(trainer)?;
/// println!("{}", outcome.stop);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is trained before `record`"]
pub struct Recorder<'r> {
    directory: &'r RunDirectory,
    keep: usize,
    interrupt: Option<&'r AtomicBool>,
    profile: bool,
    ledger: Option<&'r Path>,
    display: Option<&'r mut dyn RunDisplay>,
}

/// Whoever shows a run while it goes on.
pub trait RunDisplay: Send {
    /// Is told a line that has been written to `metrics.jsonl`.
    fn line(&mut self, line: &Line);

    /// Is told of every step: to be quick about it.
    fn step(&mut self, trainer: &Trainer<'_>, step: &Step) {
        let _ = (trainer, step);
    }
}

/// How a run ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Why it ended.
    pub stop: Stop,
    /// Steps in all, those before the run went on included.
    pub step: usize,
    /// The last complete epoch, of this run or before it went on.
    pub epoch: Option<metrics::Epoch>,
    /// What is said of every image of the last validation, though they differ: see
    /// [`advice_on_collapse`](crate::advice_on_collapse).
    pub collapsed: Option<Collapse>,
    /// The profile, if one was asked for.
    pub profile: Option<Profile>,
}

impl<'r> Recorder<'r> {
    /// Records into this directory, keeps three checkpoints and shows nothing.
    pub fn new(directory: &'r RunDirectory) -> Recorder<'r> {
        Recorder {
            directory,
            keep: 3,
            interrupt: None,
            profile: false,
            ledger: None,
            display: None,
        }
    }

    /// How many checkpoints are kept, at least one.
    pub fn keep(self, checkpoints: usize) -> Recorder<'r> {
        Recorder { keep: checkpoints, ..self }
    }

    /// A flag that another thread sets to end the run after the step under way.
    pub fn interrupt(self, flag: &'r AtomicBool) -> Recorder<'r> {
        Recorder { interrupt: Some(flag), ..self }
    }

    /// Whether operations are timed.
    pub fn profile(self, profile: bool) -> Recorder<'r> {
        Recorder { profile, ..self }
    }

    /// A file for the hashes of every step: see [`ledger`](crate::ledger). A run that goes on continues the ledger
    /// that it began; another file is replaced.
    pub fn ledger(self, path: Option<&'r Path>) -> Recorder<'r> {
        Recorder { ledger: path, ..self }
    }

    /// Who shows the run.
    pub fn display(self, display: &'r mut dyn RunDisplay) -> Recorder<'r> {
        Recorder { display: Some(display), ..self }
    }

    /// Trains to the end of the recipe, from the beginning or from where `trainer` was restored, and
    /// writes everything that a run leaves. Unless it is interrupted, the last is the model and the
    /// report.
    ///
    /// An error if training or a file fails, or the directory is renamed, replaced or deleted meanwhile:
    /// then nothing is written in its old place.
    pub fn record(self, trainer: &mut Trainer<'_>) -> Result<Outcome, RunError> {
        let directory = self.directory;
        directory.lock()?;
        let outcome = self.record_locked(trainer);
        let outcome = outcome.map_err(|error| match (&error, directory.moved()) {
            (RunError::Train(trainer::TrainError::File(_)), Some(now)) => {
                RunError::Moved { path: directory.path().into(), now }
            }
            _ => error,
        });
        directory.unlock();
        outcome
    }

    fn record_locked(self, trainer: &mut Trainer<'_>) -> Result<Outcome, RunError> {
        let Recorder { directory, profile, ledger, .. } = self;
        let checkpoints = Checkpoints::new(directory.checkpoints(), self.keep);
        let step = trainer.progress().step;
        remove_unfinished(directory.path())?;
        // Layers that the trainer was given are in its recipe, but perhaps not in that of the directory.
        if directory.read_recipe(&[]).ok().as_ref() != Some(trainer.recipe()) {
            directory.rewrite_recipe(trainer.recipe())?;
        }
        // Damaged ones, or of a way that is not taken again.
        checkpoints.forget_after(step)?;
        let mut logs = Logs::open(trainer, directory, ledger)?;
        let before = match step {
            0 => Tail::default(),
            _ => Tail::read(&directory.metrics(), trainer.validation_images() > 0)?,
        };
        let missing = missing(&mut logs, &before, trainer);
        if step > 0 {
            add_line_of_checkpoint(&mut logs, &before, &checkpoints, trainer)?;
        }
        let mut nobody = Nobody;
        let display = self.display.unwrap_or(&mut nobody);
        let mut session = Session {
            directory,
            interrupt: self.interrupt,
            checkpoints,
            unproven: false,
            logs,
            missing,
            display,
            pace: Pace::new(),
            collapsed: before.collapsed,
            epoch: before.epoch,
        };
        let result = match profile {
            true => trainer.run_profiled(&mut session).map(|(stop, profile)| (stop, Some(profile))),
            false => trainer.run_observed(&mut session).map(|stop| (stop, None)),
        };
        match result {
            Ok((stop, profile)) => {
                // All of it is where its path says.
                directory.check()?;
                let step = trainer.progress().step;
                let Session { epoch, collapsed, .. } = session;
                Ok(Outcome { stop, step, epoch, collapsed, profile })
            }
            Err(error) => Err(session.failure(trainer, error)),
        }
    }
}

/// The program may have been killed after it had written the checkpoint that the run goes on from, and before
/// it told of it.
fn add_line_of_checkpoint(
    logs: &mut Logs,
    before: &Tail,
    checkpoints: &Checkpoints,
    trainer: &Trainer<'_>,
) -> Result<(), FileError> {
    let progress = trainer.progress();
    let is_its = |line: &Line| matches!(line, Line::Checkpoint(line) if line.step == progress.step);
    let file = checkpoints.file(progress.step);
    if before.lines.iter().any(is_its) {
        return Ok(());
    }
    let there = file.try_exists();
    match there.map_err(|error| FileError::Io { path: file.clone(), action: "read", error })? {
        true => {}
        // It goes on from a state that was kept elsewhere.
        false => return Ok(()),
    }
    let (epoch, step, file) = (progress.epoch, progress.step, file.display().to_string());
    logs.metrics.write(&Line::Checkpoint(metrics::Checkpoint { epoch, step, file }))
}

impl Debug for Recorder<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Recorder { directory, keep, interrupt, profile, ledger, display } = self;
        f.debug_struct("Recorder")
            .field("directory", directory)
            .field("keep", keep)
            .field("interrupt", interrupt)
            .field("profile", profile)
            .field("ledger", ledger)
            .field("display", &display.is_some())
            .finish()
    }
}

/// Shows nothing.
struct Nobody;

impl RunDisplay for Nobody {
    fn line(&mut self, _: &Line) {}
}
