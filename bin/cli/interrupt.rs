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
    /// than a repetition, ends the program at once. A file that grows beyond its limit is an error of
    /// writing, not the end.
    pub fn watch() -> io::Result<Interrupt> {
        let (flag, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU8::new(0)));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
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
    #[allow(dead_code, reason = "not in every program")]
    pub fn shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Which.
    pub fn signal(&self) -> u8 {
        self.signal.load(Ordering::Relaxed)
    }
}
