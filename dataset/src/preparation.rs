//! The file `preparation.toml` of a data set: how pictures became its images.
//!
//! ```text
//! fit = "pad"       # pictures of other proportions: pad, crop or stretch
//! invert = false    # whether bright and dark have changed places
//! ```
//! It is written with the images and goes into the model that is trained on them, so that a picture is
//! shown to the network as those were that it has learnt from. Their size and channels are in the header
//! of the images. A set without this file does not say how its images were made.

use crate::DataError;
use crate::text;
use model::{Fit, Preparation};
use serde::Deserialize;
use std::path::Path;

/// The name of the file; of one set of several in a directory it is `PREFIX-preparation.toml`.
pub const PREPARATION_FILE: &str = "preparation.toml";

/// The file. Both fields are needed, because what is missing would have to be guessed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    invert: bool,
    fit: Fit,
}

/// What the file of a set says, if there is one.
pub(crate) fn read(directory: &Path, stem: &str) -> Result<Option<Preparation>, DataError> {
    let Some((path, text)) = text::of_set(directory, stem, PREPARATION_FILE)? else {
        return Ok(None);
    };
    match toml::from_str(&text) {
        Ok(Fields { invert, fit }) => Ok(Some(Preparation::new(invert, fit))),
        Err(error) => {
            let found = error.message().replace('\n', " ");
            Err(DataError::Preparation { path, found })
        }
    }
}

/// The content of the file.
pub fn preparation_text(preparation: Preparation) -> String {
    let Preparation { invert, fit, .. } = preparation;
    format!(
        "# How pictures became the images of this data set. A model that is trained on them takes it along,\n\
         # and does the same with every picture that it is asked about.\n\
         \n\
         # Pictures of other proportions than the images: \"pad\", \"crop\" or \"stretch\".\n\
         fit = \"{fit}\"\n\
         # Whether bright and dark have changed places.\n\
         invert = {invert}\n"
    )
}
