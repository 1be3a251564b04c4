//! Runs that are recorded: what they leave, how they go on, and how they are compared.

#[path = "../../../tests/support/data.rs"]
mod data;
#[path = "../../../tests/support/runs.rs"]
mod left;

mod compare;
mod damage;
mod events;
mod ledger;
mod long;
mod many;
mod place;
mod resume;
mod stopping;

use dataset::Dataset;
use kernels::Isa;
use std::path::Path;
use tracking::{Destination, Recorder, RunDirectory};
use trainer::{Recipe, Trainer, Workers};

/// A whole run in this directory, which is new.
fn trained(recipe: &Recipe, data: &Dataset, path: &Path) -> RunDirectory {
    let directory = Destination::at(path, false).unwrap().make(recipe).unwrap();
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let mut trainer = Trainer::new(recipe, data, &workers).unwrap();
    Recorder::new(&directory).record(&mut trainer).unwrap();
    directory
}
