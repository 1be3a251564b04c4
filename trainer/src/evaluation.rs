//! Loss and accuracy of a network on labelled images.

use crate::input::Images;
use crate::partial::PartialEvaluation;
use crate::scores::{Metrics, Outcome, Tally, logits_of, rank};
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
    /// The fraction of images whose class is the most probable one: top-1.
    pub accuracy: f64,
    /// The fraction of images whose class is among the five most probable ones; not computed in training.
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
        assert!(images > 0, "an evaluation of no images");
        let part = |found: usize| found as f64 / images as f64;
        let (accuracy, top5) = (part(sums.top1), Some(part(sums.top5)));
        let loss = sums.loss / images as f64;
        // Of outputs that are not finite nothing can be said.
        let finite = loss.is_finite();
        let metrics = finite.then(|| Metrics::of(classes, labels.zip(outcomes.iter()), tally));
        Evaluation { loss, accuracy, top5, metrics }
    }

    /// The one class predicted for all images or nearly so: [`Metrics::collapsed`].
    pub fn collapsed(&self) -> Option<usize> {
        self.metrics.and_then(|metrics| metrics.collapsed)
    }
}

/// What a network says of each image of an evaluation, written by whichever thread sees it.
#[derive(Default)]
pub(crate) struct Outcomes(Vec<[AtomicU64; 2]>);

impl Outcomes {
    /// Makes room for as many images.
    pub fn resize(&mut self, images: usize) {
        self.0.resize_with(images, Default::default);
    }

    fn put(&self, image: usize, outcome: Outcome) {
        for (place, word) in self.0[image].iter().zip(outcome.to_words()) {
            place.store(word, Relaxed);
        }
    }

    fn iter(&self) -> impl Iterator<Item = Outcome> + Clone {
        let words = |[a, b]: &[AtomicU64; 2]| [a.load(Relaxed), b.load(Relaxed)];
        self.0.iter().map(move |place| Outcome::from_words(words(place)))
    }

    /// The words of all images, to be exchanged.
    pub fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.0.iter_mut().flatten().map(AtomicU64::get_mut)
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
    Scratch { tape, labels, pixels, row, .. }: &mut Scratch,
    (outcomes, first): (&Outcomes, usize),
) -> PartialEvaluation {
    images.labels(labels);
    images.pixels(cores, None, pixels);
    let mut tape = Tape::evaluation(cores, tape, weights);
    let x = images.input(&mut tape, network.input(), pixels);
    let outputs = network.forward(&mut tape, x);
    let (_, sums) = tape.loss(outputs, Targets::Labels(labels), &loss, 1.0);
    let outputs = tape.value(outputs);
    let mut top5 = 0;
    for (image, &label) in labels.iter().enumerate() {
        logits_of(loss.kind, outputs, image, row);
        top5 += usize::from(rank(row, label as usize) < 5);
        outcomes.put(first + image, Outcome::of(row));
    }
    PartialEvaluation { loss: sums.loss, top1: sums.correct, top5 }
}
