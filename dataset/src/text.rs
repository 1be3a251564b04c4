//! Small text files beside the images.

use crate::DataError;
use crate::mapped::open_file;
use files::content;
use std::io::{ErrorKind, Read};
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
    let mut file = match open_file(path) {
        Ok(file) => file,
        Err(DataError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![];
    file.read_to_end(&mut bytes).map_err(|cause| DataError::Io {
        path: path.into(),
        action: "read",
        cause,
    })?;
    let not_text = |found| DataError::NotText { path: path.into(), found };
    if let Some(found) = content::recognise(&bytes).filter(|_| !bytes.is_empty()) {
        return Err(not_text(found));
    }
    let text = String::from_utf8(bytes).map_err(|_| not_text("bytes that are not UTF-8"))?;
    Ok(Some(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned)))
}
