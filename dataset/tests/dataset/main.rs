//! Data sets on disk: good ones are read, bad ones refused with a message that says what is wrong.

mod cache;
mod directory;
mod fashion_mnist;
mod fixture;
mod label_sets;
mod malformed;
#[cfg(unix)]
mod truncated_map;
