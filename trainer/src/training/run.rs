//! The loop: steps, epochs, validations, checkpoints, and the end.

use super::learner::Learner;
use super::observer::{Epoch, Event, Observer, Validated, each_epoch};
use super::{Buffers, Step, Trainer};
use crate::error::TrainError;
use crate::evaluation::{self, Evaluated, Evaluation, evaluate};
use crate::input::Images;
use crate::profile::{Chore, Chores, Profile, Totals, fma_peak};
use crate::progress::{Progress, Stop};
use std::time::{Duration, Instant};

/// The epoch under way, since the run began.
#[derive(Default)]
struct Clock {
    images: usize,
    time: Duration,
    validation_time: Duration,
    learning_rate: f64,
}

/// A run under way.
struct Run<'o, O> {
    observer: &'o mut O,
    /// Whether the observer has asked for the end.
    stop: bool,
    /// The step of the last checkpoint.
    saved: Option<usize>,
    clock: Clock,
}

impl<O: Observer> Run<'_, O> {
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
        let mut profile = Profile::new(self.network(), operations, &chores, totals);
        if totals.steps > 0 {
            let optimiser = chores.time(Chore::Optimiser) / totals.steps as u32;
            profile.critical_path = Some(self.critical_path(optimiser));
        }
        Ok((stop, profile))
    }

    fn run_inside(&mut self, observer: &mut impl Observer) -> Result<Stop, TrainError> {
        // A run that goes on has done so from a checkpoint.
        let saved = (self.progress.step > 0).then_some(self.progress.step);
        let mut run = Run { observer, stop: false, saved, clock: Clock::default() };
        run.tell(self, Event::Start)?;
        self.checkpoint(&mut run)?;
        // Whether a rank has asked for the end, as all know after a step.
        let mut end_asked = false;
        let stop = loop {
            if let Some(stop) = self.finished() {
                break stop;
            }
            // With others it is asked in the step, and that is done before all end together.
            if end_asked || (run.stop && self.communicator().size() == 1) {
                break Stop::Interrupted;
            }
            let step;
            (step, end_asked) = self.next_step(run.stop)?;
            run.clock.images += step.images;
            run.clock.time += step.time;
            run.clock.learning_rate = step.learning_rate;
            run.tell(self, Event::Step(&step))?;
            let ended = self.after_step(&mut run)?;
            if self.plan.recipe.events.checkpoint.is_due(self.progress.step, ended) {
                self.checkpoint(&mut run)?;
            }
        };
        self.checkpoint(&mut run)?;
        run.tell(self, Event::End(stop))?;
        Ok(stop)
    }

    /// What belongs to a step besides the step: the end of an epoch, validation, the end of the run.
    /// Returns the number of the epoch that has ended.
    fn after_step(
        &mut self,
        run: &mut Run<'_, impl Observer>,
    ) -> Result<Option<usize>, TrainError> {
        let started = Instant::now();
        let training = self.progress.training();
        let number = self.progress.epoch + 1;
        let ended = (self.progress.batch == self.plan.steps_per_epoch).then_some(number);
        if ended.is_some() {
            self.check_weights()?;
            self.progress.end_epoch();
            if self.plan.recipe.stop.min_loss.is_some_and(|loss| training.loss <= loss) {
                self.progress.stopped = Some(Stop::MinLoss);
            }
        }
        let due = self.plan.recipe.events.validate.is_due(self.progress.step, ended);
        let mut validation = None;
        if due || self.finished().is_some() {
            validation = self.validate(number)?;
            let validated = validation.map(|evaluation| {
                let (stop, Learner { schedule, .. }) = (&self.plan.recipe.stop, &mut self.learner);
                let improved = self.progress.validated(stop, &evaluation);
                schedule.observe(self.progress.step, stop.monitor.of(&evaluation));
                self.progress.plateau = schedule.state();
                let time = started.elapsed();
                Validated { epoch: number, evaluation, improved, time }
            });
            if let Some(validated) = validated {
                run.tell(self, Event::Validation(&validated))?;
            }
        }
        run.clock.validation_time += started.elapsed();
        if ended.is_some() || self.finished().is_some() {
            let Clock { images, time, validation_time, learning_rate } =
                std::mem::take(&mut run.clock);
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
            run.tell(self, Event::Epoch(&epoch))?;
        }
        Ok(ended)
    }

    /// Asks for a checkpoint unless the last one is of this step. After a step its weights are finite;
    /// before the first, a loss is to tell.
    fn checkpoint(&self, run: &mut Run<'_, impl Observer>) -> Result<(), TrainError> {
        let step = self.progress.step;
        if run.saved.replace(step) == Some(step) {
            return Ok(());
        }
        if step > 0 {
            self.check_weights()?;
        }
        run.tell(self, Event::Checkpoint)
    }

    /// Why training is at its end, if it is.
    fn finished(&self) -> Option<Stop> {
        let Progress { step, epoch, stopped, .. } = &self.progress;
        let stop = &self.plan.recipe.stop;
        if stopped.is_some() {
            *stopped
        } else if stop.iterations.is_some_and(|iterations| *step >= iterations) {
            Some(Stop::Iterations)
        } else {
            (*epoch >= stop.epochs).then_some(Stop::Epochs)
        }
    }

    /// The step on the next batch of the epoch under way; and whether any rank has asked for the end.
    pub(super) fn next_step(&mut self, ask_end: bool) -> Result<(Step, bool), TrainError> {
        let started = Instant::now();
        let Progress { epoch, batch, .. } = self.progress;
        if self.buffers.order_of != Some(epoch) {
            self.view.train.check_unchanged()?;
            self.view.find_order(&self.plan.recipe, epoch as u32, &mut self.buffers.order);
            self.buffers.order_of = Some(epoch);
        }
        self.communicator().note_step(self.progress.step + 1);
        let order = std::mem::take(&mut self.buffers.order);
        let size = self.plan.recipe.data.batch_size;
        let first = batch * size;
        let step = self.step_inside(&order[first..order.len().min(first + size)], None, ask_end);
        self.buffers.order = order;
        let (mut step, end) = step?;
        self.progress.batch += 1;
        self.progress.loss += step.loss;
        self.progress.correct += step.correct;
        self.progress.images += step.images;
        step.time = started.elapsed();
        Ok((step, end))
    }

    fn validate(&mut self, epoch: usize) -> Result<Option<Evaluation>, TrainError> {
        let Some((split, indices)) = &self.view.validation else { return Ok(None) };
        split.check_unchanged()?;
        let images = Images::new(split, indices, &self.view.scaling);
        let Learner { network, .. } = &self.learner;
        let (weights, loss) = (self.learner.evaluation_weights(), self.loss.of_evaluation());
        let Buffers {
            evaluation_roots: roots, pending_evaluations: pending, outcomes, tally, ..
        } = &mut self.buffers;
        let shards = evaluation::shards(indices.len());
        let ranges = self.ranks.subtrees(shards);
        let labels = split.is_multi_label().then(|| self.view.data.classes());
        outcomes.resize(indices.len(), labels);
        let of = Evaluated { network, weights, loss, images };
        evaluate(self.workers, of, ranges, outcomes, (&mut *roots, pending));
        let found = self.ranks.all_reduce_evaluation(shards, roots);
        self.ranks.all_gather_outcomes(indices.len(), outcomes);
        let found = if split.is_multi_label() {
            let sets = indices.iter().filter_map(|&i| split.label_set(i as usize));
            Evaluation::of_sets(found, indices.len(), sets, outcomes)
        } else {
            let labels = indices.iter().map(|&i| split.label(i as usize) as usize);
            Evaluation::of(found, self.view.data.classes(), labels, outcomes, tally)
        };
        if !found.loss.is_finite() {
            let (loss, step) = (found.loss, self.progress.step);
            return Err(TrainError::Validation { loss, step, epoch });
        }
        Ok(Some(found))
    }

    /// Whether everything is finite that the last step has left.
    fn check_weights(&self) -> Result<(), TrainError> {
        let (step, epoch) = (self.progress.step, self.progress.epoch_under_way());
        match self.learner.bad_weight(self.workers.isa()) {
            None => Ok(()),
            Some(parameter) => Err(TrainError::Weights { parameter, step, epoch }),
        }
    }
}
