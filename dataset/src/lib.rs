//! Data sets: IDX files in a directory, plain or gzipped, memory-mapped.
//!
//! ```
//! use dataset::{Dataset, Source};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes);
//! // Two grey images of 2×3 pixels.
//! let header = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
//! write("train-images-idx3-ubyte", &[&header[..], &[7; 6], &[9; 6]].concat())?;
//! write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1])?;
//! write("labels.txt", b"Coat\nShirt\n")?;
//!
//! let data = Dataset::open(&Source::new(directory.path()))?;
//! let train = data.train()?;
//! assert_eq!((train.len(), data.image_shape()), (2, [1, 2, 3]));
//! assert_eq!(data.class_names()[train.label(1) as usize], "Shirt");
//! assert_eq!(train.image(1), [9; 6]);
//! # Ok(())
//! # }
//! ```
//!
//! Image size, channels and number of classes come from the files. Nothing here panics on what a
//! file holds: whatever is wrong is a [`DataError`] that names the file.
//!
//! ```text
//! directory ──discover──► file names ──cache──► plain files ──idx──► mapped bytes ──copy──► an image
//!           ──text──► labels.txt, preparation.toml, train-names.txt, t10k-names.txt
//! ```
//! [`Dataset::in_memory`] takes images from slices. Those of files stay in the files, which other processes may
//! change: bytes are copied out of the map, never borrowed. Who runs for long asks [`Split::check_unchanged`] now and
//! then. A program that wants a message when a file shrinks under it calls [`install_signal_handlers`].

mod bundled;
mod cache;
mod dataset;
mod discover;
mod error;
mod idx;
mod images;
mod in_memory;
mod label_sets;
mod mapped;
mod names;
mod pixel_statistics;
mod preparation;
mod signals;
mod split;
mod storage;
mod text;

pub use dataset::{Dataset, Share, Source};
pub use error::{DataError, MAX_CLASS_NAME, MAX_CLASSES};
pub use images::ImageFile;
pub use in_memory::{Labels, Pixels, Samples};
pub use names::name_line;
pub use pixel_statistics::{PixelStatistics, pixel_statistics, pixel_sums, statistics_of_sums};
pub use preparation::{PREPARATION_FILE, preparation_text};
pub use signals::install_signal_handlers;
pub use split::Split;
