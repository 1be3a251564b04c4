//! Random layers and batches for the tests of the kernels that compute them: in lanes, amid poison.

pub mod sums;

use kernels::{Convolution, LANES, Layout, Window, Winograd};
use proptest::prelude::*;
use proptest::sample::subsequence;
use reference::{Conv, WindowLimits, channels_in_groups, from_lanes, to_lanes, uniform};
use std::ops::{Deref, DerefMut, RangeInclusive};

/// A NaN that no arithmetic makes.
const POISON: u32 = 0x7fd5_aaaa;

/// Floats of poison on either side of a [`Guarded`] slice; odd, so that no vector is aligned.
const GUARD: usize = 35;

/// What lanes without an image hold: finite, and large enough to be noticed wherever it is added.
pub const GARBAGE: f32 = 3e30;

/// A slice in the middle of poison: whoever reads beyond it gets NaN, whoever writes is found out.
pub struct Guarded(Vec<f32>);

impl Guarded {
    pub fn new(values: &[f32]) -> Guarded {
        let guard = &[f32::from_bits(POISON); GUARD][..];
        Guarded([guard, values, guard].concat())
    }

    /// A slice that is poison itself.
    pub fn poisoned(len: usize) -> Guarded {
        Guarded::new(&vec![f32::from_bits(POISON); len])
    }

    /// Nobody wrote outside the slice.
    #[track_caller]
    pub fn assert_guards(&self, what: &str) {
        let end = self.0.len() - GUARD;
        for (place, value) in self.0[..GUARD].iter().chain(&self.0[end..]).enumerate() {
            assert_eq!(value.to_bits(), POISON, "{what}: guard {place} was overwritten");
        }
    }

    /// Nobody wrote outside the slice or to its unused vectors.
    #[track_caller]
    pub fn assert_unused(&self, what: &str, layout: &Layout) {
        self.assert_guards(what);
        for place in unused(layout) {
            assert_eq!(self[place].to_bits(), POISON, "{what}: unused float {place} was written");
        }
    }
}

impl Deref for Guarded {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0[GUARD..self.0.len() - GUARD]
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        let end = self.0.len() - GUARD;
        &mut self.0[GUARD..end]
    }
}

/// The floats of a batch that belong to no pixel.
fn unused(layout: &Layout) -> impl Iterator<Item = usize> {
    let (plane, pixels) = (layout.plane(), layout.pixels());
    (0..layout.len()).filter(move |float| float / LANES % plane >= pixels)
}

/// Blocks of lanes, and the lanes (counted through all blocks) that hold the images.
#[derive(Clone, Debug)]
pub struct Batch {
    pub blocks: usize,
    pub slots: Vec<usize>,
}

impl Batch {
    /// The layout of the whole batch, for that of one block.
    pub fn layout(&self, block: &Layout) -> Layout {
        block.with_blocks(self.blocks)
    }

    /// Row-major images in their lanes, `elsewhere` in the lanes without one; unused vectors are
    /// poison.
    pub fn lanes(&self, block: &Layout, x: &[f32], elsewhere: f32) -> Guarded {
        let layout = self.layout(block);
        let len = block.channels() * block.pixels();
        let mut all = vec![elsewhere; self.blocks * LANES * len];
        for (slot, image) in self.slots.iter().zip(x.chunks_exact(len)) {
            all[slot * len..][..len].copy_from_slice(image);
        }
        let mut lanes = Guarded::new(&to_lanes(&all, self.blocks * LANES, &layout));
        for place in unused(&layout) {
            lanes[place] = f32::from_bits(POISON);
        }
        lanes
    }

    /// One of the images of these values of a batch.
    pub fn image(&self, values: &[f32], image: usize) -> Vec<f32> {
        let len = values.len() / self.slots.len();
        values[image * len..][..len].to_vec()
    }

    /// The inverse of [`Batch::lanes`].
    pub fn images(&self, block: &Layout, lanes: &[f32]) -> Vec<f32> {
        let all = from_lanes(lanes, self.blocks * LANES, &self.layout(block));
        let len = block.channels() * block.pixels();
        self.slots.iter().flat_map(|slot| &all[slot * len..][..len]).copied().collect()
    }
}

/// A 3×3 convolution of this many inputs and outputs, if Winograd's method does it.
pub fn winograd_layer(
    channels: [usize; 2],
    size: [usize; 2],
    padding: [usize; 2],
) -> Option<Convolution> {
    let window = Window { padding, ..Window::new([3, 3]) };
    Convolution::new(channels[0], size, channels[1], window).filter(Winograd::applies)
}

/// A layer with a batch, and everything that decides its values.
#[derive(Clone, Debug)]
pub struct Case {
    pub layer: Convolution,
    pub batch: Batch,
    /// Whether values are small integers, so that every sum is exact in any order (and ties are
    /// frequent); else they are uniform in [−1, 1).
    pub exact: bool,
    pub seed: u64,
}

