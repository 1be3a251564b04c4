//! Measures of a classifier besides loss and accuracy, of what it says of each image.

use super::probabilities::most_probable;
use serde::{Deserialize, Serialize};

/// Bins of equal width that [`Metrics::ece`] puts confidences in.
pub const BINS: usize = 15;

/// What a network says of an image: all that [`Metrics`] are made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The most probable class, the first of equal ones.
    pub predicted: usize,
    /// Its probability; of two classes the logit of the second less that of the first instead, from which it
    /// follows and which orders images that are all but certain.
    pub value: f64,
}

impl Outcome {
    /// Of finite logits.
    pub fn of(logits: &[f32]) -> Outcome {
        let predicted = most_probable(logits);
        if let [first, second] = logits {
            return Outcome { predicted, value: f64::from(*second) - f64::from(*first) };
        }
        let largest = f64::from(logits[predicted]);
        let sum: f64 = logits.iter().map(|logit| libm::exp(f64::from(*logit) - largest)).sum();
        Outcome { predicted, value: 1.0 / sum }
    }

    /// How many words keep every bit of it.
    pub const WORDS: usize = 2;

    /// These words.
    pub fn to_words(self) -> [u64; Self::WORDS] {
        [self.predicted as u64, self.value.to_bits()]
    }

    pub fn from_words([predicted, value]: [u64; Self::WORDS]) -> Outcome {
        Outcome { predicted: predicted as usize, value: f64::from_bits(value) }
    }

    /// The probability of the predicted class, of so many.
    fn confidence(&self, classes: usize) -> f64 {
        if classes == 2 { 1.0 / (1.0 + libm::exp(-self.value.abs())) } else { self.value }
    }
}

/// Measures of a classifier besides loss and accuracy. Where an image may have several labels, or none, each label is
/// a question of two classes, no and yes, and what is of two classes or of yes is the mean over the labels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The mean recall of the classes that have images (scikit-learn's `balanced_accuracy_score`).
    pub balanced_accuracy: f64,
    /// The mean F1 of the classes, or labels, that have images or are predicted (`f1_score(average="macro")`).
    pub macro_f1: f64,
    /// Of two classes, the area under the ROC curve of the second (`roc_auc_score`): the part of the pairs of an
    /// image of each in which its probability is higher for the one that is of it, of equal ones a half. None if
    /// there are other classes, or images of one alone.
    pub auc: Option<f64>,
    /// The expected calibration error: how far confidences are from accuracies, in the mean over the images. They
    /// are put in fifteen bins of equal width by their confidence, each with its upper bound, and of each
    /// bin the mean confidence is compared with the part that is right.
    ///
    /// Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017.
    pub ece: f64,
    /// The one class predicted for all images or nearly so, though they are of several: the network has
    /// collapsed. Nearly: other classes are predicted for fewer images than a twentieth of those that they have.
    /// With several labels to an image: the size of the set of labels that (nearly) every image is given, although the
    /// true labels differ.
    pub collapsed: Option<usize>,
}

impl Metrics {
    /// Of images of as many classes: the label of each, and what the network says.
    ///
    /// # Panics
    /// If there are no images.
    pub(crate) fn of(
        classes: usize,
        images: impl Iterator<Item = (usize, Outcome)> + Clone,
        Tally { counts, scores }: &mut Tally,
    ) -> Metrics {
        counts.clear();
        counts.resize(classes, Counts::default());
        for (label, Outcome { predicted, .. }) in images.clone() {
            counts[label].support += 1;
            counts[predicted].predicted += 1;
            counts[label].hits += usize::from(label == predicted);
        }
        Metrics {
            balanced_accuracy: mean(counts.iter().filter_map(|c| part(c.hits, c.support))),
            macro_f1: mean(counts.iter().filter_map(|c| part(2 * c.hits, c.support + c.predicted))),
            auc: if classes == 2 { auc(images.clone(), scores) } else { None },
            ece: calibration_error(classes, images),
            collapsed: collapsed(counts),
        }
    }
}

/// Room for what is counted on the way, kept from one time to the next.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Vec<Counts>,
    /// Of two classes: each score, and whether it is of the second.
    scores: Vec<(f64, bool)>,
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    assert!(count > 0, "metrics of no images");
    sum / f64::from(count)
}

/// What is known of a class.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    hits: usize,
    support: usize,
    predicted: usize,
}

pub(super) fn part(count: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| count as f64 / of as f64)
}

/// The statistic of Mann and Whitney, of whole numbers but for the quotient.
fn auc(
    images: impl Iterator<Item = (usize, Outcome)>,
    sorted: &mut Vec<(f64, bool)>,
) -> Option<f64> {
    sorted.clear();
    sorted.extend(images.map(|(label, outcome)| (outcome.value, label == 1)));
    sorted.sort_unstable_by(|(a, _), (b, _)| a.partial_cmp(b).expect("scores are numbers"));
    let (mut below, mut halves) = ([0u64; 2], 0u128);
    for equal in sorted.chunk_by(|(a, _), (b, _)| a == b) {
        let second = equal.iter().filter(|(_, second)| *second).count() as u64;
        let first = equal.len() as u64 - second;
        halves += u128::from(second) * u128::from(2 * below[0] + first);
        below = [below[0] + first, below[1] + second];
    }
    let pairs = u128::from(below[0]) * u128::from(below[1]);
    (pairs > 0).then(|| halves as f64 / (2.0 * pairs as f64))
}

pub(super) fn calibration_error(
    classes: usize,
    images: impl Iterator<Item = (usize, Outcome)>,
) -> f64 {
    let mut bins = [(0.0, 0usize, 0usize); BINS];
    for (label, outcome) in images {
        let confidence = outcome.confidence(classes);
        let bin = (confidence * BINS as f64).ceil() as usize;
        let (sum, hits, count) = &mut bins[bin.clamp(1, BINS) - 1];
        *sum += confidence;
        *hits += usize::from(label == outcome.predicted);
        *count += 1;
    }
    let images: usize = bins.iter().map(|(_, _, count)| count).sum();
    let off = bins.iter().map(|(sum, hits, _)| (sum - *hits as f64).abs());
    off.sum::<f64>() / images as f64
}

fn collapsed(counts: &[Counts]) -> Option<usize> {
    let sum = |of: fn(&Counts) -> usize| counts.iter().map(of).sum::<usize>();
    let images = sum(|c| c.support);
    let (class, most) = counts.iter().enumerate().max_by_key(|(_, c)| c.predicted)?;
    let (predicted, labelled) = (images - most.predicted, images - most.support);
    let several = counts.iter().filter(|c| c.support > 0).count() > 1;
    (several && (predicted == 0 || 20 * predicted < labelled)).then_some(class)
}

#[cfg(test)]
mod tests;
