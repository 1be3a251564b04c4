//! Images on their way to a tape: bytes of a split, sixteen images to a block of lanes.

use crate::augment::Augmentation;
use autograd::{Tape, Tensor, Var};
use dataset::Split;
use kernels::{Cores, Cost, Isa, LANES, Layout};
use std::array;
use std::ops::Range;

/// The scaling of pixels: value = pixel · scale + shift, per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Scaling {
    /// (pixel / 255 − mean) / std for this many channels; mean and std hold one value or one per
    /// channel.
    #[must_use]
    pub fn new(channels: usize, mean: &[f64], std: &[f64]) -> Scaling {
        let of = |values: &[f64], c: usize| values[c.min(values.len() - 1)];
        let scale = (0..channels).map(|c| (1.0 / (255.0 * of(std, c))) as f32).collect();
        let shift = (0..channels).map(|c| (-of(mean, c) / of(std, c)) as f32).collect();
        Scaling { scale, shift }
    }

    /// Writes images 0, 1, … where a layout with channels in lanes has them; `image` as for [`Scaling::input`].
    pub(crate) fn channels<B: AsRef<[u8]>>(
        &self,
        isa: Isa,
        layout: &Layout,
        image: impl Fn(usize) -> B,
        to: &mut [f32],
    ) {
        let values = self.scale.len() * layout.pixels();
        for i in 0..layout.channels() {
            let affine = [&self.scale[..], &self.shift];
            let image = image(i);
            match floats(image.as_ref(), values) {
                Some(image) => kernels::load_float_channels(isa, image, layout, i, affine, to),
                None => kernels::load_channels(isa, image.as_ref(), layout, i, affine, to),
            }
        }
    }

    /// Puts images 0, 1, … of this shape (channels, rows, columns) on a tape. `image` gives the bytes
    /// of each: rows of pixels, the channels of a pixel side by side; four for each value where they are `f32`, as
    /// [`Split::value_len`] says.
    pub fn input<B: AsRef<[u8]>>(
        &self,
        tape: &mut Tape<'_>,
        images: usize,
        [channels, height, width]: [usize; 3],
        image: impl Fn(usize) -> B,
    ) -> Var {
        let cores = tape.cores();
        tape.input(images, channels, [height, width], |tensor: &mut Tensor| {
            let block = tensor.layout().with_blocks(1);
            let blocks = tensor.data_mut().chunks_exact_mut(block.len());
            for (first, out) in (0..images).step_by(LANES).zip(blocks) {
                let lanes = LANES.min(images - first);
                let found: [Option<B>; LANES] =
                    array::from_fn(|lane| (lane < lanes).then(|| image(first + lane)));
                let bytes = found.each_ref().map(|image| image.as_ref().map_or(&[][..], B::as_ref));
                let (scale, shift) = (&self.scale, &self.shift);
                let values = channels * block.pixels();
                match floats(bytes[0], values) {
                    Some(_) => {
                        let of_lane = |bytes| floats(bytes, values).unwrap_or_default();
                        let images = bytes.map(of_lane);
                        let images = &images[..lanes];
                        kernels::load_float_images(cores, images, &block, scale, shift, out);
                    }
                    None => {
                        kernels::load_images(cores, &bytes[..lanes], &block, scale, shift, out);
                    }
                }
            }
        })
    }
}

/// The values of an image that has so many, if they are `f32` and not bytes.
fn floats(image: &[u8], values: usize) -> Option<&[[u8; 4]]> {
    let (floats, rest) = image.as_chunks();
    (rest.is_empty() && floats.len() == values && values > 0).then_some(floats)
}

/// How many images ahead of the copy one is prefetched.
const PREFETCHED: usize = 3;

/// What changes images, and in which epoch, if anything does.
pub(crate) type Changes<'a> = Option<(&'a Augmentation, u32)>;

/// Some images of a split, and how they are scaled.
#[derive(Clone, Copy)]
pub(crate) struct Images<'a> {
    pub split: &'a Split,
    pub indices: &'a [u32],
    /// What each is called where something is random: mostly its index.
    pub numbers: &'a [u32],
    pub scaling: &'a Scaling,
}

