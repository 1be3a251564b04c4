//! The weight gradient, some strips at a time.
//!
//! Parts share the transforms of as many strips as there are parts, then the sixteen elements of the
//! products over them: an element's sum is one part's, strip after strip.

use super::pairs::gradient_pairs;
use super::transform::{gradient_tiles, input_tiles};
use super::{ELEMENTS, Strips, Winograd, matrix, weights};
use crate::im2col::Im2col;
use crate::isa::{dispatch, dispatch_bf16};
use crate::linear_weight_gradient::{Group, KC, Operand};
use crate::simd::Floats;
use crate::team::{Cores, Cost, Shared, share};
use crate::{LANES, Precision, tile};
use std::ops::Range;

/// dW += dY · Xᵀ: [`weight_gradient`](crate::weight_gradient) of the same convolution, but for rounding. Lanes
/// without an image must be zero in `dy` and finite in `x`. `scratch` is room for at least one part,
/// [`Winograd::scratch_of`], and there are no more parts than that.
///
/// # Panics
/// If a slice has not the length that the plan says.
pub fn winograd_weight_gradient<'t>(
    cores: impl Into<Cores<'t>>,
    plan: &Winograd,
    x: &[f32],
    dy: &[f32],
    scratch: &mut [f32],
    dw: &mut [f32],
) {
    plan.check(x.len(), dy.len(), scratch.len());
    let (cores, strips) = (cores.into(), &plan.weight);
    let (du, scratch) = scratch.split_at_mut(ELEMENTS * plan.channels());
    let (zeros, room) = scratch.split_at_mut(strips.zeros());
    zeros.fill(0.0);
    let blocks = x.len() / plan.convolution.input().block_len().max(1);
    let count = blocks * strips.count();
    let most = plan.parts(strips, strips.zeros() + room.len());
    let parts = cores.parts(most, Cost::products(blocks * strips.work())).min(count).max(1);
    if count == 0 {
        return;
    }
    let gradient = Gradient { strips, precision: plan.precision, x, dy, zeros: &*zeros };
    for first in (0..count).step_by(parts) {
        let numbers = first..count.min(first + parts);
        gradient.transform(cores, parts, numbers.clone(), room);
        gradient.multiply(cores, parts, numbers, room, du);
    }
    weights::gradient(cores, &plan.convolution, du, dw);
}

struct Gradient<'a> {
    strips: &'a Strips,
    precision: Precision,
    x: &'a [f32],
    dy: &'a [f32],
    zeros: &'a [f32],
}

