//! Parquet files as on the Hugging Face Hub: a column of pictures and one of their classes.
//!
//! A picture is the bytes of a file, PNG, JPEG and so on: `struct<bytes, path>`, or binary alone. A class is a whole
//! number, whose names the metadata of the `datasets` library have, or a text. The files of a folder are one set; their
//! names, or those of the folders they are in, say the parts: `train-00000-of-00002.parquet`, `test/0000.parquet`.

mod columns;
mod damage;
mod find;
mod pages;

use super::table::in_order;
use super::{Block, Collection, Content, LabelledBlock, Part, numbered_classes, refused};
use crate::{ImportError, PictureError};
use columns::{Columns, Labels, Reader};
use damage::caught;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The set in one file. Its pictures are unpacked into a file in the directory `scratch` that is gone at the end.
pub(super) fn open_file(
    path: &Path,
    scratch: &Path,
    stop: &AtomicBool,
) -> Result<Collection, ImportError> {
    collect(path, &[(path.to_owned(), None)], scratch, stop)
}

/// The set in the Parquet files of a folder, and of the folders in it and in those, if there are any.
pub(super) fn open_folder(
    folder: &Path,
    scratch: &Path,
    stop: &AtomicBool,
) -> Result<Option<Collection>, ImportError> {
    let files = find::files_of(folder)?;
    match files.is_empty() {
        true => Ok(None),
        false => collect(folder, &files, scratch, stop).map(Some),
    }
}

fn collect(
    path: &Path,
    files: &[(PathBuf, Option<Part>)],
    scratch: &Path,
    stop: &AtomicBool,
) -> Result<Collection, ImportError> {
    let mut unpacked = Unpacked::begin(scratch)?;
    let mut sets = vec![];
    for (file, part) in files {
        let set = caught(|| read(file, &mut unpacked, stop));
        if stop.load(Ordering::Relaxed) {
            return Err(ImportError::Interrupted);
        }
        let damaged = || refused(file, "found a damaged Parquet file, expected a whole one");
        let (pictures, labels, names) = set.unwrap_or_else(damaged)?;
        sets.push((pictures, *part, labels, names));
    }
    unpacked.finish()?;
    // A file without a part is to be split, which a set cannot be in part.
    let parts: BTreeSet<bool> = sets.iter().map(|(_, part, ..)| part.is_some()).collect();
    if parts.len() > 1 {
        let without = sets.iter().find(|(_, part, ..)| part.is_none());
        let file = without.map_or(path, |(pictures, ..)| &pictures.path);
        return refused(
            file,
            "found no part of the data set in its name, but in those beside it, expected a part in the names of all \
             or of none",
        );
    }
    let names = same_names(sets.iter().map(|(pictures, .., names)| (&*pictures.path, names)))?;
    let labels: Vec<(&Path, &Labels)> =
        sets.iter().map(|(pictures, _, labels, _)| (&*pictures.path, labels)).collect();
    let (classes, numbers) = classes(path, names, &labels)?;
    let blocks = sets.into_iter().zip(numbers).map(|((pictures, part, ..), labels)| {
        let block: LabelledBlock = (Box::new(pictures), part, labels);
        block
    });
    Ok(Collection { size: None, ..Collection::of_blocks(classes, [1, 1], blocks.collect()) })
}

/// The names of the classes, if a file has them; an error where two files have others: label 1 would be two classes.
fn same_names<'a>(
    files: impl Iterator<Item = (&'a Path, &'a Option<Vec<String>>)>,
) -> Result<Option<Vec<String>>, ImportError> {
    let mut named = files.filter_map(|(file, names)| Some((file, names.as_ref()?)));
    let Some((first, names)) = named.next() else { return Ok(None) };
    match named.find(|(_, others)| *others != names) {
        None => Ok(Some(names.clone())),
        Some((file, _)) => {
            let first = first.display();
            refused(
                file,
                format!("found other names of classes, or in another order, than {first} has"),
            )
        }
    }
}

/// The pictures of a file, their labels, and the names of the classes where it says them.
fn read(
    file: &Path,
    unpacked: &mut Unpacked,
    stop: &AtomicBool,
) -> Result<(Pictures, Labels, Option<Vec<String>>), ImportError> {
    let reader = Reader::open(file, stop)?;
    let columns = reader.columns().or_else(|problem| refused(file, problem))?;
    let labels = reader.labels(&columns).or_else(|problem| refused(file, problem))?;
    let pictures = Pictures::unpack(file, &reader, &columns, unpacked)?;
    Ok((pictures, labels, reader.class_names(&columns)))
}

