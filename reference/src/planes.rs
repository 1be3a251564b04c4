//! Row-major images, and a window that slides over them.

use kernels::Window;

/// The shape of a batch of images, row-major `[images][channels][size[0]][size[1]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planes {
    /// Images.
    pub images: usize,
    /// Planes per image.
    pub channels: usize,
    /// Rows and columns of a plane.
    pub size: [usize; 2],
}

impl Planes {
    /// Pixels of a plane.
    pub fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Values in all.
    #[expect(clippy::len_without_is_empty, reason = "a shape, not a collection")]
    pub fn len(&self) -> usize {
        self.images * self.channels * self.pixels()
    }

    /// The place of a pixel.
    pub fn index(&self, image: usize, channel: usize, [y, x]: [usize; 2]) -> usize {
        ((image * self.channels + channel) * self.size[0] + y) * self.size[1] + x
    }

    /// The shape of what a window over each plane gives.
    ///
    /// # Panics
    /// If the window does not fit.
    #[must_use]
    pub fn through(&self, window: &Window) -> Planes {
        let size = window.output(self.size);
        Planes { size: size.unwrap_or_else(|| panic!("{window:?} over {self:?}")), ..*self }
    }

    /// Refuses a slice of any other length.
    pub(crate) fn check<T>(&self, name: &str, slice: &[T]) {
        check_len(name, slice, self.len());
    }
}

/// Every position of a grid, row by row.
pub(crate) fn grid([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..rows).flat_map(move |y| (0..columns).map(move |x| [y, x]))
}

/// The input position that a tap of an output position sees; `None` in the padding.
pub(crate) fn seen(
    window: &Window,
    output: [usize; 2],
    tap: [usize; 2],
    size: [usize; 2],
) -> Option<[usize; 2]> {
    let y = window.source(0, output[0], tap[0], size)?;
    let x = window.source(1, output[1], tap[1], size)?;
    Some([y, x])
}

/// Refuses a slice of any other length.
pub(crate) fn check_len<T>(name: &str, slice: &[T], expected: usize) {
    assert!(slice.len() == expected, "{name}: {} values, expected {expected}", slice.len());
}
