//! The backward pass.

use super::sums::channel_gradients;
use super::through::{Through, backward_through};
use super::{Affine, BatchNorm, BatchNormGradients, Channel, Statistics};
use super::{add_sums, plane_mut};
use crate::isa::dispatch;
use crate::planes::valid_lanes;
use crate::simd::Simd;
use crate::streaming::Streaming;
use crate::team::{Cores, Shared};
use crate::{Epilogue, Store};

/// The backward of [`batch_norm`](crate::batch_norm), with the mean and variance that it found. With
/// `x̂ = (x − mean) / √(variance + epsilon)`, `n` values per channel, and `g = dy` (with an activation
/// times its slope at the normalised values, which are computed from `x` again, to the bit):
/// ```text
/// dgamma += Σ g · x̂        dbeta += Σ g
/// dx = gamma / √(variance + epsilon) · (g − Σ g / n − x̂ · Σ g · x̂ / n)
/// ```
/// Lanes without an image count in no sum; their `dx` is 0,
/// or has 0 added. `scratch` is room for [`BatchNorm::scratch`] floats for each of the most parts that there may be.
///
/// # Panics
/// If there is no image or more than there is room for, or a length is not that of its layout or the
/// channels, or there is not room for one part.
pub fn batch_norm_backward<'t>(
    cores: impl Into<Cores<'t>>,
    op: &BatchNorm,
    [x, dy]: [&[f32]; 2],
    found: Statistics<&[f32]>,
    to: BatchNormGradients<'_>,
    scratch: &mut [f32],
) {
    op.check(&[x.len(), dy.len(), to.x.len()], &[found.mean.len(), found.variance.len()]);
    to.check(op);
    assert!(op.images > 0, "the mean of no images");
    match Epilogue::of(op.activation) {
        (_, Some(f)) => {
            let through = Through::Activation { f, dy };
            backward_through(cores.into(), op, x, &through, found, to, scratch);
        }
        (_, None) => backward(cores.into(), op, [x, dy], found, to),
    }
}

fn backward(
    cores: Cores<'_>,
    op: &BatchNorm,
    [x, dy]: [&[f32]; 2],
    Statistics { mean, variance }: Statistics<&[f32]>,
    BatchNormGradients { gamma, beta, x: dx, store }: BatchNormGradients<'_>,
) {
    let streaming = Streaming::new(dx.as_ptr(), dx.len());
    let [dgamma, dbeta, dx] = [gamma, beta, dx].map(Shared::new);
    cores.each_range(op.layout.channels(), op.cost(5), |channels| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            let [x, dy] = [x, dy].map(|t| t.as_chunks().0);
            for channel in channels {
                let affine = Affine::new(s, op, channel, mean[channel], variance[channel]);
                let inputs = [x, dy].map(|t| op.channel(t, channel));
                let sums = channel_gradients(s, op, &affine, inputs);
                // SAFETY: each channel is one part's.
                unsafe {
                    add_sums(dgamma, dbeta, channel, sums);
                    input_gradient(s, op, &affine, inputs, sums, (dx, streaming), store);
                }
            }
        }));
    });
}

/// # Safety
/// Nothing else may use the planes of the channel in `dx` meanwhile; `streaming` must be of `dx`.
#[inline(always)]
pub(super) unsafe fn input_gradient<S: Simd>(
    s: S,
    op: &BatchNorm,
    affine: &Affine<S>,
    [x, dy]: [Channel<'_>; 2],
    sums: [f32; 2],
    (dx, streaming): (Shared<'_, f32>, Streaming),
    store: Store,
) {
    let [minus_dot, mean] = [s.splat(-sums[0] / op.count()), s.splat(sums[1] / op.count())];
    for block in 0..op.layout.blocks() {
        let valid = s.mask(valid_lanes(op.images, block));
        let [x, dy] = [x, dy].map(|t| t.plane(block));
        // SAFETY: the caller's promise.
        let to = unsafe { plane_mut(dx, op.plane(block, affine.channel)) };
        assert_eq!([x.len(), dy.len()], [to.len(); 2], "planes of one size");
        // SAFETY: the caller's promise; planes are whole vectors.
        unsafe {
            streaming.put(
                s,
                to,
                store,
                #[inline(always)]
                |i| {
                    let [deviation, g] = affine.through(s, &x[i], &dy[i]);
                    let centred = s.sub(g, mean);
                    let along = s.mul_add(s.mul(deviation, affine.inverse), minus_dot, centred);
                    s.keep(valid, s.mul(affine.slope, along))
                },
            );
        }
    }
    streaming.finish(s);
}
