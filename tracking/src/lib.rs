//! Tracking of runs: everything that a run leaves on disk.
//!
//! A [`Recorder`] trains and writes a [`RunDirectory`]: the recipe, checkpoints, `metrics.jsonl`, TensorBoard's
//! event files, the model, and a report on a page. A [`RunDisplay`] shows the run meanwhile. A [`ledger`] holds the
//! hashes of every step. [`sweep`] is many runs and their table, a [`Comparison`] runs side by side.
//!
//! ```
//! use dataset::{Dataset, Source};
//! use kernels::Isa;
//! use tracking::metrics::{Line, read_metrics};
//! use tracking::{Comparison, Destination, Recorder};
//! use trainer::{Recipe, Stop, Trainer, Workers};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scratch = tempfile::tempdir()?;
//! // Sixteen images of 28×28 pixels, and their labels, as IDX files.
//! let images = [&[0, 0, 8, 3, 0, 0, 0, 16, 0, 0, 0, 28, 0, 0, 0, 28][..], &[7; 16 * 784]].concat();
//! let labels = [&[0, 0, 8, 1, 0, 0, 0, 16][..], &[0, 1].repeat(8)].concat();
//! std::fs::write(scratch.path().join("train-images-idx3-ubyte"), images)?;
//! std::fs::write(scratch.path().join("train-labels-idx1-ubyte"), labels)?;
//! let data = Dataset::open(&Source::new(scratch.path()))?;
//!
//! let mut recipe = Recipe::default();
//! recipe.data.validation = trainer::recipe::Validation::HeldOut(4);
//! recipe.stop.epochs = 2;
//! let workers = Workers::new(Isa::detect(), 1)?;
//! let mut trainer = Trainer::new(&recipe, &data, &workers)?;
//!
//! let directory = Destination::at(&scratch.path().join("runs/first"), false)?.make(&recipe)?;
//! let outcome = Recorder::new(&directory).keep(1).record(&mut trainer)?;
//! assert_eq!(outcome.stop, Stop::Epochs);
//! assert!(directory.model().exists() && directory.best().exists() && directory.report().exists());
//! let lines = read_metrics(&directory.metrics())?;
//! assert!(matches!(lines.last(), Some(Line::End(_))));
//! println!("{}", Comparison::open(&[scratch.path().join("runs")])?.text());
//! # Ok(())
//! # }
//! ```

mod checkpoint;
mod collapse;
mod compare;
mod error;
mod fields;
mod identity;
pub mod ledger;
mod log;
mod raster;
mod rate_chart;
mod recorder;
mod report;
mod run_directory;
mod sheet;
pub mod sweep;
mod table;
mod trained_on;

pub use checkpoint::{Checkpoint, CheckpointError, Checkpoints};
pub use collapse::{Collapse, advice_on_collapse};
pub use compare::{CompareError, Comparison};
pub use error::RunError;
pub use log::{metrics, tensorboard};
pub use raster::Raster;
pub use rate_chart::rate_chart;
pub use recorder::{Outcome, Recorder, RunDisplay};
pub use report::{Report, Scored};
pub use run_directory::{Destination, RunDirectory, RunDirectoryError};
pub use sheet::{SheetRow, sheet};
pub use table::csv;
pub use trained_on::trained_on;
