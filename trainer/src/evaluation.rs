//! Loss and accuracy of a network on labelled images.

use crate::input::Images;
use crate::partial::PartialEvaluation;
use crate::scores::{Answers, Metrics, Outcome, Tally, logits_of, rank};
use crate::workers::{Pending, Scratch, Workers};
use autograd::Tape;
use kernels::{Cores, LANES, Loss, Targets};
use model::{Network, is_large};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Images per shard of an evaluation.
pub(crate) const SHARD: usize = 64;

/// Loss and accuracy of a network on labelled images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The mean loss, neither smoothed nor weighted; in training that of the recipe.
    pub loss: f64,
    /// The fraction of images whose class is the most probable one: top-1; where images may have several labels, of
    /// those of which each label is found and no other.
    pub accuracy: f64,
    /// The fraction of images whose class is among the five most probable ones; not computed in training, nor where
    /// images may have several labels.
    pub top5: Option<f64>,
    /// The other measures; not computed in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
}

impl Evaluation {
    /// Of the sums over images of these labels, and what the network says of each.
    ///
    /// # Panics
    /// If there are no images.
    pub(crate) fn of(
        sums: PartialEvaluation,
        classes: usize,
        labels: impl ExactSizeIterator<Item = usize> + Clone,
        outcomes: &Outcomes,
        tally: &mut Tally,
    ) -> Evaluation {
        let images = labels.len();
        let metrics = || Metrics::of(classes, labels.zip(outcomes.iter()), tally);
        let top5 = Some(sums.top5 as f64 / images as f64);
        Evaluation { top5, ..Evaluation::with_metrics(sums, images, metrics) }
    }

    /// The same where images may have several labels: those of so many images, of which `sets` are the labels.
    ///
    /// # Panics
    /// If there are no images.
    pub(crate) fn of_sets<'s>(
        sums: PartialEvaluation,
        images: usize,
        sets: impl Iterator<Item = &'s [u8]>,
        outcomes: &Outcomes,
    ) -> Evaluation {
        Evaluation::with_metrics(sums, images, || {
            let mut answers = Answers::new(outcomes.width);
            sets.enumerate().for_each(|(image, set)| answers.push(set, outcomes.logits(image)));
            answers.metrics()
        })
    }

    fn with_metrics(
        sums: PartialEvaluation,
        images: usize,
        metrics: impl FnOnce() -> Metrics,
    ) -> Evaluation {
        assert!(images > 0, "an evaluation of no images");
        let (loss, accuracy) = (sums.loss / images as f64, sums.top1 as f64 / images as f64);
        // Of outputs that are not finite nothing can be said.
        let metrics = loss.is_finite().then(metrics);
        Evaluation { loss, accuracy, top5: None, metrics }
    }

    /// The one class, or the number of labels, that (nearly) every image is given: [`Metrics::collapsed`].
    pub fn collapsed(&self) -> Option<usize> {
        self.metrics.and_then(|metrics| metrics.collapsed)
    }
}

/// What a network says of each image of an evaluation, written by whichever thread sees it: the words of an [`Outcome`]
/// or, where images may have several labels, the logits of all of them, a word each.
#[derive(Default)]
pub(crate) struct Outcomes {
    words: Vec<AtomicU64>,
    /// Words of an image.
    width: usize,
}

impl Outcomes {
    /// Makes room for so many images, which may have several of so many labels or, if there is no number, have one
    /// class.
    pub fn resize(&mut self, images: usize, labels: Option<usize>) {
        self.width = labels.unwrap_or(Outcome::WORDS);
        self.words.resize_with(images * self.width, Default::default);
    }

    fn put(&self, image: usize, words: impl Iterator<Item = u64>) {
        let places = &self.words[image * self.width..][..self.width];
        places.iter().zip(words).for_each(|(place, word)| place.store(word, Relaxed));
    }

