//! The directory of an imported data set: it appears whole or not at all.

use crate::ImportError;
use dataset::PREPARATION_FILE;
use files::leftovers::Tenancy;
use files::sync_directory;
use std::ffi::OsString;
use std::fs::{self, DirEntry, File};
use std::io::{self, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The names of the files that an import may write.
const FILES: [&str; 12] = [
    "labels.txt",
    PREPARATION_FILE,
    "t10k-names.txt",
    "train-names.txt",
    "t10k-images-idx3-ubyte",
    "t10k-images-idx4-ubyte",
    "t10k-labels-idx1-ubyte",
    "t10k-labels-idx2-ubyte",
    "train-images-idx3-ubyte",
    "train-images-idx4-ubyte",
    "train-labels-idx1-ubyte",
    "train-labels-idx2-ubyte",
];

/// Where a data set shall be: a new or empty directory, or one that holds an older data set which is
/// to be replaced.
#[derive(Clone)]
pub(crate) struct Place {
    to: PathBuf,
    parent: PathBuf,
}

/// A directory beside the place, filled while all goes well.
pub(crate) struct Output {
    place: Place,
    directory: TempDir,
    /// What killed imports had left where the directory is.
    leftovers: Vec<PathBuf>,
    _tenancy: Tenancy,
}

/// What the names of directories begin with that are not a data set yet.
const UNFINISHED: &str = ".importing-";
/// What the names of directories begin with in which an older data set waits for the newer one.
const REPLACED: &str = ".replaced-";
const SCRATCH: &str = "pixels";

impl Place {
    /// `to`, unless it lies in `folder`, where it would be taken for a class, or something else is
    /// in its place.
    pub fn find(folder: &Path, to: &Path, replace: bool) -> Result<Place, ImportError> {
        let taken = |path: &Path, problem: &str| {
            Err(ImportError::Taken { path: path.into(), problem: problem.into() })
        };
        if let Err(problem) = files::check_local(to) {
            return taken(to, &problem.to_string());
        }
        // Without a slash at its end, with which a link would be what it points to.
        let given = to;
        let to = &*given.components().collect::<PathBuf>();
        if to.file_name().is_none() {
            return taken(given, "expected the name of a directory, which may not exist yet");
        }
        if to.is_symlink() {
            return match fs::canonicalize(to) {
                Ok(target) => Place::find(folder, &target, replace),
                Err(cause) => {
                    let cause = files::of_link(to, cause);
                    taken(to, &format!("{cause}: expected a directory or a new name"))
                }
            };
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
        let place = Place { to: to.into(), parent };
        place.check(replace)?;
        Ok(place)
    }

    /// Whether what is there may be replaced.
    fn check(&self, replace: bool) -> Result<(), ImportError> {
        let taken = |path: &Path, problem: &str| {
            Err(ImportError::Taken { path: path.into(), problem: problem.into() })
        };
        let entries: Vec<DirEntry> = match fs::read_dir(&self.to) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(cause) => {
                let path = self.to.clone();
                return Err(ImportError::Io { path, action: "make the data set", cause });
            }
            Ok(entries) => entries.flatten().collect(),
        };
        if !replace && !entries.is_empty() {
            return taken(&self.to, "exists and is not empty: expected a new or empty directory");
        }
        let foreign = |entry: &&DirEntry| FILES.iter().all(|name| entry.file_name() != *name);
        match entries.iter().find(foreign) {
            Some(entry) => taken(&entry.path(), "is not of an imported data set, so it stays"),
            None => Ok(()),
        }
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
            cause: files::of_system(cause),
        };
        // What is missing above the place is made at the end, once the work has been done.
        let mut above = self.parent.ancestors();
        let existing = above.find(|path| path.exists()).unwrap_or(Path::new("."));
        let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
        let (_tenancy, leftovers) = Tenancy::begin(existing, |path| self.is_leftover(path));
        let directory = builder.prefix(UNFINISHED).tempdir_in(existing).map_err(cannot)?;
        Ok(Output { place: self, directory, leftovers, _tenancy })
    }

    /// Whether an import that was killed has left this. An older data set that it had put aside before the
    /// newer one was in its place goes back.
    fn is_leftover(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(self.replaced_prefix().as_encoded_bytes()) {
            if !self.to.exists() {
                let _ = fs::rename(path.join(OLDER), &self.to);
            }
            return !path.join(OLDER).exists() || self.to.exists();
        }
        name.starts_with(UNFINISHED.as_bytes())
    }

    /// What the name of the directory begins with in which what is in this place now is put aside.
    fn replaced_prefix(&self) -> OsString {
        let mut prefix = OsString::from(REPLACED);
        prefix.push(self.to.file_name().unwrap_or_default());
        prefix.push("-");
        prefix
    }

    /// Puts a whole directory into the place; what was there is deleted.
    fn put(&self, directory: &Path) -> io::Result<()> {
        if !self.to.exists() {
            return fs::rename(directory, &self.to);
        }
        match exchange(directory, &self.to) {
            Ok(()) => {
                // What cannot be deleted now is a leftover for the next import.
                let _ = fs::remove_dir_all(directory);
                Ok(())
            }
            Err(_) => self.put_in_two_steps(directory),
        }
    }

    /// The same where two directories cannot change places in one step: for a moment there is none.
    fn put_in_two_steps(&self, directory: &Path) -> io::Result<()> {
        let prefix = self.replaced_prefix();
        let aside = tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.parent)?;
        let older = aside.path().join(OLDER);
        fs::rename(&self.to, &older)?;
        fs::rename(directory, &self.to).inspect_err(|_| {
            let _ = fs::rename(&older, &self.to);
        })
    }
}

