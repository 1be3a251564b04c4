//! A run from a recipe to everything in its run directory.

mod page;

use crate::checkpoint::Checkpoints;
use crate::error::TrainError;
use crate::log::metrics::{self, Line, MetricsWriter, read_metrics};
use crate::log::tensorboard::EventWriter;
use crate::profile::Profile;
use crate::run_directory::RunDirectory;
use crate::training::{Event, Observed, Observer, Step, Stop, Trainer, Validated};
use model::{FileError, remove_unfinished};
use page::write_page;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Whoever shows a run while it goes on.
pub trait Listener: Send {
    /// Is told a line that has been written to `metrics.jsonl`.
    fn line(&mut self, line: &Line);

    /// Is told of every step: to be quick about it.
    fn step(&mut self, trainer: &Trainer<'_>, step: &Step) {
        let _ = (trainer, step);
    }
}

/// How a run is recorded.
#[derive(Clone, Copy)]
pub struct Recording<'r> {
    /// Where.
    pub directory: &'r RunDirectory,
    /// Checkpoints to keep, at least one.
    pub keep: usize,
    /// Set by another thread, it ends the run after the step under way.
    pub interrupt: &'r AtomicBool,
    /// Whether operations are timed.
    pub profile: bool,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Why.
    pub stop: Stop,
    /// After how many steps in all.
    pub step: usize,
    /// Its last epoch, unless it was interrupted before.
    pub epoch: Option<metrics::Epoch>,
    /// Where the time went, if that was asked for.
    pub profile: Option<Profile>,
}

/// Trains to the end of the recipe, from the beginning or from where `trainer` was restored, and
/// writes everything that a run leaves. Unless it is interrupted, the last is the model.
pub fn record(
    trainer: &mut Trainer<'_>,
    recording: Recording<'_>,
    listener: &mut dyn Listener,
) -> Result<Outcome, TrainError> {
    let directory = recording.directory;
    directory.lock()?;
    let outcome = record_locked(trainer, recording, listener);
    directory.unlock();
    outcome
}

fn record_locked(
    trainer: &mut Trainer<'_>,
    recording: Recording<'_>,
    listener: &mut dyn Listener,
) -> Result<Outcome, TrainError> {
    let directory = recording.directory;
    let checkpoints = Checkpoints::new(directory.checkpoints(), recording.keep);
    let step = trainer.progress().step;
    remove_unfinished(directory.path())?;
    // Damaged ones, or of a way that is not taken again.
    checkpoints.forget_after(step)?;
    let logs = Logs::open(trainer, directory)?;
    let before = if step > 0 { read_metrics(&directory.metrics())? } else { vec![] };
    let mut recorder = Recorder {
        recording,
        checkpoints,
        unproven: false,
        logs,
        listener,
        pace: Pace::new(trainer),
        epoch: before.into_iter().rev().find_map(Line::into_epoch),
    };
    let result = if recording.profile {
        trainer.run_profiled(&mut recorder).map(|(stop, profile)| (stop, Some(profile)))
    } else {
        trainer.run_observed(&mut recorder).map(|stop| (stop, None))
    };
    match result {
        Ok((stop, profile)) => {
            let step = trainer.progress().step;
            Ok(Outcome { stop, step, epoch: recorder.epoch, profile })
        }
        Err(error) => Err(recorder.failure(trainer, error)),
    }
}

/// Writes down what happens.
struct Recorder<'r> {
    recording: Recording<'r>,
    checkpoints: Checkpoints,
    /// Whether no step has followed the last checkpoint, on whose weights its loss might be infinite.
    unproven: bool,
    logs: Logs,
    listener: &'r mut dyn Listener,
    pace: Pace,
    /// The last that is complete, of this run or before it went on.
    epoch: Option<metrics::Epoch>,
}

struct Logs {
    metrics: MetricsWriter,
    train: EventWriter,
    validation: Option<EventWriter>,
}

/// When to tell of steps.
struct Pace {
    started: Instant,
    /// Steps between two lines.
    every: usize,
    flushed: Instant,
    /// Since the last line: images and the time that they took.
    images: usize,
    time: Duration,
    /// Since the epoch or the run began.
    epoch_time: Duration,
}

impl Logs {
    fn open(trainer: &Trainer<'_>, directory: &RunDirectory) -> Result<Logs, FileError> {
        let step = trainer.progress().step;
        let events = |path: &Path| match step {
            0 => EventWriter::create(path),
            _ => EventWriter::resume(path, step),
        };
        let validates = trainer.validation_images() > 0;
        Ok(Logs {
            metrics: match step {
                0 => MetricsWriter::create(&directory.metrics())?,
                _ => MetricsWriter::resume(&directory.metrics(), step)?,
            },
            train: events(&directory.train_events())?,
            validation: validates.then(|| events(&directory.validation_events())).transpose()?,
        })
    }

