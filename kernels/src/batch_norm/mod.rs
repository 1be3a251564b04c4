//! Batch normalisation, channel by channel over the images and pixels of a batch.
//!
//! The functions here finish one channel before they begin the next, so that a channel's planes stay
//! in the caches from pass to pass. Every sum has the same order: in each lane, pixel `i` of a plane
//! goes to chain `i mod 4` of four chains of additions (of two, where two sums are taken at once);
//! the chains are added by halving, then the pixels that do not fill all chains follow in order;
//! lanes without an image are left out; then the blocks in order; then the lanes by halving. A part has
//! some channels.

mod backward;
mod pooled;
mod sums;
mod through;
pub use backward::batch_norm_backward;
pub use pooled::{
    PooledTensors, batch_norm_pool, batch_norm_pool_backward, batch_norm_pool_evaluate,
};

use crate::isa::{Isa, dispatch};
use crate::planes::Vector;
use crate::simd::Simd;
use crate::streaming::Streaming;
use crate::team::{Cores, Cost, Shared};
use crate::{Activation, Epilogue, LANES, Layout, Store, activate_in_place};
use pooled::normalise_pool;
use std::ops::Range;
use sums::{channel_mean, channel_variance};

/// Vectors to which an activation is applied at a time, 4 KB: they are in the first-level cache still.
const PIECE: usize = 64;

/// `y = activation(gamma · (x − mean) / √(variance + epsilon) + beta)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm<'a> {
    /// The layout of `x` and `y`.
    pub layout: Layout,
    /// The number of images; lanes beyond them do not count.
    pub images: usize,
    /// Scale of each channel, or nothing: 1.
    pub gamma: &'a [f32],
    /// Shift of each channel, or nothing: 0.
    pub beta: &'a [f32],
    /// Added to the variance, to keep the divisor from zero.
    pub epsilon: f32,
    /// What is applied to the normalised values, if anything.
    pub activation: Option<Activation>,
}

/// The mean and the biased variance of each channel: to read (`&[f32]`) or to write (`&mut [f32]`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics<Slice> {
    /// The mean.
    pub mean: Slice,
    /// The biased variance.
    pub variance: Slice,
}

/// Where the gradients of a batch normalisation go.
#[derive(Debug)]
pub struct BatchNormGradients<'a> {
    /// Added to: the gradient of the scale of each channel, if they have one.
    pub gamma: &'a mut [f32],
    /// Added to: the gradient of the shift of each channel, if they have one.
    pub beta: &'a mut [f32],
    /// Stored as `store` says: the gradient of the input.
    pub x: &'a mut [f32],
    /// How the gradient of the input is stored.
    pub store: Store,
}

impl BatchNormGradients<'_> {
    #[track_caller]
    fn check(&self, op: &BatchNorm) {
        assert_eq!(self.gamma.len(), op.gamma.len(), "scales, and their gradients");
        assert_eq!(self.beta.len(), op.beta.len(), "shifts, and their gradients");
    }
}

impl BatchNorm<'_> {
    #[track_caller]
    fn check(&self, tensors: &[usize], channels: &[usize]) {
        for len in tensors {
            assert_eq!(*len, self.layout.len(), "length of a tensor, and of its layout");
        }
        for len in channels {
            assert_eq!(*len, self.layout.channels(), "length of a statistic, and channels");
        }
        for len in [self.gamma.len(), self.beta.len()] {
            assert!(len == 0 || len == self.layout.channels(), "{len} parameters for each channel");
        }
        let room = self.layout.blocks() * LANES;
        assert!(self.images <= room, "{} images in room for {room}", self.images);
    }

    /// Floats of room that [`batch_norm_backward`] needs for each part: one channel where the activation is not an
    /// [`Epilogue`], else none.
    pub fn scratch(&self) -> usize {
        let (_, rest) = Epilogue::of(self.activation);
        rest.map_or(0, |_| self.channel_floats())
    }

    /// Whether the output is streamed: not where an activation that is no epilogue reads it again.
    fn streaming(&self, y: &[f32]) -> Streaming {
        match Epilogue::of(self.activation) {
            (_, None) => Streaming::new(y.as_ptr(), y.len()),
            (_, Some(_)) => Streaming::NEVER,
        }
    }

    /// Floats of the planes of a channel.
    fn channel_floats(&self) -> usize {
        self.layout.blocks() * self.layout.pixels() * LANES
    }

    /// Of so many passes over the tensor.
    fn cost(&self, passes: usize) -> Cost {
        Cost::vectors(self.layout.len() / LANES * passes / 2)
    }

    /// Values per channel.
    fn count(&self) -> f32 {
        (self.images * self.layout.pixels()) as f32
    }

    /// The place of the plane of a channel in a block, in vectors.
    fn plane(&self, block: usize, channel: usize) -> Range<usize> {
        let start = (block * self.layout.channels() + channel) * self.layout.plane();
        start..start + self.layout.pixels()
    }

    /// The planes of a channel in a tensor of the layout.
    fn channel<'x>(&self, x: &'x [Vector], channel: usize) -> Channel<'x> {
        let plane = self.layout.plane();
        let start = channel * plane;
        let [block, pixels] = [self.layout.channels() * plane, self.layout.pixels()];
        // A tensor without blocks has no planes.
        Channel { vectors: &x[start.min(x.len())..], block, pixels }
    }
}

