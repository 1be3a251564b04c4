//! Scores where an image may have several labels, or none: each output is an answer of yes or no by itself.

use super::metrics::{Outcome, Tally, calibration_error, mean, part};
use super::{CHUNK, ClassScores, Metrics, NotFiniteOutput, ScoreOptions, Scores, predict};
use crate::predictor::Predictor;
use dataset::Split;

/// What a network answers for images whose labels are known.
#[derive(Debug)]
pub(crate) struct Answers {
    labels: usize,
    /// `[images][labels]`: 1 for each label that an image has.
    truth: Vec<u8>,
    /// As many logits.
    logits: Vec<f32>,
}

impl Answers {
    /// None yet, for so many labels to choose from.
    pub fn new(labels: usize) -> Answers {
        Answers { labels, truth: vec![], logits: vec![] }
    }

    /// Adds an image.
    ///
    /// # Panics
    /// If there is not a logit for each label.
    pub fn push(&mut self, truth: &[u8], logits: impl Iterator<Item = f32>) {
        self.truth.extend(truth);
        self.logits.extend(logits);
        assert!(
            truth.len() == self.labels && self.truth.len() == self.logits.len(),
            "a logit each"
        );
    }

    /// All answers, of an image one after another: whether yes is right, and what is said.
    fn all(&self) -> impl Iterator<Item = (usize, Outcome)> + Clone {
        let answers = self.truth.iter().zip(&self.logits);
        answers.map(|(&truth, &logit)| (usize::from(truth), Outcome::of(&[0.0, logit])))
    }

    /// Those for one label.
    fn of_label(&self, label: usize) -> impl Iterator<Item = (usize, Outcome)> + Clone {
        self.all().skip(label).step_by(self.labels)
    }

    /// The measures of [`Metrics`], each the mean over the labels.
    ///
    /// # Panics
    /// If there are no images.
    pub fn metrics(&self) -> Metrics {
        let mut tally = Tally::default();
        let labels = 0..self.labels;
        let each: Vec<Metrics> =
            labels.map(|label| Metrics::of(2, self.of_label(label), &mut tally)).collect();
        let f1: Vec<f64> = (0..self.labels).filter_map(|label| self.counts(label).f1()).collect();
        let auc: Vec<f64> = each.iter().filter_map(|metrics| metrics.auc).collect();
        let some = |values: &[f64]| (!values.is_empty()).then(|| mean(values.iter().copied()));
        Metrics {
            balanced_accuracy: mean(each.iter().map(|metrics| metrics.balanced_accuracy)),
            macro_f1: some(&f1).unwrap_or(0.0),
            auc: some(&auc),
            ece: calibration_error(2, self.all()),
            collapsed: self.collapsed(&each),
        }
    }

    /// If (nearly) every image is given the same set of labels although the true labels differ: the size of that set.
    fn collapsed(&self, each: &[Metrics]) -> Option<usize> {
        let images = self.truth.len() / self.labels;
        let counts: Vec<Counts> = (0..self.labels).map(|label| self.counts(label)).collect();
        let differ = counts.iter().any(|c| 0 < c.support && c.support < images);
        let is_same = |(metrics, c): (&Metrics, &Counts)| {
            metrics.collapsed.is_some() || c.predicted == 0 || c.predicted == images
        };
        let are_same = each.iter().zip(&counts).all(is_same);
        let given = counts.iter().filter(|c| 2 * c.predicted > images).count();
        (differ && are_same).then_some(given)
    }

    fn counts(&self, label: usize) -> Counts {
        let mut counts = Counts::default();
        for (truth, Outcome { predicted, .. }) in self.of_label(label) {
            counts.support += truth;
            counts.predicted += predicted;
            counts.hits += truth * predicted;
        }
        counts
    }

    fn scores(&self, names: &[String]) -> Scores {
        let (images, labels) = (self.truth.len() / self.labels, self.labels);
        let mut tally = Tally::default();
        let classes = names.iter().enumerate().map(|(label, name)| {
            let counts = self.counts(label);
            ClassScores {
                name: name.clone(),
                precision: part(counts.hits, counts.predicted),
                recall: part(counts.hits, counts.support),
                f1: counts.f1(),
                support: counts.support,
                auc: Metrics::of(2, self.of_label(label), &mut tally).auc,
            }
        });
        let classes = classes.collect();
        let right: Vec<bool> = self.all().map(|(truth, said)| truth == said.predicted).collect();
        let exact = right.chunks(labels).filter(|image| image.iter().all(|right| *right)).count();
        let losses = self.all().map(|(truth, said)| {
            let against = if truth == 1 { -said.value } else { said.value };
            against.max(0.0) + libm::log1p(libm::exp(-against.abs()))
        });
        Scores {
            images,
            loss: mean(losses),
            top1: exact as f64 / images as f64,
            top5: None,
            metrics: self.metrics(),
            ranks: vec![],
            classes,
            confusion: vec![],
            mistakes: vec![],
        }
    }
}

