//! Where pictures to import come from: whatever it is, it becomes a [`Collection`].
//!
//! ```text
//! DIR/Coat/1.jpg, DIR/train/Coat/1.jpg                    folders    pictures in files
//! DIR/labels.csv: path, label                             table      pictures in files
//! DIR/data_batch_1.bin, DIR/train.bin                     cifar      pixels
//! DIR/emnist-letters-train-images-idx3-ubyte.gz           emnist     pixels
//! set.npz, images.npy                                     numpy      pixels
//! set.parquet, DIR/data/train-00000-of-00001.parquet      parquet    pictures in files that it holds
//! ```

mod cifar;
mod emnist;
mod folders;
mod numpy;
mod numpy_array;
mod numpy_header;
mod parquet;
mod table;

use crate::{ImportError, Picture, PictureError};
use dataset::MAX_CLASS_NAME;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

pub use folders::pictures_in;

/// Classes at most.
pub(crate) const MAX_CLASSES: usize = dataset::MAX_CLASSES;

/// Pictures with their classes, in an order that their source alone decides.
pub(crate) struct Collection {
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Where pictures may have several classes: the sets of them that there are, which items have instead of a class.
    pub sets: Vec<Vec<u32>>,
    pub items: Vec<Item>,
    /// The folder from which pictures in files have their names.
    pub root: PathBuf,
    /// Where the pixels of those that are no files of their own are.
    pub blocks: Vec<Box<dyn Block>>,
    /// Rows and columns, where all have the same.
    pub size: Option<[usize; 2]>,
    /// How many files lie outside of the class folders.
    pub outside: usize,
    /// How many files and folders are hidden or of a system, and left out.
    pub hidden: usize,
}

/// A picture.
pub(crate) struct Item {
    /// Its class, or the number of its set of classes.
    pub class: u32,
    /// The part of the data set that its source puts it in; `None` if it does not say.
    pub part: Option<Part>,
    pub place: Place,
}

/// The part of a data set that a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Train,
    /// To choose between trainings; the data set that is made has no such part.
    Validation,
    Test,
}

/// Where a picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    /// Number `index` of a block.
    Block {
        block: usize,
        index: usize,
    },
}

/// Many pictures in one file.
pub(crate) trait Block: Sync {
    /// Picture `index`.
    fn content(&self, index: usize) -> Result<Content<'_>, PictureError>;

    /// Which one it is, for people.
    fn name(&self, index: usize) -> String;
}

/// A picture of a block.
pub(crate) enum Content<'a> {
    Pixels(Picture),
    /// A PNG, a JPEG and so on of so many bytes, which are read once there is memory for them.
    File(u64, Box<dyn Read + 'a>),
}

/// A block, the part that it is, and the class of each of its pictures.
type LabelledBlock = (Box<dyn Block>, Option<Part>, Vec<u32>);

/// What an import is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// The labels of an array of images.
    pub labels: Option<&'a Path>,
    /// Which of several sets of IDX files in a directory.
    pub prefix: Option<&'a str>,
}

/// Finds out what is at a path, and lists it. Archives and Parquet files are unpacked into the directory `scratch`; of
/// the latter no more once `stop` is set.
pub(crate) fn open(
    path: &Path,
    given: Given<'_>,
    scratch: &Path,
    stop: &AtomicBool,
) -> Result<Collection, ImportError> {
    let collection = open_any(path, given, scratch, stop)?;
    check_names(path, &collection.classes)?;
    Ok(collection)
}

fn open_any(
    path: &Path,
    given: Given<'_>,
    scratch: &Path,
    stop: &AtomicBool,
) -> Result<Collection, ImportError> {
    fs::metadata(path).map_err(|cause| ImportError::Io {
        path: path.into(),
        action: "read",
        cause: files::of_link(path, cause),
    })?;
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    let is = |name: &str| extension.as_ref().is_some_and(|extension| extension == name);
    if given.labels.is_some() && !is("npy") {
        return refused(path, "is no array of images (.npy), for which --labels is");
    }
    const NO_EMNIST: &str = "is no directory of EMNIST, for which --prefix is";
    if path.is_file() {
        if given.prefix.is_some() {
            return refused(path, NO_EMNIST);
        }
        return match () {
            () if is("npz") => numpy::open_archive(path, scratch),
            () if is("npy") => numpy::open_arrays(path, given.labels),
            () if is("csv") || is("tsv") => table::open(path),
            () if is("parquet") => parquet::open_file(path, scratch, stop),
            () => {
                let found = files::content::of_file(path).unwrap_or("a file");
                let problem = format!(
                    "found {found}, expected a folder of class folders, a folder of CIFAR's or EMNIST's files, \
                     a table (.csv, .tsv), arrays (.npz, .npy) or a Parquet file (.parquet)"
                );
                Err(ImportError::of(path, &problem))
            }
        };
    }
    if let Some(collection) = cifar::open(path)? {
        return Ok(collection);
    }
    if let Some(collection) = emnist::open(path, given.prefix)? {
        return Ok(collection);
    }
    if given.prefix.is_some() {
        return refused(path, NO_EMNIST);
    }
    if let Some(collection) = parquet::open_folder(path, scratch, stop)? {
        return Ok(collection);
    }
    folders::open(path)
}

