//! Which inputs each output of a pool sees.

use crate::{Layout, Window};

/// How a pool cuts a plane into windows. A plain [`Window`] is one: its size rounded down, the padding counted in means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pool {
    /// A sliding window.
    Sliding {
        /// The window.
        window: Window,
        /// Whether the output's size is rounded up: a last window may reach beyond the padding, if it begins before
        /// it (PyTorch's `ceil_mode`).
        ceil: bool,
        /// Whether a mean counts positions in the padding (`count_include_pad`); those beyond it never count.
        count_padding: bool,
    },
    /// So many rows and columns of windows that cover a plane of any size: output `o` of `n` sees, of `m` inputs, those
    /// from `⌊o m / n⌋` to before `⌈(o + 1) m / n⌉`.
    Adaptive([usize; 2]),
}

impl From<Window> for Pool {
    fn from(window: Window) -> Pool {
        Pool::Sliding { window, ceil: false, count_padding: true }
    }
}

impl From<&Window> for Pool {
    fn from(window: &Window) -> Pool {
        Pool::from(*window)
    }
}

/// The positions along an axis that an output sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub first: usize,
    pub count: usize,
    pub step: usize,
    /// How many a mean counts.
    pub divisor: usize,
}

impl Span {
    #[inline(always)]
    pub fn positions(self) -> impl Iterator<Item = usize> + Clone {
        (0..self.count).map(move |k| self.first + k * self.step)
    }
}

impl Pool {
    /// Rows and columns of the output for an input of this size; `None` where the window is empty, has no stride or
    /// does not fit, or there are no windows.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        match *self {
            Pool::Sliding { window, ceil: false, .. } => window.output(input),
            Pool::Sliding { window, .. } => {
                Some([rounded_up(&window, 0, input[0])?, rounded_up(&window, 1, input[1])?])
            }
            Pool::Adaptive(size) => {
                let some = size.iter().chain(&input).all(|n| *n > 0);
                // No product of the two wraps.
                let product = |(n, m): (&usize, &usize)| n.checked_add(1)?.checked_mul(*m);
                let small = size.iter().zip(&input).all(|pair| product(pair).is_some());
                (some && small).then_some(size)
            }
        }
    }

    /// How many values the mean of an output counts, for an input of this size.
    ///
    /// # Panics
    /// If the pool does not fit, or there is no such output.
    pub fn divisor(&self, input: [usize; 2], output: [usize; 2]) -> usize {
        let size = self.output(input).expect("a pool that fits");
        assert!(output[0] < size[0] && output[1] < size[1], "output {output:?} of {size:?}");
        [0, 1].map(|axis| self.span(axis, output[axis], input[axis]).divisor).iter().product()
    }

    /// The layout of the output.
    ///
    /// # Panics
    /// If it does not fit.
    pub(super) fn through(&self, layout: &Layout) -> Layout {
        let Some(size) = self.output(layout.size()) else {
            panic!("{self:?} does not fit a plane of {:?}", layout.size())
        };
        layout.with_size(size)
    }

    /// What output `o` sees of `size` positions along an axis.
    #[inline(always)]
    pub(super) fn span(&self, axis: usize, o: usize, size: usize) -> Span {
        match self {
            Pool::Sliding { window, count_padding, .. } => {
                sliding((window, axis), o, size, *count_padding)
            }
            Pool::Adaptive(outputs) => {
                let (first, end) =
                    (o * size / outputs[axis], ((o + 1) * size).div_ceil(outputs[axis]));
                Span { first, count: end - first, step: 1, divisor: end - first }
            }
        }
    }
}

