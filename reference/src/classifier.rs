//! The losses of classifiers by their definitions, of rows of targets. All row-major.

use crate::Real;
use crate::loss::{log_softmax, softmax};
use crate::planes::check_len;

/// What the outputs of a network are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// Logits of classes: −Σ q · ln softmax(x).
    Logits,
    /// Logarithms of probabilities: −Σ q · x.
    LogProbabilities,
    /// Logits of yes or no: −(q · ln σ(x) + q̄ · ln σ(−x)); the mean where there are several. One is for two
    /// classes, of which the second is yes.
    Answers,
}

/// The loss of a classifier.
#[derive(Clone, Debug)]
pub struct ClassifierLoss {
    /// What the outputs are.
    pub of: Outputs,
    /// How many there are of an image.
    pub outputs: usize,
    /// Label smoothing: a target t becomes t · (1 − ε) + ε / K, K the classes of which one is right.
    pub smoothing: f64,
    /// The factor of each target.
    pub weights: Vec<f64>,
}

impl ClassifierLoss {
    /// How many targets an image has.
    pub fn classes(&self) -> usize {
        if self.of == Outputs::Answers && self.outputs == 1 { 2 } else { self.outputs }
    }

    /// q and q̄ (what is left to no) of an image.
    fn targets<T: Real>(&self, row: &[T]) -> Vec<(T, T)> {
        let choices = if self.of == Outputs::Answers { 2 } else { self.classes() };
        let (keep, share) = (1.0 - self.smoothing, self.smoothing / choices as f64);
        let smoothed = |t: T| t * T::from_f64(keep) + T::from_f64(share);
        let weighted = |(t, w): (&T, &f64)| {
            let w = T::from_f64(*w);
            (w * smoothed(*t), w * smoothed(T::ONE - *t))
        };
        row.iter().zip(&self.weights).map(weighted).collect()
    }

    /// The sum of the losses of the images. A class whose target is zero adds nothing.
    pub fn sum<T: Real>(&self, x: &[T], targets: &[T]) -> T {
        let mut total = T::ZERO;
        self.check(x, targets);
        for (x, t) in x.chunks(self.outputs).zip(targets.chunks(self.classes())) {
            let q = self.targets(t);
            let logs =
                if self.of == Outputs::Logits { log_softmax(x, x.len()) } else { x.to_vec() };
            total += match (self.of, x) {
                (Outputs::Answers, [x]) => answer(*x, q[1].0, q[0].0),
                (Outputs::Answers, x) => {
                    let answers = x.iter().zip(&q).map(|(x, (yes, no))| answer(*x, *yes, *no));
                    answers.fold(T::ZERO, |sum, x| sum + x) / T::from_usize(x.len())
                }
                _ => {
                    let used = logs.iter().zip(&q).filter(|(_, (q, _))| *q != T::ZERO);
                    used.fold(T::ZERO, |sum, (log, (q, _))| sum - *q * *log)
                }
            };
        }
        total
    }

    /// Its gradient.
    pub fn gradient<T: Real>(&self, x: &[T], targets: &[T]) -> Vec<T> {
        self.check(x, targets);
        let of_image = |(x, t): (&[T], &[T])| -> Vec<T> {
            let q = self.targets(t);
            match (self.of, x) {
                (Outputs::Answers, [x]) => vec![sigmoid(*x) * (q[0].0 + q[1].0) - q[1].0],
                (Outputs::Answers, x) => {
                    let each = |(x, (yes, no)): (&T, &(T, T))| sigmoid(*x) * (*yes + *no) - *yes;
                    let n = T::from_usize(x.len());
                    x.iter().zip(&q).map(|pair| each(pair) / n).collect()
                }
                (Outputs::LogProbabilities, _) => q.iter().map(|(q, _)| -*q).collect(),
                (Outputs::Logits, x) => {
                    let all = q.iter().fold(T::ZERO, |sum, (q, _)| sum + *q);
                    let y = softmax(x, x.len());
                    y.iter().zip(&q).map(|(y, (q, _))| *y * all - *q).collect()
                }
            }
        };
        x.chunks(self.outputs).zip(targets.chunks(self.classes())).flat_map(of_image).collect()
    }

    fn check<T>(&self, x: &[T], targets: &[T]) {
        check_len("targets", targets, x.len() / self.outputs * self.classes());
        check_len("weights", &self.weights, self.classes());
    }
}

fn sigmoid<T: Real>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

/// −(yes · ln σ(x) + no · ln σ(−x)).
fn answer<T: Real>(x: T, yes: T, no: T) -> T {
    let minus_ln = |x: T| (T::ONE + (-x).exp()).ln();
    yes * minus_ln(x) + no * minus_ln(-x)
}
