//! What a network makes of labelled images, in full: loss, accuracy, confusion, mistakes.

mod metrics;
mod multi_label;
mod probabilities;
mod table;

pub use metrics::{BINS, Metrics};
pub(crate) use metrics::{Outcome, Tally};
pub(crate) use multi_label::Answers;
pub use probabilities::{
    label_probabilities, label_probability, most_probable, probabilities, rank, softmax,
};

use crate::predictor::Predictor;
use autograd::Tensor;
use dataset::Split;
use kernels::LossKind;
use probabilities::Softmax;
use serde::Serialize;
use thiserror::Error;

/// Images whose logits are kept at a time.
const CHUNK: usize = 1024;

/// Loss and accuracy of a network on labelled images, class by class. Serialised with these names;
/// what is undefined is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// How many images there were.
    pub images: usize,
    /// The mean cross-entropy of the probabilities, in nats; where images may have several labels, that of all answers.
    pub loss: f64,
    /// The part of the images whose class was found, from 0 to 1; where images may have several labels, of those of
    /// which each label is found and no other.
    pub top1: f64,
    /// The part of the images whose class was among the five most probable: 1 where there are no
    /// more than five classes; none where images may have several labels.
    pub top5: Option<f64>,
    /// The other measures.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// By [`rank`], how many images have their class there.
    #[serde(skip)]
    pub ranks: Vec<usize>,
    /// Each class by itself.
    pub classes: Vec<ClassScores>,
    /// How many images of class `i` were taken for class `j`: `confusion[i][j]`. Empty where images may have several
    /// labels, as are the mistakes.
    pub confusion: Vec<Vec<usize>>,
    /// The mistakes that the network was surest of, the surest first, the lower image first where
    /// two are as sure.
    pub mistakes: Vec<Mistake>,
}

/// How well a class is told from the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScores {
    /// Its name.
    pub name: String,
    /// The part of the images taken for this class that are of it; none if no image was.
    pub precision: Option<f64>,
    /// The part of its images that were found; none if it has no image.
    pub recall: Option<f64>,
    /// Twice the hits by the sum of the images of the class and those taken for it, which is the
    /// harmonic mean of precision and recall; none if both have no image.
    pub f1: Option<f64>,
    /// How many images are of it.
    pub support: usize,
    /// Where images may have several labels, the area under the ROC curve of this one ([`Metrics::auc`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
}

/// An image that was taken for something else.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mistake {
    /// Its number in the split, from zero.
    pub image: usize,
    /// Which picture it was, where the data set says ([`Split::name`]).
    pub name: Option<String>,
    /// Its class.
    pub label: usize,
    /// The class that it was taken for.
    pub predicted: usize,
    /// The probability that the network gives to that.
    pub probability: f64,
}

/// How scores are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScoreOptions {
    /// Each image is seen as it is and mirrored left to right, and the mean of the two logits counts
    /// (the geometric mean of the two probabilities, normalised).
    pub mirror: bool,
    /// How many mistakes are listed at most.
    pub mistakes: usize,
}

/// A logit is infinite or not a number.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "what the network makes of image {image} is not finite: its weights are broken, or its input is \
     scaled by a wrong `normalize`"
)]
pub struct NotFiniteOutput {
    /// The number of the image in the split, from zero.
    pub image: usize,
}

impl Scores {
    /// The scores on these images of a split, which do not depend on the number of threads.
    ///
    /// # Panics
    /// If there are no images, one is beyond the split or has another size than the network's input,
    /// or a label is beyond its classes; or if images have sets of labels for the data or the model alone.
    pub fn new(
        predictor: &Predictor<'_>,
        split: &Split,
        images: &[u32],
        options: ScoreOptions,
    ) -> Result<Scores, NotFiniteOutput> {
        assert!(!images.is_empty(), "scores of no images");
        if predictor.model().multi_label {
            return multi_label::scores(predictor, split, images, options);
        }
        let names = &predictor.model().classes;
        let mut sums = Sums::new(names.len());
        let mut logits = vec![];
        for chunk in images.chunks(CHUNK) {
            logits.resize(chunk.len() * names.len(), 0.0);
            predict(predictor, split, chunk, options.mirror, &mut logits);
            for (&image, logits) in chunk.iter().zip(logits.chunks_exact(names.len())) {
                sums.add(image as usize, split.label(image as usize) as usize, logits)?;
            }
        }
        let mut scores = sums.scores(names, options.mistakes);
        for mistake in &mut scores.mistakes {
            mistake.name = split.name(mistake.image).map(str::to_owned);
        }
        Ok(scores)
    }

