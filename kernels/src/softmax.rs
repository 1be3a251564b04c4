//! Softmax, its logarithm, and cross-entropy.
//!
//! The classes are the features of a [`Layout`] with planes of one pixel; each lane is an image of
//! its own, so nothing is added across lanes but the loss. Sums over classes go from first to last.

use crate::isa::{Isa, dispatch};
use crate::math::{vector_exp, vector_ln};
use crate::planes::{Vector, valid_lanes};
use crate::pointwise::put;
use crate::simd::Simd;
use crate::{LANES, Layout, Store};

/// `y_i = exp(x_i − max) / Σ_j exp(x_j − max)` over the classes. NaN anywhere in an image, or +∞, or
/// nothing but −∞, makes all of its values NaN.
///
/// # Panics
/// If `layout` has more than one pixel, or a length is not its own.
pub fn softmax(isa: Isa, x: &[f32], layout: &Layout, y: &mut [f32]) {
    check(layout, &[x.len(), y.len()]);
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        for (x, y) in blocks(x, layout).zip(blocks_mut(y, layout)) {
            let sum = exponentials(s, x, largest(s, x).0, y);
            let factor = s.div(s.splat(1.0), sum);
            for y in y {
                s.store(y, s.mul(s.load(y), factor));
            }
        }
    }));
}

/// The backward of [`softmax`] from its output: `dx_i = y_i · (dy_i − Σ_j dy_j · y_j)`.
///
/// # Panics
/// If `layout` has more than one pixel, or a length is not its own.
pub fn softmax_backward(
    isa: Isa,
    y: &[f32],
    dy: &[f32],
    layout: &Layout,
    dx: &mut [f32],
    store: Store,
) {
    check(layout, &[y.len(), dy.len(), dx.len()]);
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let outputs = blocks(y, layout).zip(blocks(dy, layout));
        for ((y, dy), dx) in outputs.zip(blocks_mut(dx, layout)) {
            let mut dot = s.zero();
            for (y, dy) in y.iter().zip(dy) {
                dot = s.mul_add(s.load(dy), s.load(y), dot);
            }
            for ((y, dy), dx) in y.iter().zip(dy).zip(dx) {
                put(s, dx, s.mul(s.load(y), s.sub(s.load(dy), dot)), store);
            }
        }
    }));
}

/// `y_i = x_i − max − ln Σ_j exp(x_j − max)` over the classes; NaN as in [`softmax`].
///
/// # Panics
/// If `layout` has more than one pixel, or a length is not its own.
pub fn log_softmax(isa: Isa, x: &[f32], layout: &Layout, y: &mut [f32]) {
    check(layout, &[x.len(), y.len()]);
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        for (x, y) in blocks(x, layout).zip(blocks_mut(y, layout)) {
            let (max, _) = largest(s, x);
            let log = vector_ln(s, exponentials(s, x, max, y));
            for (x, y) in x.iter().zip(y) {
                s.store(y, s.sub(s.sub(s.load(x), max), log));
            }
        }
    }));
}

/// The backward of [`log_softmax`] from its output: `dx_i = dy_i − exp(y_i) · Σ_j dy_j`.
///
/// # Panics
/// If `layout` has more than one pixel, or a length is not its own.
pub fn log_softmax_backward(
    isa: Isa,
    y: &[f32],
    dy: &[f32],
    layout: &Layout,
    dx: &mut [f32],
    store: Store,
) {
    check(layout, &[y.len(), dy.len(), dx.len()]);
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let outputs = blocks(y, layout).zip(blocks(dy, layout));
        for ((y, dy), dx) in outputs.zip(blocks_mut(dx, layout)) {
            let mut sum = s.zero();
            for dy in dy {
                sum = s.add(sum, s.load(dy));
            }
            for ((y, dy), dx) in y.iter().zip(dy).zip(dx) {
                let share = s.mul(vector_exp(s, s.load(y)), sum);
                put(s, dx, s.sub(s.load(dy), share), store);
            }
        }
    }));
}

/// What [`cross_entropy`] finds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// The sum over the images of `−Σ_i target_i · ln softmax(logits)_i`.
    pub loss: f64,
    /// Images whose largest logit, the first of equal ones, is that of the label.
    pub correct: usize,
}

/// The loss of a classifier, and its gradient on the same visit.
///
/// `labels` holds the class of each image; lanes beyond the last image do not count. The target of
/// an image is `(1 − smoothing) · [i = label] + smoothing / classes` (PyTorch's label smoothing).
/// `gradient` is where to write `(softmax(logits) − target) · scale`, with zeros in the lanes beyond
/// the images, and the scale (one over the images of the batch, say).
///
/// The loss of an image is computed in `f32`; the lanes of a block are added by halving in `f32`, the
/// blocks in order in `f64`. An image with a NaN or +∞ has loss and gradient NaN and is not correct.
///
/// # Panics
/// If `layout` has more than one pixel or less room than there are labels, a length is not its own,
/// or a label is no class.
pub fn cross_entropy(
    isa: Isa,
    logits: &[f32],
    layout: &Layout,
    labels: &[u32],
    smoothing: f32,
    gradient: Option<(&mut [f32], f32)>,
) -> CrossEntropy {
    check(layout, &[logits.len()]);
    let (images, classes) = (labels.len(), layout.channels);
    assert!(images <= layout.blocks * LANES, "{images} labels, {} blocks", layout.blocks);
    for label in labels {
        assert!((*label as usize) < classes, "label {label} of {classes} classes");
    }
    let (mut gradient, scale) = gradient.unzip();
    if let Some(gradient) = &gradient {
        check(layout, &[gradient.len()]);
    }
    let scale = scale.unwrap_or(0.0);
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let target = Target::new(classes, smoothing);
        let mut total = CrossEntropy::default();
        for (block, x) in blocks(logits, layout).enumerate() {
            let images = Images::new(labels, block);
            let dx = gradient.as_deref_mut().map(|dx| {
                let dx = &mut dx[block * layout.block_len()..][..layout.block_len()];
                (dx.as_chunks_mut().0, scale)
            });
            let found = block_entropy(s, x, &images, &target, dx);
            total.loss += found.loss;
            total.correct += found.correct;
        }
        total
    }))
}

