//! From the bytes of images to lanes.

use crate::isa::dispatch;
use crate::planes::valid_lanes;
use crate::simd::Simd;
use crate::team::{Cores, Cost, Shared};
use crate::{LANES, Layout};

/// `out[c][y][x][i] = images[i][y][x][c] · scale[c] + shift[c]` for up to sixteen images: one block.
///
/// An image is `rows × columns × channels` bytes. Lanes without an image are zero. The unused
/// vectors of `out` are left alone.
///
/// # Panics
/// If `layout` is not one block, there are more than sixteen images, or a length is not `layout`'s.
pub fn load_images<'t>(
    cores: impl Into<Cores<'t>>,
    images: &[&[u8]],
    layout: &Layout,
    scale: &[f32],
    shift: &[f32],
    out: &mut [f32],
) {
    let bytes = layout.channels() * layout.pixels();
    assert_eq!(layout.blocks(), 1, "blocks");
    assert!(images.len() <= LANES, "{} images in a block of {LANES}", images.len());
    for image in images {
        assert_eq!(image.len(), bytes, "bytes of an image, and of its layout");
    }
    assert_eq!(
        [scale.len(), shift.len()],
        [layout.channels(); 2],
        "scales and shifts, and channels"
    );
    assert_eq!(out.len(), layout.len(), "length of out, and of its layout");
    let affine = Affine { scale, shift, valid: valid_lanes(images.len(), 0) };
    load(cores.into(), images, bytes, layout, &affine, out);
}

/// A part has some bytes of every image, whole sixteens.
fn load(
    cores: Cores<'_>,
    images: &[&[u8]],
    bytes: usize,
    layout: &Layout,
    affine: &Affine<'_>,
    out: &mut [f32],
) {
    let out = Shared::new(out);
    cores.each_range(bytes.div_ceil(LANES), Cost::vectors(2 * bytes), |sixteens| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for start in sixteens.map(|i| i * LANES) {
                let len = LANES.min(bytes - start);
                let columns = transposed(s, images, start, len);
                // SAFETY: each byte of an image has a vector of its own, and is one part's.
                unsafe { affine.store(s, &columns[..len], start, layout, out) };
            }
        }));
    });
}

/// Bytes `start..start + len` of every image as numbers: one vector per byte, one lane per image.
#[inline(always)]
fn transposed<S: Simd>(s: S, images: &[&[u8]], start: usize, len: usize) -> [S::Vector; LANES] {
    let mut rows = [s.zero(); LANES];
    for (row, image) in rows.iter_mut().zip(images) {
        let bytes = &image[start..start + len];
        *row = match bytes.as_array() {
            Some(bytes) => s.load_u8(bytes),
            None => {
                let mut padded = [0; LANES];
                padded[..len].copy_from_slice(bytes);
                s.load_u8(&padded)
            }
        };
    }
    s.transpose(rows)
}

/// What becomes of a byte.
struct Affine<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
    valid: u16,
}

impl Affine<'_> {
    /// Stores the vectors of bytes `start..` of an image where their channels and pixels belong.
    ///
    /// # Safety
    /// Nothing else may use these vectors meanwhile.
    #[inline(always)]
    unsafe fn store<S: Simd>(
        &self,
        s: S,
        columns: &[S::Vector],
        start: usize,
        layout: &Layout,
        out: Shared<'_, f32>,
    ) {
        let channels = layout.channels();
        let (mut pixel, mut channel) = (start / channels, start % channels);
        for column in columns {
            let (scale, shift) = (s.splat(self.scale[channel]), s.splat(self.shift[channel]));
            let value = s.keep(s.mask(self.valid), s.mul_add(*column, scale, shift));
            let at = (channel * layout.plane() + pixel) * LANES;
            // SAFETY: the caller's promise.
            let to = unsafe { out.slice(at..at + LANES) };
            s.store(&mut to.as_chunks_mut().0[0], value);
            channel += 1;
            if channel == channels {
                (pixel, channel) = (pixel + 1, 0);
            }
        }
    }
}
