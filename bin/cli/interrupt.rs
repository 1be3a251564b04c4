//! Signals that ask a program to come to an end.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether a signal has asked for the end.
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From now on Ctrl-C, a polite kill and the end of the terminal set a flag; a second one ends the
    /// program at once. A file that grows beyond its limit is an error of writing, not the end.
    pub fn watch() -> io::Result<Interrupt> {
        let (flag, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_shutdown(number, 128 + number, Arc::clone(&flag))?;
            flag::register_usize(number, Arc::clone(&signal), number as usize)?;
            flag::register(number, Arc::clone(&flag))?;
        }
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(Interrupt { flag, signal })
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
        self.signal.load(Ordering::Relaxed) as u8
    }
}
