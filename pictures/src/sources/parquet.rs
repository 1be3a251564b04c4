//! Parquet files as hubs of data sets keep them: a column of pictures and one of their classes.
//!
//! A picture is the bytes of a file, PNG, JPEG and so on: `struct<bytes, path>`, or binary alone. A class is a whole
//! number, whose names the metadata of the `datasets` library have, or a text. The files of a folder are one set; their
//! names, or those of the folders they are in, say the parts: `train-00000-of-00002.parquet`, `test/0000.parquet`.

mod columns;
mod damage;

use super::table::in_order;
use super::{
    Block, Collection, Content, LabelledBlock, Part, numbered_classes, part_named, refused,
};
use crate::{ImportError, PictureError};
use columns::{Columns, Labels, Reader};
use damage::caught;
use image::ImageFormat;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Pictures may take so many times as many bytes as their file: Snappy shrinks to a 21st at best.
const MOST_UNPACKED: u64 = 32;

/// The set in one file. Its pictures are unpacked into a file in the directory `scratch` that is gone at the end.
pub(super) fn open_file(path: &Path, scratch: &Path) -> Result<Collection, ImportError> {
    collect(path, &[(path.to_owned(), None)], scratch)
}

/// The set in the Parquet files of a folder, and of the folders in it and in those, if there are any.
pub(super) fn open_folder(
    folder: &Path,
    scratch: &Path,
) -> Result<Option<Collection>, ImportError> {
    let mut files = vec![];
    find(folder, None, 3, &mut files);
    files.sort();
    for (file, _) in files.iter().filter(|(file, _)| file.parent() != Some(folder)) {
        let beside = file.parent().and_then(|folder| fs::read_dir(folder).ok());
        let mut beside = beside.into_iter().flatten().flatten().map(|entry| entry.path());
        let is_hidden =
            |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        // Those in the folder itself may be of its description.
        if let Some(picture) =
            beside.find(|path| !is_hidden(path) && ImageFormat::from_path(path).is_ok())
        {
            let picture = picture.display();
            return refused(
                file,
                format!("found {picture} beside it, expected Parquet files or pictures alone"),
            );
        }
    }
    match files.is_empty() {
        true => Ok(None),
        false => collect(folder, &files, scratch).map(Some),
    }
}

/// Adds the Parquet files in a folder with the part that each is.
fn find(folder: &Path, part: Option<Part>, depth: usize, files: &mut Vec<(PathBuf, Option<Part>)>) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let named = stem.split(['-', '_', '.']).find_map(part_named).or(part);
        let is_parquet = path.extension().is_some_and(|name| name.eq_ignore_ascii_case("parquet"));
        if stem.starts_with('.') {
            continue;
        } else if is_parquet && path.is_file() {
            files.push((path, named));
        } else if depth > 1 && path.is_dir() && !path.is_symlink() {
            find(&path, named, depth - 1, files);
        }
    }
}

fn collect(
    path: &Path,
    files: &[(PathBuf, Option<Part>)],
    scratch: &Path,
) -> Result<Collection, ImportError> {
    let mut sets = vec![];
    for (file, part) in files {
        let set = caught(|| read(file, scratch));
        let (pictures, labels, names) =
            set.unwrap_or_else(|| refused(file, "found a damaged Parquet file"))?;
        sets.push((pictures, *part, labels, names));
    }
    // A file without a part is to be split, which a set cannot be in part.
    let parts: BTreeSet<bool> = sets.iter().map(|(_, part, ..)| part.is_some()).collect();
    if parts.len() > 1 {
        let without = sets.iter().find(|(_, part, ..)| part.is_none());
        let file = without.map_or(path, |(pictures, ..)| &pictures.path);
        return refused(file, "found no part of the data set in its name, but in those beside it");
    }
    let names = same_names(sets.iter().map(|(pictures, .., names)| (&*pictures.path, names)))?;
    let (classes, numbers) = classes(path, names, sets.iter().map(|(_, _, labels, _)| labels))?;
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
    scratch: &Path,
) -> Result<(Pictures, Labels, Option<Vec<String>>), ImportError> {
    let reader = Reader::open(file)?;
    let columns = reader.columns().or_else(|problem| refused(file, problem))?;
    let labels = reader.labels(&columns).or_else(|problem| refused(file, problem))?;
    let pictures = Pictures::unpack(file, &reader, &columns, scratch)?;
    Ok((pictures, labels, reader.class_names(&columns)))
}

