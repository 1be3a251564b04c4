//! From bytes to lanes.

use crate::common::{Batch, EPSILON, on_every_path};
use kernels::{Isa, LANES, Layout, load_float_images, load_images};
use proptest::prelude::*;
use reference::assert_close;

/// Every image, channel and pixel has a byte of its own, as far as there are bytes.
fn image(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| ((i * 37 + number * 101) % 256) as u8).collect()
}

fn check(images: usize, channels: usize, size: [usize; 2]) {
    let layout = Layout::new(1, channels, size);
    let (batch, pixels) = (Batch { images, layout }, layout.pixels());
    let scale: Vec<f32> = (0..channels).map(|c| 0.02 / (c + 1) as f32).collect();
    let shift: Vec<f32> = (0..channels).map(|c| -1.0 - c as f32).collect();
    let bytes: Vec<Vec<u8>> = (0..images).map(|n| image(n, channels * pixels)).collect();
    let views: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let mut exact = Vec::new();
    for image in &bytes {
        for c in 0..channels {
            let [scale, shift] = [scale[c], shift[c]].map(f64::from);
            exact.extend((0..pixels).map(|p| f64::from(image[p * channels + c]) * scale + shift));
        }
    }
    on_every_path(
        layout.len(),
        |isa, out| load_images(isa, &views, &layout, &scale, &shift, out),
        |path, out| {
            // Products up to 5.1, shifts up to 4.
            assert_close(path, &batch.rows(out), &exact, |_| 10.0 * EPSILON);
            for (i, value) in out.iter().enumerate() {
                let unused = i / LANES % layout.plane() >= pixels;
                assert!(!unused || value.is_nan(), "{path}: the unused vector is left alone");
                assert!(
                    unused || i % LANES < images || *value == 0.0,
                    "{path}: lane {}",
                    i % LANES
                );
            }
        },
    );
}

/// Numbers of any kind, by the definition; and bytes as numbers, to the bit.
#[test]
fn floats_are_loaded_as_bytes_are() {
    for (images, channels, size) in [(16, 1, [5, 7]), (3, 3, [4, 4]), (1, 2, [1, 9])] {
        let layout = Layout::new(1, channels, size);
        let (batch, pixels) = (Batch { images, layout }, layout.pixels());
        let scale: Vec<f32> = (0..channels).map(|c| 0.02 / (c + 1) as f32).collect();
        let shift: Vec<f32> = (0..channels).map(|c| -1.0 - c as f32).collect();
        let bytes: Vec<Vec<u8>> = (0..images).map(|n| image(n, channels * pixels)).collect();
        let as_floats = |of: &dyn Fn(u8) -> f32| -> Vec<Vec<[u8; 4]>> {
            let of_image = |image: &Vec<u8>| image.iter().map(|&b| of(b).to_le_bytes()).collect();
            bytes.iter().map(of_image).collect()
        };
        let odd = |byte: u8| f32::from(byte) * 1.7 - 200.3;
        let plain = |byte: u8| f32::from(byte);
        let (same, odd_floats) = (as_floats(&plain), as_floats(&odd));
        let views: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let views_of_same: Vec<&[[u8; 4]]> = same.iter().map(Vec::as_slice).collect();
        let views_of_odd: Vec<&[[u8; 4]]> = odd_floats.iter().map(Vec::as_slice).collect();
        for isa in Isa::available() {
            let mut outs = [vec![7.0; layout.len()], vec![7.0; layout.len()]];
            load_images(isa, &views, &layout, &scale, &shift, &mut outs[0]);
            load_float_images(isa, &views_of_same, &layout, &scale, &shift, &mut outs[1]);
            assert_eq!(outs[0], outs[1], "{isa}");
        }
        let mut exact = Vec::new();
        for image in &bytes {
            for c in 0..channels {
                let [scale, shift] = [scale[c], shift[c]].map(f64::from);
                let value = |p: usize| f64::from(odd(image[p * channels + c])) * scale + shift;
                exact.extend((0..pixels).map(value));
            }
        }
        on_every_path(
            layout.len(),
            |isa, out| load_float_images(isa, &views_of_odd, &layout, &scale, &shift, out),
            |path, out| assert_close(path, &batch.rows(out), &exact, |_| 10.0 * EPSILON),
        );
    }
}

proptest! {
    #[test]
    fn every_byte_finds_its_lane(
        images in 0..=16usize, channels in 1..6usize, rows in 1..12usize, columns in 1..12usize,
    ) {
        check(images, channels, [rows, columns]);
    }
}

#[test]
fn images_of_the_usual_sizes() {
    check(16, 1, [28, 28]);
    check(16, 3, [32, 32]);
    check(7, 4, [5, 7]);
}

/// One fused multiply-add: the product is not rounded first.
#[test]
fn scaling_is_fused_where_the_path_is() {
    let (scale, shift) = (1.0 / 127.5, -1.0);
    let bytes: Vec<u8> = (0..=255).collect();
    let layout = Layout::new(1, 1, [16, 16]);
    for isa in Isa::available().into_iter().filter(|isa| isa.name() != "portable") {
        let mut out = vec![0.0; layout.len()];
        load_images(isa, &[&bytes], &layout, &[scale], &[shift], &mut out);
        for byte in 0..=255u8 {
            let expected = f32::from(byte).mul_add(scale, shift);
            assert_eq!(out[usize::from(byte) * LANES], expected, "{isa}");
        }
    }
}

#[test]
#[should_panic(expected = "values of an image")]
fn lengths_must_agree() {
    let layout = Layout::new(1, 1, [2, 2]);
    load_images(Isa::detect(), &[&[0; 5]], &layout, &[1.0], &[0.0], &mut [0.0; 64]);
}
