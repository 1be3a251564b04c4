//! What killed programs have left in a folder, deleted by the next that works there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The right to make temporary files in a folder: while it lives, no other process takes them for
/// leftovers.
///
/// It is a shared lock on the folder itself. Where that cannot be had (another system than Unix, a file
/// system without locks) nothing is ever deleted.
#[derive(Debug)]
#[must_use = "temporary files are safe only as long as it lives"]
pub struct Tenancy(Option<File>);

impl Tenancy {
    /// Comes into an existing folder. If no other process is in it, what `is_leftover` says yes to is
    /// deleted, files and whole directories; returns what that was.
    pub fn begin(folder: &Path, is_leftover: impl Fn(&Path) -> bool) -> (Tenancy, Vec<PathBuf>) {
        let Ok(lock) = File::open(folder) else { return (Tenancy(None), vec![]) };
        let mut deleted = vec![];
        if lock.try_lock().is_ok() {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            for path in entries.map(|entry| entry.path()).filter(|path| is_leftover(path)) {
                let directory = path.is_dir() && !path.is_symlink();
                let gone =
                    if directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                // One that cannot be deleted does no harm.
                deleted.extend(gone.is_ok().then_some(path));
            }
            let _ = lock.unlock();
        }
        (Tenancy(shared(&lock).then_some(lock)), deleted)
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is just being started may have it open too.
        if let Some(lock) = &self.0 {
            let _ = lock.unlock();
        }
    }
}

/// Whether a shared lock is had. Who deletes leftovers has another for a moment; whoever has one for longer
/// is no program of ours, and is not waited for.
fn shared(lock: &File) -> bool {
    (0..100).any(|_| {
        lock.try_lock_shared().is_ok() || {
            thread::sleep(Duration::from_millis(10));
            false
        }
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_deleted_by_whoever_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let fill = || {
            fs::create_dir_all(path(".tmp-a/below")).unwrap();
            fs::write(path(".tmp-b"), "").unwrap();
            fs::write(path("data"), "").unwrap();
        };
        let begin = || {
            let is_leftover =
                |path: &Path| path.file_name().unwrap().as_encoded_bytes().starts_with(b".tmp-");
            Tenancy::begin(folder.path(), is_leftover)
        };
        fill();
        let (first, mut deleted) = begin();
        deleted.sort();
        assert_eq!(deleted, [path(".tmp-a"), path(".tmp-b")]);
        assert!(path("data").exists());

        // They are those of the first, who is still there.
        fill();
        let (second, deleted) = begin();
        assert_eq!(deleted, [""; 0].map(PathBuf::from));
        drop(first);
        assert_eq!(begin().1.len(), 0);
        // As a process that is just being started has it, for a moment.
        let inherited = second.0.as_ref().unwrap().try_clone().unwrap();
        drop(second);
        assert_eq!(begin().1.len(), 2);
        drop(inherited);
    }
}
