//! Files into pixels, with a bound on what a hostile file can ask for.

use crate::budget::{Budget, Budgets, Lease};
use crate::jpeg::survey;
use files::{LIMITS_VARIABLE, content};
use image::error::ImageError;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use image::{GrayImage, RgbImage, RgbaImage};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::Path;
use thiserror::Error;

/// Pixels of a picture at most.
pub(crate) const MAX_PIXELS: u64 = 100_000_000;
/// Bytes that a decoder may need before it says how large the picture is, and for profiles and remarks.
const HEADER: u64 = 1 << 21;
/// Rows or columns of a picture at most.
const MAX_SIDE: u32 = 1 << 16;

const EXPECTED: &str = "expected a PNG, JPEG, BMP, WebP, TIFF or GIF picture";

/// Why a picture cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name}: {problem}")]
#[non_exhaustive]
pub struct PictureError {
    /// The file.
    pub name: String,
    /// What was found, and what was expected.
    pub problem: String,
    /// Whether it is an IDX file of images or a gzipped file, which may be one: no picture, but it can hold
    /// some.
    pub may_hold_images: bool,
    /// Whether the system failed to read it, which says nothing of the picture.
    pub is_of_system: bool,
}

impl PictureError {
    pub(crate) fn new(name: &str, problem: String) -> PictureError {
        let name = name.to_owned();
        PictureError { name, problem, may_hold_images: false, is_of_system: false }
    }

    /// It was there, and reading it failed.
    pub(crate) fn of_system(name: &str, cause: &impl Display) -> PictureError {
        let problem = format!("cannot read: {cause}");
        PictureError { is_of_system: true, ..PictureError::new(name, problem) }
    }
}

/// A decoded picture, upright.
#[derive(Clone, Debug)]
pub struct Picture(pub(crate) DynamicImage);

impl Picture {
    /// Reads a PNG, JPEG, BMP, WebP, TIFF or GIF file: known by its content, whatever its name. It is turned as its
    /// EXIF orientation says.
    ///
    /// While it is decoded, memory is borrowed from the budget that all threads share
    /// ([`files::Limits::picture_bytes`]); the picture itself is the caller's.
    pub fn open(path: &Path) -> Result<Picture, PictureError> {
        Picture::open_then(path, 0, |picture| picture)
    }

    /// [`Picture::open`] followed by `then`, which may make images of up to so many rows or columns of it: one
    /// after another, in memory of the budget.
    pub fn open_then<T>(
        path: &Path,
        rows: usize,
        then: impl FnOnce(Picture) -> T,
    ) -> Result<T, PictureError> {
        let error = |problem| PictureError::new(&path.display().to_string(), problem);
        // Of a link to nothing, and of what nobody may read, this is so the next time too: the file is no picture.
        // Otherwise it says nothing of the file.
        let cannot = |cause: io::Error, is_lasting: bool| {
            let known = [ErrorKind::NotFound, ErrorKind::PermissionDenied].contains(&cause.kind());
            let cause = files::of_link(path, cause);
            match is_lasting || known {
                true => error(format!("cannot read: {cause}")),
                false => PictureError::of_system(&path.display().to_string(), &cause),
            }
        };
        // Asked before opening, because opening a pipe would wait for a writer.
        let metadata = fs::metadata(path).map_err(|cause| cannot(cause, path.is_symlink()))?;
        if metadata.is_dir() {
            let all = path.join("*");
            let problem = format!(
                "found a directory, expected a picture; name those in it: {}",
                all.display()
            );
            return Err(error(problem));
        }
        if !metadata.is_file() {
            return Err(error("found a device, expected a picture".into()));
        }
        let name = path.display().to_string();
        let file = File::open(path).map_err(|cause| cannot(cause, false))?;
        decoded(file, Some(metadata.len()), &name, rows, Budgets::of_process(), then)
    }

    /// [`Picture::open_then`] of so many bytes of a file; `name` is for messages.
    pub(crate) fn decode_then<T>(
        reader: impl Read,
        len: u64,
        name: &str,
        rows: usize,
        then: impl FnOnce(Picture) -> T,
    ) -> Result<T, PictureError> {
        decoded(reader, Some(len), name, rows, Budgets::of_process(), then)
    }

    /// Reads a picture from a pipe; `name` is for messages.
    pub fn read(reader: impl Read, name: &str) -> Result<Picture, PictureError> {
        decoded(reader, None, name, 0, Budgets::of_process(), |picture| picture)
    }