/// A plane of a tensor that parts write side by side, each some channels.
///
/// # Safety
/// Nothing else may use the plane meanwhile.
#[inline(always)]
unsafe fn plane_mut<'a>(tensor: Shared<'a, f32>, plane: Range<usize>) -> &'a mut [Vector] {
    // SAFETY: the caller's promise.
    unsafe { tensor.slice(plane.start * LANES..plane.end * LANES) }.as_chunks_mut().0
}

/// A value of one channel that parts write side by side.
///
/// # Safety
/// Nothing else may use the channel's value meanwhile.
#[inline(always)]
unsafe fn value_mut<'a>(values: Shared<'a, f32>, channel: usize) -> &'a mut f32 {
    // SAFETY: the caller's promise.
    unsafe { &mut values.slice(channel..channel + 1)[0] }
}

/// Adds the sums of a channel to the gradients of its scale and shift, where it has them.
///
/// # Safety
/// Nothing else may use the channel's values meanwhile.
#[inline(always)]
unsafe fn add_sums(gamma: Shared<'_, f32>, beta: Shared<'_, f32>, channel: usize, sums: [f32; 2]) {
    for (to, sum) in [gamma, beta].into_iter().zip(sums) {
        if to.len() > 0 {
            // SAFETY: the caller's promise.
            *unsafe { value_mut(to, channel) } += sum;
        }
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
pub fn batch_norm<'t>(
    cores: impl Into<Cores<'t>>,
    op: &BatchNorm,
    x: &[f32],
    Statistics { mean, variance }: Statistics<&mut [f32]>,
    y: &mut [f32],
) {
    op.check(&[x.len(), y.len()], &[mean.len(), variance.len()]);
    assert!(op.images > 0, "the mean of no images");
    train(cores.into(), op, None, x, Statistics { mean, variance }, y);
}

/// `pooled` is the operation on the pooled planes, where there is a pool in it.
fn train(
    cores: Cores<'_>,
    op: &BatchNorm,
    pooled: Option<&BatchNorm>,
    x: &[f32],
    found: Statistics<&mut [f32]>,
    y: &mut [f32],
) {
    let streaming = op.streaming(y);
    let [mean, variance, y] = [found.mean, found.variance, y].map(Shared::new);
    cores.each_range(op.layout.channels(), op.cost(4), |channels| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            let x = x.as_chunks().0;
            for channel in channels {
                // SAFETY: each channel is one part's.
                let [mean, variance] = [mean, variance].map(|v| unsafe { value_mut(v, channel) });
                *mean = channel_mean(s, op, x, channel);
                *variance = channel_variance(s, op, x, channel, *mean);
                let affine = Affine::new(s, op, channel, *mean, *variance);
                // SAFETY: as above.
                unsafe { normalise((s, cores.isa), op, pooled, &affine, x, (y, streaming)) };
            }
        }));
    });
}

/// Evaluation: normalises with a given mean and variance per channel.
///
/// # Panics
/// If a length is not that of its layout or the channels.
pub fn batch_norm_evaluate<'t>(
    cores: impl Into<Cores<'t>>,
    op: &BatchNorm,
    x: &[f32],
    Statistics { mean, variance }: Statistics<&[f32]>,
    y: &mut [f32],
) {
    op.check(&[x.len(), y.len()], &[mean.len(), variance.len()]);
    evaluate(cores.into(), op, None, x, Statistics { mean, variance }, y);
}

