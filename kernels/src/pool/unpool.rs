//! The backward of a max-pool (and ReLU) that is fused into the convolution before it.

use super::clear;
use crate::isa::dispatch;
use crate::planes::Vector;
use crate::simd::Simd;
use crate::team::{Cores, Cost, Shared};
use crate::{LANES, Layout};
use std::ops::Range;

/// The gradient of the outputs of a convolution that were reduced by ReLU and 2×2 max-pooling at
/// once, from the gradient of the pooled ones.
///
/// `masks[(block · channels + channel) · pixels + pixel]` says, for a pooled pixel (densely, without
/// the unused vectors of a layout), which of its four inputs (0,0), (0,1), (1,0), (1,1) each lane
/// took: at most one of the four bits of a lane is set, none where ReLU gave 0. `dy` of layout `full`
/// gets `dy_pooled` of layout `pooled` in the lanes set and 0 in the others, in a last row or column
/// that no window covers too; its unused vectors are left alone. `db[c] +=` the sum of `dy`, with the
/// bits of [`crate::channel_sums`]: for each block the even rows and the odd rows apart, pixels in
/// order, then their sum, then the lanes by halving.
///
/// # Panics
/// If `pooled` is not half of `full`, or a length is not that of its layout.
pub fn unpool<'t>(
    cores: impl Into<Cores<'t>>,
    masks: &[[u16; 4]],
    dy_pooled: &[f32],
    pooled: &Layout,
    full: &Layout,
    dy: &mut [f32],
    db: Option<&mut [f32]>,
) {
    let halved = full.with_size(full.size().map(|n| n / 2));
    assert_eq!(*pooled, halved, "the pooled layout, and half of the full one");
    let channels = full.channels();
    assert_eq!(masks.len(), full.blocks() * channels * pooled.pixels(), "masks, and pooled pixels");
    assert_eq!(dy_pooled.len(), pooled.len(), "length of dy_pooled, and of its layout");
    assert_eq!(dy.len(), full.len(), "length of dy, and of its layout");
    if let Some(db) = &db {
        assert_eq!(db.len(), channels, "length of db, and channels");
    }
    let planes = Planes { masks, from: dy_pooled.as_chunks().0, pooled, full };
    planes.run_parts(cores.into(), dy, db);
}

struct Planes<'a> {
    masks: &'a [[u16; 4]],
    from: &'a [Vector],
    pooled: &'a Layout,
    full: &'a Layout,
}

impl Planes<'_> {
    /// A part has some channels.
    fn run_parts(&self, cores: Cores<'_>, dy: &mut [f32], db: Option<&mut [f32]>) {
        let cost = Cost::floats(dy.len());
        let (dy, db) = (Shared::new(dy), db.map(Shared::new));
        cores.each_range(self.full.channels(), cost, |channels| {
            // SAFETY: each channel is one part's.
            let db = db.map(|db| unsafe { db.slice(channels.clone()) });
            dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
                // SAFETY: as above.
                unsafe { self.run(s, channels, dy, db) }
            }));
        });
    }

    /// # Safety
    /// Nothing else may use the planes of these channels in `to` meanwhile.
    #[inline(always)]
    unsafe fn run<S: Simd>(
        &self,
        s: S,
        channels: Range<usize>,
        to: Shared<'_, f32>,
        mut db: Option<&mut [f32]>,
    ) {
        let Planes { masks, from, pooled, full } = *self;
        for block in 0..full.blocks() {
            // Sixteen channels share the shuffles that add their lanes.
            for first in channels.clone().step_by(LANES) {
                let group = first..channels.end.min(first + LANES);
                let mut sums = [s.zero(); LANES];
                for (sum, channel) in sums.iter_mut().zip(group.clone()) {
                    let plane = block * full.channels() + channel;
                    let masks = &masks[plane * pooled.pixels()..][..pooled.pixels()];
                    let from = &from[plane * pooled.plane()..][..pooled.pixels()];
                    let start = plane * full.plane() * LANES;
                    // SAFETY: the caller's promise.
                    let to = unsafe { to.slice(start..start + full.pixels() * LANES) };
                    *sum = unpool_plane(s, masks, from, to.as_chunks_mut().0, full.size()[1]);
                }
                if let Some(db) = &mut db {
                    let db = &mut db[group.start - channels.start..group.end - channels.start];
                    s.store_partial(db, s.add(s.load_partial(db), s.sums(sums)));
                }
            }
        }
    }
}

/// Writes a plane and returns its sum, lane by lane.
#[inline(always)]
fn unpool_plane<S: Simd>(
    s: S,
    masks: &[[u16; 4]],
    from: &[Vector],
    to: &mut [Vector],
    width: usize,
) -> S::Vector {
    // Squares leave out the last row or column where their number is odd.
    if to.len() != 4 * from.len() {
        clear(s, to);
    }
    let (mut even, mut odd) = (s.zero(), s.zero());
    let half = (width / 2).max(1);
    let rows = from.chunks_exact(half).zip(masks.chunks_exact(half));
    for (to, (from, masks)) in to.chunks_exact_mut(2 * width.max(1)).zip(rows) {
        let (top, bottom) = to.split_at_mut(width);
        let squares = top.as_chunks_mut().0.iter_mut().zip(bottom.as_chunks_mut().0);
        for (([a, b], [c, d]), (dy, masks)) in squares.zip(from.iter().zip(masks)) {
            let dy = s.load(dy);
            for (to, mask) in [a, b, c, d].into_iter().zip(masks) {
                s.store(to, s.keep(s.mask(*mask), dy));
            }
            even = s.add(even, s.keep(s.mask(masks[0] | masks[1]), dy));
            odd = s.add(odd, s.keep(s.mask(masks[2] | masks[3]), dy));
        }
    }
    s.add(even, odd)
}
