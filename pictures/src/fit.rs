//! Pictures of any size into the rows, columns and channels that a network takes.

use crate::Picture;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::imageops;
use image::{DynamicImage, ImageBuffer, Pixel, RgbImage, RgbaImage};
use model::Fit;

impl Picture {
    /// Bytes of an image of this shape, `[channels, rows, columns]`, laid out as IDX files are.
    ///
    /// What is transparent shows white, unless four channels are asked for; grey is the luma of
    /// Rec. 709 of what colour would be. Pictures shrink by a triangle filter as wide as two of the new pixels, so that
    /// nothing is skipped, and grow by linear interpolation; one of the right size keeps its bytes.
    /// Padding has the median of the picture's border, channel by channel.
    ///
    /// # Panics
    /// If there is nothing to be made, or another number of channels than 1, 3 or 4.
    pub fn fit(&self, [channels, rows, columns]: [usize; 3], fit: Fit) -> Vec<u8> {
        assert!(rows > 0 && columns > 0, "an image of {rows}×{columns}");
        let size = [columns as u32, rows as u32];
        let opaque = || self.0.color().has_alpha().then(|| over_white(self.0.to_rgba8()));
        match channels {
            1 => match (&self.0, opaque()) {
                (DynamicImage::ImageLuma8(grey), _) => placed(grey, size, fit),
                (DynamicImage::ImageRgb8(rgb), _) => luma(&placed(rgb, size, fit)),
                (_, rgb) => luma(&placed(&rgb.unwrap_or_else(|| self.0.to_rgb8()), size, fit)),
            },
            3 => match &self.0 {
                DynamicImage::ImageRgb8(rgb) => placed(rgb, size, fit),
                // Channels are added to the image, where they take no memory for each pixel of the picture.
                DynamicImage::ImageLuma8(grey) => {
                    placed(grey, size, fit).into_iter().flat_map(|value| [value; 3]).collect()
                }
                _ => placed(&opaque().unwrap_or_else(|| self.0.to_rgb8()), size, fit),
            },
            4 => match &self.0 {
                DynamicImage::ImageRgba8(rgba) => placed(rgba, size, fit),
                other if other.color().has_alpha() => placed(&other.to_rgba8(), size, fit),
                _ => {
                    let rgb = self.fit([3, rows, columns], fit);
                    rgb.as_chunks().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect()
                }
            },
            _ => panic!("{channels} channels"),
        }
    }

    /// Whether its file can hold colour.
    pub(crate) fn may_have_colour(&self) -> bool {
        self.0.color().has_color()
    }
}

/// Bright where it was dark. The fourth channel is opacity, and stays.
pub(crate) fn invert(image: &mut [u8], channels: usize) {
    for pixel in image.chunks_exact_mut(channels) {
        pixel.iter_mut().take(3).for_each(|value| *value = 255 - *value);
    }
}

/// Whether a grey image is something dark on a bright ground: the median of its border is brighter
/// than half, and brighter than the mean of what the border encloses.
///
/// # Panics
/// If the image does not have so many columns, or none.
pub(crate) fn is_dark_on_light(image: &[u8], columns: usize) -> bool {
    let rows = image.len() / columns;
    assert!(rows > 0 && image.len().is_multiple_of(columns), "{} of {columns}", image.len());
    let (mut border, mut inner) = (vec![], vec![]);
    for (i, &value) in image.iter().enumerate() {
        let (y, x) = (i / columns, i % columns);
        let outside = y == 0 || x == 0 || y == rows - 1 || x == columns - 1;
        if outside { &mut border } else { &mut inner }.push(value);
    }
    let ground = median(&mut border);
    let sum: u64 = inner.iter().map(|&value| u64::from(value)).sum();
    ground > 127 && u64::from(ground) * inner.len() as u64 > sum
}

/// Whether an image of three channels is more than grey: a pixel whose channels differ by more than
/// 16 of 255, which is beyond what compression does to grey.
pub(crate) fn has_colour(image: &[u8]) -> bool {
    image.as_chunks::<3>().0.iter().any(|pixel| {
        let (least, most) = (pixel.iter().min(), pixel.iter().max());
        most.zip(least).is_some_and(|(most, least)| most - least > 16)
    })
}

/// Pixels of three channels in grey, by the weights of Rec. 709: 0.2126, 0.7152, 0.0722.
fn luma(rgb: &[u8]) -> Vec<u8> {
    let grey = rgb.as_chunks::<3>().0.iter().map(|pixel| {
        let [r, g, b] = pixel.map(u32::from);
        ((2126 * r + 7152 * g + 722 * b + 5000) / 10_000) as u8
    });
    grey.collect()
}

fn over_white(picture: RgbaImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let mut bytes = Vec::with_capacity(3 * picture.len() / 4);
    for pixel in picture.pixels() {
        let [colour @ .., alpha] = pixel.0.map(u32::from);
        bytes.extend(colour.map(|c| ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8));
    }
    RgbImage::from_raw(width, height, bytes).expect("three bytes per pixel")
}

