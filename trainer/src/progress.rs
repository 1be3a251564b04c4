//! How far training has come: with the weights and the optimiser's state, all that the next step
//! depends on.

use crate::evaluation::Evaluation;
use crate::recipe::{Monitor, StopSection};
use crate::schedule::PlateauState;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// How far training has come. The order of an epoch's images is a function of seed and epoch, so
/// `epoch` and `batch` are also the state of the sampler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Optimiser steps in all.
    pub step: usize,
    /// Complete epochs.
    pub epoch: usize,
    /// Steps of the epoch under way.
    pub batch: usize,
    /// Of the epoch under way: the sum of the losses of its images,
    pub loss: f64,
    /// how many of them were classified correctly,
    pub correct: usize,
    /// and how many there were.
    pub images: usize,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Validations since `stop.patience` last saw an improvement.
    pub waited: usize,
    /// What `stop.patience` compares with: the last value that was an improvement.
    pub reference: Option<f64>,
    /// The state of the schedule `plateau`.
    pub plateau: Option<PlateauState>,
    /// Why training has ended, if not because the last step is done.
    pub stopped: Option<Stop>,
    /// Images that a caller has handed over ([`Trainer::step_on_next`](crate::Trainer::step_on_next)).
    #[serde(default, skip_serializing_if = "is_none")]
    pub handed: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(images: &u32) -> bool {
    *images == 0
}

/// The best validation of a run, by what `stop.monitor` names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The step after which it was.
    pub step: usize,
    /// The epoch, from one.
    pub epoch: usize,
    /// Its result.
    pub evaluation: Evaluation,
}

/// Why training ends; in JSON by the name of the recipe's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// `stop.epochs` are done.
    Epochs,
    /// `stop.iterations` are done.
    Iterations,
    /// `stop.target_accuracy` is reached.
    TargetAccuracy,
    /// `stop.min_loss` is reached.
    MinLoss,
    /// `stop.patience` is exhausted.
    Patience,
    /// The observer asked for it.
    Interrupted,
    /// A loss, a gradient or a weight is not finite.
    Diverged,
}

impl Display for Stop {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Epochs => "all epochs are done",
            Stop::Iterations => "all iterations are done",
            Stop::TargetAccuracy => "the target accuracy is reached",
            Stop::MinLoss => "the training loss is low enough",
            Stop::Patience => "validation no longer improves",
            Stop::Interrupted => "interrupted",
            Stop::Diverged => "diverged",
        })
    }
}

impl Progress {
    /// Takes note of a validation; returns whether it is the best so far.
    pub(crate) fn validated(&mut self, stop: &StopSection, evaluation: &Evaluation) -> bool {
        let value = stop.monitor.of(evaluation);
        // By how much it is better than another.
        let gain = |old: f64| stop.monitor.gain(value, old);
        if self.reference.is_none_or(|old| gain(old) > stop.min_delta) {
            (self.reference, self.waited) = (Some(value), 0);
        } else {
            self.waited += 1;
        }
        if stop.patience.is_some_and(|patience| self.waited >= patience) {
            self.stopped = Some(Stop::Patience);
        }
        if stop.target_accuracy.is_some_and(|target| evaluation.accuracy >= target) {
            self.stopped = Some(Stop::TargetAccuracy);
        }
        let improved = self.best.is_none_or(|best| gain(stop.monitor.of(&best.evaluation)) > 0.0);
        if improved {
            let (step, epoch) = (self.step, self.epoch_under_way());
            self.best = Some(Best { step, epoch, evaluation: *evaluation });
        }
        improved
    }

    /// The number of the epoch under way or just ended, from one.
    pub fn epoch_under_way(&self) -> usize {
        self.epoch + usize::from(self.batch > 0)
    }

    /// The mean over the epoch under way.
    pub(crate) fn training(&self) -> Evaluation {
        let images = self.images as f64;
        let (loss, accuracy) = (self.loss / images, self.correct as f64 / images);
        Evaluation { loss, accuracy, top5: None, metrics: None }
    }

