//! A batch of activations.

use crate::Buffer;
use kernels::{LANES, Layout};

/// A batch of images, or of feature vectors (one-pixel images), sixteen to a vector: see [`Layout`].
///
/// A batch that does not fill its last block of sixteen has lanes without an image. They hold finite
/// values that nothing reads: every operation that sums over images counts [`Tensor::images`] alone.
#[derive(Clone, Debug, Default)]
pub struct Tensor {
    layout: Layout,
    images: usize,
    data: Buffer,
}

impl Tensor {
    /// `images` images of zeros with this many channels of `size[0]` rows by `size[1]` columns.
    #[must_use]
    pub fn zeros(images: usize, channels: usize, size: [usize; 2]) -> Tensor {
        let mut tensor = Tensor::default();
        tensor.reshape(images, channels, size);
        tensor
    }

    /// From row-major `[images][channels][rows][columns]`.
    ///
    /// # Panics
    /// If `values` has another length.
    #[must_use]
    pub fn from_rows(values: &[f32], images: usize, channels: usize, size: [usize; 2]) -> Tensor {
        let mut tensor = Tensor::zeros(images, channels, size);
        assert_eq!(values.len(), images * channels * size[0] * size[1], "values of a tensor");
        let places = tensor.places();
        for (value, place) in values.iter().zip(places) {
            tensor.data[place] = *value;
        }
        tensor
    }

    /// A batch of feature vectors.
    #[must_use]
    pub fn vectors<const N: usize>(vectors: &[[f32; N]]) -> Tensor {
        Tensor::from_rows(vectors.as_flattened(), vectors.len(), N, [1, 1])
    }

    /// To row-major `[images][channels][rows][columns]`.
    pub fn to_rows(&self) -> Vec<f32> {
        self.places().into_iter().map(|place| self.data[place]).collect()
    }

    /// Where the values are, in row-major order.
    fn places(&self) -> Vec<usize> {
        let [height, width] = self.layout.size();
        let mut places = Vec::with_capacity(self.images * self.layout.channels() * height * width);
        for image in 0..self.images {
            for channel in 0..self.layout.channels() {
                for y in 0..height {
                    for x in 0..width {
                        places.push(self.place(image, channel, [y, x]));
                    }
                }
            }
        }
        places
    }

    /// Where the value of an image, a channel and a pixel (row, column) is.
    #[inline]
    fn place(&self, image: usize, channel: usize, pixel: [usize; 2]) -> usize {
        image / LANES * self.layout.block_len() + image % LANES + self.layout.offset(channel, pixel)
    }

    /// The value of an image at a channel and a pixel (row, column).
    ///
    /// # Panics
    /// If its place is beyond the data.
    #[inline]
    pub fn get(&self, image: usize, channel: usize, pixel: [usize; 2]) -> f32 {
        self.data[self.place(image, channel, pixel)]
    }

    /// Makes it this shape; the values are zeros if that is a change, else what they were.
    pub(crate) fn reshape(&mut self, images: usize, channels: usize, size: [usize; 2]) {
        let layout = Layout::new(images.div_ceil(LANES), channels, size);
        if layout != self.layout {
            // Zeroed even where the length stays: the unused vectors lie elsewhere.
            self.data.fill(0.0);
            self.data.resize(layout.len());
            self.layout = layout;
        }
        self.images = images;
    }

    /// Images, not counting lanes without one.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Channels, or features.
    pub fn channels(&self) -> usize {
        self.layout.channels()
    }

    /// Rows and columns.
    pub fn size(&self) -> [usize; 2] {
        self.layout.size()
    }

    /// Where values are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All values, as laid out.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, as laid out.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip() {
        let values: Vec<f32> = (0..19 * 3 * 4 * 2).map(|i| i as f32).collect();
        let tensor = Tensor::from_rows(&values, 19, 3, [4, 2]);
        assert_eq!(tensor.layout().blocks(), 2);
        assert_eq!(tensor.to_rows(), values);
        // Image 17, channel 2, pixel (3, 1): second block, second lane.
        let at = tensor.layout().block_len() + tensor.layout().offset(2, [3, 1]) + 1;
        assert_eq!(tensor.data()[at], ((17 * 3 + 2) * 8 + 7) as f32);
    }
}
