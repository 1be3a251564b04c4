//! The program `train` from outside: what it prints, what it writes, how it ends.

mod refusals;
mod runs;
#[allow(dead_code, reason = "other programs use the rest")]
#[path = "../support/scratch.rs"]
mod scratch;