    /// The part of the images whose class is among the `k` most probable ones.
    pub fn top(&self, k: usize) -> f64 {
        top(&self.ranks, k)
    }
}

/// The part of the images whose class is among so many most probable ones.
fn top(ranks: &[usize], k: usize) -> f64 {
    let images: usize = ranks.iter().sum();
    ranks.iter().take(k).sum::<usize>() as f64 / images as f64
}

/// The logits of an image, one for each class: where the answer is yes or no and one output is for two classes, that
/// of the first is zero.
pub(crate) fn logits_of(kind: LossKind, outputs: &Tensor, image: usize, logits: &mut Vec<f32>) {
    logits.clear();
    if kind == LossKind::Bce && outputs.channels() == 1 {
        logits.push(0.0);
    }
    logits.extend((0..outputs.channels()).map(|class| outputs.get(image, class, [0, 0])));
}

/// The logits of these images of the split.
fn predict(
    predictor: &Predictor<'_>,
    split: &Split,
    images: &[u32],
    mirror: bool,
    logits: &mut [f32],
) {
    predictor.logits_of(split, images, logits);
    if !mirror {
        return;
    }
    let [channels, _, columns] = predictor.model().network.input();
    let mut mirrored = vec![];
    let mut image = vec![0; split.image_len()];
    for &i in images {
        split.copy_image(i as usize, &mut image);
        let pixel = channels * split.value_len();
        for row in image.chunks_exact(columns * pixel) {
            mirrored.extend(row.chunks_exact(pixel).rev().flatten());
        }
    }
    let len = mirrored.len() / images.len();
    let mut others = vec![0.0; logits.len()];
    predictor.logits(|i| &mirrored[i * len..][..len], &mut others);
    for (logit, other) in logits.iter_mut().zip(others) {
        *logit = 0.5 * *logit + 0.5 * other;
    }
}

/// What is known after some of the images.
struct Sums {
    loss: f64,
    ranks: Vec<usize>,
    confusion: Vec<Vec<usize>>,
    mistakes: Vec<Mistake>,
    /// The label of each image, and what the network says.
    outcomes: Vec<(usize, Outcome)>,
}

impl Sums {
    fn new(classes: usize) -> Sums {
        let confusion = vec![vec![0; classes]; classes];
        let ranks = vec![0; classes];
        Sums { loss: 0.0, ranks, confusion, mistakes: vec![], outcomes: vec![] }
    }

