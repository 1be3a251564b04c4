//! Where bytes are: in a mapped file, or in memory.

use crate::DataError;
use crate::mapped::Mapped;

/// Bytes of a mapped file, or of memory.
#[derive(Debug)]
pub(crate) enum Storage {
    File(Mapped),
    Memory(Vec<u8>),
}

impl Storage {
    pub fn len(&self) -> usize {
        match self {
            Storage::File(file) => file.len(),
            Storage::Memory(bytes) => bytes.len(),
        }
    }

    /// Copies the bytes from `start` on to `to`; panics if they reach beyond the end.
    pub fn copy(&self, start: usize, to: &mut [u8]) {
        match self {
            Storage::File(file) => file.copy(start, to),
            Storage::Memory(bytes) => to.copy_from_slice(&bytes[start..][..to.len()]),
        }
    }

    /// See [`Mapped::prefetch`].
    pub fn prefetch(&self, start: usize, len: usize) {
        if let Storage::File(file) = self {
            file.prefetch(start, len);
        }
    }

    /// See [`Mapped::check_unchanged`].
    pub fn check_unchanged(&self) -> Result<(), DataError> {
        match self {
            Storage::File(file) => file.check_unchanged(),
            Storage::Memory(_) => Ok(()),
        }
    }
}
