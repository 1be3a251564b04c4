//! The backward of the norms of single images.

use super::{ImageNorm, NormSets, Parameter, Set};
use crate::isa::dispatch;
use crate::planes::{Vector, in_chains, valid_lanes};
use crate::pointwise::put;
use crate::simd::Simd;
use crate::team::{Cores, Shared};
use crate::{LANES, Store};

/// Where the gradients of the norm of single images go.
#[derive(Debug)]
pub struct ImageNormGradients<'a> {
    /// Added to: the gradient of the scale; as many as there are scales.
    pub gamma: &'a mut [f32],
    /// Added to: the gradient of the shift; as many as there are shifts.
    pub beta: &'a mut [f32],
    /// The gradient of the input and how it is stored, where it is wanted.
    pub x: Option<(&'a mut [f32], Store)>,
}

/// The backward of [`image_norm`](super::image_norm), with the statistics that it kept. With
/// `x̂ = (x − mean) / √(variance + epsilon)`, `n` values per set and `g = gamma · dy`:
/// ```text
/// dgamma += Σ dy · x̂      dbeta += Σ dy
/// dx = (g − Σ g / n − x̂ · Σ g · x̂ / n) / √(variance + epsilon)
/// ```
/// The sums for a parameter: for each block, lane by lane, its pixels in two chains as in a set, then lanes without an
/// image are left out; the blocks in order; then the lanes by halving. The `dx` of lanes without an image is 0, or has 0
/// added. The unused vectors of `dx` are left alone.
///
/// # Panics
/// If the groups do not divide the channels, or a length is not that of the layout, of the parameters, or of
/// [`ImageNorm::statistics`].
pub fn image_norm_backward<'t>(
    cores: impl Into<Cores<'t>>,
    op: &ImageNorm,
    [x, dy]: [&[f32]; 2],
    statistics: &[f32],
    ImageNormGradients { gamma, beta, x: dx }: ImageNormGradients<'_>,
) {
    let cores = cores.into();
    op.check(&[x.len(), dy.len()], statistics.len());
    assert_eq!(gamma.len(), op.gamma.len(), "scales, and their gradients");
    assert_eq!(beta.len(), op.beta.len(), "shifts, and their gradients");
    let tensors = Tensors { op, x: x.as_chunks().0, dy: dy.as_chunks().0, statistics };
    if let Some((dx, store)) = dx {
        op.check(&[dx.len()], statistics.len());
        tensors.input_gradients(cores, store, dx);
    }
    // Of each channel: either one sum or one for each pixel.
    tensors.parameter_gradients(cores, gamma, true);
    tensors.parameter_gradients(cores, beta, false);
}

struct Tensors<'a> {
    op: &'a ImageNorm<'a>,
    x: &'a [Vector],
    dy: &'a [Vector],
    statistics: &'a [f32],
}

