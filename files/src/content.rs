//! What a file is that is not what was expected, known by how it begins.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What the names of pictures that Bobbin decodes end with, in lower case.
pub const PICTURE_ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "bmp", "webp", "tif", "tiff", "gif"];

/// What the file is, where people often have it in place of another: a pointer that stands for a file, a page of a
/// server that refused a download, an archive, a picture, weights of another program.
///
/// ```
/// assert_eq!(files::content::recognise(b"<!DOCTYPE html><title>404"), Some("an HTML page"));
/// assert_eq!(files::content::recognise(b"GIF89a"), Some("a GIF picture"));
/// assert_eq!(files::content::recognise(b"Coat\nShirt\n"), None);
/// ```
pub fn recognise(bytes: &[u8]) -> Option<&'static str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.is_empty() {
        return Some("an empty file");
    }
    text(bytes).or_else(|| packed(bytes)).or_else(|| picture(bytes)).or_else(|| data(bytes))
}

fn text(bytes: &[u8]) -> Option<&'static str> {
    let start = bytes[..bytes.len().min(64)].trim_ascii_start().to_ascii_lowercase();
    let begins = |word: &[u8]| start.starts_with(word);
    Some(match () {
        () if begins(b"version https://git-lfs") => {
            "a Git LFS pointer, not the file itself (`git lfs pull` fetches it)"
        }
        () if begins(b"/annex/objects/") => {
            "a git-annex pointer, not the file itself (`git annex get` fetches it)"
        }
        () if begins(b"outs:\n- md5:") => {
            "a DVC pointer, not the file itself (`dvc pull` fetches it)"
        }
        () if begins(b"<!doctype html") || begins(b"<html") => "an HTML page",
        () if begins(b"<?xml") => "an XML file",
        () if begins(b"%pdf-") => "a PDF document",
        () => return None,
    })
}

fn packed(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x1f, 0x8b, ..] => "a gzipped file",
        [b'P', b'K', 3 | 5, 4 | 6, ..] => "a zip archive",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "an xz archive",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a Zstandard archive",
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => "a 7-Zip archive",
        [b'R', b'a', b'r', b'!', 0x1a, ..] => "a RAR archive",
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => "a bzip2 archive",
        _ if bytes.get(257..262) == Some(b"ustar") => "a tar archive",
        _ => return None,
    })
}

fn picture(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x89, b'P', b'N', b'G', ..] => "a PNG picture",
        [0xff, 0xd8, 0xff, ..] => "a JPEG picture",
        [b'G', b'I', b'F', b'8', ..] => "a GIF picture",
        // A length, and four bytes that are always zero.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => "a BMP picture",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "a TIFF picture",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "a WebP picture",
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f', ..] => "an AVIF picture",
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e' | b'i', ..] => "a HEIC picture",
        _ => return None,
    })
}

fn data(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => "a NumPy array",
        [0x89, b'H', b'D', b'F', ..] => "an HDF5 file",
        [b'P', b'A', b'R', b'1', ..] => "a Parquet file",
        [b'G', b'G', b'U', b'F', ..] => "a GGUF file",
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => "a TensorFlow Lite model",
        // The version of the format, then the name of the program (or the graph).
        [0x08, 1..=20, 0x12 | 0x3a, ..] => "an ONNX model",
        // Protocols 2 to 5; those before have no magic number.
        [0x80, 2..=5, ..] => "a pickle",
        [0, 0, 8 | 0xb | 0xc, 1, ..] => "an IDX file of labels",
        [0, 0, 8, 3 | 4, ..] => "an IDX file of images",
        _ => return None,
    })
}

/// The same of the front of a file; `None` also if it cannot be read.
pub fn of_file(path: &Path) -> Option<&'static str> {
    let mut front = vec![];
    File::open(path).ok()?.take(64).read_to_end(&mut front).ok()?;
    recognise(&front)
}

#[cfg(test)]
mod tests {
    use super::recognise;

    #[test]
    fn files_are_known_by_their_beginning() {
        let tar = [&b"labels.txt"[..], &[0; 247], b"ustar\x0000"].concat();
        for (bytes, words) in [
            (&b""[..], "an empty file"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
            (b"/annex/objects/SHA256E-s178466--4d7a.safetensors\n", "git annex get"),
            (b"outs:\n- md5: 0f\n  size: 3\n", "dvc pull"),
            (b"\xef\xbb\xbf <!DOCTYPE html>", "an HTML page"),
            (b"%PDF-1.7", "a PDF document"),
            (b"PK\x03\x04", "a zip archive"),
            (b"BZh91AY&SY", "a bzip2 archive"),
            (&tar, "a tar archive"),
            (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
            (b"\xff\xd8\xff\xe0", "a JPEG picture"),
            (b"GIF89a", "a GIF picture"),
            (b"BM\x46\x01\0\0\0\0\0\0\x36", "a BMP picture"),
            (b"II*\0\x08", "a TIFF picture"),
            (b"\0\0\0\x18ftypheic", "a HEIC picture"),
            (b"\x93NUMPY\x01\0", "a NumPy array"),
            (b"\x08\x08\x12\x06bobbin", "an ONNX model"),
            (b"\x80\x04\x95", "a pickle"),
            (b"\0\0\x08\x03", "an IDX file of images"),
            (b"\0\0\x0c\x01", "an IDX file of labels"),
        ] {
            assert!(recognise(bytes).is_some_and(|found| found.contains(words)), "{words}");
        }
        for text in
            ["BMW\nAudi\n", "GIF\n", "Coat", "IIb", "Raritan", "7z", "\u{8}\u{8}", "outs: x"]
        {
            assert_eq!(recognise(text.as_bytes()), None, "{text}");
        }
    }
}
