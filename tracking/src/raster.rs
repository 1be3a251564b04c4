//! Pictures of eight bits to a channel, and PNG files of them.

use png::{BitDepth, ColorType, Compression, Encoder};

/// An uncompressed picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster {
    /// Rows, columns and channels: 1 is grey, 3 is RGB, 4 is RGBA.
    shape: [usize; 3],
    /// Rows of pixels, the channels of a pixel side by side.
    pixels: Vec<u8>,
}

impl Raster {
    /// A picture of these pixels, as IDX files have them: rows of pixels, the channels of a pixel side
    /// by side. `shape` is rows, columns and channels: 1 is grey, 3 is RGB, 4 is RGBA.
    ///
    /// # Panics
    /// If there are not as many bytes, none at all, or other channels.
    #[must_use]
    pub fn new(shape: [usize; 3], pixels: Vec<u8>) -> Raster {
        assert!(matches!(shape[2], 1 | 3 | 4), "{} channels", shape[2]);
        assert!(!pixels.is_empty() && pixels.len() == shape.iter().product::<usize>(), "{shape:?}");
        Raster { shape, pixels }
    }

    /// Images of one shape in rows of `columns`, with a grey line between neighbours.
    ///
    /// # Panics
    /// If there is no image, or one is not of this shape, or where [`Raster::new`] does.
    #[must_use]
    pub fn grid<'i>(
        shape: [usize; 3],
        columns: usize,
        images: impl ExactSizeIterator<Item = &'i [u8]>,
    ) -> Raster {
        let [height, width, channels] = shape;
        let columns = columns.min(images.len());
        let rows = images.len().div_ceil(columns);
        let [all_rows, all_columns] = [rows * (height + 1) - 1, columns * (width + 1) - 1];
        let mut pixels = vec![128; all_rows * all_columns * channels];
        if channels == 4 {
            pixels.chunks_exact_mut(4).for_each(|pixel| pixel[3] = 255);
        }
        for (i, image) in images.enumerate() {
            let [top, left] = [i / columns * (height + 1), i % columns * (width + 1)];
            assert_eq!(image.len(), height * width * channels, "image {i}");
            for (y, row) in image.chunks_exact(width * channels).enumerate() {
                let start = ((top + y) * all_columns + left) * channels;
                pixels[start..][..row.len()].copy_from_slice(row);
            }
        }
        Raster::new([all_rows, all_columns, channels], pixels)
    }

    /// Rows, columns and channels.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Rows of pixels, the channels of a pixel side by side.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// A PNG file.
    pub fn png(&self) -> Vec<u8> {
        let [height, width, channels] = self.shape;
        let mut file = vec![];
        let mut encoder = Encoder::new(&mut file, width as u32, height as u32);
        encoder.set_color(match channels {
            1 => ColorType::Grayscale,
            3 => ColorType::Rgb,
            _ => ColorType::Rgba,
        });
        encoder.set_depth(BitDepth::Eight);
        encoder.set_compression(Compression::Balanced);
        let written = encoder.write_header().and_then(|mut w| w.write_image_data(&self.pixels));
        written.expect("the picture is as large as its header says, and a vector grows");
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_puts_images_side_by_side() {
        let images: Vec<Vec<u8>> = (1..=5).map(|i| vec![i; 2]).collect();
        let grid = Raster::grid([1, 2, 1], 2, images.iter().map(Vec::as_slice));
        assert_eq!(grid.shape(), [5, 5, 1]);
        let rows: Vec<&[u8]> = grid.pixels.chunks(5).collect();
        let line = [128; 5];
        let expected = [[1, 1, 128, 2, 2], line, [3, 3, 128, 4, 4], line, [5, 5, 128, 128, 128]];
        assert_eq!(rows, expected);
        let alone = Raster::grid([1, 2, 1], 8, [&[7, 9][..]].into_iter());
        assert_eq!(alone, Raster::new([1, 2, 1], vec![7, 9]));
    }

    #[test]
    fn a_png_has_the_pixels() {
        for channels in [1, 3, 4] {
            let pixels: Vec<u8> = (0..7 * 5 * channels).map(|i| (i * 37) as u8).collect();
            let images = [&pixels[..], &pixels];
            let raster = Raster::grid([7, 5, channels], 1, images.into_iter());
            let file = raster.png();
            let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
            let mut found = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut found).unwrap();
            assert_eq!([info.height, info.width], [15, 5]);
            assert_eq!(found, raster.pixels);
            assert_eq!(found[..pixels.len()], pixels);
        }
    }
}
