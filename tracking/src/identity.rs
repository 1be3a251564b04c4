//! Whether a path still leads to the file or directory that was opened by it.

use files::FileError;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// An error if a file or directory was renamed, replaced or deleted since it was opened by this path.
pub(crate) fn check(path: &Path, opened: &File) -> Result<(), FileError> {
    let at_its_place = is_at(path, opened).map_err(|error| FileError::Io {
        path: path.into(),
        action: "read",
        error,
    })?;
    if at_its_place {
        return Ok(());
    }
    let what = match place_of(opened) {
        Some(Place::At(now)) => format!("no longer at this path: it is now {}", now.display()),
        Some(Place::Nowhere) => "deleted while the run went on".to_owned(),
        None => "renamed or deleted while the run went on".to_owned(),
    };
    Err(FileError::content(path, &what))
}

/// Where a file or directory is now, if it is no longer where it was opened and the system knows.
pub(crate) fn moved(path: &Path, opened: &File) -> Option<PathBuf> {
    match place_of(opened)? {
        Place::At(now) if is_at(path, opened).is_ok_and(|there| !there) => Some(now),
        _ => None,
    }
}

/// Where something is that was opened.
enum Place {
    At(PathBuf),
    Nowhere,
}

#[cfg(unix)]
fn is_at(path: &Path, opened: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        // A file in the place of a directory above counts as well.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let opened = opened.metadata()?;
    Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino()))
}

/// Elsewhere an open file keeps its name.
#[cfg(not(unix))]
fn is_at(path: &Path, _: &File) -> io::Result<bool> {
    path.try_exists()
}

/// Linux knows the path of what is open.
#[cfg(target_os = "linux")]
fn place_of(opened: &File) -> Option<Place> {
    use std::os::fd::AsRawFd;
    let now = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?;
    Some(match now.exists() {
        true => Place::At(now),
        false => Place::Nowhere,
    })
}

#[cfg(not(target_os = "linux"))]
fn place_of(_: &File) -> Option<Place> {
    None
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_there_is_noticed() {
        let directory = tempfile::TempDir::new().unwrap();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        std::fs::write(&old, "").unwrap();
        let file = File::open(&old).unwrap();
        check(&old, &file).unwrap();

        std::fs::rename(&old, &new).unwrap();
        let message = check(&old, &file).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: no longer ", old.display())), "{message}");
        check(&new, &file).unwrap();
        assert_eq!((moved(&old, &file), moved(&new, &file)), (Some(new.clone()), None));

        // Another file under the old name.
        std::fs::write(&old, "").unwrap();
        check(&old, &file).unwrap_err();
        std::fs::remove_file(&new).unwrap();
        let message = check(&new, &file).unwrap_err().to_string();
        assert!(message.ends_with("deleted while the run went on"), "{message}");
    }
}