/// The target distribution.
struct Target {
    smoothing: f32,
    /// Of the label.
    hit: f32,
    /// Of every other class.
    miss: f32,
}

impl Target {
    fn new(classes: usize, smoothing: f32) -> Target {
        let miss = smoothing / classes as f32;
        Target { smoothing, hit: 1.0 - smoothing + miss, miss }
    }
}

/// The images of one block: their labels as numbers, and the lanes that they are in.
struct Images {
    labels: Vector,
    valid: u16,
}

impl Images {
    fn new(labels: &[u32], block: usize) -> Images {
        let mut lanes = [0.0; LANES];
        for (lane, label) in lanes.iter_mut().zip(labels.iter().skip(block * LANES)) {
            *lane = *label as f32;
        }
        Images { labels: lanes, valid: valid_lanes(labels.len(), block) }
    }
}

#[inline(always)]
fn block_entropy<S: Simd>(
    s: S,
    x: &[Vector],
    images: &Images,
    target: &Target,
    gradient: Option<(&mut [Vector], f32)>,
) -> CrossEntropy {
    let (label, valid) = (s.load(&images.labels), s.mask(images.valid));
    let (max, best) = largest(s, x);
    // With d = x − max: loss = ln Σ exp(d) − (1 − smoothing) · d_label − smoothing / classes · Σ d.
    let (mut sum, mut all, mut at_label) = (s.zero(), s.zero(), s.zero());
    for (class, x) in x.iter().enumerate() {
        let d = s.sub(s.load(x), max);
        sum = s.add(sum, vector_exp(s, d));
        all = s.add(all, d);
        at_label = s.select(s.eq(label, s.splat(class as f32)), d, at_label);
    }
    let mut loss = s.sub(vector_ln(s, sum), s.mul(at_label, s.splat(1.0 - target.smoothing)));
    if target.smoothing != 0.0 {
        loss = s.sub(loss, s.mul(all, s.splat(target.miss)));
    }
    if let Some((gradient, scale)) = gradient {
        let (inverse, scale) = (s.div(s.splat(1.0), sum), s.splat(scale));
        let (hit, miss) = (s.splat(target.hit), s.splat(target.miss));
        for ((class, x), dx) in x.iter().enumerate().zip(gradient) {
            let y = s.mul(vector_exp(s, s.sub(s.load(x), max)), inverse);
            let target = s.select(s.eq(label, s.splat(class as f32)), hit, miss);
            s.store(dx, s.keep(valid, s.mul(s.sub(y, target), scale)));
        }
    }
    let correct = s.bits(s.eq(best, label)) & !s.bits(s.unordered(sum, sum)) & images.valid;
    let loss = f64::from(s.sum(s.keep(valid, loss)));
    CrossEntropy { loss, correct: correct.count_ones() as usize }
}

/// The largest of the values that are numbers and its place, the first of equal ones.
#[inline(always)]
fn largest<S: Simd>(s: S, x: &[Vector]) -> (S::Vector, S::Vector) {
    let (mut max, mut best) = (s.splat(f32::NEG_INFINITY), s.zero());
    for (class, x) in x.iter().enumerate() {
        let x = s.load(x);
        let larger = s.gt(x, max);
        max = s.select(larger, x, max);
        best = s.select(larger, s.splat(class as f32), best);
    }
    (max, best)
}

/// `y_i = exp(x_i − max)`; returns their sum.
#[inline(always)]
fn exponentials<S: Simd>(s: S, x: &[Vector], max: S::Vector, y: &mut [Vector]) -> S::Vector {
    let mut sum = s.zero();
    for (x, y) in x.iter().zip(y) {
        let exp = vector_exp(s, s.sub(s.load(x), max));
        s.store(y, exp);
        sum = s.add(sum, exp);
    }
    sum
}

fn check(layout: &Layout, lengths: &[usize]) {
    assert_eq!(layout.size, [1, 1], "classes are features, planes of one pixel");
    for len in lengths {
        assert_eq!(*len, layout.len(), "length of a tensor, and of its layout");
    }
}

fn blocks<'a>(x: &'a [f32], layout: &Layout) -> impl Iterator<Item = &'a [Vector]> {
    x.as_chunks().0.chunks_exact(layout.channels.max(1))
}

fn blocks_mut<'a>(x: &'a mut [f32], layout: &Layout) -> impl Iterator<Item = &'a mut [Vector]> {
    x.as_chunks_mut().0.chunks_exact_mut(layout.channels.max(1))
}
