//! Files mapped into memory.
//!
//! Another process may change a mapped file at any time, so nothing borrows from a map: bytes are copied out,
//! by volatile reads, and what was copied stays what it was.

use crate::DataError;
use crate::signals::Registration;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes that a prefetch fetches.
const CACHE_LINE: usize = 64;

/// A read-only map of a whole file.
#[derive(Debug)]
pub(crate) struct Mapped {
    path: PathBuf,
    file: File,
    /// When the file was last written to, where the system tells.
    modified: Option<SystemTime>,
    map: MmapRaw,
    _registration: Registration,
}

/// Asks for the cache line of an address, which need not be readable: a prefetch never faults.
#[cfg(target_arch = "x86_64")]
fn prefetch(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: SSE is part of x86-64, and the instruction neither reads nor writes what a program can see.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_: *const u8) {}

/// Opens a file, which must be a regular one.
pub(crate) fn open_file(path: &Path) -> Result<File, DataError> {
    let cannot = |cause| {
        let cause = files::of_link(path, cause);
        DataError::Io { path: path.into(), action: "open", cause }
    };
    // Asked before opening, because opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(DataError::NotAFile { path: path.into() });
    }
    File::open(path).map_err(cannot)
}

impl Mapped {
    pub fn open(path: &Path) -> Result<Mapped, DataError> {
        let io = |action, cause| DataError::Io { path: path.into(), action, cause };
        let file = open_file(path)?;
        let metadata = file.metadata().map_err(|cause| io("examine", cause))?;
        let map = MmapOptions::new().map_raw_read_only(&file).map_err(|cause| io("map", cause))?;
        let registration = Registration::new(map.as_ptr().addr(), map.len(), path);
        let modified = metadata.modified().ok();
        Ok(Mapped { path: path.into(), file, modified, map, _registration: registration })
    }

    /// Bytes of the map.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Copies the bytes from `start` on to `to`. If the file has become shorter than that, the system sends
    /// SIGBUS: see `signals`.
    ///
    /// # Panics
    /// If they reach beyond the map.
    pub fn copy(&self, start: usize, to: &mut [u8]) {
        let len = self.len();
        assert!(start <= len && to.len() <= len - start, "bytes {start} + {} of {len}", to.len());
        // SAFETY: `start` is within the map, by the assert.
        let from = unsafe { self.map.as_ptr().add(start) };
        let head = from.align_offset(size_of::<u64>()).min(to.len());
        let (to_head, rest) = to.split_at_mut(head);
        let (to_words, to_tail) = rest.as_chunks_mut::<{ size_of::<u64>() }>();
        let tail = head + size_of_val(to_words);
        // SAFETY: by the assert, as many bytes from `from` on as `to` has are within the map, which is readable
        // and lives as long as `self`; `head` bytes on, it is aligned to words. Reads are volatile, because
        // other processes may write meanwhile, and every value is a valid integer.
        unsafe {
            for (i, byte) in to_head.iter_mut().enumerate() {
                *byte = from.add(i).read_volatile();
            }
            let words = from.add(head).cast::<u64>();
            for (i, word) in to_words.iter_mut().enumerate() {
                *word = words.add(i).read_volatile().to_ne_bytes();
            }
            for (i, byte) in to_tail.iter_mut().enumerate() {
                *byte = from.add(tail + i).read_volatile();
            }
        }
    }

    /// Tells the processor that these bytes will be copied soon; those beyond the map are left out.
    pub fn prefetch(&self, start: usize, len: usize) {
        let end = start.saturating_add(len).min(self.len());
        for at in (start..end).step_by(CACHE_LINE) {
            prefetch(self.map.as_ptr().wrapping_add(at));
        }
    }

    /// Whether the file is still as long as the map, and was not written to.
    ///
    /// This asks the file that is mapped, not whatever has its name by now: a file replaced by
    /// renaming leaves the map intact.
    pub fn check_unchanged(&self) -> Result<(), DataError> {
        let path = || self.path.clone();
        let metadata = self.file.metadata().map_err(|cause| DataError::Io {
            path: path(),
            action: "examine",
            cause,
        })?;
        let (found, expected) = (metadata.len(), self.len() as u64);
        if found != expected {
            return Err(DataError::Changed { path: path(), found, expected });
        }
        if metadata.modified().ok() != self.modified {
            return Err(DataError::Rewritten { path: path() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_copied() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..61).collect();
        fs::write(&file, &bytes).unwrap();
        let mapped = Mapped::open(file.path()).unwrap();
        assert_eq!(mapped.len(), 61);
        for start in 0..=61 {
            for len in 0..=61 - start {
                let mut to = vec![255; len + 1];
                mapped.copy(start, &mut to[..len]);
                assert_eq!(to[..len], bytes[start..][..len]);
                assert_eq!(to[len], 255);
            }
        }
    }

    #[test]
    #[should_panic(expected = "bytes 60 + 2 of 61")]
    fn there_is_nothing_beyond() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, [0; 61]).unwrap();
        Mapped::open(file.path()).unwrap().copy(60, &mut [0; 2]);
    }
}
