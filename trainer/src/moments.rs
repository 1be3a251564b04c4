//! Mean and deviation of images.

use crate::data::Split;
use crate::recipe::Moments;

/// Mean and standard deviation of pixel / 255 over these images of a split, channel by channel. The
/// sums are exact integers. A channel that never changes has deviation 1, and so is left at its mean.
///
/// # Panics
/// If there are no images, or one is beyond the split.
pub fn measure(split: &Split, channels: usize, images: &[u32]) -> Moments {
    let pixels = split.image(images[0] as usize).len() / channels * images.len();
    moments(&pixel_sums(split, channels, images), pixels)
}

/// Of each channel: the sum of its pixels, and of their squares.
pub(crate) fn pixel_sums(split: &Split, channels: usize, images: &[u32]) -> Vec<(u64, u64)> {
    let mut sums = vec![(0u64, 0u64); channels];
    for &i in images {
        for pixel in split.image(i as usize).chunks_exact(channels) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                sum.0 += u64::from(value);
                sum.1 += u64::from(value) * u64::from(value);
            }
        }
    }
    sums
}

/// Mean and deviation of as many pixels with these sums.
pub(crate) fn moments(sums: &[(u64, u64)], pixels: usize) -> Moments {
    let pixels = pixels as f64;
    let (mean, std) = sums
        .iter()
        .map(|&(sum, squares)| {
            let mean = sum as f64 / pixels;
            let variance = squares as f64 / pixels - mean * mean;
            let std = if variance > 0.0 { libm::sqrt(variance) / 255.0 } else { 1.0 };
            (mean / 255.0, std)
        })
        .unzip();
    Moments { mean, std }
}
