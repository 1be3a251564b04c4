//! Batch normalisation, ReLU and 2×2 max-pool with stride 2 in one pass: the same values and
//! gradients as one after the other, bit for bit, without the tensors between them.

use super::through::{Through, backward_through};
use super::{Affine, BatchNorm, BatchNormGradients, Channel, Statistics};
use super::{evaluate, plane_mut, train};
use crate::output::relu;
use crate::planes::Vector;
use crate::pool::{larger, take};
use crate::simd::Simd;
use crate::team::{Cores, Shared};
use crate::{Activation, Layout};

impl<'a> BatchNorm<'a> {
    /// The layout of the pooled output.
    pub fn pooled(&self) -> Layout {
        self.layout.with_size(self.layout.size().map(|n| n / 2))
    }

    /// Floats of room that [`batch_norm_pool_backward`] needs for each part: one channel.
    pub fn pool_scratch(&self) -> usize {
        self.channel_floats()
    }

    /// The same operation on the pooled planes.
    fn on_pooled(&self) -> BatchNorm<'a> {
        BatchNorm { layout: self.pooled(), ..*self }
    }

    #[track_caller]
    fn check_pooled(&self, tensors: &[usize]) {
        assert_eq!(self.activation, Some(Activation::Relu), "a ReLU comes before the pool");
        for len in tensors {
            assert_eq!(*len, self.pooled().len(), "length of a tensor, and of the pooled layout");
        }
    }
}

/// [`batch_norm`](crate::batch_norm), then [`max_pool`](crate::max_pool) to `y`. The activation of `op`
/// must be a ReLU.
///
/// # Panics
/// As the two; or without ReLU.
pub fn batch_norm_pool<'t>(
    cores: impl Into<Cores<'t>>,
    op: &BatchNorm,
    x: &[f32],
    Statistics { mean, variance }: Statistics<&mut [f32]>,
    y: &mut [f32],
) {
    op.check(&[x.len()], &[mean.len(), variance.len()]);
    op.check_pooled(&[y.len()]);
    assert!(op.images > 0, "the mean of no images");
    train(cores.into(), op, Some(&op.on_pooled()), x, Statistics { mean, variance }, y);
}

/// [`batch_norm_evaluate`](crate::batch_norm_evaluate), then [`max_pool`](crate::max_pool) to `y`. The
/// activation of `op` must be a ReLU.
///
/// # Panics
/// As the two; or without ReLU.
pub fn batch_norm_pool_evaluate<'t>(
    cores: impl Into<Cores<'t>>,
    op: &BatchNorm,
    x: &[f32],
    Statistics { mean, variance }: Statistics<&[f32]>,
    y: &mut [f32],
) {
    op.check(&[x.len()], &[mean.len(), variance.len()]);
    op.check_pooled(&[y.len()]);
    evaluate(cores.into(), op, Some(&op.on_pooled()), x, Statistics { mean, variance }, y);
}

/// What [`batch_norm_pool_backward`] reads.
#[derive(Clone, Copy, Debug)]
pub struct PooledTensors<'a> {
    /// The input.
    pub x: &'a [f32],
    /// The pooled output.
    pub y: &'a [f32],
    /// The gradient of the pooled output.
    pub dy: &'a [f32],
}

/// The backward of [`batch_norm_pool`] from its output and the gradient of that: that of
/// [`max_pool`](crate::max_pool), then that of [`batch_norm`](crate::batch_norm). `scratch` is room for
/// [`BatchNorm::pool_scratch`] floats for each of the most parts that there may be.
///
/// # Panics
/// As the two; or without ReLU.
pub fn batch_norm_pool_backward<'t>(
    cores: impl Into<Cores<'t>>,
    op: &BatchNorm,
    tensors: PooledTensors<'_>,
    found: Statistics<&[f32]>,
    to: BatchNormGradients<'_>,
    scratch: &mut [f32],
) {
    let channels = [found.mean.len(), found.variance.len()];
    to.check(op);
    op.check(&[tensors.x.len(), to.x.len()], &channels);
    op.check_pooled(&[tensors.y.len(), tensors.dy.len()]);
    assert!(op.images > 0, "the mean of no images");
    let PooledTensors { x, y, dy } = tensors;
    let through = Through::Pool { pooled: op.on_pooled(), y, dy };
    backward_through(cores.into(), op, x, &through, found, to, scratch);
}

impl<S: Simd> Affine<S> {
    /// The output after ReLU.
    #[inline(always)]
    fn activated(&self, s: S, x: &Vector) -> S::Vector {
        relu(s, self.output(s, s.sub(s.load(x), self.mean)))
    }
}

/// The pooled output of one channel.
///
/// # Safety
/// Nothing else may use the planes of the channel in `y` meanwhile.
#[inline(always)]
pub(super) unsafe fn normalise_pool<S: Simd>(
    s: S,
    op: &BatchNorm,
    pooled: &BatchNorm,
    affine: &Affine<S>,
    x: &[Vector],
    y: Shared<'_, f32>,
) {
    let (channel, width) = (affine.channel, op.layout.size()[1]);
    let x = op.channel(x, channel);
    for block in 0..op.layout.blocks() {
        // SAFETY: the caller's promise.
        let y = unsafe { plane_mut(y, pooled.plane(block, channel)) };
        let rows = x.plane(block).chunks_exact((2 * width).max(1));
        for (x, y) in rows.zip(y.chunks_exact_mut((width / 2).max(1))) {
            let (top, bottom) = x.split_at(width);
            let squares = top.as_chunks().0.iter().zip(bottom.as_chunks().0);
            for (y, ([a, b], [c, d])) in y.iter_mut().zip(squares) {
                let above = larger(s, affine.activated(s, a), affine.activated(s, b));
                let below = larger(s, affine.activated(s, c), affine.activated(s, d));
                s.store(y, larger(s, above, below));
            }
        }
    }
}

/// The gradient of one channel before pooling, to `[blocks][pixels]`.
#[inline(always)]
pub(super) fn unpool<S: Simd>(
    s: S,
    op: &BatchNorm,
    affine: &Affine<S>,
    x: Channel<'_>,
    [y, dy]: [Channel<'_>; 2],
    g: &mut [Vector],
) {
    let (pixels, width) = (x.pixels, op.layout.size()[1]);
    for (block, g) in g.chunks_exact_mut(pixels.max(1)).enumerate() {
        // Squares leave out the last row or column where their number is odd.
        if pixels != 4 * y.pixels {
            g.iter_mut().for_each(|g| s.store(g, s.zero()));
        }
        let outputs = [y, dy].map(|t| t.plane(block).chunks_exact((width / 2).max(1)));
        let [y, dy] = outputs;
        let rows = x.plane(block).chunks_exact(2 * width).zip(g.chunks_exact_mut(2 * width));
        for ((x, g), (y, dy)) in rows.zip(y.zip(dy)) {
            let (top, bottom) = x.split_at(width);
            let squares = top.as_chunks().0.iter().zip(bottom.as_chunks().0);
            let (top, bottom) = g.split_at_mut(width);
            let gradients = top.as_chunks_mut().0.iter_mut().zip(bottom.as_chunks_mut().0);
            let squares = squares.zip(gradients).zip(y.iter().zip(dy));
            for ((([a, b], [c, d]), ([ga, gb], [gc, gd])), (y, dy)) in squares {
                let (y, mut left) = (s.load(y), s.load(dy));
                for (x, g) in [(a, ga), (b, gb), (c, gc), (d, gd)] {
                    s.store(g, take(s, affine.activated(s, x), y, &mut left));
                }
            }
        }
    }
}
