//! The threads of a trainer or a model.

use crate::error::{failed, guarded, wrong};
use kernels::Isa;
use pyo3::prelude::*;
use std::sync::Arc;
use trainer::Workers;

/// Threads, and the process that has started them.
#[derive(Clone)]
pub struct Threads {
    pub workers: Arc<Workers>,
    process: u32,
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A process that was forked off cannot wait for the end of threads that it does not have.
        if !self.are_here() {
            std::mem::forget(Arc::clone(&self.workers));
        }
    }
}

impl Threads {
    /// So many, or one for each processor.
    pub fn start(threads: Option<usize>) -> PyResult<Threads> {
        let threads = match threads {
            Some(threads @ 1..=1024) => threads,
            Some(threads) => {
                return Err(wrong(format!("threads: found {threads}: expected 1 to 1024")));
            }
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let isa = Isa::from_env().map_err(wrong)?;
        let workers = guarded(|| Workers::new(isa, threads).map_err(failed))?;
        Ok(Threads { workers: Arc::new(workers), process: std::process::id() })
    }

    /// An error in a process that was forked off, which has none of the threads and would wait for them for ever.
    pub fn check(&self) -> PyResult<()> {
        if self.are_here() {
            return Ok(());
        }
        Err(failed(
            "made before this process was forked, and its threads stayed behind: make it again here",
        ))
    }

    fn are_here(&self) -> bool {
        self.process == std::process::id()
    }
}
