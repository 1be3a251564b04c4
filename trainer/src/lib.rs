//! Training: recipes, batches, workers, the loop.
//!
//! The data goes one way: bytes of a mapped IDX file, a batch of images in lanes, the layers on a
//! tape, a gradient per shard, one gradient per batch, an optimiser step. What comes out depends on
//! the data, the recipe and the seed, never on how many threads did it.

mod augment;
mod batch;
mod compatibility;
mod error;
mod evaluation;
mod input;
mod loss;
mod mix;
mod optimizer;
mod partial;
mod predictor;
pub mod profile;
mod progress;
pub mod ranks;
pub mod recipe;
mod sampler;
mod schedule;
pub mod scores;
mod state;
mod training;
mod workers;

pub use compatibility::{Incompatible, check_compatibility};
pub use error::TrainError;
pub use evaluation::Evaluation;
pub use input::Scaling;
pub use optimizer::Optimizer;
pub use predictor::Predictor;
pub use progress::{Best, Progress, Stop};
pub use recipe::Recipe;
pub use sampler::{permute, pool_rare};
pub use schedule::{PlateauState, Schedule};
pub use state::{RestoreError, State};
pub use training::{
    Epoch, Event, Observer, Preview, RateSearch, RateStep, Step, Trainer, Validated, each_epoch,
};
pub use workers::{Scratch, Workers, WorkersError};
