//! The programs `evaluate`, `predict` and `import` from outside: what they print, what they write,
//! how they end.

mod evaluate;
mod help;
mod import;
mod model;
mod predict;
#[allow(dead_code, reason = "other programs use the rest")]
#[path = "../support/scratch.rs"]
mod scratch;
