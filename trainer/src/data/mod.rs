//! Data sets: IDX files in a directory, plain or gzipped, memory-mapped.
//!
//! ```text
//! directory ──discover──► file names ──cache──► plain files ──mapped──► bytes ──idx──► Split
//! ```
//! Image size, channels and number of classes come from the files. Nothing here panics on what a
//! file holds: whatever is wrong is a [`DataError`] that names the file.

mod bundled;
mod cache;
mod dataset;
mod discover;
mod error;
mod idx;
mod images;
mod mapped;

pub use dataset::{Dataset, Share, Source, Split};
pub use error::DataError;
pub use images::ImageFile;
