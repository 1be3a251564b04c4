//! Normalisation of each image by itself: group, instance and layer norm.
//!
//! The values of an image fall into *sets*, each of which is normalised by its own mean and variance. An image is a
//! lane, so no sum of a set crosses lanes, and an image's result does not depend on the others. A set is a rectangle of
//! channels × pixels. Its sums: for each channel in order, pixel `i` goes to chain `i mod 4` of four chains of
//! additions (of two, where two sums are taken at once), the chains are added by halving, then the pixels that do not
//! fill all chains in order; of sets of one pixel, channels take the place of pixels.

mod backward;
pub use backward::{ImageNormGradients, image_norm_backward};

use crate::isa::dispatch;
use crate::planes::{Vector, in_chains};
use crate::simd::Simd;
use crate::team::{Cores, Cost, Shared};
use crate::{LANES, Layout};
use std::ops::Range;

/// Which values of an image have a mean and a variance of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormSets {
    /// So many groups of as many channels, with all their pixels: group norm. One group is layer norm over channels
    /// and pixels, a group per channel instance norm.
    Groups(usize),
    /// The channels of each pixel: layer norm over channels.
    Pixels,
}

/// `y = gamma · (x − mean) / √(variance + epsilon) + beta`, with the mean and the biased variance of each set.
///
/// `gamma` and `beta` hold a value for each channel, or one for each channel and pixel (`[channels][pixels]`), or are
/// empty: 1 and 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageNorm<'a> {
    /// The layout of `x` and `y`.
    pub layout: Layout,
    /// The number of images; lanes beyond them count in no gradient.
    pub images: usize,
    /// What is normalised together.
    pub sets: NormSets,
    /// The scale.
    pub gamma: &'a [f32],
    /// The shift.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

impl ImageNorm<'_> {
    /// Sets of an image.
    #[inline(always)]
    fn sets(&self) -> usize {
        match self.sets {
            NormSets::Groups(groups) => groups,
            NormSets::Pixels => self.layout.pixels(),
        }
    }

    /// The floats that [`image_norm`] keeps for [`image_norm_backward`]: mean and inverse deviation of each set.
    pub fn statistics(&self) -> usize {
        self.layout.blocks().saturating_mul(self.sets()).saturating_mul(2 * LANES)
    }

    #[track_caller]
    fn check(&self, tensors: &[usize], statistics: usize) {
        let layout = &self.layout;
        let (channels, pixels) = (layout.channels(), layout.pixels());
        if let NormSets::Groups(groups) = self.sets {
            let whole = groups > 0 && channels.is_multiple_of(groups);
            assert!(whole, "{channels} channels in {groups} groups");
        }
        for len in tensors {
            assert_eq!(*len, layout.len(), "length of a tensor, and of its layout");
        }
        for len in [self.gamma.len(), self.beta.len()] {
            let fits = [0, channels, channels * pixels].contains(&len);
            assert!(fits, "{len} values for {channels} channels of {pixels} pixels");
        }
        assert_eq!(statistics, self.statistics(), "length of the statistics");
        let room = layout.blocks() * LANES;
        assert!(self.images <= room, "{} images in room for {room}", self.images);
    }

    /// Of so many passes over the tensor.
    fn cost(&self, passes: usize) -> Cost {
        Cost::vectors(self.layout.len() / LANES * passes / 2)
    }

    /// A set, counted through all blocks.
    #[inline(always)]
    fn set(&self, number: usize) -> Set {
        let layout = &self.layout;
        let (block, set) = (number / self.sets(), number % self.sets());
        let start = block * layout.channels() * layout.plane();
        match self.sets {
            NormSets::Groups(groups) => {
                let count = layout.channels() / groups;
                let channels = set * count..(set + 1) * count;
                Set { start, plane: layout.plane(), channels, pixels: 0..layout.pixels() }
            }
            NormSets::Pixels => {
                let channels = 0..layout.channels();
                Set { start, plane: layout.plane(), channels, pixels: set..set + 1 }
            }
        }
    }
}

/// A rectangle of the vectors of a block.
struct Set {
    /// The block's first vector.
    start: usize,
    /// Vectors from one channel to the next.
    plane: usize,
    channels: Range<usize>,
    pixels: Range<usize>,
}

impl Set {
    #[inline(always)]
    fn count(&self) -> f32 {
        (self.channels.len() * self.pixels.len()) as f32
    }

    /// The place of a vector.
    #[inline(always)]
    fn at(&self, channel: usize, pixel: usize) -> usize {
        self.start + channel * self.plane + pixel
    }