    fn flush(&mut self) -> Result<(), FileError> {
        self.train.flush()?;
        self.validation.as_mut().map_or(Ok(()), EventWriter::flush)
    }
}

impl Pace {
    /// Lines of an epoch about a part of it.
    const LINES: usize = 50;
    /// How long a TensorBoard waits for what has happened.
    const FLUSH: Duration = Duration::from_secs(1);

    fn new(trainer: &Trainer<'_>) -> Pace {
        let now = Instant::now();
        Pace {
            started: now,
            every: trainer.steps_per_epoch().div_ceil(Self::LINES),
            flushed: now,
            images: 0,
            time: Duration::ZERO,
            epoch_time: Duration::ZERO,
        }
    }
}

impl Observer for Recorder<'_> {
    fn observe(&mut self, trainer: &Trainer<'_>, event: Event<'_>) -> Observed {
        match event {
            Event::Start => self.start(trainer)?,
            Event::Step(step) => self.step(trainer, step)?,
            Event::Validation(validated) => self.validation(trainer, validated)?,
            Event::Epoch(epoch) => self.epoch(trainer, epoch)?,
            Event::Checkpoint => self.checkpoint(trainer)?,
            Event::End(stop) => self.end(trainer, stop)?,
        }
        match self.recording.interrupt.load(Ordering::Relaxed) {
            true => Ok(ControlFlow::Break(())),
            false => Ok(ControlFlow::Continue(())),
        }
    }
}

