//! Signals that ask a program to come to an end.

use crate::cli::note;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};
#[cfg(unix)]
use std::{mem::MaybeUninit, ptr};

/// How soon after the first a signal is taken for the same: `timeout` sends it to a program and to its
/// process group.
const REPEAT: Duration = Duration::from_secs(1);

/// Whether a signal has asked for the end.
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicU8>,
}

impl Interrupt {
    /// From now on Ctrl-C, a polite kill and the end of the terminal set a flag; another one, later
    /// than a repetition, ends the program at once. A signal that is ignored stays so: `nohup`, and a shell
    /// that starts a program in the background, want it to go on. A file that grows beyond its limit is an error of
    /// writing, not the end.
    pub fn watch() -> io::Result<Interrupt> {
        let cannot = |error: io::Error| format!("signals cannot be watched for: {error}");
        Interrupt::start().map_err(|error| io::Error::new(error.kind(), cannot(error)))
    }

    fn start() -> io::Result<Interrupt> {
        let (flag, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU8::new(0)));
        let watched = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
        let mut signals = Signals::new(watched)?;
        flag::register(SIGXFSZ, Arc::default())?;
        let interrupt = Interrupt { flag: Arc::clone(&flag), signal: Arc::clone(&signal) };
        thread::Builder::new().name("signals".into()).spawn(move || {
            let mut first = None;
            for number in signals.forever() {
                let since = first.get_or_insert_with(Instant::now).elapsed();
                if flag.load(Ordering::Relaxed) {
                    if since >= REPEAT {
                        note("stopped at once");
                        std::process::exit(128 + number);
                    }
                    continue;
                }
                signal.store(number as u8, Ordering::Relaxed);
                flag.store(true, Ordering::Relaxed);
                if io::stderr().is_terminal() {
                    note("\ninterrupted: ending in good order; Ctrl-C again to stop at once");
                }
            }
        })?;
        Ok(interrupt)
    }

    /// Whether one has come.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// The same, for whoever lives as long as the program.
    #[cfg(feature = "mpi")]
    pub fn shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Which.
    pub fn signal(&self) -> u8 {
        self.signal.load(Ordering::Relaxed)
    }
}

/// Whether a signal is ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action nothing changes, and `action` has room for the one that there is.
    let known = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } == 0;
    // SAFETY: read only if the call has written it.
    known && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Other systems ignore none.
#[cfg(not(unix))]
fn is_ignored(_: i32) -> bool {
    false
}
