//! Small data sets in temporary directories.

use dataset::{DataError, Dataset, Source};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
pub const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
pub const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
pub const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// A directory that is deleted when dropped, with a cache directory beside its files.
pub struct Directory(TempDir);

impl Directory {
    pub fn empty() -> Directory {
        Directory(TempDir::new().unwrap())
    }

    /// Six training images of 4×5 with labels 0, 1, 2, 0, 1, 2 and three test images.
    pub fn small() -> Directory {
        let directory = Directory::empty();
        directory.write(TRAIN_IMAGES, &images(&[6, 4, 5]));
        directory.write(TRAIN_LABELS, &labels(&[0, 1, 2, 0, 1, 2]));
        directory.write(TEST_IMAGES, &images(&[3, 4, 5]));
        directory.write(TEST_LABELS, &labels(&[2, 1, 0]));
        directory
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path().join(name)).unwrap();
    }

    pub fn source(&self) -> Source {
        Source { cache: Some(self.cache()), ..Source::new(self.path()) }
    }

    pub fn open(&self) -> Result<Dataset, DataError> {
        Dataset::open(&self.source())
    }

    /// The message of the error that opening it must be. It names a path in this directory.
    pub fn message(&self) -> String {
        let message = self.open().expect_err("an error").to_string();
        assert!(message.contains(self.path().to_str().unwrap()), "{message}");
        message
    }
}

/// An IDX file with these dimensions and pixels 0, 1, 2, …
pub fn images(dims: &[u32]) -> Vec<u8> {
    let magic = 0x800 + dims.len() as u32;
    let pixels: u32 = dims.iter().product();
    let mut file = header(magic, dims);
    file.extend((0..pixels).map(|i| i as u8));
    file
}

pub fn labels(labels: &[u8]) -> Vec<u8> {
    [&header(0x801, &[labels.len() as u32]), labels].concat()
}

pub fn header(magic: u32, dims: &[u32]) -> Vec<u8> {
    [magic].iter().chain(dims).flat_map(|word| word.to_be_bytes()).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn assert_contains(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}
