//! The learning rate of each step.

use crate::recipe::{Monitor, Recipe, ScheduleKind, ScheduleSection};
use serde::{Deserialize, Serialize};

/// The learning rates of a run: a warm-up, and the recipe's curve, which counts its steps and epochs
/// from where the warm-up ends. Computed in `f64` with portable functions, so that every machine
/// gets the same.
#[derive(Clone, Debug)]
pub struct Schedule {
    peak: f64,
    section: ScheduleSection,
    monitor: Monitor,
    steps_per_epoch: usize,
    /// Steps of the warm-up.
    warmup: usize,
    /// Steps that the curve takes to its end, at least one.
    steps: usize,
    plateau: PlateauState,
}

/// What the schedule `plateau` remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlateauState {
    /// The learning rate now.
    pub lr: f64,
    /// The best validation result so far.
    pub best: Option<f64>,
    /// Validations since then, or since the learning rate fell.
    pub waited: usize,
}

impl Schedule {
    /// The schedule of a run that is planned to take `steps` optimiser steps.
    #[must_use]
    pub fn new(recipe: &Recipe, steps_per_epoch: usize, steps: usize) -> Schedule {
        let section = recipe.schedule.clone();
        let steps_per_epoch = steps_per_epoch.max(1);
        let warmup = (section.warmup * steps_per_epoch as f64).round() as usize;
        let peak = recipe.optimizer.lr;
        Schedule {
            peak,
            section,
            monitor: recipe.stop.monitor,
            steps_per_epoch,
            warmup,
            steps: steps.saturating_sub(warmup).max(1),
            plateau: PlateauState { lr: peak, best: None, waited: 0 },
        }
    }

    /// The learning rate at `step`, counted from zero; beyond the planned steps the curve stays
    /// where it ends. Finite, also in `f32`, and never negative.
    pub fn learning_rate(&self, step: usize) -> f64 {
        let rate = match step.checked_sub(self.warmup) {
            Some(step) => self.curve(step),
            None => {
                let start = self.section.warmup_start;
                let risen = (step + 1) as f64 / self.warmup as f64;
                self.curve(0) * (start + (1.0 - start) * risen)
            }
        };
        // Powers of a gamma above 1 overflow, and differences of rounded numbers pass zero.
        rate.clamp(0.0, f64::from(f32::MAX))
    }

    /// The curve at a step of its own.
    fn curve(&self, step: usize) -> f64 {
        let (peak, section) = (self.peak, &self.section);
        let epoch = step / self.steps_per_epoch;
        let part = step.min(self.steps) as f64 / self.steps as f64;
        let lowered = |times: usize| peak * libm::pow(section.gamma, times as f64);
        match section.kind {
            ScheduleKind::Constant => peak,
            ScheduleKind::Step => lowered(epoch / section.step_size),
            ScheduleKind::MultiStep => {
                lowered(section.milestones.partition_point(|&milestone| milestone <= epoch))
            }
            ScheduleKind::Exponential => lowered(epoch),
            ScheduleKind::Cosine => anneal(peak, section.min_lr, part),
            ScheduleKind::Polynomial => {
                section.min_lr + (peak - section.min_lr) * libm::pow(1.0 - part, section.power)
            }
            ScheduleKind::OneCycle => self.one_cycle(step as f64),
            ScheduleKind::List => peak * self.factor(if section.by_step { step } else { epoch }),
            ScheduleKind::Plateau => self.plateau.lr,
        }
    }

    /// That of a place in the list, which stays as it ends.
    fn factor(&self, place: usize) -> f64 {
        let factors = &self.section.factors;
        factors.get(place).or(factors.last()).copied().unwrap_or(1.0)
    }

    fn one_cycle(&self, step: f64) -> f64 {
        let first = self.peak / self.section.start_divisor;
        let last = first / self.section.end_divisor;
        // The steps at which the curve turns and ends, as in PyTorch's OneCycleLR
        // (without its cycle of the momentum).
        let turn = self.section.rise * self.steps as f64 - 1.0;
        let end = self.steps as f64 - 1.0;
        if step <= turn {
            anneal(first, self.peak, step / turn)
        } else {
            anneal(self.peak, last, (step - turn) / (end - turn))
        }
    }

    /// Takes note of a validation after `steps` steps in all: `value` is the loss or the accuracy, as
    /// `stop.monitor` says. Only the schedule `plateau` cares, and it not before the warm-up ends,
    /// since its rate is not yet what the results are to judge.
    pub fn observe(&mut self, steps: usize, value: f64) {
        /// A fall by less is none, in PyTorch.
        const LEAST_FALL: f64 = 1e-8;
        if self.section.kind != ScheduleKind::Plateau || steps < self.warmup {
            return;
        }
        let (section, state) = (&self.section, &mut self.plateau);
        let better = state.best.is_none_or(|best| match self.monitor {
            Monitor::Loss => value < best * (1.0 - section.threshold),
            _ => value > best * (1.0 + section.threshold),
        });
        if better {
            state.best = Some(value);
            state.waited = 0;
            return;
        }
        state.waited += 1;
        if state.waited > section.patience {
            state.waited = 0;
            let lower = (state.lr * section.factor).max(section.min_lr);
            if state.lr - lower > LEAST_FALL {
                state.lr = lower;
            }
        }
    }

    /// What a checkpoint has to keep, if anything.
    pub fn state(&self) -> Option<PlateauState> {
        (self.section.kind == ScheduleKind::Plateau).then(|| self.plateau.clone())
    }

    /// Goes on from what [`Schedule::state`] said.
    pub fn restore(&mut self, state: PlateauState) {
        self.plateau = state;
    }
}

/// From `start` to `end` along half a cosine as `t` goes from 0 to 1.
fn anneal(start: f64, end: f64, t: f64) -> f64 {
    let t = if t.is_finite() { t.clamp(0.0, 1.0) } else { 1.0 };
    end + (start - end) / 2.0 * (1.0 + libm::cos(std::f64::consts::PI * t))
}

#[cfg(test)]
mod tests;
