//! Files mapped into memory, and what happens when one shrinks under the map.
//!
//! All `unsafe` of this crate is in this file: the map, and the handling of signals.

use super::DataError;
use memmap2::{Mmap, MmapOptions};
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A read-only map of a whole file.
pub(crate) struct Mapped {
    path: PathBuf,
    file: File,
    bytes: Mmap,
}

impl Mapped {
    pub fn open(path: &Path) -> Result<Mapped, DataError> {
        let io = |action, cause| DataError::Io { path: path.into(), action, cause };
        // Asked before opening, because opening a pipe would wait for a writer.
        if !fs::metadata(path).map_err(|cause| io("open", cause))?.is_file() {
            return Err(DataError::NotAFile { path: path.into() });
        }
        let file = File::open(path).map_err(|cause| io("open", cause))?;
        let bytes = map(&file).map_err(|cause| io("map", cause))?;
        Ok(Mapped { path: path.into(), file, bytes })
    }

    /// Whether the file is still as long as the map.
    ///
    /// This asks the file that is mapped, not whatever has its name by now: a file replaced by
    /// renaming leaves the map intact.
    pub fn check_unchanged(&self) -> Result<(), DataError> {
        let metadata = self.file.metadata().map_err(|cause| DataError::Io {
            path: self.path.clone(),
            action: "examine",
            cause,
        })?;
        if metadata.len() != self.bytes.len() as u64 {
            return Err(DataError::Changed {
                path: self.path.clone(),
                found: metadata.len(),
                expected: self.bytes.len() as u64,
            });
        }
        Ok(())
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

fn map(file: &File) -> io::Result<Mmap> {
    #[cfg(unix)]
    signals::install();
    // SAFETY: another process may still change the file. Overwriting it changes pixels, and every
    // byte is a valid pixel; what must hold for good (header, labels) is copied out by the readers
    // of this map. Shortening it raises SIGBUS, which ends the process with a message (below).
    unsafe { MmapOptions::new().map(file) }
}

#[cfg(unix)]
mod signals {
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::Once;

    const MESSAGE: &[u8] = b"error: a mapped data file was truncated while in use \
        (or its disk failed); restore the file and start again\n";

    /// Makes a read beyond the end of a shrunken file an error message and exit code 1, in place of
    /// a crash without a word; and makes a write beyond the limit on file sizes an error of that
    /// write, in place of a crash that leaves half a file.
    pub fn install() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: all zeros is a valid `sigaction` (default handler, no flags), and the pointers
            // are to this stack frame. The handler calls nothing but async-signal-safe functions.
            unsafe {
                let action = action.assume_init_mut();
                action.sa_sigaction = leave as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_ONSTACK;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(libc::SIGBUS, action, ptr::null_mut());
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            }
        });
    }

    extern "C" fn leave(_signal: libc::c_int) {
        // SAFETY: both calls are async-signal-safe, and the buffer is static.
        unsafe {
            libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
            libc::_exit(1)
        }
    }
}
