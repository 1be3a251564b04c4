//! Batch normalisation, channel by channel over the images and pixels of a batch.
//!
//! The functions here finish one channel before they begin the next, so that a channel's planes stay
//! in the caches from pass to pass. Every sum has the same order: in each lane, pixel `i` of a plane
//! goes to chain `i mod 4` of four chains of additions (of two, where two sums are taken at once);
//! the chains are added by halving, then the pixels that do not fill all chains follow in order;
//! lanes without an image are left out; then the blocks in order; then the lanes by halving.

mod pooled;
pub use pooled::{batch_norm_pool, batch_norm_pool_backward, batch_norm_pool_evaluate};

use crate::activation::relu;
use crate::isa::{Isa, dispatch};
use crate::planes::{Vector, valid_lanes};
use crate::pointwise::put;
use crate::simd::Simd;
use crate::{LANES, Layout, Store};

/// `y = gamma · (x − mean) / √(variance + epsilon) + beta`, and ReLU of that if `relu` is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm<'a> {
    /// That of `x` and `y`.
    pub layout: Layout,
    /// The images in it; lanes beyond them do not count.
    pub images: usize,
    /// Scale of each channel.
    pub gamma: &'a [f32],
    /// Shift of each channel.
    pub beta: &'a [f32],
    /// What keeps the divisor from zero.
    pub epsilon: f32,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl BatchNorm<'_> {
    #[track_caller]
    fn check(&self, tensors: &[usize], channels: &[usize]) {
        for len in tensors {
            assert_eq!(*len, self.layout.len(), "length of a tensor, and of its layout");
        }
        for len in [self.gamma.len(), self.beta.len()].iter().chain(channels) {
            assert_eq!(*len, self.layout.channels, "length of a parameter, and channels");
        }
        let room = self.layout.blocks * LANES;
        assert!(self.images <= room, "{} images in room for {room}", self.images);
    }

    /// Values per channel.
    fn count(&self) -> f32 {
        (self.images * self.layout.pixels()) as f32
    }

    /// The place of the plane of a channel in a block, in vectors.
    fn plane(&self, block: usize, channel: usize) -> std::ops::Range<usize> {
        let start = (block * self.layout.channels + channel) * self.layout.plane();
        start..start + self.layout.pixels()
    }

    /// The planes of a channel in a tensor of the layout.
    fn channel<'x>(&self, x: &'x [Vector], channel: usize) -> Channel<'x> {
        let plane = self.layout.plane();
        let start = channel * plane;
        let [block, pixels] = [self.layout.channels * plane, self.layout.pixels()];
        Channel { vectors: &x[start..], block, pixels }
    }
}

/// The planes of one channel.
#[derive(Clone, Copy)]
struct Channel<'a> {
    vectors: &'a [Vector],
    /// Vectors from the plane of one block to that of the next.
    block: usize,
    pixels: usize,
}

impl<'a> Channel<'a> {
    #[inline(always)]
    fn plane(&self, block: usize) -> &'a [Vector] {
        &self.vectors[block * self.block..][..self.pixels]
    }
}

/// Training: normalises with the mean and the biased variance of the batch itself, and returns them,
/// per channel, in `mean` and `variance`. The variance is a second pass over the deviations from the
/// mean. What `y` gets in lanes without an image is of no meaning.
///
/// # Panics
/// If there is no image or more than there is room for, or a length is not that of its layout or the
/// channels.
pub fn batch_norm(
    isa: Isa,
    op: &BatchNorm,
    x: &[f32],
    [mean, variance]: [&mut [f32]; 2],
    y: &mut [f32],
) {
    op.check(&[x.len(), y.len()], &[mean.len(), variance.len()]);
    assert!(op.images > 0, "the mean of no images");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let (x, y) = (x.as_chunks().0, y.as_chunks_mut().0);
        for channel in 0..op.layout.channels {
            mean[channel] = channel_mean(s, op, x, channel);
            variance[channel] = channel_variance(s, op, x, channel, mean[channel]);
            let line = Line::new(s, op, channel, mean[channel], variance[channel]);
            normalise(s, op, &line, x, channel, y);
        }
    }));
}

/// Evaluation: normalises with a given mean and variance per channel.
///
/// # Panics
/// If a length is not that of its layout or the channels.
pub fn batch_norm_evaluate(
    isa: Isa,
    op: &BatchNorm,
    x: &[f32],
    [mean, variance]: [&[f32]; 2],
    y: &mut [f32],
) {
    op.check(&[x.len(), y.len()], &[mean.len(), variance.len()]);
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let (x, y) = (x.as_chunks().0, y.as_chunks_mut().0);
        for channel in 0..op.layout.channels {
            let line = Line::new(s, op, channel, mean[channel], variance[channel]);
            normalise(s, op, &line, x, channel, y);
        }
    }));
}

