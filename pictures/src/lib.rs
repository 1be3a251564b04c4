//! Pictures as people have them (PNG, JPEG, WebP, …), made into what a network takes: so many pixels,
//! so many channels.
//!
//! ```
//! use pictures::{Fit, Picture};
//! // Of a file it is `Picture::open(path)?`.
//! let picture = Picture::from_idx(&[200; 4 * 8 * 3], [3, 4, 8]);
//! assert_eq!(picture.size(), [8, 4]);
//! // One channel of 28×28 pixels, as IDX files have them.
//! assert_eq!(picture.fit([1, 28, 28], Fit::Pad), [200; 28 * 28]);
//! ```
//!
//! [`import()`] makes a data set of folders of pictures, tables, arrays and Parquet files, and writes down how;
//! [`Prepared`] does the same with a picture that a network is asked about.

mod budget;
mod decode;
mod error;
mod fit;
mod import;
mod jpeg;
mod labels;
mod output;
mod parts;
mod prepare;
mod sources;

pub use decode::{Picture, PictureError};
pub use error::ImportError;
pub use import::{Channels, ClassCounts, Duplicates, Event, Import, Imported, import};
pub use model::Fit;
pub use prepare::{Inversion, Prepared};
pub use sources::{Given, pictures_in};
