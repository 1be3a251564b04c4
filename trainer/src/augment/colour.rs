//! Changes of colours, by integers: as Pillow's `ImageEnhance` and `ImageOps`, and so as torchvision's, make them.

/// One, as a factor.
pub(super) const ONE: u32 = 1 << 16;

/// From one value towards another: 0 is `a`, [`ONE`] is `b`, and beyond.
fn blend(a: u8, b: u8, factor: u32) -> u8 {
    let (a, b) = (i64::from(a), i64::from(b));
    let value = (a << 16) + (b - a) * i64::from(factor) + (1 << 15);
    (value >> 16).clamp(0, 255) as u8
}

/// The values of a pixel that are colours: not the opacity.
fn colours(pixel: &mut [u8]) -> &mut [u8] {
    let count = if pixel.len() == 4 { 3 } else { pixel.len() };
    &mut pixel[..count]
}

/// The brightness of a pixel, as ITU-R BT.601 has it.
fn grey(pixel: &[u8]) -> u8 {
    match pixel {
        [r, g, b, ..] => {
            let sum = 19_595 * u32::from(*r) + 38_470 * u32::from(*g) + 7_471 * u32::from(*b);
            ((sum + 0x8000) >> 16) as u8
        }
        pixel => pixel[0],
    }
}

/// Every colour through a function.
fn each(image: &mut [u8], channels: usize, change: impl Fn(u8) -> u8) {
    for pixel in image.chunks_exact_mut(channels) {
        colours(pixel).iter_mut().for_each(|value| *value = change(*value));
    }
}

/// 0 is black.
pub(super) fn brightness(image: &mut [u8], channels: usize, factor: u32) {
    each(image, channels, |value| blend(0, value, factor));
}

/// 0 is the mean brightness everywhere.
pub(super) fn contrast(image: &mut [u8], channels: usize, factor: u32) {
    let pixels = (image.len() / channels) as u64;
    let sum: u64 = image.chunks_exact(channels).map(|pixel| u64::from(grey(pixel))).sum();
    let mean = ((sum + pixels / 2) / pixels) as u8;
    each(image, channels, |value| blend(mean, value, factor));
}

/// 0 is grey; of grey images nothing changes.
pub(super) fn saturation(image: &mut [u8], channels: usize, factor: u32) {
    for pixel in image.chunks_exact_mut(channels) {
        let grey = grey(pixel);
        colours(pixel).iter_mut().for_each(|value| *value = blend(grey, *value, factor));
    }
}

/// 0 is smoothed by the weights 1, 1, 1; 1, 5, 1; 1, 1, 1. The border stays. `from` is room.
pub(super) fn sharpness(
    image: &mut [u8],
    from: &mut [u8],
    [channels, rows, columns]: [usize; 3],
    factor: u32,
) {
    from.copy_from_slice(image);
    let row = columns * channels;
    for y in 1..rows.saturating_sub(1) {
        for x in 1..columns.saturating_sub(1) {
            for c in 0..channels - usize::from(channels == 4) {
                let at = y * row + x * channels + c;
                let near = |line: usize| [line - channels, line, line + channels];
                let lines = [at - row, at, at + row];
                let sum: u32 = lines.into_iter().flat_map(near).map(|i| u32::from(from[i])).sum();
                let smooth = (sum + 4 * u32::from(from[at]) + 6) / 13;
                image[at] = blend(smooth as u8, from[at], factor);
            }
        }
    }
}

/// Leaves so many bits of each value.
pub(super) fn posterize(image: &mut [u8], channels: usize, bits: u32) {
    let mask = !(0xffu32 >> bits) as u8;
    each(image, channels, |value| value & mask);
}

/// Values from the threshold on become their negative.
pub(super) fn solarize(image: &mut [u8], channels: usize, threshold: u32) {
    each(image, channels, |value| if u32::from(value) >= threshold { 255 - value } else { value });
}

/// How often each value is in a channel.
fn histogram(image: &[u8], channels: usize, c: usize) -> [u32; 256] {
    let mut counts = [0; 256];
    image.iter().skip(c).step_by(channels).for_each(|&value| counts[usize::from(value)] += 1);
    counts
}

