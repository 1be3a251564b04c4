//! Activations with sixteen channels to a vector, rounded to bfloat16.

use crate::team::Cores;
use crate::{LANES, Layout, pack_neighbours};

/// Activations of so many channels for products in [bfloat16](crate::round_to_bf16): the sixteen channels of a vector as
/// eight pairs, the even channel in the lower half, in half the floats. An odd last channel is paired with a zero; what
/// is beyond it is of no meaning.
///
/// # Panics
/// If the layout is not one of so many channels, or a slice has not its length.
pub fn pack_channel_pairs<'t>(
    cores: impl Into<Cores<'t>>,
    layout: &Layout,
    channels: usize,
    x: &[f32],
    to: &mut [f32],
) {
    assert_eq!(layout.blocks(), channels.div_ceil(LANES), "panels of {channels} channels");
    assert_eq!(x.len(), layout.len(), "activations to pack");
    pack_neighbours(cores, x, to);
    let last = channels / LANES * layout.block_len() / 2;
    drop_odd(channels, &mut to[last..]);
}

/// Has zeros for the partners of an odd last channel, in the vectors of pairs of the last panel.
pub(crate) fn drop_odd(channels: usize, panel: &mut [f32]) {
    if channels % 2 == 1 {
        let pair = channels % LANES / 2;
        for pairs in panel.chunks_exact_mut(LANES / 2) {
            pairs[pair] = f32::from_bits(pairs[pair].to_bits() & 0xffff);
        }
    }
}