impl Case {
    /// `len` values; another `name` gives others.
    pub fn values(&self, name: u64, len: usize) -> Vec<f32> {
        let mut values: Vec<f32> = uniform(len, self.seed.wrapping_mul(31).wrapping_add(name));
        if self.exact {
            // Adding zero makes −0 a 0.
            values.iter_mut().for_each(|value| *value = (*value * 2.49).round() + 0.0);
        }
        values
    }

    /// What the reference calls the layer, on the images alone.
    pub fn reference(&self) -> Conv {
        let (input, output) = (self.layer.input(), self.layer.output());
        let images = self.batch.slots.len();
        Conv {
            images,
            inputs: input.channels(),
            outputs: output.channels(),
            size: input.size(),
            options: self.layer.options(),
        }
    }

    pub fn x(&self) -> Vec<f32> {
        self.values(1, self.reference().input().len())
    }

    pub fn weights(&self) -> Vec<f32> {
        self.values(2, self.layer.weights())
    }

    /// For the forward product.
    pub fn bias(&self) -> Vec<f32> {
        self.values(3, self.layer.output().channels())
    }

    pub fn dy(&self) -> Vec<f32> {
        self.values(4, self.reference().output().len())
    }
}

/// Multiply-adds that the reference is asked for in one case.
const WORK: usize = 400_000;

/// A batch of up to `most` blocks for a layer: as many images as the reference has time for, in any
/// lanes.
pub fn batches(layer: Convolution, work: usize, most: usize) -> impl Strategy<Value = Batch> {
    let fit = (work / layer.multiply_adds().max(1)).max(1);
    (1..=most).prop_flat_map(move |blocks| {
        let slots: Vec<usize> = (0..blocks * LANES).collect();
        let most = fit.min(slots.len());
        // All that fit, or fewer.
        prop_oneof![Just(most), 1..=most]
            .prop_flat_map(move |images| subsequence(slots.clone(), images))
            .prop_map(move |slots| Batch { blocks, slots })
    })
}

fn axes(range: RangeInclusive<usize>) -> [RangeInclusive<usize>; 2] {
    [range.clone(), range]
}

prop_compose! {
    /// Any window that fits its plane, rectangular or not, with at most this padding.
    fn windows(most: usize)(
        kernel in axes(1..=5),
        stride in axes(1..=3),
        padding in axes(0..=most),
        dilation in axes(1..=2),
        room in axes(0..=9),
    ) -> (Window, [usize; 2]) {
        let size = [0, 1].map(|axis| {
            let extent: usize = (kernel[axis] - 1) * dilation[axis] + 1;
            extent.saturating_sub(2 * padding[axis]).max(1) + room[axis]
        });
        (Window { kernel, stride, padding, dilation }, size)
    }
}

/// As [`cases`], and with channels in groups, uneven and mirrored padding too.
pub fn any_cases(padding: usize) -> impl Strategy<Value = Case> {
    let limits = WindowLimits { kernel: [5, 5], padding, dilation: 2, size: 12 };
    let convolution = (limits.options(), channels_in_groups(40)).prop_filter_map(
        "too much work",
        |((options, size), [groups, inputs, outputs])| {
            Convolution::new(inputs, size, outputs, options.groups(groups))
                .filter(|layer| layer.multiply_adds() <= WORK)
        },
    );
    prop_oneof![cases(padding), with_batches(convolution)]
}

/// 3×3 convolutions of planes so small that most of the kernel meets padding, with more weights than are summed at a time.
pub fn small_planes() -> impl Strategy<Value = Case> {
    let layers = (axes(1..=3), prop::sample::select(&[64, 96, 130][..]), any::<bool>());
    with_batches(layers.prop_map(|(size, channels, strided)| {
        let window = Window::new([3, 3]).padding(1).stride(if strided { 2 } else { 1 });
        Convolution::new(channels, size, channels + 64, window).expect("it is padded")
    }))
}

/// Convolutions of 1 to 40 channels with at most this padding, and linear layers too.
pub fn cases(padding: usize) -> impl Strategy<Value = Case> {
    let convolution = (windows(padding), axes(1..=40)).prop_filter_map(
        "too much work",
        |((window, size), [channels, outputs])| {
            Convolution::new(channels, size, outputs, window)
                .filter(|layer| layer.multiply_adds() <= WORK)
        },
    );
    let linear = axes(1..=70).prop_map(|[inputs, outputs]| Convolution::linear(inputs, outputs));
    with_batches(prop_oneof![4 => convolution, 1 => linear])
}

fn with_batches(layers: impl Strategy<Value = Convolution>) -> impl Strategy<Value = Case> {
    layers
        .prop_flat_map(|layer| (Just(layer), batches(layer, WORK, 5), any::<bool>(), any::<u64>()))
        .prop_map(|(layer, batch, exact, seed)| Case { layer, batch, exact, seed })
}
