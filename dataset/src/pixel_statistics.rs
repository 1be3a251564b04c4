//! Mean and deviation of images.

use crate::Split;
use serde::{Deserialize, Serialize};

/// Mean and deviation to normalise with, one for all channels or one per channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PixelStatistics {
    /// Subtracted from pixel / 255.
    pub mean: Vec<f64>,
    /// The divisor of the difference.
    pub std: Vec<f64>,
}

/// Mean and standard deviation of pixel / 255 over these images of a split, channel by channel. The
/// sums are exact integers. A channel that never changes has deviation 1, and so is left at its mean.
///
/// # Panics
/// If there are no images, or one is beyond the split.
pub fn pixel_statistics(split: &Split, channels: usize, images: &[u32]) -> PixelStatistics {
    if split.value_len() > 1 {
        return statistics_of_floats(split, channels, images);
    }
    let pixels = split.image_len() / channels * images.len();
    statistics_of_sums(&pixel_sums(split, channels, images), pixels)
}

/// The same of values that are no bytes: the sums are taken in `f64`, in the order of the images.
fn statistics_of_floats(split: &Split, channels: usize, images: &[u32]) -> PixelStatistics {
    let mut image = vec![0; split.image_len()];
    let mut each = |f: &mut dyn FnMut(usize, f64)| {
        for &i in images {
            split.copy_image(i as usize, &mut image);
            for (place, &value) in image.as_chunks().0.iter().enumerate() {
                f(place % channels, f64::from(f32::from_le_bytes(value)) / 255.0);
            }
        }
    };
    let count = (split.image_len() / split.value_len() / channels * images.len()) as f64;
    let mut mean = vec![0.0; channels];
    each(&mut |channel, value| mean[channel] += value / count);
    let mut variance = vec![0.0; channels];
    each(&mut |channel, value| {
        let difference = value - mean[channel];
        variance[channel] += difference * difference / count;
    });
    let std = variance.iter().map(|&v| if v > 0.0 { libm::sqrt(v) } else { 1.0 }).collect();
    PixelStatistics { mean, std }
}

/// Of each channel: the sum of its pixels, and of their squares.
pub fn pixel_sums(split: &Split, channels: usize, images: &[u32]) -> Vec<(u64, u64)> {
    let mut sums = vec![(0u64, 0u64); channels];
    let mut image = vec![0; split.image_len()];
    for &i in images {
        split.copy_image(i as usize, &mut image);
        for pixel in image.chunks_exact(channels) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                sum.0 += u64::from(value);
                sum.1 += u64::from(value) * u64::from(value);
            }
        }
    }
    sums
}

/// Mean and deviation of as many pixels with these sums.
pub fn statistics_of_sums(sums: &[(u64, u64)], pixels: usize) -> PixelStatistics {
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
    PixelStatistics { mean, std }
}
