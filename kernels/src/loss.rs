//! The loss of a classifier and its gradient on the same visit: cross-entropy, negative log-likelihood,
//! binary cross-entropy; of class labels or of rows of probabilities; classes may have weights.
//!
//! As in [`softmax`](crate::softmax()), each lane is an image of its own. Sums over classes go from first to
//! last; the losses of the lanes of a block are added by halving in `f32`, the blocks in order in `f64`.

use crate::isa::{Isa, dispatch};
use crate::math::{vector_exp, vector_ln};
use crate::planes::{Vector, valid_lanes};
use crate::simd::Simd;
use crate::softmax::{LossSums, blocks, check, cross_entropy, largest};
use crate::{LANES, Layout};

/// What a network's outputs are, and so which loss they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// Logits of classes, of which one is right: −Σ q · ln softmax(x).
    CrossEntropy,
    /// Logarithms of their probabilities, as [`log_softmax`](crate::log_softmax) gives: −Σ q · x.
    Nll,
    /// Logits of answers of yes or no: −(q · ln σ(x) + q̄ · ln σ(−x)), where q̄ is the target of no. One
    /// output is for two classes, of which the second is yes; of several outputs the loss is the mean.
    Bce,
}

/// The loss of a classifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss<'a> {
    /// What the outputs are.
    pub kind: LossKind,
    /// ε of label smoothing, from 0 to 1: a target t becomes t · (1 − ε) + ε / K, where K is the number of
    /// classes of which one is right: 2 where the answer is yes or no.
    pub smoothing: f32,
    /// The factor of each class (of [`Loss::classes`]), 1 if there are none: q is the target times it.
    pub weights: Option<&'a [f32]>,
}

/// What is to be found in the images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Targets<'a> {
    /// The class of each.
    Labels(&'a [u32]),
    /// A row for each, `[images][classes]`: the probability of every class.
    Rows(&'a [f32]),
}

impl Loss<'_> {
    /// Plain cross-entropy.
    pub const CROSS_ENTROPY: Loss<'static> =
        Loss { kind: LossKind::CrossEntropy, smoothing: 0.0, weights: None };

    /// How many classes a network of so many outputs tells apart.
    pub fn classes(&self, outputs: usize) -> usize {
        if self.kind == LossKind::Bce && outputs == 1 { 2 } else { outputs }
    }
}

/// The loss of a classifier, and its gradient on the same visit.
///
/// The loss of an image is that of [`LossKind`]; a class whose target is zero adds nothing to cross-entropy
/// or likelihood, not even where its logit is −∞. `gradient` is where to write the derivatives of the sum
/// over the images times a scale, with zeros in the lanes beyond the images.
///
/// `correct` counts images whose largest output, the first of equal ones, is that of the label, or of the
/// largest target; for yes and no those where each output is above zero exactly where its target is above a half.
///
/// An image with a NaN has loss and gradient NaN and is not correct; so has one with +∞ (of likelihood, where a
/// target is not zero; of yes and no, with any infinite logit that does not agree with its target).
///
/// # Panics
/// If `layout` has more than one pixel or less room than there are images, a length is not its own, or a
/// label is no class.
pub fn loss(
    isa: Isa,
    outputs: &[f32],
    layout: &Layout,
    targets: Targets<'_>,
    loss: &Loss<'_>,
    gradient: Option<(&mut [f32], f32)>,
) -> LossSums {
    let Loss { kind, smoothing, weights } = *loss;
    let classes = loss.classes(layout.channels());
    if let (LossKind::CrossEntropy, None, Targets::Labels(labels)) = (kind, weights, targets) {
        return cross_entropy(isa, outputs, layout, labels, smoothing, gradient);
    }
    check(layout, &[outputs.len()]);
    let images = check_targets(targets, classes);
    assert!(images <= layout.blocks() * LANES, "{images} images, {} blocks", layout.blocks());
    if let Some(weights) = weights {
        assert_eq!(weights.len(), classes, "weights, one for each class");
    }
    if let Some((gradient, _)) = &gradient {
        check(layout, &[gradient.len()]);
    }
    let choices = match kind {
        LossKind::CrossEntropy | LossKind::Nll => classes,
        LossKind::Bce => 2,
    };
    let q =
        Q { targets, weights, classes, keep: 1.0 - smoothing, share: smoothing / choices as f32 };
    let (mut gradient, scale) = gradient.unzip();
    let scale = scale.unwrap_or(0.0);
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let mut total = LossSums::default();
        for (block, x) in blocks(outputs, layout).enumerate() {
            let dx = gradient.as_deref_mut().map(|dx| {
                let dx = &mut dx[block * layout.block_len()..][..layout.block_len()];
                (dx.as_chunks_mut().0, scale)
            });
            let (valid, q) = (valid_lanes(images, block), q.of(block));
            let (loss, right) = match (kind, x) {
                (LossKind::CrossEntropy, x) => softmax_block(s, x, &q, valid, dx),
                (LossKind::Nll, x) => likelihood_block(s, x, &q, valid, dx),
                (LossKind::Bce, [x]) => two_classes_block(s, x, &q, valid, dx),
                (LossKind::Bce, x) => answers_block(s, x, &q, valid, dx),
            };
            total.loss += f64::from(s.sum(s.keep(s.mask(valid), loss)));
            total.correct += (right & valid).count_ones() as usize;
        }
        total
    }))
}

