//! The loop: steps, epochs, validations, checkpoints, and the end.

use super::progress::{Progress, Stop};
use super::{Step, Trainer};
use crate::batch::{Evaluation, Images, evaluate};
use crate::error::TrainError;
use crate::profile::{Chores, Profile, Totals, fma_peak};
use crate::sampler::{deal, shuffle};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub enum Event<'e> {
    /// Training begins or goes on.
    Start,
    /// A step is done.
    Step(&'e Step),
    /// The network has been validated.
    Validation(&'e Validated),
    /// An epoch, or the part of one that a run ends in, is done.
    Epoch(&'e Epoch),
    /// The recipe asks for a checkpoint. Training goes on from here as if it had not been interrupted.
    Checkpoint,
    /// Training ends.
    End(Stop),
}

/// What validation found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validated {
    /// The epoch under way or just ended, from one.
    pub epoch: usize,
    /// Loss and accuracy on the validation images.
    pub evaluation: Evaluation,
    /// Whether it is the best so far, by what `stop.monitor` names.
    pub improved: bool,
    /// How long it took.
    pub time: Duration,
}

/// What an epoch brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Its number, from one.
    pub number: usize,
    /// Mean loss and accuracy on the training images, each as the network was when it met them.
    pub training: Evaluation,
    /// Loss and accuracy on the validation images, if it was validated at its end.
    pub validation: Option<Evaluation>,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// Images trained on since the epoch or the run began.
    pub images: usize,
    /// Time spent training them, without validation.
    pub time: Duration,
    /// Time spent on validation and on looking whether every weight is finite.
    pub validation_time: Duration,
    /// Training images per second.
    pub images_per_second: f64,
}

/// Whoever is told what happens in a run. A [`ControlFlow::Break`] ends it: after a checkpoint, when
/// everything is done that belongs to the step.
pub trait Observer: Send {
    /// Is told that something has happened.
    fn observe(&mut self, trainer: &Trainer<'_>, event: Event<'_>) -> Observed;
}

/// What an observer answers.
pub type Observed = Result<ControlFlow<()>, TrainError>;

impl<F: FnMut(&Trainer<'_>, Event<'_>) -> Observed + Send> Observer for F {
    fn observe(&mut self, trainer: &Trainer<'_>, event: Event<'_>) -> Observed {
        self(trainer, event)
    }
}

