//! The commands `evaluate`, `predict`, `import`, `compare` and `verify` from outside: what they print, what they write,
//! how they end.

mod compare;
mod costs;
mod data_of_run;
mod evaluate;
mod help;
mod import;
mod labels;
mod model;
mod predict;
mod preparation;
#[allow(dead_code, reason = "other programs use the rest")]
#[path = "../support/scratch.rs"]
mod scratch;
mod sources;
#[cfg(unix)]
mod surroundings;
mod verify;
