//! Softmax, its logarithm, and cross-entropy.
//!
//! The classes are the channels of a [`Layout`], for a loss with planes of one pixel; each lane is an image of
//! its own, so nothing is added across lanes but the loss. Sums over classes go from first to last.

use crate::isa::{Isa, dispatch};
use crate::math::{vector_exp, vector_ln};
use crate::planes::{Vector, valid_lanes};
use crate::pointwise::put;
use crate::simd::Simd;
use crate::team::{Cores, Cost, Shared};
use crate::{LANES, Layout, Store};
use std::iter::StepBy;
use std::ops::Range;

/// `y_i = exp(x_i − max) / Σ_j exp(x_j − max)` over the channels of each pixel, which are the classes. NaN anywhere in
/// a pixel of an image, or +∞, or nothing but −∞, makes all of its values NaN. The unused vectors of `y` are left alone.
///
/// # Panics
/// If a length is not that of `layout`.
pub fn softmax<'t>(cores: impl Into<Cores<'t>>, x: &[f32], layout: &Layout, y: &mut [f32]) {
    check_len(layout, &[x.len(), y.len()]);
    run(cores.into(), x, layout, y, false);
}

/// The backward of [`softmax`] from its output: `dx_i = y_i · (dy_i − Σ_j dy_j · y_j)`.
///
/// # Panics
/// If a length is not that of `layout`.
pub fn softmax_backward<'t>(
    cores: impl Into<Cores<'t>>,
    y: &[f32],
    dy: &[f32],
    layout: &Layout,
    dx: &mut [f32],
    store: Store,
) {
    check_len(layout, &[y.len(), dy.len(), dx.len()]);
    run_backward(cores.into(), [y, dy], layout, dx, store, false);
}

/// `y_i = x_i − max − ln Σ_j exp(x_j − max)` over the channels of each pixel; NaN as in [`softmax`].
///
/// # Panics
/// If a length is not that of `layout`.
pub fn log_softmax<'t>(cores: impl Into<Cores<'t>>, x: &[f32], layout: &Layout, y: &mut [f32]) {
    check_len(layout, &[x.len(), y.len()]);
    run(cores.into(), x, layout, y, true);
}

/// The backward of [`log_softmax`] from its output: `dx_i = dy_i − exp(y_i) · Σ_j dy_j`.
///
/// # Panics
/// If a length is not that of `layout`.
pub fn log_softmax_backward<'t>(
    cores: impl Into<Cores<'t>>,
    y: &[f32],
    dy: &[f32],
    layout: &Layout,
    dx: &mut [f32],
    store: Store,
) {
    check_len(layout, &[y.len(), dy.len(), dx.len()]);
    run_backward(cores.into(), [y, dy], layout, dx, store, true);
}

fn run(cores: Cores<'_>, x: &[f32], layout: &Layout, y: &mut [f32], log: bool) {
    by_pixel(cores, layout, y, &SoftmaxOf { x: x.as_chunks().0, log });
}

fn run_backward(
    cores: Cores<'_>,
    [y, dy]: [&[f32]; 2],
    layout: &Layout,
    dx: &mut [f32],
    store: Store,
    log: bool,
) {
    let [y, dy] = [y, dy].map(|t| t.as_chunks().0);
    by_pixel(cores, layout, dx, &BackwardOf { y, dy, store, log });
}

/// What is computed from the channels of one pixel of sixteen images.
trait OfPixel: Sync {
    /// From the vectors at these places of the inputs to those of `to`.
    ///
    /// # Safety
    /// Nothing else may use these vectors of `to` meanwhile.
    unsafe fn run<S: Simd>(&self, s: S, places: StepBy<Range<usize>>, to: Shared<'_, f32>);
}

/// A part has some pixels, counted through all blocks.
fn by_pixel(cores: Cores<'_>, layout: &Layout, to: &mut [f32], f: &impl OfPixel) {
    let (channels, pixels, plane) = (layout.channels(), layout.pixels(), layout.plane());
    // Two exponentials for each value.
    let cost = Cost::vectors(8 * layout.blocks() * channels * pixels);
    let to = Shared::new(to);
    cores.each_range(layout.blocks() * pixels, cost, |numbers| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for number in numbers {
                let first = number / pixels * channels * plane + number % pixels;
                let places = (first..first + channels * plane).step_by(plane);
                // SAFETY: each pixel is one part's.
                unsafe { f.run(s, places, to) };
            }
        }));
    });
}