impl<'a> Images<'a> {
    /// Those of these indices, which are their numbers.
    pub(crate) fn new(split: &'a Split, indices: &'a [u32], scaling: &'a Scaling) -> Images<'a> {
        Images { split, indices, numbers: indices, scaling }
    }

    /// Their classes.
    pub(crate) fn classes(&self) -> impl ExactSizeIterator<Item = u32> {
        self.indices.iter().map(|&i| self.split.label(i as usize))
    }

    /// Those of a shard.
    pub(crate) fn shard(&self, number: usize, size: usize) -> Self {
        let range: Range<usize> = number * size..self.indices.len().min((number + 1) * size);
        Images { indices: &self.indices[range.clone()], numbers: &self.numbers[range], ..*self }
    }

    /// The one before a place; the last, where that is the first.
    pub(crate) fn before(&self, place: usize) -> Self {
        let images = self.indices.len();
        let before = (place + images - 1) % images;
        let range = before..before + 1;
        Images { indices: &self.indices[range.clone()], numbers: &self.numbers[range], ..*self }
    }

    /// Puts the images on a tape, whose bytes are those that [`Images::pixels`] writes.
    pub(crate) fn input(&self, tape: &mut Tape<'_>, shape: [usize; 3], pixels: &[u8]) -> Var {
        let bytes = shape.iter().product::<usize>() * self.split.value_len();
        let room = pixels.len() / self.indices.len().max(1);
        let image = |i: usize| &pixels[i * room..][..bytes];
        self.scaling.input(tape, self.indices.len(), shape, image)
    }

    /// Writes the bytes of the images to `to`, one after another, as they are changed in an epoch, if they
    /// are. Each of those that are changed is followed by its original.
    pub(crate) fn pixels(&self, cores: Cores<'_>, change: Changes<'_>, to: &mut Vec<u8>) {
        to.resize(self.indices.len() * self.room(change), 0);
        self.write(cores, change, to);
    }

    /// How many bytes an image takes with what follows it.
    pub(crate) fn room(&self, change: Changes<'_>) -> usize {
        self.split.image_len() * if change.is_some() { 2 } else { 1 }
    }

    /// [`Images::pixels`], to a slice of their length.
    pub(crate) fn write(&self, cores: Cores<'_>, change: Changes<'_>, to: &mut [u8]) {
        let (bytes, room) = (self.split.image_len(), self.room(change));
        assert_eq!(to.len(), self.indices.len() * room, "bytes of the images");
        let each = match change {
            // A call of the system for each, and nanoseconds a byte to change it.
            None => 400 + bytes / 8,
            Some((change, _)) => 400 + bytes * change.cost_per_byte(),
        };
        let cost = Cost::nanoseconds(self.indices.len() * each);
        cores.each_piece(to, room, cost, |first, to| {
            let indices = &self.indices[first / room..];
            let numbers = &self.numbers[first / room..];
            for (n, (&i, to)) in indices.iter().zip(to.chunks_exact_mut(room)).enumerate() {
                if let Some(&soon) = indices.get(n + PREFETCHED) {
                    self.split.prefetch_image(soon as usize);
                }
                let (to, original) = to.split_at_mut(bytes);
                match change {
                    None => self.split.copy_image(i as usize, to),
                    Some((augmentation, epoch)) => {
                        self.split.copy_image(i as usize, original);
                        augmentation.apply(epoch, numbers[n], original, to);
                    }
                }
            }
        });
    }

    /// Writes a row of so many classes for each to the end of `to`: 1 for what it is of, else 0.
    pub(crate) fn rows(&self, classes: usize, to: &mut Vec<f32>) {
        for &image in self.indices {
            let image = image as usize;
            let first = to.len();
            match self.split.label_set(image) {
                Some(set) => to.extend(set.iter().map(|&value| f32::from(value))),
                None => {
                    to.resize(first + classes, 0.0);
                    to[first + self.split.label(image) as usize] = 1.0;
                }
            }
            assert_eq!(to.len(), first + classes, "targets of image {image}");
        }
    }

    /// Writes the labels to `to`.
    pub(crate) fn labels(&self, to: &mut Vec<u32>) {
        to.clear();
        to.extend(self.classes());
    }
}
