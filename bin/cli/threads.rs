//! The flag that says on how many threads.

use crate::cli::{Failure, usage};
use kernels::Isa;
use trainer::Workers;

/// On how many threads.
#[derive(clap::Args)]
pub struct ThreadFlags {
    /// Threads; the results do not depend on it [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl ThreadFlags {
    /// Starts them.
    pub fn start(&self) -> Result<Workers, Failure> {
        let isa = Isa::from_env().map_err(usage)?;
        let workers = match self.threads {
            Some(threads) => Workers::new(isa, threads.into()),
            None => Workers::from_env(),
        };
        workers.map_err(|error| Failure::Run(format!("--threads: {error}")))
    }
}
