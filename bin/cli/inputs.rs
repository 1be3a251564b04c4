//! The flags by which programs are told of a model, data and threads.

use crate::cli::{Failure, run, usage};
use kernels::Isa;
use model::Model;
use std::path::{Path, PathBuf};
use trainer::{Dataset, Source, Workers};

/// Which data set.
#[derive(clap::Args)]
pub struct DataFlags {
    /// Directory of IDX files, plain or gzipped [default: the bundled Fashion-MNIST]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Of several data sets in the directory the one whose file names begin so
    #[arg(long, value_name = "P", requires = "data")]
    prefix: Option<String>,
    /// Where gzipped files are unpacked [default: $BOBBIN_CACHE or ~/.cache/bobbin]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

impl DataFlags {
    /// Opens the data set.
    pub fn open(&self) -> Result<Dataset, Failure> {
        let source = match &self.data {
            Some(directory) => Source::new(directory),
            None => Source::bundled().map_err(run)?,
        };
        let (prefix, cache) = (self.prefix.clone(), self.cache.clone());
        Dataset::open(&Source { prefix, cache, ..source }).map_err(run)
    }
}

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

/// The file that `--weights` means: of a run directory its `model.safetensors`.
pub fn weights_file(weights: &Path) -> PathBuf {
    if weights.is_dir() { weights.join("model.safetensors") } else { weights.into() }
}

/// The model in a file or a run directory.
pub fn load_model(weights: &Path) -> Result<Model, Failure> {
    Model::load(&weights_file(weights)).map_err(run)
}
