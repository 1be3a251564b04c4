//! What a run leaves, written while the run goes on.

use super::RunDisplay;
use super::logs::{Logs, Pace, first, is_kept, now};
use super::page::write_page;
use crate::checkpoint::Checkpoints;
use crate::collapse::Collapse;
use crate::error::RunError;
use crate::log::metrics::{self, Line, Measures};
use crate::raster::Raster;
use crate::run_directory::RunDirectory;
use files::FileError;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trainer::{Evaluation, Event, Observer, Step, Stop, TrainError, Trainer, Validated};

/// The observer of a run that writes down what happens.
pub(super) struct Session<'r> {
    pub directory: &'r RunDirectory,
    pub interrupt: Option<&'r AtomicBool>,
    pub checkpoints: Checkpoints,
    /// Whether no step has followed the last checkpoint, on whose weights its loss might be infinite.
    pub unproven: bool,
    pub logs: Logs,
    /// What they do not tell of the steps before the run went on.
    pub missing: Option<String>,
    pub display: &'r mut dyn RunDisplay,
    pub pace: Pace,
    /// Of the last validation, of this run or before it went on.
    pub collapsed: Option<Collapse>,
    /// The last that is complete, likewise.
    pub epoch: Option<metrics::Epoch>,
}

impl Observer for Session<'_> {
    fn observe(
        &mut self,
        trainer: &Trainer<'_>,
        event: Event<'_>,
    ) -> Result<ControlFlow<()>, TrainError> {
        // Nothing is written in a place that the rest of the run has left; a step has no file of its own.
        if !matches!(event, Event::Step(_)) {
            self.directory.check()?;
        }
        if let Err(error) = self.write_down(trainer, event) {
            // It may have left while a file was written, which then is not the cause.
            self.directory.check()?;
            return Err(error);
        }
        let interrupt = self.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed));
        Ok(if interrupt { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

impl Session<'_> {
    fn write_down(&mut self, trainer: &Trainer<'_>, event: Event<'_>) -> Result<(), TrainError> {
        match event {
            Event::Start => self.start(trainer)?,
            Event::Step(step) => self.step(trainer, step)?,
            Event::Validation(validated) => self.validation(trainer, validated)?,
            Event::Epoch(epoch) => self.epoch(trainer, epoch)?,
            Event::Checkpoint => self.checkpoint(trainer)?,
            Event::End(stop) => self.end(trainer, stop)?,
        }
        Ok(())
    }

    fn write(&mut self, line: Line) -> Result<(), FileError> {
        self.directory.check()?;
        self.logs.metrics.write(&line)?;
        self.display.line(&line);
        Ok(())
    }

    fn start(&mut self, trainer: &Trainer<'_>) -> Result<(), TrainError> {
        let (progress, recipe) = (trainer.progress(), trainer.recipe());
        let network = trainer.network();
        if progress.step == 0 {
            let [channels, height, width] = network.input();
            let images = trainer.first_images(64);
            let images = images.iter().map(Vec::as_slice);
            let batch = Raster::grid([height, width, channels], 8, images);
            self.logs.train.image("Batch", 0, &batch.png(), batch.shape())?;
        }
        self.logs.start_session(trainer)?;
        let line = Line::Start(metrics::Start {
            epoch: progress.epoch,
            step: progress.step,
            name: self.directory.name(),
            model: recipe.model.name().to_owned(),
            parameters: network.parameter_count(),
            precision: network.precision().to_string(),
            data: trainer.data().directory().display().to_string(),
            fingerprint: Some(trainer.data_fingerprint().to_owned()),
            image_shape: network.input(),
            classes: trainer.data().classes(),
            images: trainer.training_images(),
            validation_images: trainer.validation_images(),
            batch_size: recipe.data.batch_size,
            shard: recipe.shard(),
            epochs: recipe.stop.epochs,
            threads: trainer.workers().threads(),
            isa: trainer.workers().isa().to_string(),
            directory: self.directory.path().display().to_string(),
            missing: self.missing.clone(),
        });
        Ok(self.write(line)?)
    }

    fn step(&mut self, trainer: &Trainer<'_>, step: &Step) -> Result<(), FileError> {
        self.display.step(trainer, step);
        if std::mem::take(&mut self.unproven) {
            self.directory.check()?;
            self.checkpoints.prune()?;
        }
        if let Some(ledger) = &mut self.logs.ledger {
            ledger.step(trainer, step)?;
        }
        let progress = trainer.progress();
        let loss = step.loss / step.images as f64;
        let throughput = step.images as f64 / step.time.as_secs_f64();
        let scalars = [
            ("Loss", loss as f32),
            ("Throughput", throughput as f32),
            ("LearningRate", step.learning_rate as f32),
        ];
        if is_kept(progress.step, first::SCALARS) {
            self.logs.train.scalars(progress.step, now(), &scalars)?;
        }
        let pace = &mut self.pace;
        pace.images += step.images;
        pace.time += step.time;
        pace.epoch_time += step.time;
        if Pace::has_line(progress.step, trainer.steps_per_epoch()) {
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
            self.directory.check()?;
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
        let top5 = top5(trainer, found);
        let measures = Measures::of(found);
        if let Some(log) = &mut self.logs.validation {
            let scalars = [
                ("Top1Accuracy", Some(found.accuracy)),
                ("Loss", Some(found.loss)),
                ("Top5Accuracy", top5),
                ("BalancedAccuracy", measures.balanced_accuracy),
                ("MacroF1", measures.macro_f1),
                ("AUC", measures.auc),
                ("CalibrationError", measures.ece),
            ];
            let known = |(tag, value): (_, Option<f64>)| value.map(|value| (tag, value as f32));
            let known: Vec<_> = scalars.into_iter().filter_map(known).collect();
            log.scalars(step, now(), &known)?;
        }
        // Only images that are held out may choose.
        let selects = trainer.recipe().may_select();
        if validated.improved && selects {
            trainer.model().save(&self.directory.best())?;
        }
        let data = trainer.data();
        self.collapsed = found.collapsed().map(|collapsed| match data.is_multi_label() {
            true => Collapse::Labels(collapsed),
            false => Collapse::Class(data.class_names()[collapsed].clone()),
        });
        self.write(Line::Validation(metrics::Validation {
            epoch: validated.epoch,
            step,
            validation_loss: found.loss,
            top1: found.accuracy,
            top5,
            measures,
            collapsed: self.collapsed.clone(),
            seconds: validated.time.as_secs_f64(),
        }))
    }

    fn epoch(&mut self, trainer: &Trainer<'_>, epoch: &trainer::Epoch) -> Result<(), FileError> {
        let step = trainer.progress().step;
        let with_histograms = is_kept(epoch.number, first::HISTOGRAMS);
        let parameters = trainer.network().parameters().iter();
        for parameter in parameters.filter(|p| with_histograms && p.role.is_trained()) {
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
            top5: epoch.validation.and_then(|found| top5(trainer, &found)),
            images_per_second: epoch.images_per_second,
            learning_rate: epoch.learning_rate,
            seconds: epoch.time.as_secs_f64(),
        };
        self.epoch = Some(line.clone());
        self.write(Line::Epoch(line))
    }

    /// What a run that goes on from here does not repeat is in the logs, and on the disk, before.
    fn checkpoint(&mut self, trainer: &Trainer<'_>) -> Result<(), FileError> {
        self.logs.sync()?;
        let file = self.checkpoints.save(&trainer.state())?;
        self.unproven = true;
        let progress = trainer.progress();
        self.write(Line::Checkpoint(metrics::Checkpoint {
            epoch: progress.epoch,
            step: progress.step,
            file: file.display().to_string(),
        }))
    }

    fn end(&mut self, trainer: &Trainer<'_>, stop: Stop) -> Result<(), TrainError> {
        let directory = self.directory;
        let mut line = self.last_line(trainer, stop);
        if stop != Stop::Interrupted {
            let path = directory.model();
            trainer.model().save(&path)?;
            line.model = Some(path.display().to_string());
            if let Some(ledger) = &mut self.logs.ledger {
                ledger.end(trainer)?;
            }
        }
        self.logs.end_session(line.step, stop)?;
        self.checkpoints.prune()?;
        line.seconds = self.pace.started.elapsed().as_secs_f64();
        self.write(Line::End(line))?;
        self.logs.sync()?;
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
            collapsed: self.collapsed.clone(),
            seconds: self.pace.started.elapsed().as_secs_f64(),
            model: None,
            error: None,
        }
    }

    /// What to say of an error: if training itself has gone wrong, also from where it was still right.
    pub fn failure(&mut self, trainer: &Trainer<'_>, error: TrainError) -> RunError {
        if error.divergence().is_none() {
            return error.into();
        }
        let line = self.last_line(trainer, Stop::Diverged);
        let line = metrics::End { error: Some(error.to_string()), ..line };
        let step = line.step;
        let told = self.write(Line::End(line)).and_then(|()| {
            self.logs.end_session(step, Stop::Diverged)?;
            self.logs.sync()
        });
        if let Err(error) = told {
            return error.into();
        }
        let at_fault = matches!(error, TrainError::NotFinite { .. });
        let step = if at_fault { trainer.progress().step } else { usize::MAX };
        match self.checkpoints.last_good(step) {
            Ok(Some(checkpoint)) => RunError::Diverged { error: error.into(), checkpoint },
            _ => error.into(),
        }
    }
}

/// The part of images whose class is among the five most probable, where there are more classes than that.
fn top5(trainer: &Trainer<'_>, found: &Evaluation) -> Option<f64> {
    found.top5.filter(|_| trainer.network().classes() > 5)
}
