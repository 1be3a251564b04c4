//! From the bytes of images, or numbers of any kind, to lanes.

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
    load(cores.into(), images, layout, [scale, shift], out);
}

/// [`load_images`] of images whose values are `f32`, little-endian, instead of bytes: the same numbers give the same
/// bits.
///
/// # Panics
/// As [`load_images`].
pub fn load_float_images<'t>(
    cores: impl Into<Cores<'t>>,
    images: &[&[[u8; 4]]],
    layout: &Layout,
    scale: &[f32],
    shift: &[f32],
    out: &mut [f32],
) {
    load(cores.into(), images, layout, [scale, shift], out);
}

/// What the value of a channel of a pixel is stored as.
pub(crate) trait Stored: Copy + Default + Sync {
    /// Sixteen as numbers.
    fn load<S: Simd>(s: S, sixteen: &[Self; LANES]) -> S::Vector;
}

impl Stored for u8 {
    #[inline(always)]
    fn load<S: Simd>(s: S, sixteen: &[u8; LANES]) -> S::Vector {
        s.load_u8(sixteen)
    }
}

impl Stored for [u8; 4] {
    #[inline(always)]
    fn load<S: Simd>(s: S, sixteen: &[[u8; 4]; LANES]) -> S::Vector {
        s.load(&sixteen.map(f32::from_le_bytes))
    }
}

/// A part has some values of every image, whole sixteens.
fn load<V: Stored>(
    cores: Cores<'_>,
    images: &[&[V]],
    layout: &Layout,
    [scale, shift]: [&[f32]; 2],
    out: &mut [f32],
) {
    let values = layout.channels() * layout.pixels();
    assert_eq!(layout.blocks(), 1, "blocks");
    assert!(images.len() <= LANES, "{} images in a block of {LANES}", images.len());
    for image in images {
        assert_eq!(image.len(), values, "values of an image, and of its layout");
    }
    assert_eq!(
        [scale.len(), shift.len()],
        [layout.channels(); 2],
        "scales and shifts, and channels"
    );
    assert_eq!(out.len(), layout.len(), "length of out, and of its layout");
    let affine = Affine { scale, shift, valid: valid_lanes(images.len(), 0) };
    let out = Shared::new(out);
    cores.each_range(values.div_ceil(LANES), Cost::vectors(2 * values), |sixteens| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for start in sixteens.map(|i| i * LANES) {
                let len = LANES.min(values - start);
                let columns = transposed(s, images, start, len);
                // SAFETY: each value of an image has a vector of its own, and is one part's.
                unsafe { affine.store(s, &columns[..len], start, layout, out) };
            }
        }));
    });
}

/// Values `start..start + len` of every image as numbers: one vector per value, one lane per image.
#[inline(always)]
fn transposed<S: Simd, V: Stored>(
    s: S,
    images: &[&[V]],
    start: usize,
    len: usize,
) -> [S::Vector; LANES] {
    let mut rows = [s.zero(); LANES];
    for (row, image) in rows.iter_mut().zip(images) {
        let values = &image[start..start + len];
        *row = match values.as_array() {
            Some(values) => V::load(s, values),
            None => {
                let mut padded = [V::default(); LANES];
                padded[..len].copy_from_slice(values);
                V::load(s, &padded)
            }
        };
    }
    s.transpose(rows)
}

/// What becomes of a value.
struct Affine<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
    valid: u16,
}

impl Affine<'_> {
    /// Stores the vectors of values `start..` of an image where their channels and pixels belong.
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
