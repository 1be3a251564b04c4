//! Files: written whole or not at all, what can be wrong with them, what they may cost, and digests of their
//! content.

pub mod content;
pub mod digest;
pub mod home;
pub mod leftovers;
mod limits;

pub use limits::{LIMITS_VARIABLE, Limits, UnknownLimits};

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a file cannot be read or written. The message has in it what the system said, which is a field of the variant
/// and not repeated by [`source`](std::error::Error::source).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused an operation.
    #[error("{}: cannot {action}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted, as a verb.
        action: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The content is not what it should be.
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
    #[must_use]
    pub fn content(path: &Path, problem: &str) -> FileError {
        let problem = problem.replace(char::is_control, " ");
        FileError::Content { path: path.to_owned(), problem }
    }
}

/// An error if the path is an address, such as `hdfs://host/run`: made as a path it would be a directory `hdfs:` on this
/// machine, where nobody looks for it.
///
/// ```
/// assert!(files::check_local("s3a://bucket/run".as_ref()).is_err());
/// assert!(files::check_local("runs/a:b".as_ref()).is_ok());
/// ```
pub fn check_local(path: &Path) -> io::Result<()> {
    let text = path.to_string_lossy();
    let is_word = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    match text.split_once("://") {
        Some((scheme, _)) if is_word(scheme) => {
            Err(io::Error::new(ErrorKind::Unsupported, "found an address, expected a local path"))
        }
        _ => Ok(()),
    }
}

/// What the name of a file begins with until it is whole.
const UNFINISHED: &str = "writing-";

/// Writes a file whole or not at all: under another name beside it, flushed to disk and renamed. Only a file
/// is replaced: a link stays, and what it leads to is written; a device or pipe is written to. A link to nothing is
/// an error.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    // What a link leads to; where there is nothing yet, the name itself.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_special = |kind: std::fs::FileType| !kind.is_file() && !kind.is_dir();
    let special = target.metadata().is_ok_and(|metadata| is_special(metadata.file_type()));
    let write = || {
        if path.is_symlink() && !path.exists() {
            return Err(of_link(path, ErrorKind::NotFound.into()));
        }
        if special {
            return std::fs::File::options().write(true).open(path)?.write_all(bytes);
        }
        let path = &*target;
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
        flush_directory(folder)
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

/// Flushes a directory to disk: after a power cut the names in it are those of now. Does nothing where it may
/// be written but not read, and on systems other than Unix, which do this by themselves.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    let cannot = |error| FileError::Io { path: path.to_owned(), action: "write", error };
    flush_directory(path).map_err(cannot)
}

fn flush_directory(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

/// What the system said, without the name of a temporary file, which the crate `tempfile` adds and nobody
/// knows.
pub fn of_system(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path \"") {
        Some((said, _)) if error.get_ref().is_some() => io::Error::new(error.kind(), said),
        _ => error,
    }
}

/// What the system said of a file that does not exist: of a link it is said where it leads to.
pub fn of_link(path: &Path, error: io::Error) -> io::Error {
    let missing = error.kind() == ErrorKind::NotFound;
    let Some(target) = missing.then(|| path.read_link().ok()).flatten() else { return error };
    let annex = target.components().any(|part| part.as_os_str() == "annex");
    let fetch = if annex { "; `git annex get` fetches it" } else { "" };
    let problem = format!("a link to {}, which does not exist{fetch}", target.display());
    io::Error::new(ErrorKind::NotFound, problem)
}

/// Whether a path is a temporary file that [`write_file`] left when the program was killed.
pub fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

/// Deletes the temporary files that [`write_file`] left in a folder when the program was killed.
pub fn remove_unfinished(folder: &Path) -> Result<(), FileError> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| is_unfinished(path)) {
        let deleted = std::fs::remove_file(&path);
        deleted.map_err(|error| FileError::Io { path, action: "delete", error })?;
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::process::Command;

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let pipe = at("pipe");
        let reader = std::thread::spawn(move || fs::read(pipe).unwrap());
        write_file(&at("pipe"), b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        assert!(at("pipe").metadata().unwrap().file_type().is_fifo());

        fs::create_dir(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/file"), "old").unwrap();
        symlink("elsewhere/file", at("link")).unwrap();
        write_file(&at("link"), b"new").unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(fs::read(at("elsewhere/file")).unwrap(), b"new");
        assert!(write_file(&at("elsewhere"), b"new").is_err());

        symlink("elsewhere/nothing", at("dangling")).unwrap();
        let error = write_file(&at("dangling"), b"new").unwrap_err().to_string();
        assert!(error.ends_with(
            "dangling: cannot write: a link to elsewhere/nothing, which does not exist"
        ));
        assert!(at("dangling").is_symlink() && !at("elsewhere/nothing").exists());
    }
}
