//! Reading event files: to go on where a run was interrupted, and for tests.

use super::messages::Event;
use super::records::Records;
use files::FileError;
use prost::Message;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

/// What the name of an event file begins with; TensorBoard looks for it.
pub(super) const PREFIX: &str = "events.out.tfevents.";

/// The events of a file, or of all event files of a directory in the order of their names. Each file
/// is read to its end or to damage, as by TensorBoard.
pub fn read_events(path: &Path) -> Result<Vec<Event>, FileError> {
    let files = if path.is_dir() { event_files(path)? } else { vec![path.to_owned()] };
    let mut events = vec![];
    for file in files {
        scan(&file, |event| {
            events.push(event);
            true
        })?;
    }
    Ok(events)
}

/// The event files of a directory, in the order of their names.
pub(super) fn event_files(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
        let is_log =
            |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let logs = entries.into_iter().filter(|entry| is_log(&entry.file_name()));
        let mut files: Vec<PathBuf> = logs.map(|entry| entry.path()).collect();
        files.sort();
        Ok(files)
    };
    match list() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(vec![]),
        listed => listed.map_err(|error| cannot_read(directory, error)),
    }
}

/// What part of a file there is to keep.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Kept {
    pub bytes: u64,
    pub events: usize,
}

/// Calls `keep` with each event and says how far it was true: until the end, damage, or a false.
pub(super) fn scan(path: &Path, mut keep: impl FnMut(Event) -> bool) -> Result<Kept, FileError> {
    let file = File::open(path).map_err(|error| cannot_read(path, error))?;
    let mut records = Records::new(BufReader::new(file));
    let mut kept = Kept::default();
    while let Some(data) = records.next().map_err(|error| cannot_read(path, error))? {
        let Ok(event) = Event::decode(data) else { break };
        if !keep(event) {
            break;
        }
        kept = Kept { bytes: records.position(), events: kept.events + 1 };
    }
    Ok(kept)
}

fn cannot_read(path: &Path, error: io::Error) -> FileError {
    FileError::Io { path: path.into(), action: "read", error }
}