/// A vector that is written, or added to.
///
/// # Safety
/// Nothing else may use it meanwhile.
#[inline(always)]
unsafe fn vector_of<'a>(to: Shared<'a, f32>, place: usize) -> &'a mut Vector {
    // SAFETY: the caller's promise.
    let vector = unsafe { to.slice(place * LANES..(place + 1) * LANES) };
    &mut vector.as_chunks_mut().0[0]
}

struct SoftmaxOf<'a> {
    x: &'a [Vector],
    log: bool,
}

impl OfPixel for SoftmaxOf<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, s: S, places: StepBy<Range<usize>>, to: Shared<'_, f32>) {
        let mut max = s.splat(f32::NEG_INFINITY);
        for at in places.clone() {
            let x = s.load(&self.x[at]);
            max = s.select(s.gt(x, max), x, max);
        }
        let mut sum = s.zero();
        for at in places.clone() {
            let exp = vector_exp(s, s.sub(s.load(&self.x[at]), max));
            sum = s.add(sum, exp);
            if !self.log {
                // SAFETY: the caller's promise.
                s.store(unsafe { vector_of(to, at) }, exp);
            }
        }
        let (factor, log) = (s.div(s.splat(1.0), sum), vector_ln(s, sum));
        for at in places {
            // SAFETY: the caller's promise.
            let y = unsafe { vector_of(to, at) };
            if self.log {
                s.store(y, s.sub(s.sub(s.load(&self.x[at]), max), log));
            } else {
                s.store(y, s.mul(s.load(y), factor));
            }
        }
    }
}

struct BackwardOf<'a> {
    y: &'a [Vector],
    dy: &'a [Vector],
    store: Store,
    log: bool,
}

impl OfPixel for BackwardOf<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, s: S, places: StepBy<Range<usize>>, to: Shared<'_, f32>) {
        let mut sum = s.zero();
        for at in places.clone() {
            let dy = s.load(&self.dy[at]);
            sum = if self.log { s.add(sum, dy) } else { s.mul_add(dy, s.load(&self.y[at]), sum) };
        }
        for at in places {
            let (y, dy) = (s.load(&self.y[at]), s.load(&self.dy[at]));
            let dx = match self.log {
                true => s.sub(dy, s.mul(vector_exp(s, y), sum)),
                false => s.mul(y, s.sub(dy, sum)),
            };
            // SAFETY: the caller's promise.
            put(s, unsafe { vector_of(to, at) }, dx, self.store);
        }
    }
}

/// What a loss finds in some images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LossSums {
    /// The sum of their losses.
    pub loss: f64,
    /// How many are classified correctly.
    pub correct: usize,
}

/// The cross-entropy of class labels, and its gradient on the same visit: the loss of an image is
/// `−Σ_i target_i · ln softmax(logits)_i`, and it is correct if its largest logit, the first of equal ones,
/// is that of the label.
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
) -> LossSums {
    check(layout, &[logits.len()]);
    let (images, classes) = (labels.len(), layout.channels());
    assert!(images <= layout.blocks() * LANES, "{images} labels, {} blocks", layout.blocks());
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
        let mut total = LossSums::default();
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
) -> LossSums {
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
    LossSums { loss, correct: correct.count_ones() as usize }
}

/// The largest of the values that are numbers and its place, the first of equal ones.
#[inline(always)]
pub(crate) fn largest<S: Simd>(s: S, x: &[Vector]) -> (S::Vector, S::Vector) {
    let (mut max, mut best) = (s.splat(f32::NEG_INFINITY), s.zero());
    for (class, x) in x.iter().enumerate() {
        let x = s.load(x);
        let larger = s.gt(x, max);
        max = s.select(larger, x, max);
        best = s.select(larger, s.splat(class as f32), best);
    }
    (max, best)
}

pub(crate) fn check(layout: &Layout, lengths: &[usize]) {
    assert_eq!(layout.size(), [1, 1], "classes are features, planes of one pixel");
    check_len(layout, lengths);
}

#[track_caller]
fn check_len(layout: &Layout, lengths: &[usize]) {
    for len in lengths {
        assert_eq!(*len, layout.len(), "length of a tensor, and of its layout");
    }
}

pub(crate) fn blocks<'a>(x: &'a [f32], layout: &Layout) -> impl Iterator<Item = &'a [Vector]> {
    x.as_chunks().0.chunks_exact(layout.channels().max(1))
}
