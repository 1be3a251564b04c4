//! What happens when memory runs out: a message and exit code 1, in place of an abort without a word.

use crate::cli::{Failure, Kind, print_object, record};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// The allocator of the programs: the system's, but a request that is refused ends the program in good order.
///
/// It is for the programs alone: a library leaves the choice to its host. A request is refused where a limit is set
/// (`ulimit -v`) or is beyond what the machine has; where the system promises more than it has, it kills the process
/// itself (SIGKILL), and nobody can say anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

// SAFETY: every call is passed on to `System` as it is; a request that it refuses does not return.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is that of `System`.
        granted(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above; `memory` came from `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        granted(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; `memory` came from `System`.
        granted(unsafe { System.realloc(memory, layout, size) }, size)
    }
}

#[inline]
fn granted(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        end(size)
    }
    memory
}

/// Says what is missing and ends the process. Of threads that run out together one says it.
#[cold]
fn end(size: usize) -> ! {
    thread_local!(static ENDING: Cell<bool> = const { Cell::new(false) });
    static TOLD: AtomicBool = AtomicBool::new(false);
    // Telling takes some memory too: a little is mostly there when a lot is not.
    if ENDING.try_with(|ending| ending.replace(true)).unwrap_or(true) {
        leave();
    }
    if TOLD.swap(true, SeqCst) {
        // Whoever tells ends the process, unless it waits for what this thread holds.
        thread::sleep(PATIENCE);
        leave();
    }
    // No lock of this thread's own: standard error has none that is held while memory is asked for.
    let _ = writeln!(
        io::stderr(),
        "error: out of memory: {size} bytes more cannot be had; less is needed with fewer --threads, smaller images \
         or a smaller network"
    );
    let failure =
        Failure::new(Kind::Other, format!("out of memory: {size} bytes more cannot be had"));
    record(&failure);
    print_object(&failure);
    leave()
}

/// How long a message and a record may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends the process without the destructors of what may be half done.
fn leave() -> ! {
    #[cfg(unix)]
    // SAFETY: `_exit` takes no memory and no lock.
    unsafe {
        libc::_exit(1)
    }
    #[cfg(not(unix))]
    std::process::abort()
}
