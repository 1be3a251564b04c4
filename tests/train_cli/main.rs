//! The program `train` from outside: what it prints, what it writes, how it ends.

mod disk;
mod interrupts;
mod many;
mod refusals;
mod resume;
mod runs;
#[path = "../support/runs.rs"]
mod same;
mod scratch;
mod shown;