    /// `N` sums, lane by lane; `step` adds the term of a channel and a pixel, whose vector is at a place, to each. It
    /// must be `#[inline(always)]`.
    #[inline(always)]
    fn sums<S: Simd, const N: usize, const CHAINS: usize>(
        &self,
        s: S,
        step: impl Fn(usize, usize, usize, [S::Vector; N]) -> [S::Vector; N],
    ) -> [S::Vector; N] {
        let (channels, pixels) = (self.channels.clone(), self.pixels.clone());
        if let Range { start: pixel, end } = pixels
            && end == pixel + 1
        {
            return in_chains::<S, N, CHAINS>(
                s,
                channels.len(),
                #[inline(always)]
                |i, sums| {
                    let channel = channels.start + i;
                    step(channel, pixel, self.at(channel, pixel), sums)
                },
            );
        }
        let mut totals = [s.zero(); N];
        for channel in channels {
            let sums = in_chains::<S, N, CHAINS>(
                s,
                pixels.len(),
                #[inline(always)]
                |i, sums| {
                    let pixel = pixels.start + i;
                    step(channel, pixel, self.at(channel, pixel), sums)
                },
            );
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = s.add(*total, sum);
            }
        }
        totals
    }
}

/// A scale or shift: of each channel, of each channel and pixel, or one for all.
#[derive(Clone, Copy)]
struct Parameter<'a> {
    values: &'a [f32],
    channel: usize,
    pixel: usize,
}

impl<'a> Parameter<'a> {
    #[inline(always)]
    fn new(values: &'a [f32], layout: &Layout, all: &'a [f32; 1]) -> Parameter<'a> {
        match values.len() {
            0 => Parameter { values: all, channel: 0, pixel: 0 },
            len if len == layout.channels() => Parameter { values, channel: 1, pixel: 0 },
            _ => Parameter { values, channel: layout.pixels(), pixel: 1 },
        }
    }

    #[inline(always)]
    fn get<S: Simd>(&self, s: S, channel: usize, pixel: usize) -> S::Vector {
        s.splat(self.values[channel * self.channel + pixel * self.pixel])
    }
}

/// Normalises; keeps mean and inverse deviation of each set in `statistics`. The variance is a second pass over the
/// deviations from the mean. The unused vectors of `y` are left alone.
///
/// # Panics
/// If the groups do not divide the channels, or a length is not that of the layout or of [`ImageNorm::statistics`].
pub fn image_norm<'t>(
    cores: impl Into<Cores<'t>>,
    op: &ImageNorm,
    x: &[f32],
    statistics: &mut [f32],
    y: &mut [f32],
) {
    op.check(&[x.len(), y.len()], statistics.len());
    run(cores.into(), op, x, statistics, y);
}

/// A part has some sets.
fn run(cores: Cores<'_>, op: &ImageNorm, x: &[f32], statistics: &mut [f32], y: &mut [f32]) {
    let [statistics, y] = [statistics, y].map(Shared::new);
    cores.each_range(op.layout.blocks() * op.sets(), op.cost(4), |sets| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for number in sets {
                // SAFETY: each set is one part's.
                let found = unsafe { statistics.slice(number * 2 * LANES..(number + 1) * 2 * LANES) };
                // SAFETY: as above.
                unsafe { normalise(s, op, &op.set(number), x.as_chunks().0, found, y) };
            }
        }));
    });
}

/// # Safety
/// Nothing else may use the vectors of the set in `y` meanwhile.
#[inline(always)]
unsafe fn normalise<S: Simd>(
    s: S,
    op: &ImageNorm,
    set: &Set,
    x: &[Vector],
    found: &mut [f32],
    y: Shared<'_, f32>,
) {
    let count = s.splat(set.count());
    let [sum] = set.sums::<S, 1, 4>(
        s,
        #[inline(always)]
        |_, _, at, [sum]| [s.add(sum, s.load(&x[at]))],
    );
    let mean = s.div(sum, count);
    let [squares] = set.sums::<S, 1, 4>(
        s,
        #[inline(always)]
        |_, _, at, [sum]| {
            let deviation = s.sub(s.load(&x[at]), mean);
            [s.mul_add(deviation, deviation, sum)]
        },
    );
    let variance = s.add(s.div(squares, count), s.splat(op.epsilon));
    let inverse = s.div(s.splat(1.0), s.sqrt(variance));
    let [to_mean, to_inverse] = found.as_chunks_mut().0 else { unreachable!("two vectors") };
    s.store(to_mean, mean);
    s.store(to_inverse, inverse);
    let gamma = Parameter::new(op.gamma, &op.layout, &[1.0]);
    let beta = Parameter::new(op.beta, &op.layout, &[0.0]);
    for channel in set.channels.clone() {
        for pixel in set.pixels.clone() {
            let at = set.at(channel, pixel);
            let slope = s.mul(gamma.get(s, channel, pixel), inverse);
            let deviation = s.sub(s.load(&x[at]), mean);
            let value = s.mul_add(deviation, slope, beta.get(s, channel, pixel));
            // SAFETY: the caller's promise.
            let to = unsafe { y.slice(at * LANES..(at + 1) * LANES) };
            s.store(&mut to.as_chunks_mut().0[0], value);
        }
    }
}