/// The bytes of the picture in another size.
fn placed<P: Pixel<Subpixel = u8> + 'static>(
    picture: &ImageBuffer<P, Vec<u8>>,
    [columns, rows]: [u32; 2],
    fit: Fit,
) -> Vec<u8> {
    let (width, height) = picture.dimensions();
    let [wide, high] = [f64::from(columns) / f64::from(width), f64::from(rows) / f64::from(height)];
    let scaled = |length: u32, by: f64| ((f64::from(length) * by).round() as u32).max(1);
    match fit {
        Fit::Stretch => resize(picture, [width, height], [columns, rows]).into_raw(),
        Fit::Crop => {
            let scale = wide.max(high);
            let middle = [columns, rows].map(|length| scaled(length, 1.0 / scale));
            let middle = [middle[0].min(width), middle[1].min(height)];
            resize(picture, middle, [columns, rows]).into_raw()
        }
        Fit::Pad => {
            let scale = wide.min(high);
            let size = [scaled(width, scale).min(columns), scaled(height, scale).min(rows)];
            let small = resize(picture, [width, height], size);
            let mut padded = ImageBuffer::from_pixel(columns, rows, ground(&small));
            let [left, top] = [(columns - size[0]) / 2, (rows - size[1]) / 2];
            imageops::replace(&mut padded, &small, left.into(), top.into());
            padded.into_raw()
        }
    }
}

/// The middle of the picture, so many columns and rows of it, in another size, in integer arithmetic: the result is
/// the same on every processor.
fn resize<P: Pixel<Subpixel = u8> + 'static>(
    picture: &ImageBuffer<P, Vec<u8>>,
    middle: [u32; 2],
    [columns, rows]: [u32; 2],
) -> ImageBuffer<P, Vec<u8>> {
    let pixels = match P::CHANNEL_COUNT {
        1 => PixelType::U8,
        3 => PixelType::U8x3,
        _ => PixelType::U8x4,
    };
    let (width, height) = picture.dimensions();
    let source = ImageRef::new(width, height, picture.as_raw(), pixels).expect("all its bytes");
    let mut resized = Image::new(columns, rows, pixels);
    let [left, top] = [(width - middle[0]) / 2, (height - middle[1]) / 2].map(f64::from);
    let [wide, high] = middle.map(f64::from);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .use_alpha(false)
        .crop(left, top, wide, high);
    Resizer::new().resize(&source, &mut resized, &options).expect("a part of it, in its pixels");
    ImageBuffer::from_raw(columns, rows, resized.into_vec()).expect("as many bytes as pixels take")
}

/// The median of the border, channel by channel.
fn ground<P: Pixel<Subpixel = u8>>(picture: &ImageBuffer<P, Vec<u8>>) -> P {
    let (width, height) = picture.dimensions();
    let border = picture
        .enumerate_pixels()
        .filter(|(x, y, _)| *x == 0 || *y == 0 || *x == width - 1 || *y == height - 1);
    let border: Vec<&P> = border.map(|(_, _, pixel)| pixel).collect();
    let mut result = *border[0];
    for (c, value) in result.channels_mut().iter_mut().enumerate() {
        *value = median(&mut border.iter().map(|pixel| pixel.channels()[c]).collect::<Vec<_>>());
    }
    result
}

/// The upper one of two medians.
fn median(values: &mut [u8]) -> u8 {
    let middle = values.len() / 2;
    *values.select_nth_unstable(middle).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::GrayImage;

    /// Channels that are added afterwards are those that would have been resized.
    #[test]
    fn channels_are_added_before_or_after() {
        let byte = |x: u32, y: u32| (x * x * 31 + y * 17 + x * y * 7) as u8;
        for [width, height] in [[1, 1], [3, 40], [28, 28], [57, 31], [200, 300]] {
            let grey = GrayImage::from_fn(width, height, |x, y| [byte(x, y)].into());
            let rgb = RgbImage::from_fn(width, height, |x, y| {
                [byte(x, y), byte(y, x), byte(x, y + 5)].into()
            });
            for picture in [DynamicImage::from(grey), rgb.into()] {
                for fit in Fit::ALL {
                    for size @ [rows, columns] in [[28, 28], [5, 9], [64, 3], [1, 1]] {
                        let of = |picture: DynamicImage, channels| {
                            Picture(picture).fit([channels, rows, columns], fit)
                        };
                        let what = format!("{width}×{height} {fit:?} {size:?}");
                        let expected = of(picture.to_rgb8().into(), 3);
                        assert!(of(picture.clone(), 3) == expected, "{what}");
                        let expected = of(picture.to_rgba8().into(), 4);
                        assert!(of(picture.clone(), 4) == expected, "{what}");
                    }
                }
            }
        }
    }
}
