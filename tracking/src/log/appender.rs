//! A file that grows by whole records, and is not left with half of one.

use crate::identity;
use files::FileError;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes of records that wait until they are written together.
const WAITING: usize = 1 << 16;

/// A file to append records to. Dropping it writes what waits, if that can be done.
#[derive(Debug)]
pub(crate) struct Appender {
    path: PathBuf,
    file: File,
    /// Of the file, all of it whole records.
    length: u64,
    /// Whole records that are not in the file yet.
    waiting: Vec<u8>,
    /// Whether the system has been handed something that may not be on the disk yet.
    unsynced: bool,
}

impl Appender {
    /// A new file; one that exists is an error.
    pub(crate) fn create(path: PathBuf) -> Result<Appender, FileError> {
        Appender::open(path, 0, OpenOptions::new().write(true).create_new(true))
    }

    /// An existing file, cut to its first `length` bytes; if there is none, a new one.
    pub(crate) fn after(path: PathBuf, length: u64) -> Result<Appender, FileError> {
        Appender::open(path, length, OpenOptions::new().write(true).create(true).truncate(false))
    }

    fn open(path: PathBuf, length: u64, how: &OpenOptions) -> Result<Appender, FileError> {
        let open = || {
            let mut file = how.open(&path)?;
            cut(&mut file, length)?;
            Ok(file)
        };
        let file = open().map_err(|error| cannot_write(&path, error))?;
        let waiting = Vec::with_capacity(2 * WAITING);
        Ok(Appender { path, file, length, waiting, unsynced: true })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the record that `write` appends to the bytes that wait. It is in the file after
    /// [`Appender::flush`], or once enough others wait with it.
    pub(crate) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), FileError> {
        write(&mut self.waiting);
        if self.waiting.len() < WAITING { Ok(()) } else { self.flush() }
    }

    /// Hands everything to the system. If it does not take it, as when the disk is full, what was
    /// waiting is lost, and the file ends with the record before.
    ///
    /// An error too if the file is no longer the one at its path, so that nobody would find the records, or no
    /// longer as long as it was left.
    pub(crate) fn flush(&mut self) -> Result<(), FileError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.check_unchanged() {
            self.waiting.clear();
            return Err(error);
        }
        let written = self.file.write_all(&self.waiting);
        let bytes = self.waiting.len() as u64;
        self.waiting.clear();
        self.unsynced = true;
        match written {
            Ok(()) => self.length += bytes,
            Err(error) => {
                // Of two errors the first is the cause.
                let _ = cut(&mut self.file, self.length);
                return Err(cannot_write(&self.path, error));
            }
        }
        Ok(())
    }

    fn check_unchanged(&self) -> Result<(), FileError> {
        identity::check(&self.path, &self.file)?;
        let found = self.file.metadata().map_err(|error| FileError::Io {
            path: self.path.clone(),
            action: "read",
            error,
        })?;
        let (found, expected) = (found.len(), self.length);
        match found == expected {
            true => Ok(()),
            false => Err(FileError::content(
                &self.path,
                &format!("changed while the run went on: found {found} bytes, expected {expected}"),
            )),
        }
    }

    /// As [`Appender::flush`], and waits until everything is on the disk.
    pub(crate) fn sync(&mut self) -> Result<(), FileError> {
        self.flush()?;
        if self.unsynced {
            self.file.sync_data().map_err(|error| cannot_write(&self.path, error))?;
            self.unsynced = false;
        }
        Ok(())
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

fn cut(file: &mut File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    Ok(())
}

fn cannot_write(path: &Path, error: io::Error) -> FileError {
    FileError::Io { path: path.into(), action: "write", error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn records_wait_and_are_written_in_order() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("log");
        let mut log = Appender::create(path.clone()).unwrap();
        log.append(|out| out.extend(b"one ")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        log.flush().unwrap();
        log.append(|out| out.extend(b"two ")).unwrap();
        drop(log);
        assert_eq!(fs::read(&path).unwrap(), b"one two ");
        assert!(Appender::create(path.clone()).is_err());

        let mut log = Appender::after(path.clone(), 4).unwrap();
        log.append(|out| out.extend(vec![b'x'; WAITING])).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), 4 + WAITING);
    }

    /// Records that went on where the file no longer ends would leave a hole in it.
    #[test]
    fn a_file_that_was_cut_meanwhile_is_not_gone_on_with() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("log");
        let mut log = Appender::create(path.clone()).unwrap();
        let mut add = |text: &[u8]| {
            log.append(|out| out.extend(text)).unwrap();
            log.flush()
        };
        add(b"one two ").unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(3).unwrap();
        let message = add(b"three").unwrap_err().to_string();
        let expected = "changed while the run went on: found 3 bytes, expected 8";
        assert_eq!(message, format!("{}: {expected}", path.display()));
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    /// The limit on the size of files stands for a disk that is full: a write takes what there is
    /// room for, and the next fails. It holds for a process, so this test runs again in one.
    #[cfg(unix)]
    #[test]
    fn a_full_disk_leaves_whole_records() {
        const PLACE: &str = "BOBBIN_TEST_FULL_DISK";
        const RECORD: &[u8] = b"123456\n";
        let Some(path) = std::env::var_os(PLACE).map(PathBuf::from) else {
            let directory = tempfile::TempDir::new().unwrap();
            let path = directory.path().join("log");
            let limited = "ulimit -f 1 && trap '' XFSZ && exec \"$0\" --exact --nocapture \"$1\"";
            let output = std::process::Command::new("sh")
                .args(["-c", limited])
                .arg(std::env::current_exe().unwrap())
                .arg("log::appender::tests::a_full_disk_leaves_whole_records")
                .env(PLACE, &path)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let left = fs::read(&path).unwrap();
            assert_eq!(left, RECORD.repeat(left.len() / RECORD.len()));
            assert!(!left.is_empty());
            return;
        };
        let mut log = Appender::create(path.clone()).unwrap();
        let error = (0..1000).find_map(|_| {
            log.append(|out| out.extend(RECORD)).unwrap();
            log.flush().err()
        });
        let message = error.expect("1024 bytes are the limit").to_string();
        assert!(message.contains(&format!("{}: cannot write: ", path.display())), "{message}");
    }
}
