//! Shapes that kernels compute with: the lane layout of activations and the sliding window.

use crate::LANES;
use std::fmt;

/// Where the values of a batch of images are: `[blocks][channels][height][width][16]`.
///
/// A *block* is sixteen images, one per lane; a *vector* is one channel value at one pixel of the
/// sixteen. A batch of vectors of features is the same thing with one pixel. Planes whose size is a
/// multiple of eight vectors are followed by one unused vector: with 512-byte multiples between
/// planes, a column of channels would fall into a few sets of the first-level cache and evict itself.
///
/// A layout holds at most `isize::MAX` bytes, as a slice does, even were each of its sizes that is
/// zero a one: no product of its sizes overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Layout {
    blocks: usize,
    channels: usize,
    size: [usize; 2],
}

impl Layout {
    /// The layout of `blocks` blocks of `channels` planes of `size[0]` rows by `size[1]` columns.
    ///
    /// # Panics
    /// If no slice is that long.
    #[must_use]
    pub fn new(blocks: usize, channels: usize, size: [usize; 2]) -> Layout {
        let layout = Layout { blocks, channels, size };
        assert!(
            layout.most_len().is_some_and(|len| len <= isize::MAX as usize / size_of::<f32>()),
            "{layout}: more floats than a slice can hold"
        );
        layout
    }

    /// The layout of `blocks` blocks of feature vectors.
    ///
    /// # Panics
    /// If no slice is that long.
    #[must_use]
    pub fn features(blocks: usize, features: usize) -> Layout {
        Layout::new(blocks, features, [1, 1])
    }

    /// The same for another number of blocks.
    ///
    /// # Panics
    /// If no slice is that long.
    #[must_use]
    pub fn with_blocks(self, blocks: usize) -> Layout {
        Layout::new(blocks, self.channels, self.size)
    }

    /// The same for planes of another size.
    ///
    /// # Panics
    /// If no slice is that long.
    #[must_use]
    pub fn with_size(self, size: [usize; 2]) -> Layout {
        Layout::new(self.blocks, self.channels, size)
    }

    /// Groups of sixteen images.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Channels, or features.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Rows and columns of a plane.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Pixels of a plane.
    pub fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Vectors from one plane to the next.
    pub fn plane(&self) -> usize {
        let pixels = self.pixels();
        if pixels.is_multiple_of(8) { pixels + 1 } else { pixels }
    }

    /// Floats of one block.
    pub fn block_len(&self) -> usize {
        self.channels * self.plane() * LANES
    }

    /// Floats of the whole.
    pub fn len(&self) -> usize {
        self.blocks * self.block_len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The place of the vector of pixel (`y`, `x`) of a channel, in floats from the block's start.
    pub fn offset(&self, channel: usize, [y, x]: [usize; 2]) -> usize {
        (channel * self.plane() + y * self.size[1] + x) * LANES
    }

    /// [`Layout::len`] were each size that is zero a one; `None` if that overflows.
    pub(crate) fn most_len(&self) -> Option<usize> {
        let pixels = self.size[0].max(1).checked_mul(self.size[1].max(1))?;
        let plane = pixels.checked_add(1)?;
        let vectors = self.blocks.max(1).checked_mul(self.channels.max(1))?.checked_mul(plane)?;
        vectors.checked_mul(LANES)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layout { blocks, channels, size: [rows, columns] } = self;
        write!(f, "{blocks} blocks of {channels} channels of {rows} × {columns} pixels")
    }
}

/// A sliding window over rows and columns: of a convolution or a pooling layer.
///
/// Output position `o` sees input positions `o · stride + k · dilation − padding` for `k` below
/// `kernel`, along each axis; those outside the input are zeros (convolution), left out (max-pool)
/// or zeros that count (average pool).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Steps between neighbouring outputs.
    pub stride: [usize; 2],
    /// Rows and columns added on each side.
    pub padding: [usize; 2],
    /// Steps between neighbouring taps.
    pub dilation: [usize; 2],
}