fn evaluate(
    cores: Cores<'_>,
    op: &BatchNorm,
    pooled: Option<&BatchNorm>,
    x: &[f32],
    Statistics { mean, variance }: Statistics<&[f32]>,
    y: &mut [f32],
) {
    let (streaming, y) = (op.streaming(y), Shared::new(y));
    cores.each_range(op.layout.channels(), op.cost(2), |channels| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            let x = x.as_chunks().0;
            for channel in channels {
                let affine = Affine::new(s, op, channel, mean[channel], variance[channel]);
                // SAFETY: each channel is one part's.
                unsafe { normalise((s, cores.isa), op, pooled, &affine, x, (y, streaming)) };
            }
        }));
    });
}

/// The affine map of the values of one channel, and what follows it.
struct Affine<S: Simd> {
    channel: usize,
    epilogue: Epilogue,
    mean: S::Vector,
    /// `1 / √(variance + epsilon)`.
    inverse: S::Vector,
    /// `gamma · inverse`.
    slope: S::Vector,
    beta: S::Vector,
}

impl<S: Simd> Affine<S> {
    #[inline(always)]
    fn new(s: S, op: &BatchNorm, channel: usize, mean: f32, variance: f32) -> Affine<S> {
        let inverse = s.div(s.splat(1.0), s.sqrt(s.splat(variance + op.epsilon)));
        let of = |values: &[f32], else_: f32| values.get(channel).copied().unwrap_or(else_);
        let slope = s.mul(s.splat(of(op.gamma, 1.0)), inverse);
        let beta = s.splat(of(op.beta, 0.0));
        let (epilogue, _) = Epilogue::of(op.activation);
        Affine { channel, epilogue, mean: s.splat(mean), inverse, slope, beta }
    }

    /// The output before the epilogue, from `x − mean`: forward and backward agree on its sign.
    #[inline(always)]
    fn output(&self, s: S, deviation: S::Vector) -> S::Vector {
        s.mul_add(deviation, self.slope, self.beta)
    }

    /// `x − mean`, and `dy` where it passes the epilogue.
    #[inline(always)]
    fn through(&self, s: S, x: &Vector, dy: &Vector) -> [S::Vector; 2] {
        let (deviation, dy) = (s.sub(s.load(x), self.mean), s.load(dy));
        match self.epilogue {
            Epilogue::None => [deviation, dy],
            Epilogue::Relu => {
                let alive = s.gt(self.output(s, deviation), s.zero());
                [deviation, s.keep(alive, dy)]
            }
            Epilogue::Relu6 => {
                let y = self.output(s, deviation);
                let [positive, below] = [s.gt(y, s.zero()), s.gt(s.splat(6.0), y)];
                [deviation, s.keep(positive, s.keep(below, dy))]
            }
        }
    }
}

/// The output of one channel, pooled or not.
///
/// # Safety
/// Nothing else may use the planes of the channel in `y` meanwhile; `streaming` must be of `y`.
#[inline(always)]
unsafe fn normalise<S: Simd>(
    (s, isa): (S, Isa),
    op: &BatchNorm,
    pooled: Option<&BatchNorm>,
    affine: &Affine<S>,
    x: &[Vector],
    (y, streaming): (Shared<'_, f32>, Streaming),
) {
    if let Some(pooled) = pooled {
        // SAFETY: the caller's promise.
        return unsafe { normalise_pool(s, op, pooled, affine, x, y) };
    }
    let (_, rest) = Epilogue::of(op.activation);
    for block in 0..op.layout.blocks() {
        let plane = op.plane(block, affine.channel);
        // SAFETY: the caller's promise.
        let to = unsafe { plane_mut(y, plane.clone()) };
        let piece = if rest.is_some() { PIECE } else { to.len().max(1) };
        for (x, y) in x[plane].chunks(piece).zip(to.chunks_mut(piece)) {
            assert_eq!(x.len(), y.len(), "pieces of one size");
            // SAFETY: the caller's promise; planes are whole vectors.
            unsafe {
                streaming.put(
                    s,
                    y,
                    Store::Overwrite,
                    #[inline(always)]
                    |i| {
                        let value = affine.output(s, s.sub(s.load(&x[i]), affine.mean));
                        affine.epilogue.apply(s, value)
                    },
                );
            }
            if let Some(f) = rest {
                activate_in_place(isa, f, y.as_flattened_mut());
            }
        }
    }
    streaming.finish(s);
}
