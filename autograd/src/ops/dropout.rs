//! Dropout.

use super::Operation;
use crate::philox::unit;
use crate::tape::{Backward, Origin, Tape, Var};
use crate::{Philox, Purpose, Tensor};
use kernels::{LANES, Store};

impl Tape<'_> {
    /// Zeroes each value with probability `p` and divides the others by `1 − p`; returns `x` on a
    /// tape that does not record.
    ///
    /// The mask of an image is a function of the seed, the epoch, the image and the layer (see
    /// [`Memory::set_origin`](crate::Memory::set_origin) and [`Tape::set_layer`]), wherever in a
    /// batch it is.
    ///
    /// # Panics
    /// If `p` is not in `0 ..= 1`, or the origin names less images than the batch has.
    pub fn dropout(&mut self, x: Var, p: f32) -> Var {
        assert!((0.0..=1.0).contains(&p), "a probability");
        if !self.is_training() || p == 0.0 {
            return x;
        }
        let input = self.value(x);
        let (images, channels, size) = (input.images(), input.channels(), input.size());
        let (y, mut out) = self.output(images, channels, size);
        let index = self.memory.masks.next();
        let mut masks = self.memory.masks.take(index);
        masks.clear();
        masks.resize(out.data().len() / LANES, 0);
        draw(&self.memory.origin, self.layer(), p, &out, &mut masks);
        let factor = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
        let (from, to) = (self.value(x).data(), out.data_mut());
        kernels::keep_masked(self.isa, from, &masks, factor, to, Store::Overwrite);
        self.memory.masks.put(index, masks);
        self.record(y, out, self.needs_gradient(x), Dropout { x, y, masks: index, factor })
    }
}

/// Sets the bit of every value to keep: element `e` of an image takes word `e mod 4` of the counter
/// (epoch, image, layer, ⌊e / 4⌋).
fn draw(origin: &Origin, layer: usize, p: f32, like: &Tensor, masks: &mut [u16]) {
    assert!(origin.images.len() >= like.images(), "dropout must know the images of the batch");
    let philox = Philox::new(origin.seed, Purpose::Dropout);
    let (layout, pixels) = (like.layout(), like.layout().pixels());
    let vectors = layout.block_len() / LANES;
    let elements = layout.channels * pixels;
    for (i, &image) in origin.images.iter().enumerate().take(like.images()) {
        let masks = &mut masks[i / LANES * vectors..][..vectors];
        for group in 0..elements.div_ceil(4) {
            let words = philox.words([origin.epoch, image, layer as u32, group as u32]);
            for (element, word) in (group * 4..elements).zip(words) {
                let at = element / pixels * layout.plane() + element % pixels;
                masks[at] |= u16::from(unit(word) >= p) << (i % LANES);
            }
        }
    }
}

pub(crate) struct Dropout {
    x: Var,
    y: Var,
    masks: usize,
    factor: f32,
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let masks = b.memory.masks.take(self.masks);
        kernels::keep_masked(b.isa, dy.data(), &masks, self.factor, dx.data_mut(), store);
        b.memory.masks.put(self.masks, masks);
        b.put(self.x, dx);
    }
}