impl Tensors<'_> {
    /// Mean and inverse deviation of a set, counted through all blocks.
    #[inline(always)]
    fn found<S: Simd>(&self, s: S, set: usize) -> [S::Vector; 2] {
        let vectors = self.statistics.as_chunks().0;
        [s.load(&vectors[2 * set]), s.load(&vectors[2 * set + 1])]
    }

    /// `x̂` and `g` at a place.
    #[inline(always)]
    fn at<S: Simd>(
        &self,
        s: S,
        [mean, inverse]: [S::Vector; 2],
        gamma: S::Vector,
        at: usize,
    ) -> [S::Vector; 2] {
        let normalised = s.mul(s.sub(s.load(&self.x[at]), mean), inverse);
        [normalised, s.mul(gamma, s.load(&self.dy[at]))]
    }

    /// A part has some sets.
    fn input_gradients(&self, cores: Cores<'_>, store: Store, dx: &mut [f32]) {
        let (op, dx) = (self.op, Shared::new(dx));
        cores.each_range(op.layout.blocks() * op.sets(), op.cost(5), |sets| {
            dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
                for number in sets {
                    let valid = valid_lanes(op.images, number / op.sets());
                    // SAFETY: each set is one part's.
                    unsafe { self.input_gradient(s, &op.set(number), number, valid, store, dx) };
                }
            }));
        });
    }

    /// # Safety
    /// Nothing else may use the vectors of the set in `dx` meanwhile.
    #[inline(always)]
    unsafe fn input_gradient<S: Simd>(
        &self,
        s: S,
        set: &Set,
        number: usize,
        valid: u16,
        store: Store,
        dx: Shared<'_, f32>,
    ) {
        let found = self.found(s, number);
        let gamma = Parameter::new(self.op.gamma, &self.op.layout, &[1.0]);
        let [dot, sum] = set.sums::<S, 2, 2>(
            s,
            #[inline(always)]
            |channel, pixel, at, [dot, sum]| {
                let [normalised, g] = self.at(s, found, gamma.get(s, channel, pixel), at);
                [s.mul_add(g, normalised, dot), s.add(sum, g)]
            },
        );
        let count = s.splat(set.count());
        let minus_dot = s.sub(s.zero(), s.div(dot, count));
        let mean_g = s.div(sum, count);
        for channel in set.channels.clone() {
            for pixel in set.pixels.clone() {
                let at = set.at(channel, pixel);
                let [normalised, g] = self.at(s, found, gamma.get(s, channel, pixel), at);
                let along = s.mul_add(normalised, minus_dot, s.sub(g, mean_g));
                // SAFETY: the caller's promise.
                let to = unsafe { dx.slice(at * LANES..(at + 1) * LANES) };
                let value = s.keep(s.mask(valid), s.mul(found[1], along));
                put(s, &mut to.as_chunks_mut().0[0], value, store);
            }
        }
    }

    /// The gradients of all scales, or of all shifts. A part has those of some channels.
    fn parameter_gradients(&self, cores: Cores<'_>, to: &mut [f32], scale: bool) {
        let layout = &self.op.layout;
        let channels = layout.channels();
        let each = to.len().checked_div(channels).unwrap_or(0);
        if each == 0 {
            return;
        }
        let runs = layout.pixels() / each;
        let to = Shared::new(to);
        cores.each_range(channels, self.op.cost(2), |channels| {
            dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
                for channel in channels {
                    // SAFETY: each channel is one part's.
                    let to = unsafe { to.slice(channel * each..(channel + 1) * each) };
                    for (pixel, to) in (0..).step_by(runs).zip(to) {
                        *to += self.parameter_sum(s, channel, pixel..pixel + runs, scale);
                    }
                }
            }));
        });
    }

    /// `Σ dy · x̂`, or `Σ dy`, over some pixels of a channel.
    #[inline(always)]
    fn parameter_sum<S: Simd>(
        &self,
        s: S,
        channel: usize,
        pixels: std::ops::Range<usize>,
        scale: bool,
    ) -> f32 {
        let (op, layout) = (self.op, &self.op.layout);
        let mut total = s.zero();
        for block in 0..layout.blocks() {
            let start = (block * layout.channels() + channel) * layout.plane() + pixels.start;
            let [sum] = in_chains::<S, 1, 2>(
                s,
                pixels.len(),
                #[inline(always)]
                |i, [sum]| {
                    let dy = s.load(&self.dy[start + i]);
                    if !scale {
                        return [s.add(sum, dy)];
                    }
                    let set = match op.sets {
                        NormSets::Groups(groups) => channel / (layout.channels() / groups),
                        NormSets::Pixels => pixels.start + i,
                    };
                    let [mean, inverse] = self.found(s, block * op.sets() + set);
                    let deviation = s.sub(s.load(&self.x[start + i]), mean);
                    [s.mul_add(dy, s.mul(deviation, inverse), sum)]
                },
            );
            let valid = s.mask(valid_lanes(op.images, block));
            total = s.add(total, s.keep(valid, sum));
        }
        s.sum(total)
    }
}