/// The name of an older data set in a directory where it is put aside.
const OLDER: &str = "older";

/// Two directories change places in one step.
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (a, b);
        Err(ErrorKind::Unsupported.into())
    }
}

impl Output {
    /// The directory, until it has its place.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file to write and read again, which is gone at the end.
    pub fn scratch(&self) -> Result<(PathBuf, File), ImportError> {
        let path = self.directory.path().join(SCRATCH);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|cause| self.error(cause))?;
        Ok((self.place.to.clone(), file))
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
            path: self.place.to.join(name),
            action: "write",
            cause,
        })
    }

    /// Puts the directory in its place; an older data set there is deleted. Returns what killed imports had
    /// left beside it.
    pub fn finish(self, replace: bool) -> Result<Vec<PathBuf>, ImportError> {
        let write = || {
            fs::remove_file(self.directory.path().join(SCRATCH))?;
            File::open(self.directory.path())?.sync_all()?;
            fs::create_dir_all(&self.place.parent)
        };
        write().map_err(|cause| self.error(cause))?;
        self.place.check(replace)?;
        let put = self.place.put(self.directory.path());
        put.map_err(|cause| self.error(cause))?;
        // Also the directories that were made for it, in that in which it was prepared.
        let prepared_in = self.directory.path().parent();
        for directory in self.place.parent.ancestors() {
            sync_directory(directory).map_err(|error| self.error(io::Error::other(error)))?;
            if Some(directory) == prepared_in || directory.as_os_str().is_empty() {
                break;
            }
        }
        // It has another name by now, and nothing is to be deleted.
        let _ = self.directory.keep();
        Ok(self.leftovers)
    }

    fn error(&self, cause: io::Error) -> ImportError {
        let (path, cause) = (self.place.to.clone(), files::of_system(cause));
        ImportError::Io { path, action: "write the data set", cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place with a data set in it, and a newer one beside it.
    fn place(root: &Path) -> (Place, PathBuf) {
        let place = Place { to: root.join("set"), parent: root.into() };
        for (directory, text) in [("set", "old"), ("new", "new")] {
            fs::create_dir(root.join(directory)).unwrap();
            fs::write(root.join(directory).join("labels.txt"), text).unwrap();
        }
        (place, root.join("new"))
    }

    fn names(root: &Path) -> Vec<OsString> {
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_data_set_is_replaced_either_way() {
        for put in [Place::put, Place::put_in_two_steps] {
            let root = tempfile::tempdir().unwrap();
            let (place, new) = place(root.path());
            put(&place, &new).unwrap();
            assert_eq!(fs::read(root.path().join("set/labels.txt")).unwrap(), b"new");
            assert_eq!(names(root.path()), ["set"]);
        }
    }

    #[test]
    fn after_a_failure_the_older_one_is_there() {
        let root = tempfile::tempdir().unwrap();
        let (place, _) = place(root.path());
        place.put_in_two_steps(&root.path().join("missing")).unwrap_err();
        assert_eq!(fs::read(root.path().join("set/labels.txt")).unwrap(), b"old");
    }

    /// Killed between the two steps, the next import puts the older data set back.
    #[test]
    fn what_was_put_aside_goes_back() {
        let root = tempfile::tempdir().unwrap();
        let (place, new) = place(root.path());
        let aside = root.path().join(".replaced-set-x1");
        fs::create_dir(&aside).unwrap();
        fs::rename(root.path().join("set"), aside.join(OLDER)).unwrap();
        fs::rename(new, root.path().join(".importing-x2")).unwrap();
        let other = root.path().join(".replaced-other-x3");
        fs::create_dir_all(other.join(OLDER)).unwrap();
        let output = place.begin().unwrap();
        assert_eq!(fs::read(root.path().join("set/labels.txt")).unwrap(), b"old");
        assert_eq!(output.leftovers.len(), 2);
        assert!(!aside.exists() && other.exists());
    }
}
