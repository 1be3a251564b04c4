//! Files into pixels, with a bound on what a hostile file can ask for.

use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use image::{GrayImage, RgbImage, RgbaImage};
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;
use thiserror::Error;

/// Bytes of a file at most.
const MAX_FILE: u64 = 1 << 28;
/// Pixels of a picture at most.
const MAX_PIXELS: u64 = 100_000_000;
/// Bytes of a decoded picture, and of what its decoder needs besides, at most.
const MAX_BYTES: u64 = 1 << 29;
/// Rows or columns of a picture at most.
const MAX_SIDE: u32 = 1 << 16;

const EXPECTED: &str = "expected a PNG, JPEG or BMP picture";

/// Why a picture cannot be had.
#[derive(Debug, Error)]
#[error("{name}: {problem}")]
pub struct PictureError {
    /// The file.
    pub name: String,
    /// What was found, and what was expected.
    pub problem: String,
}

/// A decoded picture, upright.
#[derive(Clone, Debug)]
pub struct Picture(pub(super) DynamicImage);

impl Picture {
    /// Reads a PNG, JPEG or BMP file: known by its content, whatever its name. It is turned as its
    /// EXIF orientation says.
    pub fn open(path: &Path) -> Result<Picture, PictureError> {
        let error = |problem| PictureError { name: path.display().to_string(), problem };
        let cannot = |cause| error(format!("cannot read: {cause}"));
        // Asked before opening, because opening a pipe would wait for a writer.
        if !fs::metadata(path).map_err(cannot)?.is_file() {
            return Err(error("found a directory or device, expected a picture".into()));
        }
        Picture::read(File::open(path).map_err(cannot)?, &path.display().to_string())
    }

    /// Reads a picture from a pipe; `name` is for messages.
    pub fn read(reader: impl Read, name: &str) -> Result<Picture, PictureError> {
        let error = |problem| PictureError { name: name.to_owned(), problem };
        let mut bytes = vec![];
        let read = reader.take(MAX_FILE + 1).read_to_end(&mut bytes);
        read.map_err(|cause| error(format!("cannot read: {cause}")))?;
        decode(&bytes).map(Picture).map_err(error)
    }

    /// An image of an IDX file, `[channels, rows, columns]` with 1, 3 or 4 channels: rows of pixels,
    /// the channels of a pixel side by side.
    ///
    /// # Panics
    /// If there are not as many bytes, or another number of channels.
    pub fn from_idx(bytes: &[u8], [channels, rows, columns]: [usize; 3]) -> Picture {
        let (width, height, bytes) = (columns as u32, rows as u32, bytes.to_vec());
        let picture = match channels {
            1 => GrayImage::from_raw(width, height, bytes).map(DynamicImage::from),
            3 => RgbImage::from_raw(width, height, bytes).map(DynamicImage::from),
            4 => RgbaImage::from_raw(width, height, bytes).map(DynamicImage::from),
            _ => panic!("{channels} channels"),
        };
        Picture(picture.expect("as many bytes as the shape says"))
    }

    /// Columns and rows.
    pub fn size(&self) -> [usize; 2] {
        [self.0.width() as usize, self.0.height() as usize]
    }
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("found more than {} MiB, expected a picture", MAX_FILE >> 20));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|cause| format!("cannot read: {cause}"))?;
    let format = match reader.format() {
        Some(ImageFormat::Png) => "PNG",
        Some(ImageFormat::Jpeg) => "JPEG",
        Some(ImageFormat::Bmp) => "BMP",
        Some(other) => return Err(format!("found {other:?}, {EXPECTED}")),
        None => return Err(format!("found {}, {EXPECTED}", describe(bytes))),
    };
    if format == "JPEG" && !jpeg_is_whole(bytes) {
        return Err("truncated or damaged JPEG picture: found no end of its image".into());
    }
    reader.limits(limits(MAX_BYTES));
    let problem = |error| match error {
        ImageError::Limits(_) => format!("a {format} picture that is larger than {}", bound()),
        error => format!("damaged {format} picture: {error}"),
    };
    let mut decoder = reader.into_decoder().map_err(problem)?;
    let (width, height) = decoder.dimensions();
    let bytes = decoder.total_bytes();
    if u64::from(width) * u64::from(height) > MAX_PIXELS || bytes > MAX_BYTES {
        return Err(format!("a picture of {width}×{height} pixels: expected at most {}", bound()));
    }
    decoder.set_limits(limits(MAX_BYTES - bytes)).map_err(problem)?;
    // A picture whose EXIF data are damaged is as good as one without.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(problem)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

fn limits(bytes: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(bytes);
    limits
}

/// How large a picture may be, for messages.
fn bound() -> String {
    format!("{MAX_SIDE} pixels a side, {} million in all", MAX_PIXELS / 1_000_000)
}

/// What a file is that is no picture, as far as it matters.
fn describe(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "an empty file",
        [0, 0, 8, 1 | 3 | 4, ..] => "an IDX file (choose images of it with --index)",
        [0x1f, 0x8b, ..] => "a gzipped file (of an IDX file choose images with --index)",
        _ => "something else",
    }
}

/// Whether the image of a JPEG file has an end: the decoder makes grey of what is missing.
///
/// Segments are `FF`, a marker, and mostly a length and content; after a start of scan comes data in
/// which `FF` is followed by `00` or a restart marker.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const SOI: u8 = 0xd8;
    const EOI: u8 = 0xd9;
    const SOS: u8 = 0xda;
    let mut at = 0;
    loop {
        // Any number of FF may stand before a marker.
        let marker = match (bytes.get(at), bytes.get(at + 1)) {
            (Some(0xff), Some(0xff)) => {
                at += 1;
                continue;
            }
            (Some(0xff), Some(&marker)) => marker,
            (Some(_), Some(_)) => {
                at += 1;
                continue;
            }
            _ => return false,
        };
        at += 2;
        match marker {
            EOI => return true,
            SOI | 0x00 | 0x01 | 0xd0..=0xd7 => continue,
            _ => {}
        }
        let Some(&[high, low]) = bytes.get(at..at + 2) else { return false };
        at += usize::from(u16::from_be_bytes([high, low])).max(2);
        if marker == SOS {
            // Data: the loop above looks for the next marker in it.
            continue;
        }
    }
}