/// The names of the classes, and which of them each label of each file is.
fn classes(
    path: &Path,
    names: Option<Vec<String>>,
    labels: &[(&Path, &Labels)],
) -> Result<(Vec<String>, Vec<Vec<u32>>), ImportError> {
    let numbers: Vec<&[u32]> = labels.iter().filter_map(|(_, labels)| labels.numbers()).collect();
    let texts: Vec<&[String]> = labels.iter().filter_map(|(_, labels)| labels.texts()).collect();
    if texts.is_empty() {
        let classes = match names {
            None => numbered_classes(path, &numbers)?,
            Some(names) => {
                let count = names.len();
                for ((file, _), numbers) in labels.iter().zip(&numbers) {
                    if let Some(label) = numbers.iter().find(|label| **label as usize >= count) {
                        let found = format!("found label {label}, and {count} classes");
                        return refused(file, format!("{found}, expected labels below {count}"));
                    }
                }
                names
            }
        };
        Ok((classes, numbers.into_iter().map(<[u32]>::to_vec).collect()))
    } else if numbers.is_empty() {
        let all: BTreeSet<&String> = texts.iter().flat_map(|labels| labels.iter()).collect();
        let classes = in_order(all.into_iter().cloned().collect());
        let of: HashMap<&String, u32> = classes.iter().zip(0..).collect();
        let numbers = texts.iter().map(|labels| labels.iter().map(|name| of[name]).collect());
        let numbers = numbers.collect();
        Ok((classes, numbers))
    } else {
        let file = |at: Option<usize>| at.map_or(path, |at| labels[at].0);
        let with_numbers = file(labels.iter().position(|(_, labels)| labels.numbers().is_some()));
        let with_texts = file(labels.iter().position(|(_, labels)| labels.texts().is_some()));
        let problem = format!(
            "found labels that are texts, and numbers in {}, expected one of both",
            with_numbers.display()
        );
        refused(with_texts, problem)
    }
}

/// The file that the pictures of all files are unpacked into, one after another. It has no name.
struct Unpacked {
    writer: BufWriter<File>,
    /// Bytes so far.
    len: u64,
    /// The same file, to be read.
    file: Arc<Mutex<File>>,
    /// Where it is.
    directory: PathBuf,
}

impl Unpacked {
    fn begin(directory: &Path) -> Result<Unpacked, ImportError> {
        let file = tempfile::tempfile_in(directory);
        let both = file.and_then(|file| Ok((file.try_clone()?, file)));
        let (writer, file) = both.map_err(|cause| Unpacked::error(directory, cause))?;
        let (writer, file) = (BufWriter::new(writer), Arc::new(Mutex::new(file)));
        Ok(Unpacked { writer, len: 0, file, directory: directory.into() })
    }

    /// Adds a picture; returns where it ends.
    fn push(&mut self, bytes: &[u8]) -> io::Result<u64> {
        self.writer.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(self.len)
    }

    fn finish(mut self) -> Result<(), ImportError> {
        self.writer.flush().map_err(|cause| Unpacked::error(&self.directory, cause))
    }

    fn error(directory: &Path, cause: io::Error) -> ImportError {
        ImportError::Io { path: directory.into(), action: "unpack pictures into", cause }
    }
}

/// The pictures of a Parquet file, where they are unpacked.
struct Pictures {
    path: PathBuf,
    file: Arc<Mutex<File>>,
    /// Where each begins, and where the last ends.
    offsets: Vec<u64>,
    /// What each is called, where the file says so.
    names: Vec<Option<String>>,
}

impl Pictures {
    fn unpack(
        path: &Path,
        reader: &Reader<'_>,
        columns: &Columns,
        to: &mut Unpacked,
    ) -> Result<Pictures, ImportError> {
        let (mut offsets, mut failed) = (vec![to.len], None);
        let read = reader.each(columns.bytes, |row, bytes| {
            let Some(bytes) = bytes else { return Err(format!("row {row}: found no picture")) };
            let end = to.push(bytes).map_err(|cause| {
                let problem = cause.to_string();
                failed = Some(cause);
                problem
            })?;
            offsets.push(end);
            Ok(())
        });
        if let Some(cause) = failed {
            return Err(Unpacked::error(&to.directory, cause));
        }
        read.or_else(|problem| refused(path, problem))?;
        let mut names = vec![None; offsets.len() - 1];
        if let Some(column) = columns.path {
            let named = reader.each(column, |row, bytes| {
                let name = bytes.and_then(|bytes| str::from_utf8(bytes).ok());
                if let Some(to) = names.get_mut(row) {
                    *to = name.map(|name| dataset::name_line(Path::new(name)));
                }
                Ok(())
            });
            named.or_else(|problem| refused(path, problem))?;
        }
        Ok(Pictures { path: path.into(), file: Arc::clone(&to.file), offsets, names })
    }
}

impl Block for Pictures {
    fn content(&self, index: usize) -> Result<Content<'_>, PictureError> {
        let at = self.offsets[index];
        let len = self.offsets[index + 1] - at;
        Ok(Content::File(len, Box::new(Bytes { file: &self.file, at }.take(len))))
    }

    fn name(&self, index: usize) -> String {
        let file = || self.path.file_name().unwrap_or_default();
        let number = || format!("{}/{index}", dataset::name_line(Path::new(file())));
        self.names[index].clone().unwrap_or_else(number)
    }
}

/// A file from a byte on, which others read as well.
struct Bytes<'a> {
    file: &'a Mutex<File>,
    at: u64,
}

impl Read for Bytes<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at))?;
        let read = file.read(bytes)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
