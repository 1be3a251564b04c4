//! Pictures beside what Pillow makes of them, and hostile ones.

use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat, Rgb, RgbImage};
use pictures::{Fit, Inversion, Picture, Prepared};
use serde::Deserialize;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Expected {
    name: String,
    size: [usize; 2],
    shape: [usize; 3],
    pixels: Vec<u8>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures")
}

fn open(name: &str) -> Picture {
    Picture::open(&folder().join(name)).unwrap()
}

fn read(bytes: &[u8]) -> Result<Picture, String> {
    Picture::read(bytes, "it").map_err(|error| error.to_string())
}

/// Every kind of file, every orientation, transparency, 1 to 16 bits: within a step of rounding, and
/// where JPEG decoders differ, two.
#[test]
fn pictures_are_what_pillow_makes_of_them() {
    let text = fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: Vec<Expected> = serde_json::from_str(&text).unwrap();
    assert_eq!(expected.len(), 19);
    for Expected { name, size, shape, pixels } in expected {
        let picture = open(&name);
        let turned = ["5", "6", "7", "8"].iter().any(|o| name.ends_with(&format!("-{o}.jpg")));
        let size = if turned { [size[1], size[0]] } else { size };
        assert_eq!(picture.size(), size, "{name}");
        let found = picture.fit(shape, Fit::Stretch);
        assert_eq!(found.len(), pixels.len(), "{name}");
        let worst = found.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= if name.ends_with("jpg") { 2 } else { 1 }, "{name}: {worst}");
    }
}

