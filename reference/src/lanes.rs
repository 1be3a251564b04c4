//! Between row-major images and sixteen images to a vector.

use kernels::{LANES, Layout};

/// Visits every value of a batch: (place in the lanes, place in the row-major images).
fn places(images: usize, layout: &Layout, mut visit: impl FnMut(usize, usize)) {
    let room = layout.blocks() * LANES;
    assert!(images <= room, "{images} images in {} blocks of {LANES}", layout.blocks());
    let [rows, columns] = layout.size();
    for image in 0..images {
        for channel in 0..layout.channels() {
            for pixel in 0..layout.pixels() {
                let block = image / LANES * layout.block_len();
                let vector = layout.offset(channel, [pixel / columns, pixel % columns]);
                let plane = image * layout.channels() + channel;
                visit(block + vector + image % LANES, plane * rows * columns + pixel);
            }
        }
    }
}

/// From row-major `[images][channels][size]` to `layout`. Lanes without an image and the unused
/// vectors between planes are zero.
pub fn to_lanes(x: &[f32], images: usize, layout: &Layout) -> Vec<f32> {
    crate::planes::check_len("x", x, images * layout.channels() * layout.pixels());
    let mut lanes = vec![0.0; layout.len()];
    places(images, layout, |lane, row| lanes[lane] = x[row]);
    lanes
}

/// From `layout` to row-major `[images][channels][size]`; the lanes beyond `images` are not read.
pub fn from_lanes(lanes: &[f32], images: usize, layout: &Layout) -> Vec<f32> {
    crate::planes::check_len("lanes", lanes, layout.len());
    let mut x = vec![0.0; images * layout.channels() * layout.pixels()];
    places(images, layout, |lane, row| x[row] = lanes[lane]);
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value says where it belongs: image, channel, row and column are its digits.
    fn digits(images: usize, layout: &Layout) -> Vec<f32> {
        let [rows, columns] = layout.size();
        let mut x = Vec::new();
        for image in 0..images {
            for channel in 0..layout.channels() {
                for pixel in 0..rows * columns {
                    let place = [image, channel, pixel / columns, pixel % columns];
                    x.push(place.iter().fold(0, |digits, place| digits * 32 + place) as f32);
                }
            }
        }
        x
    }

    #[test]
    fn every_value_is_at_its_place() {
        let layout = Layout::new(2, 3, [2, 4]); // eight pixels: one unused vector after each plane
        let images = 18;
        let x = digits(images, &layout);
        let lanes = to_lanes(&x, images, &layout);
        // Image 17 is lane 1 of block 1; channel 2, row 1, column 2.
        let place = layout.block_len() + (2 * 9 + 4 + 2) * LANES + 1;
        assert_eq!(lanes[place], (((17 * 32 + 2) * 32 + 1) * 32 + 2) as f32);
        assert_eq!(lanes.len(), layout.len());
        // The first value is itself zero.
        assert_eq!(lanes.iter().filter(|x| **x != 0.0).count(), x.len() - 1);
        assert_eq!(from_lanes(&lanes, images, &layout), x);
    }

    #[test]
    fn what_is_unused_is_zero_and_not_read() {
        let layout = Layout::new(1, 2, [2, 4]);
        let mut lanes = to_lanes(&[1.0; 3 * 2 * 8], 3, &layout);
        for (i, value) in lanes.iter_mut().enumerate() {
            let used = i % LANES < 3 && i / LANES % 9 < 8;
            assert_eq!(*value, if used { 1.0 } else { 0.0 });
            if !used {
                *value = f32::NAN;
            }
        }
        assert_eq!(from_lanes(&lanes, 3, &layout), [1.0; 3 * 2 * 8]);
    }

    #[test]
    #[should_panic(expected = "17 images in 1 blocks of 16")]
    fn images_must_fit() {
        to_lanes(&[0.0; 17], 17, &Layout::features(1, 1));
    }
}
