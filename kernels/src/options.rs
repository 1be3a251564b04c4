//! What decides a convolution besides its channels.

use crate::Window;

/// How a convolution sees its input: the window, what lies around an image, and which channels meet.
///
/// Output channel `o` of `outputs` meets the input channels of its group alone, group
/// `o · groups / outputs`; with as many groups as input channels the convolution is *depthwise*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// The window, whose padding lies before the first row and column.
    pub window: Window,
    /// Rows and columns added after the last ones.
    pub padding_after: [usize; 2],
    /// What the padding holds.
    pub padding_mode: PaddingMode,
    /// Into how many groups the channels are cut, those of the input and those of the output alike.
    pub groups: usize,
}

/// What the padding of a convolution holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The image mirrored at its first and last pixels, which are not repeated.
    Reflect,
}

impl From<Window> for Conv2dOptions {
    fn from(window: Window) -> Conv2dOptions {
        Conv2dOptions {
            window,
            padding_after: window.padding,
            padding_mode: PaddingMode::Zeros,
            groups: 1,
        }
    }
}

impl Conv2dOptions {
    /// The same with channels in this many groups.
    #[must_use]
    pub fn groups(self, groups: usize) -> Conv2dOptions {
        Conv2dOptions { groups, ..self }
    }

    /// The same with so many rows and columns before an image, and after it.
    #[must_use]
    pub fn padding(self, before: [usize; 2], after: [usize; 2]) -> Conv2dOptions {
        let window = Window { padding: before, ..self.window };
        Conv2dOptions { window, padding_after: after, ..self }
    }

    /// The same with the padding that leaves an image its size where there is no stride: half before
    /// it, half after it, where there is one row or column more if it cannot be halved.
    ///
    /// # Panics
    /// Where [`Conv2dOptions::checked_same`] has none.
    #[must_use]
    pub fn same(self) -> Conv2dOptions {
        let same = self.checked_same();
        same.unwrap_or_else(|| panic!("{:?} has no padding that keeps a size", self.window))
    }

    /// [`Conv2dOptions::same`]; `None` if the kernel has no row or column, or its reach cannot be counted.
    #[must_use]
    pub fn checked_same(self) -> Option<Conv2dOptions> {
        let mut total = [0; 2];
        for (axis, total) in total.iter_mut().enumerate() {
            let steps = self.window.kernel[axis].checked_sub(1)?;
            *total = steps.checked_mul(self.window.dilation[axis])?;
        }
        Some(self.padding(total.map(|n| n / 2), total.map(|n| n - n / 2)))
    }

    /// The same with padding that holds this.
    #[must_use]
    pub fn padding_mode(self, padding_mode: PaddingMode) -> Conv2dOptions {
        Conv2dOptions { padding_mode, ..self }
    }

    /// Whether there is any padding.
    #[must_use]
    pub fn is_padded(&self) -> bool {
        self.window.padding != [0, 0] || self.padding_after != [0, 0]
    }

