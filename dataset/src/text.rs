//! Small text files beside the images.

use crate::DataError;
use files::content;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A text file of this set alone (`PREFIX-NAME`) or of the directory (`NAME`), if there is one, without
/// the mark of byte order that some editors begin it with.
pub(crate) fn of_set(
    directory: &Path,
    stem: &str,
    name: &str,
) -> Result<Option<(PathBuf, String)>, DataError> {
    let own = directory.join(format!("{stem}{name}"));
    let path = if own.exists() { own } else { directory.join(name) };
    Ok(read(&path)?.map(|text| (path, text)))
}

/// The text of a file, if there is one.
pub(crate) fn read(path: &Path) -> Result<Option<String>, DataError> {
    // Asked before opening, because opening a pipe would wait for a writer.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(DataError::NotAFile { path: path.into() });
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(DataError::Io { path: path.into(), action: "read", cause }),
    };
    let not_text = |found| DataError::NotText { path: path.into(), found };
    if let Some(found) = content::recognise(&bytes).filter(|_| !bytes.is_empty()) {
        return Err(not_text(found));
    }
    let text = String::from_utf8(bytes).map_err(|_| not_text("bytes that are not UTF-8"))?;
    Ok(Some(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned)))
}
