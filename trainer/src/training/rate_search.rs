//! The learning-rate range test: what a rate that rises step by step makes of the loss.
//!
//! Source: L. Smith, "Cyclical learning rates for training neural networks", WACV 2017.

use super::Trainer;
use crate::error::TrainError;
use crate::recipe::{ScheduleKind, ScheduleSection};
use crate::schedule::Schedule;

/// The first rate and the last.
const RATES: [f64; 2] = [1e-6, 10.0];

/// Steps at least and at most.
const STEPS: [usize; 2] = [100, 400];

/// What the average of the losses keeps of itself in a step.
const SMOOTHING: f64 = 0.9;

/// The search ends when the smoothed loss is this many times its lowest.
const TOO_HIGH: f64 = 3.0;

/// What a rising learning rate made of the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct RateSearch {
    /// The steps, in order, at least one unless it was told to stop. Where the loss got out of hand, the last is the
    /// first whose smoothed loss was too high, or the one before a loss or gradient that was not finite.
    pub steps: Vec<RateStep>,
    /// A learning rate to train with: in the middle of the longest fall of the loss. `None` if it hardly fell.
    pub suggestion: Option<f64>,
}

/// A step of the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateStep {
    /// Its learning rate.
    pub rate: f64,
    /// The mean loss of its images, before it changed the weights.
    pub loss: f64,
    /// The loss averaged with those before.
    pub smoothed: f64,
}

impl Trainer<'_> {
    /// Trains from here on with a learning rate that rises from 10⁻⁶ to 10, by the same factor each step, instead
    /// of the recipe's: for an epoch, but a hundred steps at least and 400 at most, or until the loss is three
    /// times its lowest or not finite. `go_on` is asked before each step. The trainer is used up, as its weights
    /// are good for nothing afterwards. It is for one process: other ranks are not asked.
    ///
    /// # Errors
    /// Those of [`Trainer::step`]; a loss or gradient that is not finite only at the first step, where the rate is
    /// not to blame.
    pub fn find_learning_rate(
        mut self,
        go_on: impl Fn() -> bool + Send,
    ) -> Result<RateSearch, TrainError> {
        let steps = self.steps_per_epoch().clamp(STEPS[0], STEPS[1]);
        let [first, last] = RATES;
        let mut rising = self.recipe().clone();
        rising.optimizer.lr = first;
        rising.schedule = ScheduleSection {
            kind: ScheduleKind::Exponential,
            gamma: libm::exp(libm::log(last / first) / (steps - 1) as f64),
            ..ScheduleSection::default()
        };
        // An "epoch" of one step.
        self.learner.schedule = Schedule::new(&rising, 1, steps);
        self.learner.optimizer.set_steps(0);
        let workers = self.workers;
        let steps = workers.run(|| self.rise(steps, go_on))?;
        let suggestion = suggestion(&steps);
        Ok(RateSearch { steps, suggestion })
    }

    fn rise(
        &mut self,
        count: usize,
        go_on: impl Fn() -> bool,
    ) -> Result<Vec<RateStep>, TrainError> {
        let mut steps: Vec<RateStep> = vec![];
        let (mut average, mut lowest) = (0.0, f64::INFINITY);
        while steps.len() < count && go_on() {
            let step = match self.next_step(false) {
                Ok((step, _)) => step,
                // As far as rates go, unless it is no rate that is at fault.
                Err(TrainError::NotFinite { .. } | TrainError::Update { .. })
                    if !steps.is_empty() =>
                {
                    break;
                }
                Err(error) => return Err(error),
            };
            if self.progress.batch == self.plan.steps_per_epoch {
                self.progress.end_epoch();
            }
            let loss = step.loss / step.images as f64;
            average = SMOOTHING * average + (1.0 - SMOOTHING) * loss;
            let weight = 1.0 - libm::pow(SMOOTHING, (steps.len() + 1) as f64);
            let smoothed = average / weight;
            lowest = smoothed.min(lowest);
            steps.push(RateStep { rate: step.learning_rate, loss, smoothed });
            if smoothed > TOO_HIGH * lowest {
                break;
            }
        }
        Ok(steps)
    }
}

/// The rate in the middle of the longest falling subsequence of the smoothed losses, if it falls by a twentieth of what
/// the loss begins with: the rule `valley` of fastai's `lr_find`.
fn suggestion(steps: &[RateStep]) -> Option<f64> {
    // The longest that ends at each step, and the step before in it.
    let mut longest: Vec<(usize, usize)> = vec![];
    for (i, step) in steps.iter().enumerate() {
        let falls = |&j: &usize| steps[j].smoothed > step.smoothed;
        let before = (0..i).filter(falls).max_by_key(|&j| longest[j].0);
        longest.push(before.map_or((1, i), |j| (longest[j].0 + 1, j)));
    }
    let end = (0..steps.len()).max_by_key(|&i| longest[i].0)?;
    let mut start = end;
    while longest[start].1 != start {
        start = longest[start].1;
    }
    let fall = steps[start].smoothed - steps[end].smoothed;
    (fall > 0.05 * steps[0].smoothed).then(|| steps[(start + end) / 2].rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(losses: impl IntoIterator<Item = f64>) -> Vec<RateStep> {
        let step = |(i, smoothed)| RateStep { rate: i as f64, loss: smoothed, smoothed };
        losses.into_iter().enumerate().map(step).collect()
    }

    #[test]
    fn the_middle_of_the_longest_fall_is_suggested() {
        // Flat with ripples, a fall from step 40 to step 60, then up.
        let loss = |i: usize| match i {
            0..40 => 2.0 + 0.001 * (i % 2) as f64,
            40..60 => 2.0 - 0.05 * (i - 40) as f64,
            _ => 1.0 + 0.2 * (i - 60) as f64,
        };
        let found = suggestion(&steps((0..80).map(loss))).unwrap();
        assert!((45.0..=55.0).contains(&found), "{found}");
        assert_eq!(suggestion(&steps((0..80).map(|i| 2.0 + 0.01 * i as f64))), None);
        assert_eq!(suggestion(&steps((0..80).map(|i| 2.0 - 1e-4 * i as f64))), None);
        assert_eq!(suggestion(&steps([0.0; 100])), None);
        assert_eq!(suggestion(&[]), None);
    }
}
