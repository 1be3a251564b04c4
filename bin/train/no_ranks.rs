//! In place of `ranks.rs` in a program without MPI: what it says as one of several ranks.

use crate::cli::{end, run};
use crate::{Arguments, first_tells};
use std::process::ExitCode;
use trainer::Launch;

/// Says that it cannot.
pub fn train(launch: Launch, _: Result<Arguments, clap::Error>) -> ExitCode {
    first_tells(launch);
    let ranks = launch.ranks;
    end(Err(run(format!(
        "one of {ranks} ranks of an MPI job, but built without MPI: cargo build --release --features mpi"
    ))))
}
