//! The images of one IDX file, without labels.

use crate::DataError;
use crate::cache;
use crate::idx::{Idx, Role};
use std::path::{Path, PathBuf};

/// An IDX file of images, mapped into memory.
#[derive(Debug)]
pub struct ImageFile {
    path: PathBuf,
    idx: Idx,
}

impl ImageFile {
    /// Opens a file, plain or gzipped; of a gzipped one the unpacked twin goes to the cache that
    /// [`Source::cache`](crate::Source::cache) describes.
    pub fn open(path: &Path, cache: Option<&Path>) -> Result<ImageFile, DataError> {
        Ok(ImageFile { path: path.into(), idx: cache::open(path, Role::Images, cache)? })
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.idx.header.count
    }

    /// Channels, rows and columns of every image.
    pub fn shape(&self) -> [usize; 3] {
        self.idx.header.shape
    }

    /// Image `i` as the file has it: rows of pixels, the channels of a pixel side by side.
    pub fn image(&self, i: usize) -> Result<Vec<u8>, DataError> {
        let images = self.idx.header.count;
        if i >= images {
            return Err(DataError::NoImage { path: self.path.clone(), index: i, images });
        }
        let mut image = vec![0; self.idx.header.item_len()];
        self.idx.copy(i, &mut image);
        Ok(image)
    }
}
