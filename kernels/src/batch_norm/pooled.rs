//! Batch normalisation, ReLU and 2×2 max-pool with stride 2 in one pass: the same values and
//! gradients as one after the other, bit for bit, without the tensors between them.

use super::{BatchNorm, Channel, Line};
use super::{channel_gradients, channel_mean, channel_variance, input_gradient};
use crate::activation::relu;
use crate::isa::{Isa, dispatch};
use crate::planes::Vector;
use crate::pool::{larger, take};
use crate::simd::Simd;
use crate::{LANES, Layout, Store};

impl BatchNorm<'_> {
    /// The layout of the pooled output.
    pub fn pooled(&self) -> Layout {
        Layout { size: self.layout.size.map(|n| n / 2), ..self.layout }
    }

    /// Floats of room that [`batch_norm_pool_backward`] needs: one channel.
    pub fn pool_scratch(&self) -> usize {
        self.layout.blocks * self.layout.pixels() * LANES
    }

    #[track_caller]
    fn check_pooled(&self, tensors: &[usize]) {
        assert!(self.relu, "a ReLU comes before the pool");
        for len in tensors {
            assert_eq!(*len, self.pooled().len(), "length of a tensor, and of the pooled layout");
        }
    }
}

/// [`batch_norm`](crate::batch_norm), then [`max_pool`](crate::max_pool) to `y`. The ReLU of `op` must
/// be set.
///
/// # Panics
/// As the two; or without ReLU.
pub fn batch_norm_pool(
    isa: Isa,
    op: &BatchNorm,
    x: &[f32],
    [mean, variance]: [&mut [f32]; 2],
    y: &mut [f32],
) {
    op.check(&[x.len()], &[mean.len(), variance.len()]);
    op.check_pooled(&[y.len()]);
    assert!(op.images > 0, "the mean of no images");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let (x, y) = (x.as_chunks().0, y.as_chunks_mut().0);
        for channel in 0..op.layout.channels {
            mean[channel] = channel_mean(s, op, x, channel);
            variance[channel] = channel_variance(s, op, x, channel, mean[channel]);
            let line = Line::new(s, op, channel, mean[channel], variance[channel]);
            normalise_pool(s, op, &line, x, channel, y);
        }
    }));
}

/// [`batch_norm_evaluate`](crate::batch_norm_evaluate), then [`max_pool`](crate::max_pool) to `y`. The
/// ReLU of `op` must be set.
///
/// # Panics
/// As the two; or without ReLU.
pub fn batch_norm_pool_evaluate(
    isa: Isa,
    op: &BatchNorm,
    x: &[f32],
    [mean, variance]: [&[f32]; 2],
    y: &mut [f32],
) {
    op.check(&[x.len()], &[mean.len(), variance.len()]);
    op.check_pooled(&[y.len()]);
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let (x, y) = (x.as_chunks().0, y.as_chunks_mut().0);
        for channel in 0..op.layout.channels {
            let line = Line::new(s, op, channel, mean[channel], variance[channel]);
            normalise_pool(s, op, &line, x, channel, y);
        }
    }));
}

/// The backward of [`batch_norm_pool`] from its output and the gradient of that: that of
/// [`max_pool`](crate::max_pool), then that of [`batch_norm`](crate::batch_norm). `scratch` is room for
/// [`BatchNorm::pool_scratch`] floats.
///
/// # Panics
/// As the two; or without ReLU.
#[expect(clippy::too_many_arguments, reason = "those of the two")]
pub fn batch_norm_pool_backward(
    isa: Isa,
    op: &BatchNorm,
    [x, y, dy]: [&[f32]; 3],
    [mean, variance]: [&[f32]; 2],
    [dgamma, dbeta]: [&mut [f32]; 2],
    scratch: &mut [f32],
    dx: &mut [f32],
    store: Store,
) {
    let channels = [mean.len(), variance.len(), dgamma.len(), dbeta.len()];
    op.check(&[x.len(), dx.len()], &channels);
    op.check_pooled(&[y.len(), dy.len()]);
    assert_eq!(scratch.len(), op.pool_scratch(), "scratch of a batch norm");
    assert!(op.images > 0, "the mean of no images");
    let pooled = BatchNorm { layout: op.pooled(), ..*op };
    let pixels = op.layout.pixels();
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let ([x, y, dy], dx) = ([x, y, dy].map(|t| t.as_chunks().0), dx.as_chunks_mut().0);
        let g: &mut [Vector] = scratch.as_chunks_mut().0;
        for channel in 0..op.layout.channels {
            let line = Line::new(s, op, channel, mean[channel], variance[channel]);
            let x = op.channel(x, channel);
            let outputs = [y, dy].map(|t| pooled.channel(t, channel));
            unpool(s, op, &line, x, outputs, g);
            let inputs = [x, Channel { vectors: g, block: pixels, pixels }];
            let sums = channel_gradients(s, op, &line, inputs);
            dgamma[channel] += sums[0];
            dbeta[channel] += sums[1];
            input_gradient(s, op, &line, inputs, channel, sums, dx, store);
        }
    }));
}

impl<S: Simd> Line<S> {
    /// The output after ReLU.
    #[inline(always)]
    fn activated(&self, s: S, x: &Vector) -> S::Vector {
        relu(s, self.output(s, s.sub(s.load(x), self.mean)))
    }
}

/// The pooled output of one channel.
#[inline(always)]
fn normalise_pool<S: Simd>(
    s: S,
    op: &BatchNorm,
    line: &Line<S>,
    x: &[Vector],
    channel: usize,
    y: &mut [Vector],
) {
    let (pooled, width) = (BatchNorm { layout: op.pooled(), ..*op }, op.layout.size[1]);
    let x = op.channel(x, channel);
    for block in 0..op.layout.blocks {
        let y = &mut y[pooled.plane(block, channel)];
        let rows = x.plane(block).chunks_exact((2 * width).max(1));
        for (x, y) in rows.zip(y.chunks_exact_mut((width / 2).max(1))) {
            let (top, bottom) = x.split_at(width);
            let squares = top.as_chunks().0.iter().zip(bottom.as_chunks().0);
            for (y, ([a, b], [c, d])) in y.iter_mut().zip(squares) {
                let above = larger(s, line.activated(s, a), line.activated(s, b));
                let below = larger(s, line.activated(s, c), line.activated(s, d));
                s.store(y, larger(s, above, below));
            }
        }
    }
}

/// The gradient of one channel before pooling, to `[blocks][pixels]`.
#[inline(always)]
fn unpool<S: Simd>(
    s: S,
    op: &BatchNorm,
    line: &Line<S>,
    x: Channel<'_>,
    [y, dy]: [Channel<'_>; 2],
    g: &mut [Vector],
) {
    let (pixels, width) = (x.pixels, op.layout.size[1]);
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
                    s.store(g, take(s, line.activated(s, x), y, &mut left));
                }
            }
        }
    }
}
