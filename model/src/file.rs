//! Files: written whole or not at all, and what can be wrong with them.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a file of weights cannot be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The system refused.
    #[error("{}: cannot {action}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// It does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected; one line.
        problem: String,
    },
}

impl FileError {
    /// A problem that may quote the file, and is to stay one line.
    pub(crate) fn content(path: &Path, problem: &str) -> FileError {
        let problem = problem.replace(char::is_control, " ");
        FileError::Content { path: path.to_owned(), problem }
    }
}

/// What the name of a file begins with until it is whole.
const UNFINISHED: &str = "writing-";

/// Writes a file whole or not at all: under another name beside it, flushed to disk and renamed.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let write = || {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // As any new file: what the umask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.prefix(UNFINISHED).tempfile_in(folder)?;
        file.as_file_mut().write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| FileError::Io {
        path: path.to_owned(),
        action: "write",
        error: match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) if error.kind() == ErrorKind::NotFound && !folder.exists() => {
                let problem = format!("the directory {} does not exist", folder.display());
                io::Error::new(ErrorKind::NotFound, problem)
            }
            _ => of_system(error),
        },
    })
}

/// What the system said, without the name of a temporary file, which the crate `tempfile` adds and nobody
/// knows.
pub fn of_system(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path \"") {
        Some((said, _)) if error.get_ref().is_some() => io::Error::new(error.kind(), said),
        _ => error,
    }
}

/// Whether it is what [`write_file`] had not finished when the program was killed.
pub fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

/// Deletes what [`write_file`] had not finished in a folder when the program was killed.
pub fn remove_unfinished(folder: &Path) -> Result<(), FileError> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| is_unfinished(path)) {
        let deleted = std::fs::remove_file(&path);
        deleted.map_err(|error| FileError::Io { path, action: "delete", error })?;
    }
    Ok(())
}