    fn iter(&self) -> impl Iterator<Item = Outcome> + Clone {
        let places = self.words.as_chunks().0.iter();
        places.map(|[a, b]| Outcome::from_words([a.load(Relaxed), b.load(Relaxed)]))
    }

    fn logits(&self, image: usize) -> impl Iterator<Item = f32> {
        let places = &self.words[image * self.width..][..self.width];
        places.iter().map(|word| f32::from_bits(word.load(Relaxed) as u32))
    }

    /// How many words an image has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The words of all images, to be exchanged.
    pub fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.words.iter_mut().map(AtomicU64::get_mut)
    }
}

/// How many shards the evaluation of so many images has.
pub(crate) fn shards(images: usize) -> usize {
    images.div_ceil(SHARD)
}

/// A network to be evaluated, and the images to do it on.
#[derive(Clone, Copy)]
pub(crate) struct Evaluated<'a> {
    pub network: &'a Network,
    pub weights: &'a [f32],
    pub loss: Loss<'a>,
    pub images: Images<'a>,
}

/// The sums over these ranges of the shards of some images, one for each; and what is said of each image. To
/// be called inside [`Workers::run`].
pub(crate) fn evaluate(
    workers: &Workers,
    of: Evaluated<'_>,
    ranges: &[Range<usize>],
    outcomes: &Outcomes,
    (roots, pending): (&mut Vec<Option<PartialEvaluation>>, &mut Pending<PartialEvaluation>),
) {
    // Of large images few at a time: the sums over blocks of sixteen go on as they were.
    let at_once = if is_large(of.network.input()) { LANES } else { SHARD };
    let leaf = |i: usize, scratch: &mut Scratch, cores: Cores<'_>| {
        let shard = of.images.shard(i, SHARD);
        let parts = 0..shard.indices.len().div_ceil(at_once);
        let of_part = |part| {
            let images = shard.shard(part, at_once);
            let first = i * SHARD + part * at_once;
            part_of_shard(cores, Evaluated { images, ..of }, scratch, (outcomes, first))
        };
        parts.map(of_part).reduce(PartialEvaluation::join).expect("a shard has images")
    };
    roots.resize(ranges.len(), None);
    let queues = workers.shards_at_a_time(of.network.input());
    workers.sums(ranges, roots, (pending, queues), &leaf, &|_: Cores<'_>, a, b| {
        PartialEvaluation::join(a, b)
    });
}

/// The sums over images that are computed at a time; what is said of them is put behind `first`.
fn part_of_shard(
    cores: Cores<'_>,
    Evaluated { network, weights, loss, images }: Evaluated<'_>,
    Scratch { tape, labels, pixels, targets, row, .. }: &mut Scratch,
    (outcomes, first): (&Outcomes, usize),
) -> PartialEvaluation {
    let several = images.split.is_multi_label();
    images.pixels(cores, None, pixels);
    let mut tape = Tape::evaluation(cores, tape, weights);
    let x = images.input(&mut tape, network.input(), pixels);
    let outputs = network.forward(&mut tape, x);
    let found = if several {
        targets.clear();
        images.rows(loss.classes(network.classes()), targets);
        Targets::Rows(targets)
    } else {
        images.labels(labels);
        Targets::Labels(labels)
    };
    let (_, sums) = tape.loss(outputs, found, &loss, 1.0);
    let outputs = tape.value(outputs);
    let mut top5 = 0;
    if several {
        for image in 0..images.indices.len() {
            logits_of(loss.kind, outputs, image, row);
            outcomes.put(first + image, row.iter().map(|logit| u64::from(logit.to_bits())));
        }
        return PartialEvaluation { loss: sums.loss, top1: sums.correct, top5 };
    }
    for (image, &label) in labels.iter().enumerate() {
        logits_of(loss.kind, outputs, image, row);
        top5 += usize::from(rank(row, label as usize) < 5);
        outcomes.put(first + image, Outcome::of(row).to_words().into_iter());
    }
    PartialEvaluation { loss: sums.loss, top1: sums.correct, top5 }
}