impl Recorder<'_> {
    fn write(&mut self, line: Line) -> Result<(), FileError> {
        self.logs.metrics.write(&line)?;
        self.listener.line(&line);
        Ok(())
    }

    fn start(&mut self, trainer: &Trainer<'_>) -> Result<(), TrainError> {
        let (progress, recipe) = (trainer.progress(), trainer.recipe());
        let network = trainer.network();
        if progress.step == 0 {
            let batch = trainer.first_images(64)?;
            self.logs.train.image("Batch", 0, &batch.png(), batch.shape())?;
        }
        let line = Line::Start(metrics::Start {
            epoch: progress.epoch,
            step: progress.step,
            name: self.recording.directory.name(),
            model: recipe.model.name().to_owned(),
            parameters: network.parameter_count(),
            data: trainer.data().directory().display().to_string(),
            image_shape: network.input(),
            classes: network.classes(),
            images: trainer.training_images(),
            validation_images: trainer.validation_images(),
            batch_size: recipe.data.batch_size,
            shard: recipe.shard(),
            epochs: recipe.stop.epochs,
            threads: trainer.workers().threads(),
            isa: trainer.workers().isa().to_string(),
            directory: self.recording.directory.path().display().to_string(),
        });
        Ok(self.write(line)?)
    }

    fn step(&mut self, trainer: &Trainer<'_>, step: &Step) -> Result<(), FileError> {
        self.listener.step(trainer, step);
        if std::mem::take(&mut self.unproven) {
            self.checkpoints.prune()?;
        }
        let progress = trainer.progress();
        let loss = step.loss / step.images as f64;
        let throughput = step.images as f64 / step.time.as_secs_f64();
        let scalars = [
            ("Loss", loss as f32),
            ("Throughput", throughput as f32),
            ("LearningRate", step.learning_rate as f32),
        ];
        self.logs.train.scalars(progress.step, now(), &scalars)?;
        let pace = &mut self.pace;
        pace.images += step.images;
        pace.time += step.time;
        pace.epoch_time += step.time;
        if progress.batch.is_multiple_of(pace.every) {
            let line = metrics::Progress {
                epoch: progress.epoch + 1,
                step: progress.step,
                loss,
                images_per_second: pace.images as f64 / pace.time.as_secs_f64(),
                learning_rate: step.learning_rate,
                seconds: pace.epoch_time.as_secs_f64(),
            };
            (pace.images, pace.time) = (0, Duration::ZERO);
            self.write(Line::Progress(line))?;
        }
        if self.pace.flushed.elapsed() > Pace::FLUSH {
            self.logs.flush()?;
            self.pace.flushed = Instant::now();
        }
        Ok(())
    }

    fn validation(
        &mut self,
        trainer: &Trainer<'_>,
        validated: &Validated,
    ) -> Result<(), FileError> {
        let (step, found) = (trainer.progress().step, &validated.evaluation);
        let top5 = found.top5.unwrap_or(f64::NAN);
        if let Some(log) = &mut self.logs.validation {
            let scalars = [
                ("Top1Accuracy", found.accuracy as f32),
                ("Top5Accuracy", top5 as f32),
                ("Loss", found.loss as f32),
            ];
            log.scalars(step, now(), &scalars)?;
        }
        // Only images that are held out may choose.
        let selects = trainer.recipe().may_select();
        if validated.improved && selects {
            trainer.model().save(&self.recording.directory.best())?;
        }
        self.write(Line::Validation(metrics::Validation {
            epoch: validated.epoch,
            step,
            validation_loss: found.loss,
            top1: found.accuracy,
            top5,
            seconds: validated.time.as_secs_f64(),
        }))
    }

    fn epoch(
        &mut self,
        trainer: &Trainer<'_>,
        epoch: &crate::training::Epoch,
    ) -> Result<(), FileError> {
        let step = trainer.progress().step;
        for parameter in trainer.network().parameters().iter().filter(|p| p.role.is_trained()) {
            let (name, place) = (&parameter.name, parameter.place);
            let log = &mut self.logs.train;
            log.histogram(&format!("parameters/{name}"), step, place.of(trainer.weights()))?;
            if let Some(gradients) = trainer.gradients() {
                log.histogram(&format!("gradients/{name}"), step, place.of(gradients))?;
            }
        }
        self.pace.epoch_time = Duration::ZERO;
        let line = metrics::Epoch {
            epoch: epoch.number,
            step,
            loss: epoch.training.loss,
            accuracy: epoch.training.accuracy,
            validation_loss: epoch.validation.map(|found| found.loss),
            top1: epoch.validation.map(|found| found.accuracy),
            top5: epoch.validation.and_then(|found| found.top5),
            images_per_second: epoch.images_per_second,
            learning_rate: epoch.learning_rate,
            seconds: epoch.time.as_secs_f64(),
        };
        self.epoch = Some(line.clone());
        self.write(Line::Epoch(line))
    }

    /// What a run that goes on from here does not repeat is in the logs before.
    fn checkpoint(&mut self, trainer: &Trainer<'_>) -> Result<(), FileError> {
        self.logs.flush()?;
        let file = self.checkpoints.save(trainer)?;
        self.unproven = true;
        let progress = trainer.progress();
        self.write(Line::Checkpoint(metrics::Checkpoint {
            epoch: progress.epoch,
            step: progress.step,
            file: file.display().to_string(),
        }))
    }

    fn end(&mut self, trainer: &Trainer<'_>, stop: Stop) -> Result<(), TrainError> {
        let directory = self.recording.directory;
        let mut line = self.last_line(trainer, stop);
        if stop != Stop::Interrupted {
            let path = directory.model();
            trainer.model().save(&path)?;
            line.model = Some(path.display().to_string());
        }
        self.logs.flush()?;
        self.checkpoints.prune()?;
        line.seconds = self.pace.started.elapsed().as_secs_f64();
        self.write(Line::End(line))?;
        if stop != Stop::Interrupted {
            write_page(trainer, directory)?;
        }
        Ok(())
    }

    fn last_line(&self, trainer: &Trainer<'_>, reason: Stop) -> metrics::End {
        let (progress, last) = (trainer.progress(), self.epoch.as_ref());
        metrics::End {
            epoch: progress.epoch,
            step: progress.step,
            reason,
            loss: last.map(|epoch| epoch.loss),
            validation_loss: last.and_then(|epoch| epoch.validation_loss),
            top1: last.and_then(|epoch| epoch.top1),
            top5: last.and_then(|epoch| epoch.top5),
            seconds: self.pace.started.elapsed().as_secs_f64(),
            model: None,
            error: None,
        }
    }

    /// What to say of an error: if training itself has gone wrong, also from where it was still right.
    fn failure(&mut self, trainer: &Trainer<'_>, error: TrainError) -> TrainError {
        if error.divergence().is_none() {
            return error;
        }
        let line = self.last_line(trainer, Stop::Diverged);
        let line = metrics::End { error: Some(error.to_string()), ..line };
        if let Err(error) = self.write(Line::End(line)) {
            return error.into();
        }
        let at_fault = matches!(error, TrainError::NotFinite { .. });
        let step = if at_fault { trainer.progress().step } else { usize::MAX };
        match self.checkpoints.last_good(step) {
            Ok(Some(checkpoint)) => TrainError::Diverged { error: error.into(), checkpoint },
            _ => error,
        }
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