    /// An image of an IDX file, `[channels, rows, columns]` with 1, 3 or 4 channels: rows of pixels,
    /// the channels of a pixel side by side.
    ///
    /// # Panics
    /// If there are not as many bytes, or another number of channels.
    #[must_use]
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

/// The picture in these bytes, and the room that it was decoded in; `rows` of an image are to be made of it.
fn decode<'b>(
    bytes: &[u8],
    rows: usize,
    budget: &'b Budget,
) -> Result<(DynamicImage, Lease<'b>), String> {
    let format = format_of(bytes)?;
    let problem = |error| match error {
        ImageError::Limits(_) => {
            format!("a {} picture that is larger than {}", name(format), bound(budget))
        }
        error => {
            let error = error.to_string();
            let line = error.trim_end().replace(char::is_control, " ");
            format!("damaged {} picture: {line}", name(format))
        }
    };
    // Before anything else: what is cut off can look like anything.
    let jpeg = if format == ImageFormat::Jpeg { Some(survey(bytes)) } else { None };
    if jpeg.is_some_and(|jpeg| !jpeg.is_whole) {
        return Err("truncated or damaged JPEG picture: found no end of its image".into());
    }
    let is_progressive = jpeg.is_some_and(|jpeg| jpeg.is_progressive);
    let decoder = |allowed: u64| {
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(limits(allowed));
        reader.into_decoder().map_err(problem)
    };
    let (room, orientation) = {
        // Whoever has some of this budget waits for no more of it: so this much for now, and later all at once.
        let _lease = budget.take(bytes.len() as u64 + HEADER).ok_or_else(|| bound(budget))?;
        let mut decoder = decoder(HEADER)?;
        check_size(format, bytes, &decoder, budget)?;
        // A picture whose EXIF data are damaged is as good as one without.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let need = Need { file: bytes.len() as u64, format, is_progressive, orientation, rows };
        (need.room(&decoder), orientation)
    };
    let Some(lease) = budget.take(room) else {
        let [room, all] = [room, budget.all()].map(|bytes| bytes >> 20);
        return Err(format!(
            "a picture that takes {room} MiB to decode: expected at most {all}; {LIMITS_VARIABLE}=N allows N \
             times as much"
        ));
    };
    let decoder = {
        let mut decoder = decoder(HEADER)?;
        let besides = room.saturating_sub(decoder.total_bytes());
        decoder.set_limits(limits(besides)).map_err(problem)?;
        decoder
    };
    let mut picture = DynamicImage::from_decoder(decoder).map_err(problem)?;
    picture.apply_orientation(orientation);
    Ok((picture, lease))
}

/// The format by the content of a file, if it is one of those that are decoded.
fn format_of(bytes: &[u8]) -> Result<ImageFormat, String> {
    match image::guess_format(bytes) {
        Ok(format) if NAMES.iter().any(|(known, _)| *known == format) => Ok(format),
        other => {
            let format = other.ok().and_then(|format| format.extensions_str().first());
            let found = match (content::recognise(bytes), format) {
                (Some(found), _) => found.to_owned(),
                (None, Some(format)) => format!("a picture in {} format", format.to_uppercase()),
                (None, None) => "something else".to_owned(),
            };
            Err(format!("found {found}, {EXPECTED}"))
        }
    }
}

/// The formats that are decoded, and what they are called. Of an animation the first picture is.
const NAMES: [(ImageFormat, &str); 6] = [
    (ImageFormat::Bmp, "BMP"),
    (ImageFormat::Gif, "GIF"),
    (ImageFormat::Jpeg, "JPEG"),
    (ImageFormat::Png, "PNG"),
    (ImageFormat::Tiff, "TIFF"),
    (ImageFormat::WebP, "WebP"),
];

fn name(format: ImageFormat) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == format).map_or("", |(_, name)| name)
}

/// Whether the picture is not too large, and its file not too small for it.
fn check_size(
    format: ImageFormat,
    bytes: &[u8],
    decoder: &impl ImageDecoder,
    budget: &Budget,
) -> Result<(), String> {
    let (width, height) = decoder.dimensions();
    let size = format!("{width}×{height} pixels");
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("a picture of {size}: expected at most {}", bound(budget)));
    }
    let least = least_bytes(format, width, height, decoder.total_bytes());
    if (bytes.len() as u64) < least {
        let (name, found) = (name(format), bytes.len());
        return Err(format!(
            "truncated or damaged {name} picture: found {found} bytes for {size}, expected at least {least}"
        ));
    }
    Ok(())
}

/// What decides how much memory a picture takes, beside its size.
struct Need {
    /// Bytes of the file.
    file: u64,
    format: ImageFormat,
    /// Whether it is a JPEG in several scans.
    is_progressive: bool,
    orientation: Orientation,
    /// Of the images that are to be made of it.
    rows: usize,
}

