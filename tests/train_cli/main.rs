//! The program `train` from outside: what it prints, what it writes, how it ends.

mod disk;
mod interrupts;
mod many;
mod refusals;
mod resume;
mod runs;
#[path = "../support/runs.rs"]
mod same;
#[allow(dead_code, reason = "other programs use the rest")]
#[path = "../support/scratch.rs"]
mod scratch;
mod shown;