/// An observer that calls `report` after each epoch.
pub fn each_epoch(mut report: impl FnMut(&Epoch) + Send) -> impl Observer {
    move |_: &Trainer<'_>, event: Event<'_>| {
        if let Event::Epoch(epoch) = event {
            report(epoch);
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Of the epoch under way, since the run began.
#[derive(Default)]
struct Clock {
    images: usize,
    time: Duration,
    validation_time: Duration,
    learning_rate: f64,
}

/// An observer, and whether it has asked for the end.
struct Audience<'o, O> {
    observer: &'o mut O,
    stop: bool,
}

impl<O: Observer> Audience<'_, O> {
    fn tell(&mut self, trainer: &Trainer<'_>, event: Event<'_>) -> Result<(), TrainError> {
        self.stop |= self.observer.observe(trainer, event)?.is_break();
        Ok(())
    }
}

impl Trainer<'_> {
    /// Trains to the end of the recipe; `report` is called after each epoch.
    pub fn run(&mut self, report: impl FnMut(&Epoch) + Send) -> Result<(), TrainError> {
        self.run_observed(&mut each_epoch(report)).map(drop)
    }

    /// Trains to the end of the recipe, or until the observer ends it.
    pub fn run_observed(&mut self, observer: &mut impl Observer) -> Result<Stop, TrainError> {
        let workers = self.workers;
        workers.run(|| self.run_inside(observer))
    }

    /// [`Trainer::run_observed`], with a clock at every operation: the same weights, and where the
    /// time went. After each epoch milliseconds of multiply-adds find the peak that rates are compared
    /// with.
    pub fn run_profiled(
        &mut self,
        observer: &mut impl Observer,
    ) -> Result<(Stop, Profile), TrainError> {
        let (workers, steps) = (self.workers, self.progress.step);
        let (ranks, received) = (self.communicator().size(), self.ranks.bytes_received());
        let mut totals = Totals { threads: workers.threads(), ranks, ..Totals::default() };
        self.chores = Some(Chores::default());
        workers.start_profile();
        let result = self.run_observed(&mut |trainer: &Trainer<'_>, event: Event<'_>| {
            if let Event::Epoch(epoch) = event {
                totals.images += epoch.images;
                totals.training += epoch.time;
                totals.validation += epoch.validation_time;
                totals.peak = totals.peak.max(fma_peak(workers));
            }
            observer.observe(trainer, event)
        });
        let operations = workers.finish_profile();
        let chores = self.chores.take().expect("put there above");
        let stop = result?;
        totals.steps = self.progress.step - steps;
        totals.received = self.ranks.bytes_received() - received;
        Ok((stop, Profile::new(&self.network, operations, &chores, totals)))
    }

    fn run_inside(&mut self, observer: &mut impl Observer) -> Result<Stop, TrainError> {
        let mut audience = Audience { observer, stop: false };
        self.ranks.end_asked = false;
        audience.tell(self, Event::Start)?;
        // A run that goes on has done so from a checkpoint.
        let mut saved = (self.progress.step > 0).then_some(self.progress.step);
        self.checkpoint(&mut audience, &mut saved)?;
        let mut clock = Clock::default();
        let stop = loop {
            if let Some(stop) = self.finished() {
                break stop;
            }
            // With others it is asked in the step, and that is done before all end together.
            if self.ranks.end_asked || (audience.stop && self.communicator().size() == 1) {
                break Stop::Interrupted;
            }
            self.ranks.ask_end = audience.stop;
            let step = self.next_step()?;
            clock.images += step.images;
            clock.time += step.time;
            clock.learning_rate = step.learning_rate;
            audience.tell(self, Event::Step(&step))?;
            let ended = self.after_step(&mut clock, &mut audience)?;
            if self.recipe.events.checkpoint.is_due(self.progress.step, ended) {
                self.checkpoint(&mut audience, &mut saved)?;
            }
        };
        self.checkpoint(&mut audience, &mut saved)?;
        audience.tell(self, Event::End(stop))?;
        Ok(stop)
    }

    /// What belongs to a step besides the step: the end of an epoch, validation, the end of the run.
    /// Returns the number of the epoch that has ended.
    fn after_step(
        &mut self,
        clock: &mut Clock,
        audience: &mut Audience<'_, impl Observer>,
    ) -> Result<Option<usize>, TrainError> {
        let started = Instant::now();
        let training = self.progress.training();
        let number = self.progress.epoch + 1;
        let ended = (self.progress.batch == self.steps_per_epoch).then_some(number);
        if ended.is_some() {
            self.check_weights()?;
            self.progress.end_epoch();
            if self.recipe.stop.min_loss.is_some_and(|loss| training.loss <= loss) {
                self.progress.stopped = Some(Stop::MinLoss);
            }
        }
        let due = self.recipe.events.validate.is_due(self.progress.step, ended);
        let mut validation = None;
        if due || self.finished().is_some() {
            validation = self.validate(number)?;
            let validated = validation.map(|evaluation| {
                let improved = self.progress.validated(&self.recipe.stop, &evaluation);
                let monitored = self.recipe.stop.monitor.of(&evaluation);
                self.schedule.observe(self.progress.step, monitored);
                self.progress.plateau = self.schedule.state();
                let time = started.elapsed();
                Validated { epoch: number, evaluation, improved, time }
            });
            if let Some(validated) = validated {
                audience.tell(self, Event::Validation(&validated))?;
            }
        }
        clock.validation_time += started.elapsed();
        if ended.is_some() || self.finished().is_some() {
            let Clock { images, time, validation_time, learning_rate } = std::mem::take(clock);
            let images_per_second = images as f64 / time.as_secs_f64();
            let epoch = Epoch {
                number,
                training,
                validation,
                learning_rate,
                images,
                time,
                validation_time,
                images_per_second,
            };
            audience.tell(self, Event::Epoch(&epoch))?;
        }
        Ok(ended)
    }

    /// Asks for a checkpoint unless the last one, of step `saved`, is of this step. After a step its
    /// weights are finite; before the first, a loss is to tell.
    fn checkpoint(
        &self,
        audience: &mut Audience<'_, impl Observer>,
        saved: &mut Option<usize>,
    ) -> Result<(), TrainError> {
        let step = self.progress.step;
        if saved.replace(step) == Some(step) {
            return Ok(());
        }
        if step > 0 {
            self.check_weights()?;
        }
        audience.tell(self, Event::Checkpoint)
    }

    /// Why training is at its end, if it is.
    fn finished(&self) -> Option<Stop> {
        let Progress { step, epoch, stopped, .. } = &self.progress;
        let stop = &self.recipe.stop;
        if stopped.is_some() {
            *stopped
        } else if stop.iterations.is_some_and(|iterations| *step >= iterations) {
            Some(Stop::Iterations)
        } else {
            (*epoch >= stop.epochs).then_some(Stop::Epochs)
        }
    }

    /// The step on the next batch of the epoch under way.
    fn next_step(&mut self) -> Result<Step, TrainError> {
        let started = Instant::now();
        let Progress { epoch, batch, .. } = self.progress;
        if self.order.epoch != Some(epoch) {
            self.data.train()?.check_unchanged()?;
            self.find_order(epoch as u32);
            self.order.epoch = Some(epoch);
        }
        self.communicator().note_step(self.progress.step + 1);
        let order = std::mem::take(&mut self.order.images);
        let size = self.recipe.data.batch_size;
        let first = batch * size;
        let step = self.step_inside(&order[first..order.len().min(first + size)]);
        self.order.images = order;
        let mut step = step?;
        self.progress.batch += 1;
        self.progress.loss += step.loss;
        self.progress.correct += step.correct;
        self.progress.images += step.images;
        step.time = started.elapsed();
        Ok(step)
    }

    /// Finds the training images in the order of an epoch.
    fn find_order(&mut self, epoch: u32) {
        let (seed, order) = (self.recipe.seed, &mut self.order.images);
        if let Some(share) = self.data.share() {
            let sizes = [self.recipe.data.batch_size, self.recipe.shard()];
            return deal(seed, epoch, share, sizes, order);
        }
        order.clone_from(&self.training);
        shuffle(seed, epoch, order);
    }

    fn validate(&self, epoch: usize) -> Result<Option<Evaluation>, TrainError> {
        let Some((split, indices)) = &self.validation else { return Ok(None) };
        split.check_unchanged()?;
        let images = Images { split, indices, scaling: &self.scaling };
        let weights = self.evaluation_weights();
        let found = evaluate(self.workers, &self.network, weights, images, &self.ranks);
        if !found.loss.is_finite() {
            let (loss, step) = (found.loss, self.progress.step);
            return Err(TrainError::Validation { loss, step, epoch });
        }
        Ok(Some(found))
    }

    /// Whether everything is finite that the last step has left: the running statistics, which no
    /// training step reads, and the weights, whose loss nobody has seen.
    fn check_weights(&self) -> Result<(), TrainError> {
        let finite = |values: &[f32]| kernels::all_finite(self.workers.isa(), values);
        let mut parameters = self.network.parameters().iter();
        match parameters.find(|p| !finite(p.place.of(&self.weights))) {
            None => Ok(()),
            Some(p) => Err(TrainError::Weights {
                parameter: p.name.clone(),
                step: self.progress.step,
                epoch: self.progress.epoch_under_way(),
            }),
        }
    }
}
