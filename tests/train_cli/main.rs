//! The program `train` from outside: what it prints, what it writes, how it ends.

mod choices;
mod disk;
mod failures;
mod first_run;
mod interrupts;
mod many;
mod places;
mod refusals;
mod resume;
mod runs;
#[path = "../support/runs.rs"]
mod same;
#[allow(dead_code, reason = "other programs use the rest")]
#[path = "../support/scratch.rs"]
mod scratch;
mod shown;
#[cfg(unix)]
mod surroundings;
