//! Pictures as people have them (PNG, JPEG, BMP), made into what a network takes: so many pixels,
//! so many channels.

mod decode;
mod fit;
mod import;
mod listing;
mod output;
mod prepare;

pub use decode::{Picture, PictureError};
pub use fit::Fit;
pub use import::{Channels, ClassCounts, Import, ImportError, Imported, import};
pub use prepare::{Inversion, Prepared};
