//! Between row-major images and sixteen images to a vector.

use crate::{LANES, Layout};

/// Visits every value of a batch: (place in the lanes, place in the row-major images).
fn places(images: usize, layout: &Layout, mut visit: impl FnMut(usize, usize)) {
    let room = layout.blocks * LANES;
    assert!(images <= room, "{images} images in {} blocks of {LANES}", layout.blocks);
    let [rows, columns] = layout.size;
    for image in 0..images {
        for channel in 0..layout.channels {
            for pixel in 0..layout.pixels() {
                let block = image / LANES * layout.block_len();
                let vector = layout.offset(channel, [pixel / columns, pixel % columns]);
                let plane = image * layout.channels + channel;
                visit(block + vector + image % LANES, plane * rows * columns + pixel);
            }
        }
    }
}

/// From row-major `[images][channels][size]` to `layout`. Lanes without an image and the unused
/// vectors between planes are zero.
pub fn to_lanes(x: &[f32], images: usize, layout: &Layout) -> Vec<f32> {
    super::planes::check_len("x", x, images * layout.channels * layout.pixels());
    let mut lanes = vec![0.0; layout.len()];
    places(images, layout, |lane, row| lanes[lane] = x[row]);
    lanes
}

/// From `layout` to row-major `[images][channels][size]`; the lanes beyond `images` are not read.
pub fn from_lanes(lanes: &[f32], images: usize, layout: &Layout) -> Vec<f32> {
    super::planes::check_len("lanes", lanes, layout.len());
    let mut x = vec![0.0; images * layout.channels * layout.pixels()];
    places(images, layout, |lane, row| x[row] = lanes[lane]);
    x
}
