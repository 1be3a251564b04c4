//! Sixteen channels to a vector: inference for one image or a few, which fill few lanes of a vector of images.
//!
//! The roles of the operands of [`implicit_gemm`](crate::implicit_gemm) are exchanged: a vector holds the
//! weights of sixteen output channels for one tap, and a scalar of X is broadcast to them.
//!
//! ```text
//! y[o][j] = epilogue( start[o] + Σ_t w[o][t] · X(t, j) )      t in natural order: channel, ky, kx
//! ```
//!
//! Each output is the same chain of fused multiply-adds in the same order as there, over the same
//! taps (those in the padding are left out), so its bits are the same. A chain is never shared by lanes;
//! what is parallel are outputs.
//!
//! Activations are `[C/16][N][H][W][16]`: a [`Layout`] whose blocks are *panels* of sixteen channels and whose
//! channels are images. What works value by value or plane by plane (activations, addition, pooling) is the
//! same kernel for both. Lanes beyond the last channel hold anything; weights of outputs beyond the last are
//! zero, and no chain reads such a lane.
//!
//! In bfloat16 ([`ChannelConvolution::with_precision`]) a lane of a vector of weights has those of two channels, and what is
//! broadcast are pairs of activations: the steps of [`Convolution::forward_bf16`](crate::Convolution::forward_bf16).
//!
//! A call computes a [`Part`] of its output, whose floats are neighbours; who computes which part is
//! decided elsewhere.

mod groups;
mod pairs;
mod part;
mod pointwise;
mod product;
mod regions;
mod tile;

pub(crate) use pairs::drop_odd;
pub use pairs::pack_channel_pairs;
pub use part::Part;
pub use pointwise::{
    channel_affine, flatten_channels, load_channels, load_float_channels, place_channels,
    relu_max_pool_channels, rows_of_channels,
};
pub use product::{ChannelConvolution, ChannelOperands};
pub(crate) use tile::{Chains, columns_of_tiles};

use crate::{LANES, Layout};

/// The layout of the activations of some images with sixteen channels to a vector.
///
/// # Panics
/// If no slice is that long.
pub fn channel_layout(images: usize, channels: usize, size: [usize; 2]) -> Layout {
    Layout::new(channels.div_ceil(LANES), images, size)
}

/// Weights `[outputs][taps]` in panels of sixteen outputs, `[outputs / 16][taps][16]`; outputs beyond
/// the last are zero.
///
/// # Panics
/// If the lengths are not those.
pub fn pack_panels(weights: &[f32], outputs: usize, to: &mut [f32]) {
    let taps = weights.len() / outputs.max(1);
    assert_eq!(weights.len(), outputs * taps, "weights of {outputs} outputs");
    assert_eq!(to.len(), outputs.next_multiple_of(LANES) * taps, "weights in panels");
    to.fill(0.0);
    if to.is_empty() {
        return;
    }
    for (rows, panel) in weights.chunks(LANES * taps).zip(to.chunks_exact_mut(LANES * taps)) {
        for (lane, row) in rows.chunks_exact(taps).enumerate() {
            for (weight, vector) in row.iter().zip(panel.chunks_exact_mut(LANES)) {
                vector[lane] = *weight;
            }
        }
    }
}
