//! The directory of an imported data set: it appears whole or not at all.

use super::ImportError;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The names of the files that an import may write.
const FILES: [&str; 7] = [
    "labels.txt",
    "t10k-images-idx3-ubyte",
    "t10k-images-idx4-ubyte",
    "t10k-labels-idx1-ubyte",
    "train-images-idx3-ubyte",
    "train-images-idx4-ubyte",
    "train-labels-idx1-ubyte",
];

/// Where a data set shall be: a new or empty directory, or one that holds an older data set which is
/// to be replaced.
pub(super) struct Place {
    to: PathBuf,
    parent: PathBuf,
}

/// A directory beside the place, filled while all goes well.
pub(super) struct Output {
    to: PathBuf,
    parent: PathBuf,
    directory: TempDir,
}

const SCRATCH: &str = "pixels";

impl Place {
    /// `to`, unless it lies in `folder`, where it would be taken for a class, or something else is
    /// in its place.
    pub fn find(folder: &Path, to: &Path, replace: bool) -> Result<Place, ImportError> {
        let taken = |path: &Path, problem: &str| {
            Err(ImportError::Taken { path: path.into(), problem: problem.into() })
        };
        if to.file_name().is_none() {
            return taken(to, "expected the name of a directory, which may not exist yet");
        }
        let parent = to.parent().filter(|path| !path.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).to_path_buf();
        let existing = to.ancestors().find_map(|path| match path.as_os_str().is_empty() {
            true => fs::canonicalize(".").ok(),
            false => fs::canonicalize(path).ok(),
        });
        let folder = fs::canonicalize(folder).ok();
        if existing.zip(folder).is_some_and(|(to, folder)| to.starts_with(folder)) {
            return taken(to, "lies in the folder of pictures, expected a place outside of it");
        }
        match fs::read_dir(to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(cause) => {
                return Err(ImportError::Io {
                    path: to.into(),
                    action: "make the data set",
                    cause,
                });
            }
            Ok(mut entries) if !replace => {
                if entries.next().is_some() {
                    return taken(to, "exists and is not empty: expected a new or empty directory");
                }
            }
            Ok(entries) => {
                for entry in entries.flatten() {
                    if !FILES.iter().any(|name| entry.file_name() == *name) {
                        return taken(&entry.path(), "is not of an imported data set, so it stays");
                    }
                }
            }
        }
        Ok(Place { to: to.into(), parent })
    }

    /// Makes the directory in which the data set is prepared.
    pub fn begin(self) -> Result<Output, ImportError> {
        let mut builder = tempfile::Builder::new();
        // As any new directory: what the umask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let cannot = |cause| ImportError::Io {
            path: self.to.clone(),
            action: "make the data set",
            cause: model::of_system(cause),
        };
        // What is missing above the place is made at the end, once the work has been done.
        let mut above = self.parent.ancestors();
        let existing = above.find(|path| path.exists()).unwrap_or(Path::new("."));
        let directory = builder.prefix(".importing-").tempdir_in(existing).map_err(cannot)?;
        Ok(Output { to: self.to, parent: self.parent, directory })
    }
}

impl Output {
    /// A file to write and read again, which is gone at the end.
    pub fn scratch(&self) -> Result<(PathBuf, File), ImportError> {
        let path = self.directory.path().join(SCRATCH);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|cause| self.error(cause))?;
        Ok((self.to.clone(), file))
    }

    /// Writes a file of the data set, to the disk.
    pub fn write(
        &self,
        name: &str,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), ImportError> {
        let write = || {
            let mut writer = BufWriter::new(File::create_new(self.directory.path().join(name))?);
            fill(&mut writer)?;
            writer.into_inner().map_err(|error| error.into_error())?.sync_all()
        };
        write().map_err(|cause| ImportError::Io {
            path: self.to.join(name),
            action: "write",
            cause,
        })
    }

    /// Puts the directory in its place; an older data set there is deleted.
    pub fn finish(self) -> Result<(), ImportError> {
        let Output { to, parent, directory } = &self;
        let replace = || {
            fs::remove_file(directory.path().join(SCRATCH))?;
            File::open(directory.path())?.sync_all()?;
            fs::create_dir_all(parent)?;
            let older = tempfile::Builder::new().prefix(".replaced-").tempdir_in(parent)?;
            if to.exists() {
                fs::rename(to, older.path().join("older"))?;
            }
            fs::rename(directory.path(), to).inspect_err(|_| {
                let _ = fs::rename(older.path().join("older"), to);
            })?;
            File::open(parent)?.sync_all()
        };
        replace().map_err(|cause| self.error(cause))?;
        // It has another name by now, and nothing is to be deleted.
        let _ = self.directory.keep();
        Ok(())
    }

    fn error(&self, cause: io::Error) -> ImportError {
        let (path, cause) = (self.to.clone(), model::of_system(cause));
        ImportError::Io { path, action: "write the data set", cause }
    }
}