/// The backward of [`batch_norm`], with the mean and variance that it found. With
/// `x̂ = (x − mean) / √(variance + epsilon)`, `n` values per channel, and `g = dy` (where `relu` is
/// set: only where `y > 0`, with `y` computed from `x` again, to the bit):
/// ```text
/// dgamma += Σ g · x̂        dbeta += Σ g
/// dx = gamma / √(variance + epsilon) · (g − Σ g / n − x̂ · Σ g · x̂ / n)
/// ```
/// `dx` is stored or added to what is there. Lanes without an image count in no sum; their `dx` is 0,
/// or has 0 added.
///
/// # Panics
/// If there is no image or more than there is room for, or a length is not that of its layout or the
/// channels.
pub fn batch_norm_backward(
    isa: Isa,
    op: &BatchNorm,
    [x, dy]: [&[f32]; 2],
    [mean, variance]: [&[f32]; 2],
    [dgamma, dbeta]: [&mut [f32]; 2],
    dx: &mut [f32],
    store: Store,
) {
    let channels = [mean.len(), variance.len(), dgamma.len(), dbeta.len()];
    op.check(&[x.len(), dy.len(), dx.len()], &channels);
    assert!(op.images > 0, "the mean of no images");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let ([x, dy], dx) = ([x, dy].map(|t| t.as_chunks().0), dx.as_chunks_mut().0);
        for channel in 0..op.layout.channels {
            let line = Line::new(s, op, channel, mean[channel], variance[channel]);
            let inputs = [x, dy].map(|t| op.channel(t, channel));
            let sums = channel_gradients(s, op, &line, inputs);
            dgamma[channel] += sums[0];
            dbeta[channel] += sums[1];
            input_gradient(s, op, &line, inputs, channel, sums, dx, store);
        }
    }));
}

/// What is done to the values of one channel.
struct Line<S: Simd> {
    mean: S::Vector,
    /// `1 / √(variance + epsilon)`.
    inverse: S::Vector,
    /// `gamma · inverse`.
    slope: S::Vector,
    beta: S::Vector,
}

impl<S: Simd> Line<S> {
    #[inline(always)]
    fn new(s: S, op: &BatchNorm, channel: usize, mean: f32, variance: f32) -> Line<S> {
        let inverse = s.div(s.splat(1.0), s.sqrt(s.splat(variance + op.epsilon)));
        let slope = s.mul(s.splat(op.gamma[channel]), inverse);
        Line { mean: s.splat(mean), inverse, slope, beta: s.splat(op.beta[channel]) }
    }

    /// The output before ReLU, from `x − mean`: forward and backward agree on its sign.
    #[inline(always)]
    fn output(&self, s: S, deviation: S::Vector) -> S::Vector {
        s.mul_add(deviation, self.slope, self.beta)
    }

    /// `x − mean`, and `dy` where it passes the ReLU.
    #[inline(always)]
    fn gated(&self, s: S, x: &Vector, dy: &Vector, relu: bool) -> [S::Vector; 2] {
        let (deviation, dy) = (s.sub(s.load(x), self.mean), s.load(dy));
        if relu {
            let alive = s.gt(self.output(s, deviation), s.zero());
            [deviation, s.keep(alive, dy)]
        } else {
            [deviation, dy]
        }
    }
}

#[inline(always)]
fn channel_mean<S: Simd>(s: S, op: &BatchNorm, x: &[Vector], channel: usize) -> f32 {
    let [sum] = over_blocks(
        s,
        op,
        #[inline(always)]
        |block| {
            let x = &x[op.plane(block, channel)];
            in_chains::<S, 1, 4>(
                s,
                x.len(),
                #[inline(always)]
                |i, [sum]| [s.add(sum, s.load(&x[i]))],
            )
        },
    );
    sum / op.count()
}

#[inline(always)]
fn channel_variance<S: Simd>(s: S, op: &BatchNorm, x: &[Vector], channel: usize, mean: f32) -> f32 {
    let mean = s.splat(mean);
    let [sum] = over_blocks(
        s,
        op,
        #[inline(always)]
        |block| {
            let x = &x[op.plane(block, channel)];
            in_chains::<S, 1, 4>(
                s,
                x.len(),
                #[inline(always)]
                |i, [sum]| {
                    let deviation = s.sub(s.load(&x[i]), mean);
                    [s.mul_add(deviation, deviation, sum)]
                },
            )
        },
    );
    sum / op.count()
}

