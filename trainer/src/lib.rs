//! Training: data sets, recipes, workers, the loop.
//!
//! The data goes one way: bytes of a mapped IDX file, a batch of images in lanes, the layers on a
//! tape, a gradient per shard, one gradient per batch, an optimiser step. What comes out depends on
//! the data, the recipe and the seed, never on how many threads did it.

mod augment;
mod batch;
mod checkpoint;
mod data;
mod digest;
mod error;
mod fit;
mod log;
mod moments;
mod optimizer;
mod pictures;
mod predictor;
mod profile;
mod ranks;
mod raster;
mod recipe;
mod report;
mod run_directory;
mod sampler;
mod schedule;
mod scores;
mod session;
pub mod sweep;
mod training;
mod workers;

pub use batch::{Evaluation, Scaling};
pub use checkpoint::{Checkpoint, CheckpointError, Checkpoints};
pub use data::{DataError, Dataset, ImageFile, Share, Source, Split};
pub use error::TrainError;
pub use fit::{Misfit, check_fit};
pub use log::{metrics, tensorboard};
pub use moments::measure;
pub use pictures::{
    Channels, ClassCounts, Fit, Import, ImportError, Imported, Inversion, Picture, PictureError,
    Prepared, import,
};
pub use predictor::Predictor;
pub use profile::{Profile, Row, Totals};
pub use ranks::{
    Communicator, Launch, Local, broadcast_text, gather_texts, join_shares, launch,
    threads_per_rank,
};
#[cfg(feature = "mpi")]
pub use ranks::{Mpi, MpiError, end_with_launcher};
pub use raster::Raster;
pub use recipe::{
    AugmentSection, Auto, DataSection, EventsSection, Every, Group, InitName, ModelSection,
    Moments, Monitor, Normalize, OptimizerKind, OptimizerSection, Recipe, RecipeError,
    ScheduleKind, ScheduleSection, StopSection, Validation, ValidationSet,
};
pub use report::{Report, Scored};
pub use run_directory::{Destination, RunDirectory, RunDirectoryError};
pub use schedule::PlateauState;
pub use scores::{
    ClassScores, Mistake, NotFiniteOutput, ScoreOptions, Scores, probabilities, rank,
};
pub use session::{Listener, Outcome, Recording, record};
pub use training::{
    Best, Epoch, Event, Observed, Observer, Progress, Step, Stop, Trainer, Validated, each_epoch,
};
pub use workers::{Workers, WorkersError};