/// A picture of the right size keeps its bytes; channels come and go.
#[test]
fn channels_are_converted() {
    let bytes = [10, 20, 30, 40, 200, 100, 0, 255, 255, 0, 0, 255];
    let rgb = Picture::from_idx(&bytes, [3, 2, 2]);
    assert_eq!(rgb.fit([3, 2, 2], Fit::Pad), bytes);
    let luma = |r: f64, g: f64, b: f64| (0.2126 * r + 0.7152 * g + 0.0722 * b).round() as u8;
    let grey = [
        luma(10.0, 20.0, 30.0),
        luma(40.0, 200.0, 100.0),
        luma(0.0, 255.0, 255.0),
        luma(0.0, 0.0, 255.0),
    ];
    assert_eq!(rgb.fit([1, 2, 2], Fit::Pad), grey);
    let opaque: Vec<u8> = bytes.chunks(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
    assert_eq!(rgb.fit([4, 2, 2], Fit::Pad), opaque);

    let levels: Vec<u8> = (0..=255).collect();
    let grey = Picture::from_idx(&levels, [1, 16, 16]);
    let tripled: Vec<u8> = levels.iter().flat_map(|&v| [v; 3]).collect();
    assert_eq!(grey.fit([1, 16, 16], Fit::Crop), levels);
    assert_eq!(grey.fit([3, 16, 16], Fit::Stretch), tripled);
    // Grey as three equal channels is the same grey.
    assert_eq!(Picture::from_idx(&tripled, [3, 16, 16]).fit([1, 16, 16], Fit::Pad), levels);

    // Black at alpha 0, 51 (a fifth) and 255.
    let clear = Picture::from_idx(&[0, 0, 0, 0, 0, 0, 0, 51, 0, 0, 0, 255], [4, 1, 3]);
    assert_eq!(clear.fit([1, 1, 3], Fit::Pad), [255, 204, 0]);
    assert_eq!(clear.fit([4, 1, 3], Fit::Pad), [0, 0, 0, 0, 0, 0, 0, 51, 0, 0, 0, 255]);
}

#[test]
fn proportions_are_kept_or_not() {
    // Left half 100, right half 200, in a border of 50: 8 columns, 4 rows.
    let pixel = |x: usize, y: usize| match (x, y) {
        (0 | 7, _) | (_, 0 | 3) => 50,
        (..=3, _) => 100,
        _ => 200,
    };
    let bytes: Vec<u8> = (0..32).map(|i| pixel(i % 8, i / 8)).collect();
    let picture = Picture::from_idx(&bytes, [1, 4, 8]);
    let padded = picture.fit([1, 8, 8], Fit::Pad);
    assert_eq!(&padded[16..48], bytes);
    assert!(padded[..16].iter().chain(&padded[48..]).all(|&value| value == 50));
    let stretched = picture.fit([1, 8, 8], Fit::Stretch);
    assert!(stretched[8 * 4 + 2] == 100 && stretched[8 * 4 + 5] == 200, "{stretched:?}");
    // The middle four columns.
    let cropped = picture.fit([1, 4, 4], Fit::Crop);
    assert_eq!(cropped[..8], [50, 50, 50, 50, 100, 100, 200, 200]);
    // Of a line there is at least one pixel.
    for fit in [Fit::Pad, Fit::Stretch, Fit::Crop] {
        let line = Picture::from_idx(&[7; 5000], [1, 1, 5000]);
        assert_eq!(line.fit([1, 28, 28], fit), [7; 784]);
        assert_eq!(Picture::from_idx(&[7], [1, 1, 1]).fit([3, 9, 5], fit), [7; 135]);
    }
}

/// Something dark on a bright ground is inverted for a network of grey images, and nothing else.
#[test]
fn inversion() {
    let scene = |ground: u8, thing: u8| {
        let inside = |i: usize| (2..6).contains(&(i % 8)) && (2..6).contains(&(i / 8));
        let bytes: Vec<u8> = (0..64).map(|i| if inside(i) { thing } else { ground }).collect();
        Picture::from_idx(&bytes, [1, 8, 8])
    };
    let inverted = |picture: &Picture, channels, inversion| {
        Prepared::new(picture, [channels, 8, 8], Fit::Pad, inversion).inverted
    };
    let cases = [
        ((250, 30), true),
        ((140, 90), true),
        ((0, 200), false),
        ((100, 20), false),
        ((200, 250), false),
    ];
    for ((ground, thing), expected) in cases {
        let picture = scene(ground, thing);
        assert_eq!(inverted(&picture, 1, Inversion::Auto), expected, "{thing} on {ground}");
        assert!(!inverted(&picture, 3, Inversion::Auto), "a network of colour images");
        assert!(!inverted(&picture, 1, Inversion::No) && inverted(&picture, 3, Inversion::Yes));
    }
    let prepared = Prepared::new(&scene(250, 30), [1, 8, 8], Fit::Pad, Inversion::Auto);
    assert_eq!((prepared.image[0], prepared.image[27]), (5, 225));
    assert_eq!(prepared.steps(), ["inverted"]);
    let prepared = Prepared::new(&open("rgb.png"), [1, 8, 8], Fit::Pad, Inversion::Yes);
    assert_eq!(prepared.steps(), ["resized from 37×29", "turned grey", "inverted"]);
    // Opacity is not a colour.
    let clear = Picture::from_idx(&[1, 2, 3, 4], [4, 1, 1]);
    let prepared = Prepared::new(&clear, [4, 1, 1], Fit::Pad, Inversion::Yes);
    assert_eq!(prepared.image, [254, 253, 252, 4]);
}

/// Formats without loss give the same pixels; of an animation the first picture is taken.
#[test]
fn other_formats() {
    let pixels = [[200, 0, 0], [0, 200, 0], [0, 0, 200], [9, 9, 9]];
    let rgb = RgbImage::from_fn(2, 2, |x, y| Rgb(pixels[(2 * y + x) as usize]));
    let picture = DynamicImage::from(rgb);
    for format in [ImageFormat::WebP, ImageFormat::Tiff, ImageFormat::Gif] {
        let mut bytes = vec![];
        if format == ImageFormat::Gif {
            let frames = [&picture, &DynamicImage::new_rgb8(2, 2)];
            let frames = frames.map(|frame| Frame::new(frame.to_rgba8()));
            GifEncoder::new(&mut bytes).encode_frames(frames).unwrap();
        } else {
            picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        }
        let found = read(&bytes).unwrap();
        assert_eq!(found.fit([3, 2, 2], Fit::Pad), pixels.concat(), "{format:?}");
    }
}

/// Cut anywhere, a file is refused in a line; so is one that asks for gigabytes.
#[test]
fn damaged_and_hostile_files() {
    for name in ["rgb.png", "rgb.bmp", "rgb.jpg", "progressive.jpg", "orientation-6.jpg"] {
        let bytes = fs::read(folder().join(name)).unwrap();
        assert!(read(&bytes).is_ok(), "{name}");
        for len in (0..bytes.len() - 16).step_by(7) {
            let message = read(&bytes[..len]).expect_err(name);
            assert!(message.starts_with("it: ") && !message.contains('\n'), "{message}");
        }
        // Whatever is in it, it is a picture or a message.
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            let _ = read(&bytes).map(|picture| picture.fit([1, 4, 4], Fit::Pad));
        }
    }
    let cases: [(&str, &[u8], &str); 5] = [
        ("empty", b"", "found an empty file, expected a PNG, JPEG, BMP, WebP, TIFF or GIF picture"),
        ("text", b"hello", "found something else"),
        ("GIF", b"GIF89a\x01\0\x01\0\0\0\0", "damaged GIF picture"),
        ("IDX", &[0, 0, 8, 3, 0, 0, 0, 1], "found an IDX file of images, expected a PNG"),
        ("gzip", &[0x1f, 0x8b, 8, 0], "found a gzipped file"),
    ];
    for (name, bytes, words) in cases {
        let message = read(bytes).expect_err(name);
        assert!(message.contains(words), "{message}");
    }
    for (name, place) in [("rgb.png", 16), ("rgb.bmp", 18)] {
        let mut bytes = fs::read(folder().join(name)).unwrap();
        let side = 60_000u32;
        let side = if name == "rgb.png" { side.to_be_bytes() } else { side.to_le_bytes() };
        bytes[place..place + 4].copy_from_slice(&side);
        bytes[place + 4..place + 8].copy_from_slice(&side);
        if name == "rgb.png" {
            let crc = crc32(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        }
        let message = read(&bytes).expect_err(name);
        assert!(message.contains("60000×60000 pixels: expected at most"), "{message}");
    }
    let missing = Picture::open(Path::new("none.png")).unwrap_err().to_string();
    assert!(missing.starts_with("none.png: cannot read: "), "{missing}");
    let directory = Picture::open(&folder()).unwrap_err().to_string();
    assert!(
        directory.contains("found a directory, expected a picture; name those in it: "),
        "{directory}"
    );
}

/// That of a PNG chunk.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
