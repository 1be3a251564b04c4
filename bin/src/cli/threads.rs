//! The flag that says on how many threads.

use crate::cli::text::number;
use crate::cli::{Failure, Kind, usage};
use kernels::{ISA_VARIABLE, Isa};
use std::env;
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
        let isa = isa()?;
        let workers = Workers::new(isa, self.threads.map_or(default, |threads| threads as usize));
        workers.map_err(|error| Failure::new(Kind::Other, format!("--threads: {error}")))
    }
}

/// The SIMD path that `BOBBIN_ISA` asks for. A name that is no text is none that there is.
fn isa() -> Result<Isa, Failure> {
    match env::var_os(ISA_VARIABLE).filter(|name| name.to_str().is_none()) {
        Some(name) => {
            let expected = "expected avx512bf16, avx512, avx2 or portable";
            Err(usage(format!("{ISA_VARIABLE}={}: {expected}", name.display())))
        }
        None => Isa::from_env().map_err(usage),
    }
}