/// The names of the classes, and which of them each label is.
fn classes<'a>(
    path: &Path,
    names: Option<Vec<String>>,
    labels: impl Iterator<Item = &'a Labels> + Clone,
) -> Result<(Vec<String>, Vec<Vec<u32>>), ImportError> {
    let numbers: Option<Vec<&[u32]>> = labels.clone().map(Labels::numbers).collect();
    let texts: Option<Vec<&[String]>> = labels.map(Labels::texts).collect();
    match (numbers, texts) {
        (Some(numbers), _) => {
            let highest = numbers.iter().flat_map(|labels| labels.iter()).max().copied();
            let classes = match names {
                Some(names) if highest.is_none_or(|highest| (highest as usize) < names.len()) => {
                    names
                }
                Some(names) => {
                    let (count, highest) = (names.len(), highest.unwrap_or(0));
                    return refused(path, format!("found label {highest}, and {count} classes"));
                }
                None => numbered_classes(path, &numbers)?,
            };
            Ok((classes, numbers.into_iter().map(<[u32]>::to_vec).collect()))
        }
        (None, Some(texts)) => {
            let all: BTreeSet<&String> = texts.iter().flat_map(|labels| labels.iter()).collect();
            let classes = in_order(all.into_iter().cloned().collect());
            let of: HashMap<&String, u32> = classes.iter().zip(0..).collect();
            let numbers = texts.iter().map(|labels| labels.iter().map(|name| of[name]).collect());
            let numbers = numbers.collect();
            Ok((classes, numbers))
        }
        (None, None) => refused(path, "found labels that are numbers and others that are texts"),
    }
}

/// The pictures of a Parquet file, one after another in a file of their own.
struct Pictures {
    path: PathBuf,
    file: Mutex<File>,
    /// Where each begins, and where the last ends.
    offsets: Vec<u64>,
    /// What each is called, where the file says so.
    names: Vec<Option<String>>,
}

impl Pictures {
    fn unpack(
        path: &Path,
        reader: &Reader,
        columns: &Columns,
        scratch: &Path,
    ) -> Result<Pictures, ImportError> {
        let io = |cause| ImportError::Io { path: path.into(), action: "unpack", cause };
        let mut file = BufWriter::new(tempfile::tempfile_in(scratch).map_err(io)?);
        let most = fs::metadata(path).map_err(io)?.len().saturating_mul(MOST_UNPACKED);
        let (mut offsets, mut failed) = (vec![0], None);
        let read = reader.each(columns.bytes, |row, bytes| {
            let Some(bytes) = bytes else { return Err(format!("row {row}: found no picture")) };
            let end = offsets[row] + bytes.len() as u64;
            if end > most {
                return Err(format!(
                    "row {row}: found pictures of over {MOST_UNPACKED} times the bytes of the file, which only the same \
                     ones again and again take: expected each once"
                ));
            }
            offsets.push(end);
            failed = failed.take().or(file.write_all(bytes).err());
            Ok(())
        });
        if let Some(cause) = failed {
            return Err(io(cause));
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
        let file = Mutex::new(file.into_inner().map_err(|error| io(error.into_error()))?);
        Ok(Pictures { path: path.into(), file, offsets, names })
    }
}

impl Block for Pictures {
    fn content(&self, index: usize) -> Result<Content, PictureError> {
        let mut bytes = vec![0; (self.offsets[index + 1] - self.offsets[index]) as usize];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(self.offsets[index]));
        let read = read.and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|cause| {
            PictureError::new(&self.name(index), format!("cannot read: {cause}"))
        })?;
        Ok(Content::File(bytes))
    }

    fn name(&self, index: usize) -> String {
        let file = || self.path.file_name().unwrap_or_default();
        let number = || format!("{}/{index}", dataset::name_line(Path::new(file())));
        self.names[index].clone().unwrap_or_else(number)
    }
}

#[cfg(test)]
mod tests;
