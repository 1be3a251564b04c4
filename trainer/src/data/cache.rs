//! Gzipped files, unpacked once into a cache directory.
//!
//! An entry is named by the SHA-256 of the compressed file, so that changed content is a new entry
//! and equal content is unpacked once, wherever it is. Entries appear complete or not at all: a
//! temporary file beside them is filled, flushed to disk and renamed, and processes that do so at
//! the same time replace an entry by its equal.

use super::DataError;
use super::idx::{Header, Idx, Role};
use super::mapped::Mapped;
use crate::digest;
use flate2::read::MultiGzDecoder;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Opens an IDX file, by way of the cache if its name ends in `.gz`.
pub(crate) fn open(path: &Path, role: Role, cache: Option<&Path>) -> Result<Idx, DataError> {
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Idx::open(path, role);
    }
    let directory = cache_directory(cache, |name| env::var_os(name), env::home_dir())?;
    let packed = Mapped::open(path)?;
    let entry = directory.join(digest::of_bytes(&packed) + ".idx");
    // An entry that is missing or not as long as its header says is made anew.
    if let Ok(idx) = Idx::open(&entry, role) {
        return Ok(idx);
    }
    unpack(path, &packed, role, &directory, &entry)?;
    Idx::open(&entry, role)
}

/// The directory named by the caller, by `BOBBIN_CACHE`, or the customary one of the system.
fn cache_directory(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
    home: Option<PathBuf>,
) -> Result<PathBuf, DataError> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    given
        .map(Path::to_path_buf)
        .or_else(|| path("BOBBIN_CACHE"))
        // The XDG specification tells programs to ignore relative paths.
        .or_else(|| Some(path("XDG_CACHE_HOME").filter(|xdg| xdg.is_absolute())?.join("bobbin")))
        .or_else(|| Some(home?.join(".cache").join("bobbin")))
        .ok_or(DataError::NoCache)
}

/// Unpacks a gzipped IDX file into `entry`.
///
/// The header comes first in the stream, so what follows it is bounded: a stream that yields more
/// than its header declares is refused at the first byte too many, before it fills the disk.
fn unpack(
    path: &Path,
    packed: &[u8],
    role: Role,
    directory: &Path,
    entry: &Path,
) -> Result<(), DataError> {
    let damaged = |cause| DataError::Gzip { path: path.into(), cause };
    let unwritable =
        |cause| DataError::Cache { directory: directory.into(), cause: model::of_system(cause) };

    let mut stream = MultiGzDecoder::new(packed);
    let mut front = Vec::new();
    stream.by_ref().take(Header::MAX_LEN as u64).read_to_end(&mut front).map_err(damaged)?;
    let expected = Header::parse(path, &front, role)?.file_len() as u64;

    fs::create_dir_all(directory).map_err(unwritable)?;
    let mut file = temporary_file(directory).map_err(unwritable)?;
    let mut stream = front.chain(stream).take(expected.saturating_add(1));
    let mut found = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        // Reading to the end of the stream, not only of the data, checks its CRC too.
        let count = stream.read(&mut buffer).map_err(damaged)?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).map_err(unwritable)?;
        found += count as u64;
    }
    if found > expected {
        return Err(DataError::GzipTrailing { path: path.into(), expected });
    }
    if found < expected {
        return Err(DataError::GzipTruncated { path: path.into(), found, expected });
    }
    file.as_file().sync_all().map_err(unwritable)?;
    file.persist(entry).map_err(|error| unwritable(error.error))?;
    Ok(())
}

/// A file that is deleted unless it is renamed, readable by whom the umask allows: a cache may be
/// shared by the users of a cluster.
fn temporary_file(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix("unpacking-").tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_directory_is_the_first_that_is_named() {
        let directory = |given: Option<&str>, variables: &[(&str, &str)], home: Option<&str>| {
            let variable = |name: &str| {
                let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
                Some(OsString::from(value))
            };
            cache_directory(given.map(Path::new), variable, home.map(PathBuf::from))
                .map(|path| path.to_str().unwrap().to_string())
        };
        let all = [("BOBBIN_CACHE", "own"), ("XDG_CACHE_HOME", "/xdg")];
        assert_eq!(directory(Some("given"), &all, Some("/home")).unwrap(), "given");
        assert_eq!(directory(None, &all, Some("/home")).unwrap(), "own");
        assert_eq!(directory(None, &all[1..], Some("/home")).unwrap(), "/xdg/bobbin");
        let empty = [("BOBBIN_CACHE", ""), ("XDG_CACHE_HOME", "relative")];
        assert_eq!(directory(None, &empty, Some("/home")).unwrap(), "/home/.cache/bobbin");
        assert!(directory(None, &[], None).unwrap_err().to_string().contains("--cache"));
    }
}
