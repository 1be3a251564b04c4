//! The shape of a convolution.

use crate::{Conv2dOptions, Layout, PaddingMode, Window};

/// A convolution: one block of its input and of its output, and what lies between them.
///
/// Neither a block nor the weights have more than 2³² floats, so an offset fits the tables of
/// [`Im2col`](crate::Im2col).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    input: Layout,
    output: Layout,
    options: Conv2dOptions,
}

impl Convolution {
    /// The convolution of `channels` planes of this size to `outputs` planes; `None` if the window
    /// does not fit, or the channels of the input or output cannot be cut into so many groups.
    ///
    /// # Panics
    /// If a block of the input or output, or the weights, have more than 2³² floats.
    pub fn new(
        channels: usize,
        size: [usize; 2],
        outputs: usize,
        options: impl Into<Conv2dOptions>,
    ) -> Option<Convolution> {
        let options = options.into();
        let groups = options.groups;
        let cut = |n: usize| n.checked_rem(groups) == Some(0) && (groups == 1 || n > 0);
        (cut(channels) && cut(outputs)).then_some(())?;
        let input = Layout::new(1, channels, size);
        let output = Layout::new(1, outputs, options.output(size)?);
        Some(Convolution::between(input, output, options))
    }

    /// A linear layer: a convolution of one-pixel planes.
    ///
    /// # Panics
    /// If the weights are more than 2³².
    #[must_use]
    pub fn linear(inputs: usize, outputs: usize) -> Convolution {
        let [input, output] = [inputs, outputs].map(|features| Layout::features(1, features));
        Convolution::between(input, output, Window::new([1, 1]).into())
    }

    /// The convolution between two layouts that the window fits. Here alone the sizes are checked.
    fn between(input: Layout, output: Layout, options: Conv2dOptions) -> Convolution {
        for (name, layout) in [("input", input), ("output", output)] {
            assert!(
                layout.most_len().is_some_and(|len| u32::try_from(len).is_ok()),
                "{name} of a convolution: {layout}: more than 2³² floats"
            );
        }
        let [inputs, outputs] = [input, output].map(|layout| layout.channels().max(1));
        let weights = inputs / options.groups * outputs;
        let weights = options.window.taps().checked_mul(weights);
        assert!(
            weights.is_some_and(|weights| u32::try_from(weights).is_ok()),
            "weights of a convolution of {} to {} channels with a kernel of {:?}: more than 2³²",
            input.channels(),
            output.channels(),
            options.window.kernel
        );
        Convolution { input, output, options }
    }

    /// The convolution of the output's planes to the input's, with another padding: the data
    /// gradient of one without stride.
    pub(crate) fn reversed(&self, padding: [usize; 2]) -> Convolution {
        let window = Window { padding, ..self.options.window };
        Convolution::between(self.output, self.input, window.into())
    }

    /// One of its groups, as a convolution of its own.
    #[must_use]
    pub fn group(&self) -> Convolution {
        let of = |l: Layout| Layout::new(1, l.channels() / self.options.groups, l.size());
        let options = self.options.groups(1);
        Convolution { input: of(self.input), output: of(self.output), options }
    }

    /// The input, one block.
    pub fn input(&self) -> Layout {
        self.input
    }

    /// The output, one block.
    pub fn output(&self) -> Layout {
        self.output
    }

    /// The sliding window.
    pub fn window(&self) -> Window {
        self.options.window
    }

    /// The window, the padding and the groups.
    pub fn options(&self) -> Conv2dOptions {
        self.options
    }

    /// Into how many groups the channels are cut.
    pub fn groups(&self) -> usize {
        self.options.groups
    }

    /// Weights of one output channel.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.input.channels() / self.options.groups * self.options.window.taps()
    }

    /// All weights: `[outputs][inputs / groups][kernel rows][kernel columns]`.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.output.channels() * self.taps()
    }

    /// Multiply-adds per image of the forward product; those that would meet padding are not
    /// counted, as they are not done.
    #[must_use]
    pub fn multiply_adds(&self) -> usize {
        let channels = self.input.channels() / self.options.groups * self.output.channels();
        channels * self.met(0) * self.met(1)
    }

    /// Pairs of an output and a tap along an axis that lies in the image, or its mirror.
    pub(crate) fn met(&self, axis: usize) -> usize {
        // Outputs o whose tap k lies in the image: padding ≤ o·stride + k·dilation < padding + input.
        let Window { kernel, stride, padding, dilation } = self.options.window;
        let (input, outputs) = (self.input.size()[axis], self.output.size()[axis]);
        if self.options.padding_mode == PaddingMode::Reflect {
            return outputs * kernel[axis];
        }
        let until = |k: usize, edge: usize| {
            edge.saturating_sub(k * dilation[axis]).div_ceil(stride[axis]).min(outputs)
        };
        let met = |k| until(k, padding[axis] + input) - until(k, padding[axis]);
        (0..kernel[axis]).map(met).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition: every output with every tap that lies in the image.
    #[test]
    fn multiply_adds_are_those_that_meet_the_image() {
        for size in [1, 2, 5, 8] {
            for (kernel, stride, padding, dilation) in
                [(1, 1, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (2, 3, 5, 2), (5, 1, 4, 1), (3, 2, 7, 3)]
            {
                let window = Window {
                    kernel: [kernel, 2],
                    stride: [stride, 1],
                    padding: [padding, 1],
                    dilation: [dilation, 1],
                };
                let Some(convolution) = Convolution::new(3, [size, 4], 5, window) else { continue };
                let along = |axis: usize| {
                    let outputs = 0..convolution.output.size()[axis];
                    let pairs = outputs.flat_map(|o| (0..window.kernel[axis]).map(move |k| (o, k)));
                    pairs.filter(|&(o, k)| window.source(axis, o, k, [size, 4]).is_some()).count()
                };
                let expected = 3 * 5 * along(0) * along(1);
                assert_eq!(convolution.multiply_adds(), expected, "{size}, {window:?}");
            }
        }
    }

    /// Counted by taps, not by outputs.
    #[test]
    fn a_tall_image_is_counted_at_once() {
        let window = Window { padding: [4095, 0], ..Window::new([4096, 1]) };
        let convolution = Convolution::new(1, [1 << 26, 1], 1, window).unwrap();
        assert_eq!(convolution.multiply_adds(), 1 << 38);
    }
}
