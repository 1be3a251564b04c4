//! Dropout: of values, of channels, and of whole images (stochastic depth).

use super::{Operation, pieces};
use crate::philox::unit as unit_of;
use crate::tape::{Backward, Origin, Tape, Var};
use crate::{Philox, Purpose, Tensor};
use kernels::{Cores, Cost, LANES, Store};

impl Tape<'_> {
    /// Zeroes each value with probability `p` and divides the others by `1 − p`; returns `x` on a
    /// tape that does not record.
    ///
    /// The mask of an image is a function of the seed, the epoch, the image and the layer (see
    /// [`Workspace::set_origin`](crate::Workspace::set_origin) and [`Tape::set_layer`]), wherever in a
    /// batch it is.
    ///
    /// # Panics
    /// If `p` is not in `0 ..= 1`, or the origin names less images than the batch has.
    pub fn dropout(&mut self, x: Var, p: f32) -> Var {
        self.run_dropout(x, p, Unit::Value)
    }

    /// [`Tape::dropout`] of whole channels, as PyTorch's `Dropout2d`: all pixels of a channel share its lot.
    ///
    /// # Panics
    /// As [`Tape::dropout`].
    pub fn dropout2d(&mut self, x: Var, p: f32) -> Var {
        self.run_dropout(x, p, Unit::Channel)
    }

    /// [`Tape::dropout`] of whole images: stochastic depth, where `x` is the body of a residual block (torchvision's
    /// `StochasticDepth` of mode `row`).
    ///
    /// # Panics
    /// As [`Tape::dropout`].
    pub fn stochastic_depth(&mut self, x: Var, p: f32) -> Var {
        self.run_dropout(x, p, Unit::Image)
    }

    fn run_dropout(&mut self, x: Var, p: f32, unit: Unit) -> Var {
        assert!((0.0..=1.0).contains(&p), "a probability");
        if !self.is_training() || p == 0.0 {
            return x;
        }
        let input = self.value(x);
        let (images, channels, size) = (input.images(), input.channels(), input.size());
        let (y, mut out) = self.output(images, channels, size);
        let index = self.workspace.masks.next();
        let mut masks = self.workspace.masks.take(index);
        masks.clear();
        masks.resize(out.data().len() / LANES, 0);
        let origin = &self.workspace.origin;
        assert!(origin.images.len() >= images, "dropout must know the images of the batch");
        match unit {
            Unit::Value => draw(self.cores, origin, self.layer(), p, &out, &mut masks),
            Unit::Channel | Unit::Image => {
                draw_whole(self.cores, (origin, self.layer()), p, unit, &out, &mut masks)
            }
        }
        let factor = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
        let (from, to) = (self.value(x).data(), out.data_mut());
        let isa = self.isa();
        pieces::by_value(self.cores, to, 1, |place, to| {
            let masks = &masks[place.start / LANES..place.end / LANES];
            kernels::dropout(isa, &from[place], masks, factor, to, Store::Overwrite);
        });
        self.workspace.masks.put(index, masks);
        self.record(y, out, self.needs_gradient(x), Dropout { x, y, masks: index, factor, unit })
    }
}

/// What is dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Value,
    Channel,
    Image,
}

/// Sets the bits of the values of every channel, or image, to keep: number `e` in its image (an image is number 0)
/// takes its word as value `e` does.
fn draw_whole(
    cores: Cores<'_>,
    (origin, layer): (&Origin, usize),
    p: f32,
    unit: Unit,
    like: &Tensor,
    masks: &mut [u16],
) {
    let philox = Philox::new(origin.seed, Purpose::Dropout);
    let (channels, plane) = (like.channels(), like.layout().plane());
    let images = &origin.images[..like.images()];
    let keeps = |image: u32, element: usize| {
        let words = philox.words([origin.epoch, image, layer as u32, (element / 4) as u32]);
        unit_of(words[element % 4]) >= p
    };
    cores.each_piece(
        masks,
        plane,
        Cost::nanoseconds(8 * images.len() * channels),
        |first, masks| {
            for (number, masks) in (first / plane..).zip(masks.chunks_exact_mut(plane)) {
                let (block, channel) = (number / channels, number % channels);
                let element = if unit == Unit::Channel { channel } else { 0 };
                let lanes = images.iter().skip(block * LANES).take(LANES).enumerate();
                let bits = lanes.map(|(lane, image)| u16::from(keeps(*image, element)) << lane);
                masks.fill(bits.fold(0, |mask, bit| mask | bit));
            }
        },
    );
}

/// Sets the bit of every value to keep: element `e` of an image takes word `e mod 4` of the counter
/// (epoch, image, layer, ⌊e / 4⌋).
fn draw(cores: Cores<'_>, origin: &Origin, layer: usize, p: f32, like: &Tensor, masks: &mut [u16]) {
    let philox = Philox::new(origin.seed, Purpose::Dropout);
    let (layout, pixels) = (like.layout(), like.layout().pixels());
    let images = &origin.images[..like.images()];
    // A counter takes about eight nanoseconds.
    let cost = Cost::nanoseconds(2 * images.len() * layout.channels() * pixels);
    let plane = layout.plane();
    cores.each_piece(masks, plane, cost, |first, masks| {
        let (mut next, end) = (first / plane, (first + masks.len()) / plane);
        while next < end {
            // The planes of one block.
            let (block, channel) = (next / layout.channels(), next % layout.channels());
            let count = (layout.channels() - channel).min(end - next);
            let masks = &mut masks[next * plane - first..][..count * plane];
            let elements = channel * pixels..(channel + count) * pixels;
            for (lane, &image) in images.iter().skip(block * LANES).take(LANES).enumerate() {
                for group in elements.start / 4..elements.end.div_ceil(4) {
                    let words = philox.words([origin.epoch, image, layer as u32, group as u32]);
                    for (element, word) in (group * 4..).zip(words) {
                        if elements.contains(&element) {
                            let at = (element / pixels - channel) * plane + element % pixels;
                            masks[at] |= u16::from(unit_of(word) >= p) << lane;
                        }
                    }
                }
            }
            next += count;
        }
    });
}

pub(crate) struct Dropout {
    x: Var,
    y: Var,
    masks: usize,
    factor: f32,
    unit: Unit,
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        match self.unit {
            Unit::Value => "dropout",
            Unit::Channel => "dropout of channels",
            Unit::Image => "stochastic depth",
        }
    }

    fn output(&self) -> Var {
        self.y
    }

    fn reads_output(&self) -> bool {
        false
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let masks = b.workspace.masks.take(self.masks);
        let (isa, dy) = (b.cores.isa(), dy.data());
        pieces::by_value(b.cores, dx.data_mut(), 1, |place, dx| {
            let masks = &masks[place.start / LANES..place.end / LANES];
            kernels::dropout(isa, &dy[place], masks, self.factor, dx, store);
        });
        b.workspace.masks.put(self.masks, masks);
        b.put(self.x, dx);
    }
}