#[inline(always)]
fn normalise<S: Simd>(
    s: S,
    op: &BatchNorm,
    line: &Line<S>,
    x: &[Vector],
    channel: usize,
    y: &mut [Vector],
) {
    for block in 0..op.layout.blocks {
        let plane = op.plane(block, channel);
        for (x, y) in x[plane.clone()].iter().zip(&mut y[plane]) {
            let value = line.output(s, s.sub(s.load(x), line.mean));
            s.store(y, if op.relu { relu(s, value) } else { value });
        }
    }
}

/// `Σ g · x̂` and `Σ g`.
#[inline(always)]
fn channel_gradients<S: Simd>(
    s: S,
    op: &BatchNorm,
    line: &Line<S>,
    [x, dy]: [Channel<'_>; 2],
) -> [f32; 2] {
    over_blocks(
        s,
        op,
        #[inline(always)]
        |block| {
            let [x, dy] = [x, dy].map(|t| t.plane(block));
            in_chains::<S, 2, 2>(
                s,
                x.len(),
                #[inline(always)]
                |i, [dot, sum]| {
                    let [deviation, g] = line.gated(s, &x[i], &dy[i], op.relu);
                    [s.mul_add(g, s.mul(deviation, line.inverse), dot), s.add(sum, g)]
                },
            )
        },
    )
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "what a pass over one channel needs")]
fn input_gradient<S: Simd>(
    s: S,
    op: &BatchNorm,
    line: &Line<S>,
    [x, dy]: [Channel<'_>; 2],
    channel: usize,
    sums: [f32; 2],
    dx: &mut [Vector],
    store: Store,
) {
    let [minus_dot, mean] = [s.splat(-sums[0] / op.count()), s.splat(sums[1] / op.count())];
    for block in 0..op.layout.blocks {
        let valid = s.mask(valid_lanes(op.images, block));
        let inputs = x.plane(block).iter().zip(dy.plane(block));
        for ((x, dy), dx) in inputs.zip(&mut dx[op.plane(block, channel)]) {
            let [deviation, g] = line.gated(s, x, dy, op.relu);
            let centred = s.sub(g, mean);
            let along = s.mul_add(s.mul(deviation, line.inverse), minus_dot, centred);
            put(s, dx, s.keep(valid, s.mul(line.slope, along)), store);
        }
    }
}

/// Adds the sums that `plane` gives for each block, lane by lane where there is an image, then over
/// the lanes. `plane` must be `#[inline(always)]`.
#[inline(always)]
fn over_blocks<S: Simd, const N: usize>(
    s: S,
    op: &BatchNorm,
    plane: impl Fn(usize) -> [S::Vector; N],
) -> [f32; N] {
    let mut totals = [s.zero(); N];
    for block in 0..op.layout.blocks {
        let valid = s.mask(valid_lanes(op.images, block));
        for (total, sum) in totals.iter_mut().zip(plane(block)) {
            *total = s.add(*total, s.keep(valid, sum));
        }
    }
    let mut sums = [0.0; N];
    for (sum, total) in sums.iter_mut().zip(totals) {
        *sum = s.sum(total);
    }
    sums
}

/// `N` sums over `0..len`, each in `CHAINS` chains that hide the latency of additions from each
/// other; `step` adds one term to a chain of each and must be `#[inline(always)]`.
#[inline(always)]
fn in_chains<S: Simd, const N: usize, const CHAINS: usize>(
    s: S,
    len: usize,
    step: impl Fn(usize, [S::Vector; N]) -> [S::Vector; N],
) -> [S::Vector; N] {
    let mut chains = [[s.zero(); N]; CHAINS];
    let whole = len / CHAINS * CHAINS;
    for start in (0..whole).step_by(CHAINS) {
        for (k, chain) in chains.iter_mut().enumerate() {
            *chain = step(start + k, *chain);
        }
    }
    let mut width = CHAINS / 2;
    while width > 0 {
        let (low, high) = chains[..2 * width].split_at_mut(width);
        for (a, b) in low.iter_mut().flatten().zip(high.iter().flatten()) {
            *a = s.add(*a, *b);
        }
        width /= 2;
    }
    let mut sums = chains[0];
    for i in whole..len {
        sums = step(i, sums);
    }
    sums
}