/// Of each channel the lowest value becomes 0, the highest 255.
pub(super) fn auto_contrast(image: &mut [u8], channels: usize) {
    for c in 0..channels - usize::from(channels == 4) {
        let counts = histogram(image, channels, c);
        let found = |count: &u32| *count > 0;
        let low = counts.iter().position(found).unwrap_or(0) as u32;
        let high = counts.iter().rposition(found).unwrap_or(0) as u32;
        if high <= low {
            continue;
        }
        for value in image.iter_mut().skip(c).step_by(channels) {
            *value = ((u32::from(*value) - low) * 255 / (high - low)) as u8;
        }
    }
}

/// Each channel through the sums of its own histogram, after which all values are about as frequent.
pub(super) fn equalize(image: &mut [u8], channels: usize) {
    for c in 0..channels - usize::from(channels == 4) {
        let counts = histogram(image, channels, c);
        let last = counts.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
        let all: u32 = counts.iter().sum();
        let step = (all - last) / 255;
        if step == 0 {
            continue;
        }
        let mut sum = step / 2;
        let table = counts.map(|count| {
            let value = (sum / step).min(255) as u8;
            sum += count;
            value
        });
        for value in image.iter_mut().skip(c).step_by(channels) {
            *value = table[usize::from(*value)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * i * 31 + i * 7 + 1) as u8).collect()
    }

    /// An image through a change.
    fn changed(image: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut image = image.to_vec();
        change(&mut image);
        image
    }

    #[test]
    fn a_factor_of_one_changes_nothing_and_zero_leaves_what_it_blends_with() {
        for channels in [1, 3, 4] {
            let image = noise(6 * 7 * channels);
            let shape = [channels, 6, 7];
            let sharp = |image: &mut [u8], f| sharpness(image, &mut vec![0; image.len()], shape, f);
            assert_eq!(changed(&image, |image| brightness(image, channels, ONE)), image);
            assert_eq!(changed(&image, |image| contrast(image, channels, ONE)), image);
            assert_eq!(changed(&image, |image| saturation(image, channels, ONE)), image);
            assert_eq!(changed(&image, |image| sharp(image, ONE)), image);
            let dark = changed(&image, |image| brightness(image, channels, 0));
            let flat = changed(&image, |image| contrast(image, channels, 0));
            let dull = changed(&image, |image| saturation(image, channels, 0));
            for (i, &value) in image.iter().enumerate() {
                let pixel = i - i % channels;
                if channels == 4 && i % 4 == 3 {
                    assert_eq!([dark[i], flat[i], dull[i]], [value; 3], "the opacity");
                } else {
                    assert_eq!([dark[i], flat[i]], [0, flat[0]]);
                    assert_eq!(
                        dull[i],
                        if channels == 1 { value } else { grey(&image[pixel..][..3]) }
                    );
                }
            }
        }
        assert_eq!(changed(&[100, 200], |image| brightness(image, 1, ONE + ONE / 2)), [150, 255]);
        assert_eq!(changed(&[100, 200], |image| contrast(image, 1, 2 * ONE)), [50, 250]);
    }

    /// Values that Pillow 12 gives for the same.
    #[test]
    fn values_are_those_of_pillow() {
        let image = [10, 20, 30, 40, 50, 60, 70, 80, 200];
        let room = [0; 9];
        let smooth = changed(&image, |image| sharpness(image, &mut room.clone(), [1, 3, 3], 0));
        assert_eq!(smooth, [10, 20, 30, 40, 58, 60, 70, 80, 200]);
        let sharp =
            changed(&image, |image| sharpness(image, &mut room.clone(), [1, 3, 3], 2 * ONE));
        assert_eq!(sharp[4], 42);
        assert_eq!(
            changed(&image, |image| posterize(image, 1, 3)),
            [0, 0, 0, 32, 32, 32, 64, 64, 192]
        );
        assert_eq!(changed(&image, |image| solarize(image, 1, 64))[6..], [185, 175, 55]);
        assert_eq!(
            changed(&image, |image| auto_contrast(image, 1)),
            [0, 13, 26, 40, 53, 67, 80, 93, 255]
        );
        let ramp: Vec<u8> = (0..=255).flat_map(|v| [v / 4; 4]).collect();
        let flat = changed(&ramp, |image| equalize(image, 1));
        assert_eq!(([flat[0], flat[1023]], flat.is_sorted()), ([0, 255], true));
        assert_eq!(changed(&[7; 9], |image| equalize(image, 1)), [7; 9]);
        assert_eq!(changed(&[7; 9], |image| auto_contrast(image, 1)), [7; 9]);
    }
}