    /// Begins the next epoch.
    pub(crate) fn end_epoch(&mut self) {
        self.epoch += 1;
        (self.batch, self.loss, self.correct, self.images) = (0, 0.0, 0, 0);
    }
}

impl Monitor {
    /// What is monitored, of a validation.
    ///
    /// # Panics
    /// If the evaluation has not found it, as that of an epoch of training has not.
    pub(crate) fn of(self, evaluation: &Evaluation) -> f64 {
        let metrics = || evaluation.metrics.expect("a validation whose loss is finite has metrics");
        match self {
            Monitor::Loss => evaluation.loss,
            Monitor::Accuracy => evaluation.accuracy,
            Monitor::BalancedAccuracy => metrics().balanced_accuracy,
            Monitor::MacroF1 => metrics().macro_f1,
            Monitor::Auc => metrics().auc.expect("validation images of both of two classes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::Metrics;

    fn validate(stop: &StopSection, results: &[(f64, f64)]) -> (Progress, Vec<bool>) {
        let mut progress = Progress::default();
        let improved = results
            .iter()
            .map(|&(loss, accuracy)| {
                progress.step += 1;
                progress.validated(stop, &Evaluation { loss, accuracy, top5: None, metrics: None })
            })
            .collect();
        (progress, improved)
    }

    #[test]
    fn patience_counts_validations_without_improvement() {
        let stop = StopSection { patience: Some(2), min_delta: 0.1, ..StopSection::default() };
        // 0.95 is the best so far, but no improvement by more than 0.1.
        let (progress, improved) = validate(&stop, &[(1.0, 0.5), (0.95, 0.5)]);
        assert_eq!((progress.waited, progress.stopped), (1, None));
        assert_eq!(improved, [true, true]);
        let (progress, _) = validate(&stop, &[(1.0, 0.5), (0.95, 0.5), (0.85, 0.5), (0.8, 0.5)]);
        assert_eq!((progress.waited, progress.stopped), (1, None));
        let (progress, improved) = validate(&stop, &[(1.0, 0.5), (2.0, 0.9), (1.5, 0.9)]);
        assert_eq!((progress.waited, progress.stopped), (2, Some(Stop::Patience)));
        assert_eq!(improved, [true, false, false]);
        assert_eq!(progress.best.unwrap().step, 1);
    }

    #[test]
    fn accuracy_may_be_monitored_or_aimed_at() {
        let monitor = Monitor::Accuracy;
        let stop = StopSection { monitor, target_accuracy: Some(0.9), ..StopSection::default() };
        let (progress, improved) = validate(&stop, &[(1.0, 0.5), (2.0, 0.6), (0.5, 0.6)]);
        assert_eq!((improved, progress.stopped), (vec![true, true, false], None));
        let (progress, _) = validate(&stop, &[(1.0, 0.9)]);
        assert_eq!(progress.stopped, Some(Stop::TargetAccuracy));
    }

    /// Each of them alone tells which of two validations is the better one.
    #[test]
    fn measures_may_be_monitored() {
        let metrics = |balanced_accuracy, macro_f1, auc| {
            let (auc, ece, collapsed) = (Some(auc), 0.0, None);
            Metrics { balanced_accuracy, macro_f1, auc, ece, collapsed }
        };
        let (balanced, f1, auc) = (Monitor::BalancedAccuracy, Monitor::MacroF1, Monitor::Auc);
        for (monitor, better) in [
            (balanced, metrics(0.6, 0.4, 0.4)),
            (f1, metrics(0.4, 0.6, 0.4)),
            (auc, metrics(0.4, 0.4, 0.6)),
        ] {
            let stop = StopSection { monitor, ..StopSection::default() };
            let mut progress = Progress::default();
            let evaluation = |metrics| Evaluation {
                loss: 1.0,
                accuracy: 0.5,
                top5: None,
                metrics: Some(metrics),
            };
            let first = evaluation(metrics(0.5, 0.5, 0.5));
            let improved =
                [first, evaluation(better), first].map(|e| progress.validated(&stop, &e));
            assert_eq!((improved, progress.waited), ([true, true, false], 1), "{monitor:?}");
        }
    }
}
