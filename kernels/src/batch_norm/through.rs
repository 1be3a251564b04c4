//! The backward pass where a pool, or an activation that is not an epilogue, follows the batch norm. The gradient before it
//! is computed first, a channel at a time, in room that stays in the caches.

use super::add_sums;
use super::backward::input_gradient;
use super::pooled::unpool;
use super::sums::channel_gradients;
use super::{Affine, BatchNorm, BatchNormGradients, Channel, PIECE, Statistics};
use crate::isa::{Isa, dispatch};
use crate::planes::Vector;
use crate::simd::Simd;
use crate::streaming::Streaming;
use crate::team::{Cores, Shared, share};
use crate::{Activation, LANES, Store, activate_backward};

/// What follows a batch norm, with the gradient of the output.
pub(super) enum Through<'a> {
    /// ReLU and a pool, with the output and the operation on the pooled planes.
    Pool { pooled: BatchNorm<'a>, y: &'a [f32], dy: &'a [f32] },
    /// An activation that is not an epilogue.
    Activation { f: Activation, dy: &'a [f32] },
}

/// The gradients of a batch norm. `scratch` has room for a channel for each of the most parts that there may be.
///
/// # Panics
/// If there is no room for one part.
pub(super) fn backward_through(
    cores: Cores<'_>,
    op: &BatchNorm,
    x: &[f32],
    through: &Through<'_>,
    Statistics { mean, variance }: Statistics<&[f32]>,
    BatchNormGradients { gamma, beta, x: dx, store }: BatchNormGradients<'_>,
    scratch: &mut [f32],
) {
    let (room, pixels) = (op.channel_floats(), op.layout.pixels());
    assert!(scratch.len() >= room, "scratch of a batch norm");
    let most = scratch.len() / room.max(1);
    let streaming = Streaming::new(dx.as_ptr(), dx.len());
    let [dgamma, dbeta, dx, scratch] = [gamma, beta, dx, scratch].map(Shared::new);
    let channels = op.layout.channels();
    let parts = cores.parts(channels, op.cost(7)).min(most.max(1));
    cores.run(parts, |part| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            let x = x.as_chunks().0;
            // SAFETY: each part has a place of its own in the room.
            let g = unsafe { scratch.slice(part * room..(part + 1) * room) };
            let g: &mut [Vector] = g.as_chunks_mut().0;
            for channel in share(channels, part, parts) {
                let affine = Affine::new(s, op, channel, mean[channel], variance[channel]);
                let x = op.channel(x, channel);
                match through {
                    Through::Pool { pooled, y, dy } => {
                        let outputs = [y, dy].map(|t| pooled.channel(t.as_chunks().0, channel));
                        unpool(s, op, &affine, x, outputs, g);
                    }
                    Through::Activation { f, dy } => {
                        let dy = op.channel(dy.as_chunks().0, channel);
                        activation_gradient((s, cores.isa), *f, &affine, [x, dy], g);
                    }
                }
                let inputs = [x, Channel { vectors: g, block: pixels, pixels }];
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

/// The gradient of one channel before an activation, to `[blocks][pixels]`.
#[inline(always)]
fn activation_gradient<S: Simd>(
    (s, isa): (S, Isa),
    f: Activation,
    affine: &Affine<S>,
    [x, dy]: [Channel<'_>; 2],
    g: &mut [Vector],
) {
    let mut values = [[0.0; LANES]; PIECE];
    for (block, g) in g.chunks_exact_mut(x.pixels.max(1)).enumerate() {
        let [x, dy] = [x, dy].map(|t| t.plane(block).chunks(PIECE));
        for ((x, dy), g) in x.zip(dy).zip(g.chunks_mut(PIECE)) {
            let values = &mut values[..x.len()];
            for (x, value) in x.iter().zip(&mut *values) {
                s.store(value, affine.output(s, s.sub(s.load(x), affine.mean)));
            }
            let [values, dy] = [&*values, dy].map(|t| t.as_flattened());
            activate_backward(isa, f, values, dy, g.as_flattened_mut(), Store::Overwrite);
        }
    }
}
