//! An array of NumPy in a file, or in an archive.

use super::numpy_header::Header;
use super::refused;
use crate::ImportError;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes that are looked at together.
const PIECE: usize = 1 << 16;

/// An array in a file.
pub(super) struct Array {
    path: PathBuf,
    /// Of the array in an archive, or of the file.
    pub name: String,
    file: Mutex<File>,
    pub header: Header,
    /// Where its elements begin.
    start: u64,
}

impl Array {
    /// A file that is an array.
    pub fn open(path: &Path) -> Result<Array, ImportError> {
        let io = |cause| ImportError::Io { path: path.into(), action: "read", cause };
        let file = File::open(path).map_err(io)?;
        let header = Header::read(&mut BufReader::new(&file));
        let header = header.or_else(|problem| refused(path, format!("found {problem}")))?;
        let found = file.metadata().map_err(io)?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let start = header.len;
        let array = Array { path: path.into(), name, file: Mutex::new(file), header, start };
        array.check_len(found.saturating_sub(start))?;
        Ok(array)
    }

    /// An array of an archive, unpacked into a file in the directory `scratch` that is gone at the end. `size` is
    /// what the archive says that it has, header included.
    pub fn unpack(
        path: &Path,
        name: &str,
        (mut member, size): (impl Read, u64),
        scratch: &Path,
    ) -> Result<Array, ImportError> {
        let io = |cause| ImportError::Io { path: path.into(), action: "unpack", cause };
        let header = Header::read(&mut member);
        let header = header.or_else(|problem| refused(path, format!("{name}: found {problem}")))?;
        let file = Mutex::new(tempfile::tempfile_in(scratch).map_err(io)?);
        let size = size.saturating_sub(header.len);
        let array = Array { path: path.into(), name: name.into(), file, header, start: 0 };
        // Before anything is written.
        array.check_len(size)?;
        let mut file = array.file.lock().unwrap_or_else(PoisonError::into_inner);
        // One byte more shows that there is more.
        let found = io::copy(&mut member.take(size + 1), &mut *file).map_err(io)?;
        drop(file);
        array.check_len(found)?;
        Ok(array)
    }

    fn check_len(&self, found: u64) -> Result<(), ImportError> {
        match self.header.elements_len() {
            Some(expected) if expected == found => Ok(()),
            expected => {
                let expected =
                    expected.map_or("as many as memory can address".into(), |n| n.to_string());
                self.refuse(format!(
                    "found {found} bytes of elements, expected {expected} by its header"
                ))
            }
        }
    }

    pub fn refuse<T>(&self, problem: String) -> Result<T, ImportError> {
        match self.path.file_name().is_some_and(|name| *name == *self.name) {
            true => refused(&self.path, problem),
            false => refused(&self.path, format!("{}: {problem}", self.name)),
        }
    }

    /// Bytes from an offset on.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.start + offset))?;
        file.read_exact(to)
    }

    /// Calls `f` with the value of each element, in order.
    pub fn each_value(&self, mut f: impl FnMut(f64)) -> Result<(), ImportError> {
        let element = self.header.element;
        let len = self.header.elements_len().unwrap_or(0);
        let mut buffer = vec![0; PIECE];
        for offset in (0..len).step_by(PIECE) {
            let piece = &mut buffer[..PIECE.min((len - offset) as usize)];
            self.read(offset, piece).map_err(|cause| ImportError::Io {
                path: self.path.clone(),
                action: "read",
                cause,
            })?;
            piece.chunks_exact(element.len()).for_each(|bytes| f(element.value(bytes)));
        }
        Ok(())
    }

    /// The elements as labels: `[N]` or `[N, 1]` of whole numbers from 0 on.
    pub fn labels(&self) -> Result<Vec<u32>, ImportError> {
        if !matches!(self.header.shape[..], [_] | [_, 1]) {
            let shape = &self.header.shape;
            return self
                .refuse(format!("found labels of the shape {shape:?}, expected [N] or [N, 1]"));
        }
        let (mut labels, mut wrong) = (vec![], None);
        self.each_value(|value| {
            if value.fract() != 0.0 || !(0.0..4_294_967_296.0).contains(&value) {
                wrong = wrong.or(Some((labels.len(), value)));
            }
            labels.push(value as u32);
        })?;
        match wrong {
            None => Ok(labels),
            Some((i, value)) => self.refuse(format!(
                "found label {value} of image {i}, expected a whole number from 0 on"
            )),
        }
    }
}