    /// Rows and columns of the output for an input of this size; `None` where the window is empty,
    /// has no stride or does not fit, or the mirrored image is not as large as the padding.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let bare = Window { padding: [0, 0], ..self.window };
        let mut padded = [0; 2];
        for axis in 0..2 {
            let [before, after] = [self.window.padding[axis], self.padding_after[axis]];
            padded[axis] = input[axis].checked_add(before)?.checked_add(after)?;
            if self.padding_mode == PaddingMode::Reflect && before.max(after) > 0 {
                (before.max(after) < input[axis]).then_some(())?;
            }
        }
        bare.output(padded)
    }

    /// The input position that tap `k` of output `o` sees along an axis of this size: mirrored, or
    /// `None` where it would be a zero.
    pub fn source(&self, axis: usize, o: usize, k: usize, input: [usize; 2]) -> Option<usize> {
        let direct = self.window.source(axis, o, k, input);
        if direct.is_some() || self.padding_mode == PaddingMode::Zeros {
            return direct;
        }
        let reach = k.checked_mul(self.window.dilation[axis])?;
        let padded = o.checked_mul(self.window.stride[axis])?.checked_add(reach)?;
        let padding = self.window.padding[axis];
        let mirrored = match padding.checked_sub(padded) {
            Some(before) => before,
            None => (2 * input[axis]).checked_sub(2 + padded - padding)?,
        };
        Some(mirrored).filter(|i| *i < input[axis])
    }

    /// The outputs whose tap `k` sees input position `i` along an axis, in order, of so many.
    pub(crate) fn readers(
        &self,
        axis: usize,
        i: usize,
        k: usize,
        [input, outputs]: [usize; 2],
    ) -> impl Iterator<Item = usize> + use<> {
        let Window { stride, padding, dilation, .. } = self.window;
        // Positions that hold the value, counted from the start of the padding.
        let mut places = [None, Some(i + padding[axis]), None];
        if self.padding_mode == PaddingMode::Reflect {
            if i > 0 {
                places[0] = padding[axis].checked_sub(i);
            }
            if i + 1 < input {
                places[2] = Some(padding[axis] + 2 * (input - 1) - i);
            }
        }
        let reach = k.checked_mul(dilation[axis]);
        let stride = stride[axis];
        places.into_iter().flatten().filter_map(move |place| {
            let shifted = place.checked_sub(reach?)?;
            let o = shifted / stride;
            (shifted % stride == 0 && o < outputs).then_some(o)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_keeps_the_size() {
        for kernel in 1..7 {
            for dilation in 1..4 {
                let window = Window::new([kernel, 1]).dilation(dilation);
                let options = Conv2dOptions::from(window).same();
                assert_eq!(options.output([19, 5]), Some([19, 5]), "{options:?}");
                let extra = options.padding_after[0] - window.padding(0).padding[0];
                assert_eq!(extra, (kernel - 1) * dilation - options.window.padding[0]);
                assert!(options.padding_after[0] - options.window.padding[0] <= 1);
            }
        }
    }

    #[test]
    fn mirrored_positions() {
        let window = Window::new([1, 1]);
        let options = Conv2dOptions::from(window).padding([3, 0], [2, 0]);
        let options = options.padding_mode(PaddingMode::Reflect);
        let seen = |o| options.source(0, o, 0, [4, 1]);
        let expected = [3, 2, 1, 0, 1, 2, 3, 2, 1].map(Some);
        assert_eq!(options.output([4, 1]), Some([9, 1]));
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8].map(seen), expected);
        // Not as large as the padding.
        assert_eq!(options.output([3, 1]), None);
        let one = Conv2dOptions::from(window).padding_mode(PaddingMode::Reflect);
        assert_eq!(one.output([1, 1]), Some([1, 1]));
    }

    /// The outputs that read a position are those whose source it is.
    #[test]
    fn readers_are_the_inverse_of_sources() {
        let mut mirrored = 0;
        for case in 0..3usize.pow(6) {
            let digit = |place: u32| case / 3usize.pow(place) % 3;
            let window = Window {
                kernel: [digit(0) + 1, 1],
                stride: [digit(1) + 1, 1],
                padding: [digit(2), 0],
                dilation: [digit(3) + 1, 1],
            };
            for mode in [PaddingMode::Zeros, PaddingMode::Reflect] {
                let options = Conv2dOptions::from(window)
                    .padding(window.padding, [digit(4), 0])
                    .padding_mode(mode);
                let size = [digit(5) + 3, 1];
                let Some([outputs, _]) = options.output(size) else { continue };
                for k in 0..window.kernel[0] {
                    for i in 0..size[0] {
                        let readers = options.readers(0, i, k, [size[0], outputs]);
                        let sees = |o: &usize| options.source(0, *o, k, size) == Some(i);
                        assert!(readers.eq((0..outputs).filter(sees)), "{options:?} {size:?} {k}");
                    }
                    mirrored += usize::from(mode == PaddingMode::Reflect && digit(2) > 0);
                }
            }
        }
        assert!(mirrored > 500, "{mirrored}");
    }
}