/// How many images they are for.
fn check_targets(targets: Targets<'_>, classes: usize) -> usize {
    match targets {
        Targets::Labels(labels) => {
            for label in labels {
                assert!((*label as usize) < classes, "label {label} of {classes} classes");
            }
            labels.len()
        }
        Targets::Rows(rows) => {
            assert!(rows.len().is_multiple_of(classes), "{} targets, by {classes}", rows.len());
            rows.len().checked_div(classes).unwrap_or(0)
        }
    }
}

/// The targets of a batch, smoothed and weighted.
struct Q<'a> {
    targets: Targets<'a>,
    weights: Option<&'a [f32]>,
    classes: usize,
    keep: f32,
    share: f32,
}

/// Those of one block.
struct BlockQ<'a> {
    of: &'a Q<'a>,
    first: usize,
    /// Where there are labels.
    labels: Vector,
}

impl Q<'_> {
    #[inline(always)]
    fn of(&self, block: usize) -> BlockQ<'_> {
        let (first, mut labels) = (block * LANES, [0.0; LANES]);
        if let Targets::Labels(all) = self.targets {
            for (lane, label) in labels.iter_mut().zip(all.iter().skip(first)) {
                *lane = *label as f32;
            }
        }
        BlockQ { of: self, first, labels }
    }
}

impl BlockQ<'_> {
    /// The target of a class as it was given.
    #[inline(always)]
    fn target<S: Simd>(&self, s: S, class: usize) -> S::Vector {
        match self.of.targets {
            Targets::Labels(_) => {
                let hit = s.eq(s.load(&self.labels), s.splat(class as f32));
                s.keep(hit, s.splat(1.0))
            }
            Targets::Rows(rows) => {
                let mut lanes = [0.0; LANES];
                let column = rows.iter().skip(self.first * self.of.classes + class);
                for (lane, target) in lanes.iter_mut().zip(column.step_by(self.of.classes)) {
                    *lane = *target;
                }
                s.load(&lanes)
            }
        }
    }

    #[inline(always)]
    fn smoothed<S: Simd>(&self, s: S, target: S::Vector) -> S::Vector {
        s.add(s.mul(target, s.splat(self.of.keep)), s.splat(self.of.share))
    }

    #[inline(always)]
    fn weighted<S: Simd>(&self, s: S, class: usize, target: S::Vector) -> S::Vector {
        match self.of.weights {
            None => target,
            Some(weights) => s.mul(target, s.splat(weights[class])),
        }
    }

    /// q of a class.
    #[inline(always)]
    fn q<S: Simd>(&self, s: S, class: usize) -> S::Vector {
        self.weighted(s, class, self.smoothed(s, self.target(s, class)))
    }

    /// Whether `best` is the class with the largest target, the first of equal ones.
    #[inline(always)]
    fn is_largest<S: Simd>(&self, s: S, best: S::Vector) -> S::Mask {
        let (mut max, mut label) = (s.splat(f32::NEG_INFINITY), s.load(&self.labels));
        if let Targets::Rows(_) = self.of.targets {
            for class in 0..self.of.classes {
                let target = self.target(s, class);
                let larger = s.gt(target, max);
                max = s.select(larger, target, max);
                label = s.select(larger, s.splat(class as f32), label);
            }
        }
        s.eq(best, label)
    }
}

/// `q · x`, and nothing where `q` is zero.
#[inline(always)]
fn product<S: Simd>(s: S, q: S::Vector, x: S::Vector) -> S::Vector {
    s.select(s.eq(q, s.zero()), s.zero(), s.mul(q, x))
}

/// With d = x − max and Q = Σ q: loss = Q · ln Σ exp(d) − Σ q · d, dx = softmax(x) · Q − q.
#[inline(always)]
fn softmax_block<S: Simd>(
    s: S,
    x: &[Vector],
    q: &BlockQ<'_>,
    valid: u16,
    gradient: Option<(&mut [Vector], f32)>,
) -> (S::Vector, u16) {
    let (max, best) = largest(s, x);
    let (mut sum, mut all, mut dot) = (s.zero(), s.zero(), s.zero());
    for (class, x) in x.iter().enumerate() {
        let (d, q) = (s.sub(s.load(x), max), q.q(s, class));
        sum = s.add(sum, vector_exp(s, d));
        all = s.add(all, q);
        dot = s.add(dot, product(s, q, d));
    }
    if let Some((gradient, scale)) = gradient {
        let (share, scale) = (s.div(all, sum), s.splat(scale));
        for ((class, x), dx) in x.iter().enumerate().zip(gradient) {
            let y = s.mul(vector_exp(s, s.sub(s.load(x), max)), share);
            let dy = s.mul(s.sub(y, q.q(s, class)), scale);
            s.store(dx, s.keep(s.mask(valid), dy));
        }
    }
    let loss = s.sub(s.mul(all, vector_ln(s, sum)), dot);
    (loss, s.bits(q.is_largest(s, best)) & !s.bits(s.unordered(sum, sum)))
}