/// How often yes is right, said, and both.
#[derive(Default)]
struct Counts {
    support: usize,
    predicted: usize,
    hits: usize,
}

impl Counts {
    fn f1(&self) -> Option<f64> {
        part(2 * self.hits, self.support + self.predicted)
    }
}

/// [`Scores::new`] for a model whose images may have several labels.
pub(super) fn scores(
    predictor: &Predictor<'_>,
    split: &Split,
    images: &[u32],
    options: ScoreOptions,
) -> Result<Scores, NotFiniteOutput> {
    let names = &predictor.model().classes;
    let mut answers = Answers::new(names.len());
    let mut logits = vec![];
    for chunk in images.chunks(CHUNK) {
        logits.resize(chunk.len() * names.len(), 0.0);
        predict(predictor, split, chunk, options.mirror, &mut logits);
        for (&image, logits) in chunk.iter().zip(logits.chunks_exact(names.len())) {
            let image = image as usize;
            if logits.iter().any(|logit| !logit.is_finite()) {
                return Err(NotFiniteOutput { image });
            }
            let truth = split.label_set(image).expect("images with sets of labels");
            answers.push(truth, logits.iter().copied());
        }
    }
    Ok(answers.scores(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three labels, four images: the numbers were worked out on paper; those of scikit-learn are the same.
    #[test]
    fn a_table_made_by_hand() {
        let mut answers = Answers::new(3);
        for (truth, logits) in [
            ([1, 0, 0], [2.0, -1.0, -3.0]),
            ([1, 1, 0], [-1.0, 3.0, -3.0]),
            ([0, 1, 0], [0.5, 1.0, -1.0]),
            ([0, 0, 0], [-2.0, -1.0, -9.0]),
        ] {
            answers.push(&truth, logits.into_iter());
        }
        let names = ["a", "b", "c"].map(str::to_owned);
        let scores = answers.scores(&names);
        // The second misses a, the third has an a too many.
        assert_eq!((scores.images, scores.top1, scores.top5), (4, 0.5, None));
        let of = |c: usize| {
            let class = &scores.classes[c];
            (class.precision, class.recall, class.f1, class.support, class.auc)
        };
        assert_eq!(of(0), (Some(0.5), Some(0.5), Some(0.5), 2, Some(0.75)));
        assert_eq!(of(1), (Some(1.0), Some(1.0), Some(1.0), 2, Some(1.0)));
        assert_eq!(of(2), (None, None, None, 0, None));
        let Metrics { balanced_accuracy, macro_f1, auc, collapsed, .. } = scores.metrics;
        assert_eq!((macro_f1, auc, collapsed), (0.75, Some(0.875), None));
        assert!((balanced_accuracy - 2.5 / 3.0).abs() < 1e-15, "{balanced_accuracy}");
        let softplus = |x: f64| (1.0 + x.exp()).ln();
        let against =
            [-2.0, -1.0, -3.0, 1.0, -3.0, -3.0, 0.5, -1.0, -1.0, -2.0, -1.0, -9.0].map(softplus);
        assert!((scores.loss - against.iter().sum::<f64>() / 12.0).abs() < 1e-12);
        assert!(scores.confusion.is_empty() && scores.mistakes.is_empty());
    }

    /// No image has a label, and none is found.
    #[test]
    fn images_without_labels() {
        let mut answers = Answers::new(2);
        answers.push(&[0, 0], [-1.0, -2.0].into_iter());
        let scores = answers.scores(&["a", "b"].map(str::to_owned));
        assert_eq!((scores.top1, scores.metrics.macro_f1, scores.metrics.auc), (1.0, 0.0, None));
        assert_eq!(scores.metrics.collapsed, None, "the images are all alike");
    }

    /// Of forty images, of which the first ten have a, all have b, and none has c.
    #[test]
    fn the_same_answers_for_all_are_a_collapse() {
        let found = |said: &dyn Fn(usize) -> [bool; 3]| {
            let mut answers = Answers::new(3);
            for image in 0..40 {
                let logits = said(image).map(|yes| if yes { 1.0 } else { -1.0 });
                answers.push(&[u8::from(image < 10), 1, 0], logits.into_iter());
            }
            answers.metrics().collapsed
        };
        assert_eq!(found(&|_| [false, true, false]), Some(1));
        assert_eq!(found(&|_| [true, true, false]), Some(2));
        assert_eq!(found(&|_| [false, false, false]), Some(0));
        // Answers that differ with the images, be they right or not.
        assert_eq!(found(&|image| [image < 10, true, false]), None);
        assert_eq!(found(&|image| [image == 39, true, false]), None);
        assert_eq!(found(&|image| [false, true, image == 0]), None);
        assert_eq!(found(&|image| [false, image != 0, false]), None);
        // One image of forty is fewer than a twentieth of the thirty that have no a.
        assert_eq!(found(&|image| [image != 0, true, false]), Some(2));
    }
}