impl Gradient<'_> {
    /// The transforms of some strips of all blocks: a part does a share of their planes.
    fn transform(&self, cores: Cores<'_>, parts: usize, numbers: Range<usize>, room: &mut [f32]) {
        let strips = self.strips;
        let (input, output) = (strips.convolution.input(), strips.convolution.output());
        let planes = input.channels() + output.channels();
        let [v_len, g_len] = strips.matrices();
        let room = Shared::new(room);
        cores.run(parts, |part| {
            let share = share(numbers.len() * planes, part, parts);
            for i in 0..numbers.len() {
                let number = numbers.start + i;
                let (block, strip) =
                    (number / strips.count(), strips.strip(number % strips.count()));
                let own = |n: usize| n.saturating_sub(i * planes).min(planes);
                let own = own(share.start)..own(share.end);
                let of_x = own.start.min(input.channels())..own.end.min(input.channels());
                let of_dy = own.start.max(input.channels())..own.end.max(input.channels());
                let of_dy = of_dy.start - input.channels()..of_dy.end - input.channels();
                let at = i * (v_len + g_len);
                let x = &self.x[block * input.block_len()..][..input.block_len()];
                let dy = &self.dy[block * output.block_len()..][..output.block_len()];
                let (tiles_of_x, tiles_of_dy) = (strips.input(&strip), strips.output(&strip));
                let [v, g] = [room.from(at), room.from(at + v_len)];
                // SAFETY: each plane of each strip is one part's.
                dispatch!(cores.isa, s => unsafe {
                    input_tiles(s, &tiles_of_x, of_x, [x, self.zeros], v);
                });
                match self.precision {
                    // SAFETY: as above.
                    Precision::F32 => dispatch!(cores.isa, s => unsafe {
                        gradient_tiles(s, &tiles_of_dy, of_dy, dy, g);
                    }),
                    // SAFETY: as above.
                    Precision::Bf16 => dispatch_bf16!(cores.isa, (s, a) => unsafe {
                        gradient_pairs((s, a), &tiles_of_dy, of_dy, dy, g);
                    }),
                }
            }
        });
    }

    /// Adds the products over some transformed strips, strip after strip, to nothing where they are the first:
    /// a part does some elements, or some of their outputs.
    fn multiply(
        &self,
        cores: Cores<'_>,
        parts: usize,
        numbers: Range<usize>,
        room: &[f32],
        du: &mut [f32],
    ) {
        let strips = self.strips;
        let [inputs, outputs] =
            [strips.convolution.input(), strips.convolution.output()].map(|l| l.channels());
        let [v_len, g_len] = strips.matrices();
        // Each cut of the outputs turns the tiles around again.
        let time = |cuts: &usize| (ELEMENTS * cuts).div_ceil(parts) * (1000 / cuts + 40);
        let cuts = (1..=outputs.div_ceil(LANES).max(1)).min_by_key(time).unwrap_or(1);
        let du = Shared::new(du);
        cores.run(parts, |part| {
            for job in share(ELEMENTS * cuts, part, parts) {
                let (element, rows) = (job / cuts, share(outputs, job % cuts, cuts));
                let first = element * inputs * outputs;
                let place = first + rows.start * inputs..first + rows.end * inputs;
                // SAFETY: these outputs of this element are this part's.
                let du = unsafe { du.slice(place) };
                if numbers.start == 0 {
                    du.fill(0.0);
                }
                for (i, number) in numbers.clone().enumerate() {
                    let strip = strips.strip(number % strips.count());
                    let Im2col { source, target, .. } = strips.product(&strip);
                    let at = i * (v_len + g_len);
                    let floats = &room[at + element * matrix(source)..];
                    let v = Operand { floats, count: inputs, stride: source.plane() * LANES };
                    // Of dY, images are in pairs.
                    let vector = match self.precision {
                        Precision::F32 => LANES,
                        Precision::Bf16 => LANES / 2,
                    };
                    let stride = target.plane() * vector;
                    let g = &room[at + v_len + element * matrix(target) / LANES * vector..];
                    let g = &g[rows.start * stride..];
                    let row = |m: usize| [m * stride, m * inputs];
                    for group in self.groups(&strip.columns) {
                        let group = Group::new(group.map(|tile| [tile * vector, tile * LANES]));
                        let rows = (rows.len(), &row);
                        match self.precision {
                            Precision::F32 => {
                                dispatch!(cores.isa, s => group.run((s, Floats), rows, g, v, du));
                            }
                            Precision::Bf16 => {
                                dispatch_bf16!(cores.isa, (s, a) => group.run((s, a), rows, g, v, du));
                            }
                        }
                    }
                }
            }
        });
    }

    /// The groups of tiles over which one sum goes, counted from a strip's first tile.
    fn groups(&self, columns: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let Strips { rows, pieces, tiles, .. } = self.strips;
        // A piece of a row begins and ends with a group of the row.
        let (first, last) =
            if *pieces == 1 { (0, usize::MAX) } else { (columns.start, columns.end) };
        let groups = tile::split(rows * tiles[1], KC);
        let own = groups.filter(move |&(start, len)| start >= first && start + len <= last);
        own.map(move |(start, len)| start - first..start - first + len)
    }
}
