//! The program `train` from outside: what it prints, what it writes, how it ends.

mod refusals;
mod runs;
mod scratch;
