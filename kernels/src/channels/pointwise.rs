//! What is not the same for channels in lanes as for images: the ends of a network, batch norm, flattening.

use crate::images::Stored;
use crate::isa::{Isa, dispatch};
use crate::output::relu;
use crate::planes::{Vector, planes, planes_mut};
use crate::simd::Simd;
use crate::{Epilogue, LANES, Layout};

/// `out[c / 16][image][y][x][c mod 16] = bytes[y][x][c] · scale[c] + shift[c]`: one image of several, as
/// [`load_images`](crate::load_images) loads it. Lanes beyond the last channel are left alone.
///
/// # Panics
/// If `layout` has no such image, or a length is not that of its `channels` and pixels.
pub fn load_channels(
    isa: Isa,
    bytes: &[u8],
    layout: &Layout,
    image: usize,
    affine: [&[f32]; 2],
    out: &mut [f32],
) {
    load(isa, bytes, layout, image, affine, out);
}

/// [`load_channels`] of an image whose values are `f32`, little-endian, instead of bytes.
///
/// # Panics
/// As [`load_channels`].
pub fn load_float_channels(
    isa: Isa,
    values: &[[u8; 4]],
    layout: &Layout,
    image: usize,
    affine: [&[f32]; 2],
    out: &mut [f32],
) {
    load(isa, values, layout, image, affine, out);
}

fn load<V: Stored>(
    isa: Isa,
    values: &[V],
    layout: &Layout,
    image: usize,
    [scale, shift]: [&[f32]; 2],
    out: &mut [f32],
) {
    let channels = scale.len();
    assert_eq!([shift.len(), layout.blocks()], [channels, channels.div_ceil(LANES)], "channels");
    assert_eq!(values.len(), channels * layout.pixels(), "values of an image, and of its layout");
    assert_eq!(out.len(), layout.len(), "length of out, and of its layout");
    assert!(image < layout.channels(), "image {image} of {layout}");
    let start = layout.offset(image, [0, 0]);
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        // The channel of the first of sixteen values, and of the others.
        let mut first = 0;
        let mut pixel = 0;
        for sixteen in values.chunks(LANES) {
            let mut padded = [V::default(); LANES];
            padded[..sixteen.len()].copy_from_slice(sixteen);
            let (mut factors, mut terms) = ([0.0; LANES], [0.0; LANES]);
            for i in 0..LANES {
                let channel = if channels == 1 { 0 } else { (first + i) % channels };
                (factors[i], terms[i]) = (scale[channel], shift[channel]);
            }
            let mut values = [0.0; LANES];
            s.store(&mut values, s.mul_add(V::load(s, &padded), s.load(&factors), s.load(&terms)));
            let mut channel = first;
            for value in &values[..sixteen.len()] {
                let panel = channel / LANES * layout.block_len();
                out[start + panel + pixel * LANES + channel % LANES] = *value;
                channel += 1;
                if channel == channels {
                    (channel, pixel) = (0, pixel + 1);
                }
            }
            first = channel;
        }
    }));
}

/// `x = epilogue((x − mean) · slope + shift)` in place: batch norm in evaluation, as
/// [`batch_norm_evaluate`](crate::batch_norm_evaluate) computes it. `norm` are `mean`, `slope` and `shift`, a value for
/// each channel in whole panels, as are the blocks of `layout`.
///
/// # Panics
/// If a length is not that of the layout.
pub fn channel_affine(
    isa: Isa,
    layout: &Layout,
    [mean, slope, shift]: [&[f32]; 3],
    epilogue: Epilogue,
    x: &mut [f32],
) {
    let channels = [mean, slope, shift].map(<[f32]>::len);
    assert_eq!(channels, [layout.blocks() * LANES; 3], "channels in panels");
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    if x.is_empty() {
        return;
    }
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let of_panel = |values: &[f32], panel: usize| s.load(&values.as_chunks().0[panel]);
        for (panel, x) in x.chunks_exact_mut(layout.block_len()).enumerate() {
            let [mean, slope, shift] = [mean, slope, shift].map(|values| of_panel(values, panel));
            for x in x.as_chunks_mut().0 {
                let value = s.mul_add(s.sub(s.load(x), mean), slope, shift);
                s.store(x, epilogue.apply(s, value));
            }
        }
    }));
}