impl Need {
    /// Bytes from decoding to the image that is made of the picture, at most.
    fn room(&self, decoder: &impl ImageDecoder) -> u64 {
        use Orientation::{FlipHorizontal, FlipVertical, NoTransforms, Rotate180};
        let (width, height) = decoder.dimensions();
        let [width, height] = [width, height].map(u64::from);
        let (pixels, decoded) = (width * height, decoder.total_bytes());
        // It keeps all coefficients to the last: 16 bits for each number of up to four
        // channels, in whole blocks.
        let padded = width.next_multiple_of(32) * height.next_multiple_of(32);
        let coefficients = if self.is_progressive { 8 * padded } else { 0 };
        // Whole pictures that these decoders make on the way: planes of brightness and colour, the area of a
        // frame, a strip or tile that may be all of it.
        let frames = match self.format {
            ImageFormat::Gif | ImageFormat::Tiff | ImageFormat::WebP => 8 * pixels + decoded,
            _ => 0,
        };
        // Rows of blocks as they are read, with those above and below.
        let lines = 1024 * (width + 32);
        let in_place =
            matches!(self.orientation, NoTransforms | FlipHorizontal | FlipVertical | Rotate180);
        let turned = if in_place { 0 } else { decoded };
        // One that is not of 8 bits, grey or three colours is made so, by way of four where it has opacity.
        let converted = match decoder.color_type() {
            ColorType::L8 | ColorType::Rgb8 => 0,
            color if color.has_alpha() => 7 * pixels,
            _ => 3 * pixels,
        };
        // Resized along columns first, in up to four channels; rows may have come to stand as columns. A weight is 8
        // bytes and, rounded, at most 4; there are two for each pixel that shrinks, and three for each new one.
        let rows = self.rows as u64;
        let resized = 4 * width.max(height) * (rows + 1) + 36 * (width + height + 2 * rows);
        let after = turned.max(converted + resized);
        decoded + (coefficients + frames).max(after) + lines + self.file + HEADER
    }
}

/// Bytes that a file of this format has at least for a picture of this size.
fn least_bytes(format: ImageFormat, width: u32, height: u32, decoded: u64) -> u64 {
    let [width, height] = [width, height].map(u64::from);
    match format {
        // One bit for each block of 8 × 8.
        ImageFormat::Jpeg => width.div_ceil(8) * height.div_ceil(8) / 8,
        // DEFLATE writes 258 bytes by two bits at best; a pixel of the file has one bit at least, and becomes
        // eight bytes at most.
        ImageFormat::Png => (decoded / 64).max(height) / 1032,
        _ => 0,
    }
}

/// Reads, of this length if it is known, and decodes; what `then` does with the picture is done in its memory.
fn decoded<T>(
    reader: impl Read,
    len: Option<u64>,
    name: &str,
    rows: usize,
    budgets: &Budgets,
    then: impl FnOnce(Picture) -> T,
) -> Result<T, PictureError> {
    let error = |problem| PictureError::new(name, problem);
    let most = budgets.files.all();
    let large = || error(format!("found more than {} MiB, expected a picture", most >> 20));
    // What comes through a pipe may be as long as a file may be; it is alone.
    let _file = len.map(|len| budgets.files.take(len).ok_or_else(large)).transpose()?;
    let mut bytes = vec![];
    // At once: a vector that grows has twice as much for a moment.
    bytes.reserve_exact(len.map_or(0, |len| len as usize + 1));
    let read = reader.take(len.unwrap_or(most) + 1).read_to_end(&mut bytes);
    read.map_err(|cause| PictureError::of_system(name, &cause))?;
    if bytes.len() as u64 > most {
        return Err(large());
    }
    match decode(&bytes, rows, &budgets.decoders) {
        Ok((picture, _lease)) => Ok(then(Picture(picture))),
        Err(problem) => {
            let may_hold_images = matches!(bytes[..], [0, 0, 8, 3 | 4, ..] | [0x1f, 0x8b, ..]);
            Err(PictureError { may_hold_images, ..error(problem) })
        }
    }
}

fn limits(bytes: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(bytes);
    limits
}

/// How large a picture may be, for messages.
fn bound(budget: &Budget) -> String {
    let (millions, memory) = (MAX_PIXELS / 1_000_000, budget.all() >> 20);
    format!("{MAX_SIDE} pixels a side, {millions} million in all, and {memory} MiB of memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that fails after two bytes.
    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::other("the disk is gone"))?;
            to[0] = b'G';
            Ok(1)
        }
    }

    #[test]
    fn a_failing_disk_says_nothing_of_a_picture() {
        let error = Picture::decode_then(Failing(2), 6, "a.gif", 0, drop).unwrap_err();
        assert_eq!(error.to_string(), "a.gif: cannot read: the disk is gone");
        assert!(error.is_of_system);
        let error = Picture::decode_then(&b"no one"[..], 6, "a.gif", 0, drop).unwrap_err();
        assert!(!error.is_of_system, "{error}");
    }
}
