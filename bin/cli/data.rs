//! The flags that say which data set.

use crate::cli::{Failure, data_failure, run};
use std::path::PathBuf;
use trainer::{Dataset, Source};

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
    pub cache: Option<PathBuf>,
}

impl DataFlags {
    /// Opens the data set.
    pub fn open(&self) -> Result<Dataset, Failure> {
        let source = match &self.data {
            Some(directory) => Source::new(directory),
            None => Source::bundled().map_err(run)?,
        };
        let (prefix, cache) = (self.prefix.clone(), self.cache.clone());
        let data = Dataset::open(&Source { prefix, cache, ..source });
        data.map_err(|error| data_failure(&error, "--prefix="))
    }
}