impl Collection {
    /// Of pixels in blocks.
    fn of_blocks(classes: Vec<String>, size: [usize; 2], blocks: Vec<LabelledBlock>) -> Collection {
        let mut collection = Collection {
            classes,
            sets: vec![],
            items: vec![],
            root: PathBuf::new(),
            blocks: vec![],
            size: Some(size),
            outside: 0,
            hidden: 0,
        };
        for (block, (pictures, part, labels)) in blocks.into_iter().enumerate() {
            collection.blocks.push(pictures);
            collection.items.extend(labels.into_iter().enumerate().map(|(index, class)| Item {
                class,
                part,
                place: Place::Block { block, index },
            }));
        }
        collection
    }

    /// Reads and decodes a picture. `then` may make images of up to so many rows or columns of it, in the
    /// memory of the budget: see [`Picture::open_then`].
    pub fn picture_then<T>(
        &self,
        item: &Item,
        rows: usize,
        then: impl FnOnce(Picture) -> T,
    ) -> Result<T, PictureError> {
        match &item.place {
            Place::File(path) => Picture::open_then(path, rows, then),
            Place::Block { block, index } => {
                let block = &self.blocks[*block];
                match block.content(*index)? {
                    Content::Pixels(picture) => Ok(then(picture)),
                    Content::File(len, bytes) => {
                        Picture::decode_then(bytes, len, &block.name(*index), rows, then)
                    }
                }
            }
        }
    }

    #[cfg(test)]
    fn picture(&self, item: &Item) -> Result<Picture, PictureError> {
        self.picture_then(item, 0, |picture| picture)
    }

    /// The classes of a picture.
    pub fn classes_of<'s>(&'s self, item: &'s Item) -> &'s [u32] {
        match self.sets.is_empty() {
            true => std::slice::from_ref(&item.class),
            false => &self.sets[item.class as usize],
        }
    }

    /// What a picture is called: its path from the root on.
    pub fn name(&self, item: &Item) -> String {
        match &item.place {
            Place::File(path) => dataset::name_line(path.strip_prefix(&self.root).unwrap_or(path)),
            Place::Block { block, index } => self.blocks[*block].name(*index),
        }
    }
}

/// Whether the classes can be the lines of `labels.txt`, each another.
fn check_names(path: &Path, classes: &[String]) -> Result<(), ImportError> {
    if !(2..=MAX_CLASSES).contains(&classes.len()) {
        let expected = format!("expected 2 to {MAX_CLASSES}");
        return refused(path, format!("found {} classes, {expected}", classes.len()));
    }
    let mut known = BTreeSet::new();
    for name in classes {
        let letters = name.chars().count();
        if letters > MAX_CLASS_NAME {
            let expected = format!("expected at most {MAX_CLASS_NAME}");
            return refused(
                path,
                format!("found {letters} letters in the name of a class, {expected}"),
            );
        }
        let problem = match &**name {
            "" => "an empty name",
            name if name.contains(char::is_control) => "a control character in the name",
            name if name.trim() != name => "a space at an end of the name",
            name if !known.insert(name) => "the same name twice",
            _ => continue,
        };
        return refused(path, format!("found {problem} of a class: {name:?}"));
    }
    Ok(())
}

/// The classes of numbers: `0`, `1`, … up to the highest.
fn numbered_classes(path: &Path, labels: &[&[u32]]) -> Result<Vec<String>, ImportError> {
    let highest = labels.iter().flat_map(|labels| labels.iter()).max().copied().unwrap_or(0);
    let distinct = labels.iter().flat_map(|labels| labels.iter()).collect::<BTreeSet<_>>().len();
    if highest as usize >= MAX_CLASSES || distinct < 2 {
        let problem = format!(
            "found {distinct} different labels, the highest {highest}, expected at least 2, and labels below \
             {MAX_CLASSES}"
        );
        return Err(ImportError::of(path, &problem));
    }
    Ok((0..=highest).map(|class| class.to_string()).collect())
}

/// The part of a data set that a word names: `train`, `val`, `test` and the like, in any case.
fn part_named(name: &str) -> Option<Part> {
    match &*name.to_lowercase() {
        "train" | "training" | "trn" => Some(Part::Train),
        "val" | "valid" | "validation" | "dev" | "eval" => Some(Part::Validation),
        "test" | "testing" | "tst" | "t10k" => Some(Part::Test),
        _ => None,
    }
}

/// An error about a place.
fn refused<T>(path: &Path, problem: impl Into<String>) -> Result<T, ImportError> {
    Err(ImportError::of(path, &problem.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes_are_lines_of_a_file() {
        let check = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            check_names(Path::new("a.csv"), &names).map_err(|error| error.to_string())
        };
        let (longest, longer) = ("ü".repeat(1_000), "ü".repeat(1_001));
        assert_eq!(check(&["cat", &longest]), Ok(()));
        for (names, problem) in [
            (&["cat"][..], "found 1 classes, expected 2 to 4096"),
            (&["cat", ""], "found an empty name"),
            (&["cat", "a\nb"], "found a control character in the name"),
            (&["cat", "cat"], "found the same name twice"),
            (&["cat", &longer], "found 1001 letters in the name of a class, expected at most 1000"),
        ] {
            let message = check(names).unwrap_err();
            assert!(message.starts_with(&format!("a.csv: {problem}")), "{message}");
        }
    }
}
