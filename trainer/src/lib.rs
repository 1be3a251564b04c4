//! Under construction.

mod data;

pub use data::{DataError, Dataset, Source, Split, bundled_directory};