    fn add(&mut self, image: usize, label: usize, logits: &[f32]) -> Result<(), NotFiniteOutput> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(NotFiniteOutput { image });
        }
        let softmax = Softmax::new(logits);
        self.loss -= softmax.ln(logits[label]);
        let rank = rank(logits, label);
        self.ranks[rank] += 1;
        let outcome = Outcome::of(logits);
        let predicted = outcome.predicted;
        self.outcomes.push((label, outcome));
        self.confusion[label][predicted] += 1;
        if rank > 0 {
            let probability = libm::exp(softmax.ln(logits[predicted]));
            self.mistakes.push(Mistake { image, name: None, label, predicted, probability });
        }
        Ok(())
    }

    fn scores(mut self, names: &[String], mistakes: usize) -> Scores {
        let surest = |m: &Mistake, n: &Mistake| n.probability.total_cmp(&m.probability);
        self.mistakes.sort_by(|m, n| surest(m, n).then(m.image.cmp(&n.image)));
        self.mistakes.truncate(mistakes);
        let (confusion, class_count) = (&self.confusion, names.len());
        let images: usize = confusion.iter().flatten().sum();
        let found: usize = (0..class_count).map(|class| confusion[class][class]).sum();
        let part = |count: usize, of: usize| (of > 0).then(|| count as f64 / of as f64);
        let classes = names.iter().enumerate().map(|(class, name)| {
            let hits = confusion[class][class];
            let support = confusion[class].iter().sum();
            let predicted = confusion.iter().map(|row| row[class]).sum();
            ClassScores {
                name: name.clone(),
                precision: part(hits, predicted),
                recall: part(hits, support),
                f1: part(2 * hits, predicted + support),
                support,
                auc: None,
            }
        });
        Scores {
            images,
            loss: self.loss / images as f64,
            top1: found as f64 / images as f64,
            top5: Some(top(&self.ranks, 5)),
            metrics: Metrics::of(class_count, self.outcomes.iter().copied(), &mut Tally::default()),
            classes: classes.collect(),
            ranks: self.ranks,
            mistakes: self.mistakes,
            confusion: self.confusion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six classes, five images: the table was worked out on paper.
    #[test]
    fn a_table_made_by_hand() {
        let names: Vec<String> = ["a", "b", "c", "d", "e", "f"].map(String::from).into();
        let mut sums = Sums::new(6);
        let images: [(usize, [f32; 6]); 5] = [
            (0, [9.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
            // Last of six: not among the first five.
            (0, [0.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
            (1, [0.0, 7.0, 0.0, 0.0, 0.0, 0.0]),
            // As sure as the one before last, and listed after it.
            (2, [0.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
            (1, [0.0, 0.0, 0.0, 8.0, 0.0, 0.0]),
        ];
        for (image, (label, logits)) in images.iter().enumerate() {
            sums.add(image, *label, logits).unwrap();
        }
        let scores = sums.scores(&names, 2);
        assert_eq!((scores.images, scores.top1, scores.top5), (5, 0.4, Some(0.8)));
        let rows = [[1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]];
        assert_eq!(scores.confusion[..3], rows);
        assert!(scores.confusion[3..].iter().flatten().all(|&count| count == 0));

        let found = |c: usize| {
            let class = &scores.classes[c];
            (class.precision, class.recall, class.f1, class.support)
        };
        assert_eq!(found(0), (Some(1.0), Some(0.5), Some(2.0 / 3.0), 2));
        assert_eq!(found(1), (Some(1.0 / 3.0), Some(0.5), Some(0.4), 2));
        assert_eq!(found(2), (None, Some(0.0), Some(0.0), 1));
        assert_eq!(found(3), (Some(0.0), None, Some(0.0), 0));
        assert_eq!(found(4), (None, None, None, 0));

        let softmax = |logits: &[f32; 6], class: usize| {
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            f64::from(logits[class]).exp() / sum
        };
        let loss: f64 = images.iter().map(|(label, logits)| -softmax(logits, *label).ln()).sum();
        assert!((scores.loss - loss / 5.0).abs() < 1e-12);
        let listed = scores.mistakes.iter().map(|m| (m.image, m.label, m.predicted));
        assert_eq!(listed.collect::<Vec<_>>(), [(4, 1, 3), (1, 0, 1)]);
        assert!((scores.mistakes[0].probability - softmax(&images[4].1, 3)).abs() < 1e-12);

        let json = serde_json::to_value(&scores).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        let expected = "auc balanced_accuracy classes collapsed confusion ece images loss macro_f1 mistakes top1 top5";
        assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
        assert_eq!(json["auc"], serde_json::Value::Null);
        assert_eq!(json["balanced_accuracy"], 1.0 / 3.0);
        assert_eq!(json["classes"][4]["f1"], serde_json::Value::Null);
        assert_eq!(json["mistakes"][1]["image"], 1);
    }

    #[test]
    fn an_output_that_is_not_finite_is_an_error() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let found = Sums::new(2).add(7, 0, &[0.0, bad]);
            assert_eq!(found, Err(NotFiniteOutput { image: 7 }));
        }
    }
}
