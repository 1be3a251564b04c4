//! The flag that says on how many threads.

use crate::cli::text::number;
use crate::cli::{Failure, Kind, usage};
use kernels::Isa;
use trainer::Workers;
use trainer::ranks::{Local, threads_per_rank};

/// On how many threads.
#[derive(clap::Args)]
pub struct ThreadFlags {
    /// Threads; the results do not depend on it [default: one per processor]
    #[arg(long, value_name = "N", value_parser = number(1..=1024))]
    threads: Option<u32>,
}

impl ThreadFlags {
    /// Starts them.
    pub fn start(&self) -> Result<Workers, Failure> {
        self.start_with(threads_per_rank(&Local))
    }

    /// Starts them, as many as this by default.
    pub fn start_with(&self, default: usize) -> Result<Workers, Failure> {
        let isa = Isa::from_env().map_err(usage)?;
        let workers = Workers::new(isa, self.threads.map_or(default, |threads| threads as usize));
        workers.map_err(|error| Failure::new(Kind::Other, format!("--threads: {error}")))
    }
}
