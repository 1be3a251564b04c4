//! In place of `ranks.rs` in a program without MPI: what it says as one of several ranks.

use super::{Arguments, first_tells};
use crate::cli::{Failure, Invocation, Kind, end};
use trainer::ranks::Launch;

/// Says that it cannot.
pub fn train(launch: Launch, _: Result<Arguments, clap::Error>, _: Invocation) -> u8 {
    first_tells(launch);
    let ranks = launch.ranks;
    let problem = format!(
        "one of {ranks} ranks of an MPI job, but built without MPI: cargo build --release --features mpi"
    );
    end(Err(Failure::new(Kind::Mpi, problem)))
}