impl Window {
    /// A dense window with stride one and no padding.
    #[must_use]
    pub fn new(kernel: [usize; 2]) -> Window {
        Window { kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
    }

    /// The same with this stride along both axes.
    #[must_use]
    pub fn stride(self, stride: usize) -> Window {
        Window { stride: [stride; 2], ..self }
    }

    /// The same with this padding on all sides.
    #[must_use]
    pub fn padding(self, padding: usize) -> Window {
        Window { padding: [padding; 2], ..self }
    }

    /// The same with this dilation along both axes.
    #[must_use]
    pub fn dilation(self, dilation: usize) -> Window {
        Window { dilation: [dilation; 2], ..self }
    }

    /// Taps per channel.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    pub fn taps(&self) -> usize {
        let [rows, columns] = self.kernel;
        let taps = rows.checked_mul(columns);
        taps.unwrap_or_else(|| {
            panic!("a kernel of {rows} × {columns}: more taps than can be counted")
        })
    }

    /// Rows and columns of the output for an input of this size; `None` where the window is empty,
    /// has no stride or does not fit.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let extent = self.dilation[axis].checked_mul(self.kernel[axis].checked_sub(1)?)?;
            let padded = input[axis].checked_add(self.padding[axis].checked_mul(2)?)?;
            let room = padded.checked_sub(extent.checked_add(1)?)?;
            Some(room.checked_div(self.stride[axis])? + 1)
        };
        (self.dilation[0] > 0 && self.dilation[1] > 0).then_some(())?;
        Some([along(0)?, along(1)?])
    }

    /// The input position that tap `k` of output `o` sees along an axis, if it is inside.
    pub fn source(&self, axis: usize, o: usize, k: usize, input: [usize; 2]) -> Option<usize> {
        let reach = k.checked_mul(self.dilation[axis])?;
        let padded = o.checked_mul(self.stride[axis])?.checked_add(reach)?;
        padded.checked_sub(self.padding[axis]).filter(|i| *i < input[axis])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes() {
        assert_eq!(Window::new([5, 5]).output([28, 28]), Some([24, 24]));
        assert_eq!(Window::new([3, 3]).padding(1).stride(2).output([7, 28]), Some([4, 14]));
        assert_eq!(Window::new([3, 1]).dilation(2).output([5, 5]), Some([1, 5]));
        assert_eq!(Window::new([3, 3]).output([2, 9]), None);
        assert_eq!(Window::new([0, 3]).output([9, 9]), None);
        assert_eq!(Window::new([3, 3]).stride(0).output([9, 9]), None);
    }

    #[test]
    fn sizes_beyond_a_slice_are_refused() {
        let most = isize::MAX as usize / 4;
        assert_eq!(Layout::new(1, most / LANES / 2, [1, 1]).len(), most / LANES / 2 * LANES);
        for [blocks, channels, rows, columns] in [
            [1, (1 << 60) + 1, 1, 1],
            [(1 << 60) + 1, 1, 1, 1],
            [1, most / LANES + 1, 1, 1],
            [0, usize::MAX, usize::MAX, 0],
            [usize::MAX, 0, 1, 1],
            [1, 1, usize::MAX, 1],
            [1, 1, 1 << 32, 1 << 32],
        ] {
            let new = || Layout::new(blocks, channels, [rows, columns]);
            assert!(std::panic::catch_unwind(new).is_err(), "{blocks} {channels} {rows} {columns}");
        }
        assert_eq!(Layout::new(0, 0, [0, 0]).len(), 0);
    }

    #[test]
    fn positions_beyond_a_count_see_nothing() {
        let window = Window { stride: [usize::MAX; 2], ..Window::new([3, 3]) };
        assert_eq!(window.source(0, 2, 0, [9, 9]), None);
        assert_eq!(window.source(0, 1, 2, [9, 9]), None);
        assert_eq!(Window::new([3, 3]).padding(usize::MAX).output([9, 9]), None);
        assert_eq!(Window::new([usize::MAX, 1]).dilation(2).output([9, 9]), None);
    }

    #[test]
    fn planes_never_alias() {
        assert_eq!(Layout::new(1, 3, [4, 4]).plane(), 17);
        assert_eq!(Layout::new(2, 3, [7, 7]).len(), 2 * 3 * 49 * 16);
        assert_eq!(Layout::features(2, 10).len(), 320);
    }
}