/// Outputs along an axis where a last window may reach beyond the padding.
fn rounded_up(window: &Window, axis: usize, input: usize) -> Option<usize> {
    let [kernel, stride, padding, dilation] =
        [window.kernel, window.stride, window.padding, window.dilation].map(|pair| pair[axis]);
    let extent = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
    let padded = input.checked_add(padding.checked_mul(2)?)?;
    if dilation == 0 || stride == 0 || input == 0 {
        return None;
    }
    let outputs = padded.saturating_sub(extent).div_ceil(stride) + 1;
    // A window begins within the input or the padding before it.
    let begins = (outputs - 1).checked_mul(stride)? < input + padding;
    // One that is larger than a padded plane, by less than a stride, is a last window too.
    let reaches = extent.saturating_sub(padded) < stride;
    reaches.then_some(if begins { outputs } else { outputs - 1 })
}

#[inline(always)]
fn sliding((window, axis): (&Window, usize), o: usize, size: usize, count_padding: bool) -> Span {
    let [kernel, stride, padding, dilation] =
        [window.kernel, window.stride, window.padding, window.dilation].map(|pair| pair[axis]);
    // Positions are counted from the start of the padding.
    let (start, end) = (o * stride, padding + size);
    let taps_before = |end: usize| {
        let all = start + (kernel - 1) * dilation < end;
        if all { kernel } else { end.saturating_sub(start).div_ceil(dilation) }
    };
    let first = if start < padding { (padding - start).div_ceil(dilation) } else { 0 };
    let count = taps_before(end).saturating_sub(first);
    let divisor = if count_padding { taps_before(end + padding) } else { count.max(1) };
    Span { first: (start + first * dilation).wrapping_sub(padding), count, step: dilation, divisor }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows() -> impl Iterator<Item = (Window, [usize; 2])> {
        (0..4usize.pow(5)).map(|case| {
            let digit = |place: u32| case / 4usize.pow(place) % 4;
            let window = Window {
                kernel: [digit(0) + 1, 1],
                stride: [digit(1) + 1, 1],
                padding: [digit(2), 0],
                dilation: [digit(3) + 1, 1],
            };
            (window, [digit(4) + 1, 1])
        })
    }

    #[test]
    fn positions_inside_are_those_with_a_source() {
        for (window, size) in windows() {
            for count_padding in [false, true] {
                for o in 0..window.output(size).map_or(0, |output| output[0]) {
                    let sources =
                        (0..window.kernel[0]).filter_map(|k| window.source(0, o, k, size));
                    let span = sliding((&window, 0), o, size[0], count_padding);
                    assert!(span.positions().eq(sources.clone()), "{window:?} {size:?} {o}");
                    let counted =
                        if count_padding { window.kernel[0] } else { sources.count().max(1) };
                    assert_eq!(span.divisor, counted, "{window:?} {size:?} {o}");
                }
            }
        }
    }

    /// The formula of PyTorch's `pooling_output_shape`.
    #[test]
    fn sizes_rounded_up_are_pytorchs() {
        for (window, size) in windows() {
            let [kernel, stride, padding, dilation] =
                [window.kernel, window.stride, window.padding, window.dilation]
                    .map(|p| p[0] as i64);
            let input = size[0] as i64;
            let room = input + 2 * padding - dilation * (kernel - 1) - 1 + stride - 1;
            let mut outputs = room.div_euclid(stride) + 1;
            if (outputs - 1) * stride >= input + padding {
                outputs -= 1;
            }
            let pool = Pool::Sliding { window, ceil: true, count_padding: true };
            let expected = (outputs > 0).then_some([outputs as usize, size[1]]);
            assert_eq!(pool.output(size), expected, "{window:?} {size:?}");
        }
    }

    #[test]
    fn adaptive_windows_cover_the_plane() {
        for size in 1..20 {
            for outputs in 1..20 {
                let pool = Pool::Adaptive([outputs, 1]);
                let spans: Vec<Span> = (0..outputs).map(|o| pool.span(0, o, size)).collect();
                assert_eq!(spans[0].first, 0);
                assert_eq!(spans[outputs - 1].first + spans[outputs - 1].count, size);
                assert!(spans.iter().all(|span| span.count > 0 && span.divisor == span.count));
                let gap = |pair: &[Span]| pair[1].first <= pair[0].first + pair[0].count;
                assert!(spans.windows(2).all(gap), "{outputs} of {size}");
            }
        }
    }
}