/// loss = −Σ q · x, dx = −q. What is added to both is nothing, or NaN where an output is.
#[inline(always)]
fn likelihood_block<S: Simd>(
    s: S,
    x: &[Vector],
    q: &BlockQ<'_>,
    valid: u16,
    gradient: Option<(&mut [Vector], f32)>,
) -> (S::Vector, u16) {
    let (_, best) = largest(s, x);
    let (mut dot, mut bad) = (s.zero(), s.zero());
    for (class, x) in x.iter().enumerate() {
        let x = s.load(x);
        dot = s.add(dot, product(s, q.q(s, class), x));
        bad = s.select(s.unordered(x, x), x, bad);
    }
    if let Some((gradient, scale)) = gradient {
        for (class, dx) in gradient.iter_mut().enumerate() {
            let dy = s.add(s.mul(q.q(s, class), s.splat(-scale)), bad);
            s.store(dx, s.keep(s.mask(valid), dy));
        }
    }
    let right = s.bits(q.is_largest(s, best)) & !s.bits(s.unordered(bad, bad));
    (s.sub(bad, dot), right)
}

/// The loss and the derivative of one logit, whose targets are `yes` and `no`: with e = exp(−|x|),
/// loss = yes · max(−x, 0) + no · max(x, 0) + (yes + no) · ln(1 + e), dx = no · σ(x) − yes · σ(−x).
/// Nothing is subtracted that would cancel.
#[inline(always)]
fn logit<S: Simd>(s: S, x: S::Vector, yes: S::Vector, no: S::Vector) -> (S::Vector, S::Vector) {
    let (zero, one) = (s.zero(), s.splat(1.0));
    let positive = s.gt(x, zero);
    let minus = s.sub(zero, x);
    let e = vector_exp(s, s.select(positive, minus, x));
    let u = s.add(one, e);
    // What rounding 1 + e loses is put back (W. Kahan): ln(1 + e) = e · ln u / (u − 1).
    let excess = s.sub(u, one);
    let ln = s.mul(vector_ln(s, u), s.div(e, excess));
    let ln = s.select(s.eq(excess, zero), e, ln);
    let off = s.select(positive, product(s, no, x), product(s, yes, minus));
    let loss = s.add(off, s.mul(s.add(yes, no), ln));
    let (large, small) = (s.div(one, u), s.div(e, u));
    let to_no = s.mul(no, s.select(positive, large, small));
    let to_yes = s.mul(yes, s.select(positive, small, large));
    (loss, s.sub(to_no, to_yes))
}

/// One output for two classes.
#[inline(always)]
fn two_classes_block<S: Simd>(
    s: S,
    x: &Vector,
    q: &BlockQ<'_>,
    valid: u16,
    gradient: Option<(&mut [Vector], f32)>,
) -> (S::Vector, u16) {
    let x = s.load(x);
    let (loss, dx) = logit(s, x, q.q(s, 1), q.q(s, 0));
    if let Some(([to], scale)) = gradient {
        s.store(to, s.keep(s.mask(valid), s.mul(dx, s.splat(scale))));
    }
    let is_yes = s.bits(s.gt(q.target(s, 1), q.target(s, 0)));
    let right = !(s.bits(s.gt(x, s.zero())) ^ is_yes);
    (loss, right & !s.bits(s.unordered(x, x)))
}

/// An output for each of several answers: the mean of their losses.
#[inline(always)]
fn answers_block<S: Simd>(
    s: S,
    x: &[Vector],
    q: &BlockQ<'_>,
    valid: u16,
    gradient: Option<(&mut [Vector], f32)>,
) -> (S::Vector, u16) {
    let part = 1.0 / x.len() as f32;
    let (mut gradient, scale) = gradient.unzip();
    let scale = s.splat(scale.unwrap_or(0.0) * part);
    let (mut total, mut right) = (s.zero(), u16::MAX);
    for (class, x) in x.iter().enumerate() {
        let (x, target) = (s.load(x), q.target(s, class));
        let yes = q.weighted(s, class, q.smoothed(s, target));
        let no = q.weighted(s, class, q.smoothed(s, s.sub(s.splat(1.0), target)));
        let (loss, dx) = logit(s, x, yes, no);
        total = s.add(total, loss);
        if let Some(gradient) = &mut gradient {
            s.store(&mut gradient[class], s.keep(s.mask(valid), s.mul(dx, scale)));
        }
        let is_yes = s.bits(s.gt(target, s.splat(0.5)));
        right &= !(s.bits(s.gt(x, s.zero())) ^ is_yes) & !s.bits(s.unordered(x, x));
    }
    (s.mul(total, s.splat(part)), right)
}