/// The ReLU of the maximum of each 2×2 window with stride 2, as
/// [`implicit_gemm_pooled`](crate::implicit_gemm_pooled) reduces its sums: NaN if one of the four is.
///
/// # Panics
/// If a length is not that of the layout, or of it with half its rows and columns.
pub fn relu_max_pool_channels(isa: Isa, x: &[f32], layout: &Layout, y: &mut [f32]) {
    let width = layout.size()[1];
    let pooled = layout.with_size(layout.size().map(|n| n / 2));
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(y.len(), pooled.len(), "length of y, and of the pooled layout");
    if y.is_empty() || pooled.pixels() == 0 {
        return;
    }
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        for (x, y) in planes(x, layout).zip(planes_mut(y, &pooled)) {
            for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width / 2)) {
                let (top, bottom) = x.split_at(width);
                let squares = top.as_chunks().0.iter().zip(bottom.as_chunks().0);
                for (y, ([a, b], [c, d])) in y.iter_mut().zip(squares) {
                    s.store(y, strongest(s, [a, b, c, d]));
                }
            }
        }
    }));
}

#[inline(always)]
fn strongest<S: Simd>(s: S, four: [&Vector; 4]) -> S::Vector {
    let [a, b, c, d] = [s.load(four[0]), s.load(four[1]), s.load(four[2]), s.load(four[3])];
    let max = s.max(s.max(a, b), s.max(c, d));
    let nan = s.bits(s.unordered(a, b)) | s.bits(s.unordered(c, d));
    s.select(s.mask(nan), s.splat(f32::NAN), relu(s, max))
}

/// Images to vectors of their `channels · rows · columns` features in this order: from `layout` to the layout of
/// as many images of one pixel.
///
/// # Panics
/// If a length is not that of its layout, or `layout` has other panels than those of the channels.
pub fn flatten_channels(x: &[f32], layout: &Layout, channels: usize, y: &mut [f32]) {
    let (images, pixels) = (layout.channels(), layout.pixels());
    let features = super::channel_layout(images, channels * pixels, [1, 1]);
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(layout.blocks(), channels.div_ceil(LANES), "panels of {channels} channels");
    assert_eq!(y.len(), features.len(), "length of y, and of the features");
    for image in 0..images {
        for channel in 0..channels {
            let start = channel / LANES * layout.block_len() + layout.offset(image, [0, 0]);
            let plane = x[start..].as_chunks::<LANES>().0[..pixels].iter();
            for (feature, vector) in (channel * pixels..).zip(plane) {
                let panel = feature / LANES * features.block_len();
                let at = panel + features.offset(image, [0, 0]) + feature % LANES;
                y[at] = vector[channel % LANES];
            }
        }
    }
}

/// Puts the `channels` channels of `x`, of `layout`, among those of `y`, of layout `to`, from channel `first` on.
/// Lanes of other channels are left alone.
///
/// # Panics
/// If the layouts differ in more than their panels, these are less than the channels need, or a length is not that
/// of its layout.
pub fn place_channels(
    x: &[f32],
    layout: &Layout,
    channels: usize,
    first: usize,
    to: &Layout,
    y: &mut [f32],
) {
    let images = layout.channels();
    assert_eq!((images, layout.size()), (to.channels(), to.size()), "images and their sizes");
    assert_eq!(layout.blocks(), channels.div_ceil(LANES), "panels of {channels} channels");
    assert!(first + channels <= to.blocks() * LANES, "{channels} channels from {first} on");
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(y.len(), to.len(), "length of y, and of its layout");
    let (panel, to_panel) = (layout.block_len(), to.block_len());
    if first.is_multiple_of(LANES) {
        let start = first / LANES * to_panel;
        return y[start..start + x.len()].copy_from_slice(x);
    }
    for channel in 0..channels {
        let at = first + channel;
        let from = x[channel / LANES * panel..][..panel].as_chunks::<LANES>().0;
        let to = y[at / LANES * to_panel..][..to_panel].as_chunks_mut::<LANES>().0;
        for (x, y) in from.iter().zip(to) {
            y[at % LANES] = x[channel % LANES];
        }
    }
}

/// The features of images, `features` for each, row-major.
///
/// # Panics
/// If a length is not that of the layout of so many features, or of the rows.
pub fn rows_of_channels(x: &[f32], images: usize, features: usize, rows: &mut [f32]) {
    let layout = super::channel_layout(images, features, [1, 1]);
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(rows.len(), images * features, "length of the rows");
    for (image, row) in rows.chunks_exact_mut(features.max(1)).enumerate() {
        for (panel, values) in row.chunks_mut(LANES).enumerate() {
            let at = panel * layout.block_len() + layout.offset(image, [0, 0]);
            values.copy_from_slice(&x[at..][..values.len()]);
        }
    }
}
