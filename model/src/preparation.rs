//! How pictures became the images that a network was trained on.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// How pictures became the images that a network was trained on, beside their size and channels, which
/// are the network's input. Whoever asks the network about a picture does the same with it.
///
/// In the metadata of a file it is `prepare.invert` (`true` or `false`) and `prepare.fit` (`pad`, `crop`
/// or `stretch`). A file without either does not know; where one is missing it is that of the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Preparation {
    /// Whether bright and dark are exchanged.
    pub invert: bool,
    /// What was done with pictures of other proportions.
    pub fit: Fit,
}

/// How a picture is fitted to an image of other proportions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The whole picture in its proportions, with its background on two sides.
    #[default]
    Pad,
    /// The middle of the picture, in its proportions.
    Crop,
    /// The whole picture, in other proportions.
    Stretch,
}

impl Fit {
    /// Every way, for listing them.
    pub const ALL: [Fit; 3] = [Fit::Pad, Fit::Crop, Fit::Stretch];

    /// Its name in files: `pad`, `crop` or `stretch`.
    pub fn word(self) -> &'static str {
        match self {
            Fit::Pad => "pad",
            Fit::Crop => "crop",
            Fit::Stretch => "stretch",
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A name that is not a [`Fit`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a way to fit a picture: expected pad, crop or stretch")]
pub struct UnknownFit(pub String);

impl FromStr for Fit {
    type Err = UnknownFit;

    fn from_str(word: &str) -> Result<Fit, UnknownFit> {
        let found = Fit::ALL.into_iter().find(|fit| fit.word() == word);
        found.ok_or_else(|| UnknownFit(word.to_owned()))
    }
}

impl fmt::Display for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inverted = if self.invert { "inverted" } else { "not inverted" };
        write!(f, "{} and {inverted}", self.fit)
    }
}

const INVERT: &str = "prepare.invert";
const FIT: &str = "prepare.fit";

impl Preparation {
    /// Pictures inverted or not, and fitted this way.
    #[must_use]
    pub fn new(invert: bool, fit: Fit) -> Preparation {
        Preparation { invert, fit }
    }

    /// Its entries of a file's metadata.
    pub(crate) fn metadata(self) -> [(&'static str, String); 2] {
        [(INVERT, self.invert.to_string()), (FIT, self.fit.to_string())]
    }

    /// What a file's metadata say of it.
    pub(crate) fn of(metadata: &BTreeMap<String, String>) -> Result<Option<Preparation>, String> {
        let (invert, fit) = (metadata.get(INVERT), metadata.get(FIT));
        if invert.is_none() && fit.is_none() {
            return Ok(None);
        }
        let mut preparation = Preparation::default();
        if let Some(word) = invert {
            preparation.invert = word
                .parse()
                .map_err(|_| format!("metadata `{INVERT}` is `{word}`: expected true or false"))?;
        }
        if let Some(word) = fit {
            preparation.fit = word.parse().map_err(|_| {
                format!("metadata `{FIT}` is `{word}`: expected pad, crop or stretch")
            })?;
        }
        Ok(Some(preparation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_come_back() {
        let read = |entries: &[(&str, String)]| {
            let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
            Preparation::of(&entries.collect())
        };
        for invert in [false, true] {
            for fit in Fit::ALL {
                let preparation = Preparation::new(invert, fit);
                assert_eq!(read(&preparation.metadata()), Ok(Some(preparation)));
            }
        }
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[(INVERT, "true".into())]), Ok(Some(Preparation::new(true, Fit::Pad))));
        assert_eq!(read(&[(FIT, "crop".into())]), Ok(Some(Preparation::new(false, Fit::Crop))));
        let wrong = |key, value: &str| read(&[(key, value.into())]).unwrap_err();
        assert_eq!(
            wrong(INVERT, "auto"),
            "metadata `prepare.invert` is `auto`: expected true or false"
        );
        assert_eq!(
            wrong(FIT, "Pad"),
            "metadata `prepare.fit` is `Pad`: expected pad, crop or stretch"
        );
    }

    #[test]
    fn words_are_those_of_serde() {
        for fit in Fit::ALL {
            assert_eq!(serde_json::to_value(fit).unwrap(), fit.word());
            assert_eq!(fit.word().parse(), Ok(fit));
        }
        assert!("fill".parse::<Fit>().unwrap_err().to_string().contains("pad, crop or stretch"));
    }
}
