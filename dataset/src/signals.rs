//! What happens when a mapped file shrinks under the map: SIGBUS, and a message that names the file.

use std::path::Path;

/// Makes a read beyond the end of a mapped file that has shrunk since (or whose disk fails) a message that
/// names the file, and exit code 1, in place of a crash without a word; and makes a write beyond the limit on
/// file sizes an error of that write, in place of a crash that leaves half a file.
///
/// For programs, which call it once at their start: it sets the handler of SIGBUS for the whole process,
/// and ignores SIGXFSZ unless that is handled already. A library that is a guest in another's process leaves
/// signals to its host. A SIGBUS that is not of a data file ends the process as it would without the handler.
/// Where there are no such signals it does nothing.
pub fn install_signal_handlers() {
    #[cfg(unix)]
    unix::install();
}

/// A map whose file a message can name, as long as this lives.
#[derive(Debug)]
pub(crate) struct Registration {
    #[cfg(unix)]
    slot: Option<usize>,
}

impl Registration {
    /// Of the map at this address, so many bytes long.
    #[must_use]
    pub fn new(start: usize, len: usize, path: &Path) -> Registration {
        let _ = (start, len, path);
        Registration {
            #[cfg(unix)]
            slot: unix::register(start, len, path),
        }
    }
}

#[cfg(unix)]
impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            unix::unregister(slot);
        }
    }
}

#[cfg(unix)]
mod unix {
    use crate::names::name_line;
    use std::mem::MaybeUninit;
    use std::path::Path;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
    use std::sync::{Mutex, Once, PoisonError};

    /// A map, for the handler of a signal, which may take no lock and no memory.
    struct Slot {
        start: AtomicUsize,
        /// Whole pages; 0: the slot is free.
        len: AtomicUsize,
        /// The path, which is never freed.
        path: AtomicPtr<&'static str>,
    }

    static SLOTS: [Slot; 256] = [const {
        Slot {
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            path: AtomicPtr::new(ptr::null_mut()),
        }
    }; 256];

    /// Every path that was ever mapped, once. Held while a slot is changed.
    static PATHS: Mutex<Vec<&'static &'static str>> = Mutex::new(Vec::new());

    /// The slot of a map, if one is free; a map without one has no name in the message.
    pub fn register(start: usize, len: usize, path: &Path) -> Option<usize> {
        let mut paths = PATHS.lock().unwrap_or_else(PoisonError::into_inner);
        let free = SLOTS.iter().position(|slot| slot.len.load(SeqCst) == 0)?;
        let name = name_line(path);
        let known = paths.iter().find(|known| ***known == name).copied();
        let name = known.unwrap_or_else(|| {
            let leaked: &'static str = Box::leak(name.into());
            paths.push(Box::leak(Box::new(leaked)));
            paths[paths.len() - 1]
        });
        let slot = &SLOTS[free];
        slot.path.store(ptr::from_ref(name).cast_mut(), SeqCst);
        slot.start.store(start, SeqCst);
        slot.len.store(len.max(1).next_multiple_of(page()), SeqCst);
        Some(free)
    }

    fn page() -> usize {
        // SAFETY: `sysconf` only answers.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1).max(1)
    }

    pub fn unregister(slot: usize) {
        let _held = PATHS.lock().unwrap_or_else(PoisonError::into_inner);
        SLOTS[slot].len.store(0, SeqCst);
    }

    /// The path of the file that is mapped at an address.
    fn path_at(address: usize) -> Option<&'static str> {
        let contains = |slot: &&Slot| {
            address
                .checked_sub(slot.start.load(SeqCst))
                .is_some_and(|at| at < slot.len.load(SeqCst))
        };
        let path = SLOTS.iter().find(contains)?.path.load(SeqCst);
        // SAFETY: `register` stores nothing but pointers to leaked strings, before it gives a length.
        unsafe { path.as_ref() }.copied()
    }

    pub fn install() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed();
            let mut before = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: all zeros is a valid `sigaction` (default handler, no flags), and the pointers
            // are to this stack frame. The handler calls nothing but async-signal-safe functions.
            unsafe {
                let action = action.assume_init_mut();
                action.sa_sigaction = leave as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(libc::SIGBUS, action, ptr::null_mut());
                libc::sigaction(libc::SIGXFSZ, ptr::null(), before.as_mut_ptr());
                if before.assume_init_ref().sa_sigaction == libc::SIG_DFL {
                    libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                }
            }
        });
    }

    extern "C" fn leave(
        signal: libc::c_int,
        info: *mut libc::siginfo_t,
        _context: *mut libc::c_void,
    ) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        // SAFETY: the system passes a valid `siginfo_t` to a handler with SA_SIGINFO.
        let address = unsafe { (*info).si_addr() }.addr();
        let Some(path) = path_at(address) else {
            // Not of ours: the instruction is repeated, and ends the process by the signal's default.
            // SAFETY: `signal` is async-signal-safe.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            return;
        };
        if TOLD.swap(true, SeqCst) {
            // Another thread is telling, and will end the process.
            loop {
                // SAFETY: `pause` is async-signal-safe.
                unsafe { libc::pause() };
            }
        }
        let parts: [&[u8]; 3] = [
            b"error: ",
            path.as_bytes(),
            b": the file was truncated while in use (or its disk failed); restore it and start again\n",
        ];
        for part in parts {
            // SAFETY: `write` is async-signal-safe, and the buffers are static.
            unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
        }
        // SAFETY: `_exit` is async-signal-safe.
        unsafe { libc::_exit(1) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_path_of_an_address_is_that_of_its_map() {
            let (a, b) = (vec![0u8; 3 * page()], vec![0u8; 10]);
            let first = register(a.as_ptr().addr(), a.len(), Path::new("a")).unwrap();
            let second = register(b.as_ptr().addr(), b.len(), Path::new("b")).unwrap();
            let within = |bytes: &[u8], i: usize| path_at(bytes.as_ptr().addr() + i);
            assert_eq!(within(&a, 3 * page() - 1), Some("a"));
            unregister(first);
            assert_eq!(within(&a, 0).filter(|path| *path == "a"), None);
            assert_eq!(within(&b, 9), Some("b"));
            unregister(second);
        }
    }
}
