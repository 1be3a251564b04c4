//! Ctrl-C while the engine has the processor: Python is asked between steps.

use pyo3::prelude::*;
use std::time::{Duration, Instant};

/// How often Python is asked: rarely enough that it costs nothing, often enough for whoever waits.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether Python wants the end, and why.
pub struct Watch {
    asked: Instant,
    /// The exception with which training is to end.
    pub raised: Option<PyErr>,
}

impl Watch {
    pub fn new() -> Watch {
        Watch { asked: Instant::now(), raised: None }
    }

    /// Asks, if it is time, whether a signal's handler has raised an exception; whether training is to end.
    pub fn ends(&mut self) -> bool {
        if self.raised.is_none() && self.asked.elapsed() >= PAUSE {
            self.asked = Instant::now();
            self.raised = Python::attach(|py| py.check_signals()).err();
        }
        self.raised.is_some()
    }

    /// What `call` says of going on: `False` is no, and so is an exception, which is kept.
    pub fn goes_on(&mut self, call: impl FnOnce(Python<'_>) -> PyResult<bool>) -> bool {
        match Python::attach(call) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                self.raised.get_or_insert(error);
                false
            }
        }
    }
}
