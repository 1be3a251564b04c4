//! Random windows for the tests of what slides one over planes.

use kernels::{Conv2dOptions, PaddingMode, Pool, Window};
use proptest::prelude::*;

/// Rows and columns of a kernel, a padding, a dilation and a plane at most.
#[derive(Clone, Copy, Debug)]
pub struct WindowLimits {
    /// Of the kernel.
    pub kernel: [usize; 2],
    /// Of the padding.
    pub padding: usize,
    /// Of the dilation.
    pub dilation: usize,
    /// Of the plane.
    pub size: usize,
}

impl WindowLimits {
    /// Any window within the limits, rectangular or not, with a stride of at most 3, and a size of plane that it
    /// fits.
    pub fn windows(self) -> impl Strategy<Value = (Window, [usize; 2])> {
        let WindowLimits { kernel: [rows, columns], padding, dilation, size } = self;
        let axes = |least: usize, most: usize| [least..=most, least..=most];
        let kernel = [1..=rows, 1..=columns];
        let rest = (axes(1, 3), axes(0, padding), axes(1, dilation), axes(1, size));
        (kernel, rest).prop_filter_map(
            "the window must fit",
            |(kernel, (stride, padding, dilation, size))| {
                let window = Window { kernel, stride, padding, dilation };
                window.output(size).map(|_| (window, size))
            },
        )
    }

    /// Any pool within the limits, and a size of plane that it fits: windows of every kind, and adaptive ones of at most
    /// twice the size, so that a pixel is seen by a few.
    pub fn pools(self) -> impl Strategy<Value = (Pool, [usize; 2])> {
        let WindowLimits { kernel: [rows, columns], padding, dilation, size: most } = self;
        let axes = |least: usize, most: usize| [least..=most, least..=most];
        let kernel = [1..=rows, 1..=columns];
        let rest = (axes(1, 3), axes(0, padding), axes(1, dilation), any::<[bool; 2]>());
        let sliding = (kernel, rest).prop_map(
            |(kernel, (stride, padding, dilation, [ceil, count_padding]))| {
                let window = Window { kernel, stride, padding, dilation };
                Pool::Sliding { window, ceil, count_padding }
            },
        );
        let adaptive = axes(1, 2 * most).prop_map(Pool::Adaptive);
        let few = |pool: &Pool, size: [usize; 2]| match pool {
            Pool::Adaptive(outputs) => (0..2).all(|axis| outputs[axis] <= 2 * size[axis]),
            _ => true,
        };
        (prop_oneof![2 => sliding, 1 => adaptive], axes(1, most))
            .prop_filter("the pool must fit", move |(pool, size)| {
                few(pool, *size) && pool.output(*size).is_some()
            })
    }

    /// Any options of a convolution within the limits, in one group, and a size of plane that they fit: each side
    /// with padding of its own or all alike, of zeros or mirrored.
    pub fn options(self) -> impl Strategy<Value = (Conv2dOptions, [usize; 2])> {
        let after = [0..=self.padding, 0..=self.padding];
        (self.windows(), after, any::<[bool; 2]>()).prop_filter_map(
            "the window must fit",
            |((window, size), after, [alike, mirrored])| {
                let mut options = Conv2dOptions::from(window);
                if !alike {
                    options = options.padding(window.padding, after);
                }
                if mirrored {
                    options = options.padding_mode(PaddingMode::Reflect);
                }
                options.output(size).map(|_| (options, size))
            },
        )
    }
}

/// Groups, input and output channels of a convolution, at most so many channels: in one group, in several, or
/// depthwise with up to three outputs for each channel.
pub fn channels_in_groups(most: usize) -> impl Strategy<Value = [usize; 3]> {
    let few = (most / 4).max(1);
    prop_oneof![
        2 => (1..=most, 1..=most).prop_map(|(inputs, outputs)| [1, inputs, outputs]),
        1 => (2..=4usize, 1..=few, 1..=few).prop_map(|(groups, i, o)| [groups, groups * i, groups * o]),
        1 => (2..=most.max(2), 1..=3usize).prop_map(|(channels, m)| [channels, channels, channels * m]),
    ]
}
