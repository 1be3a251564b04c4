//! Finding the files of a data set in a directory by their customary names.
//!
//! ```text
//! [PREFIX-] train        - images  - idx3 -ubyte [.gz]
//!           t10k | test    labels  . idx4
//!                                    idx1, idx2 (labels)
//! ```

use crate::DataError;
use crate::idx::Role;
use files::content::PICTURE_ENDINGS;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The files of one data set.
pub(crate) struct Files {
    /// Where they are: the directory that was named, or one below it.
    pub directory: PathBuf,
    /// What the names of its files begin with, such as `emnist-letters-`; mostly empty.
    pub stem: String,
    pub train: Option<Pair>,
    pub test: Option<Pair>,
}

/// The two files of a part, each plain or gzipped.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub images: PathBuf,
    pub labels: PathBuf,
}

/// The part of a set that a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Test,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "training",
            Part::Test => "test",
        }
    }
}

/// Finds the set with this prefix, or the only one there is. It has at least one part.
pub(crate) fn discover(directory: &Path, prefix: Option<&str>) -> Result<Files, DataError> {
    let (directory, mut found) = list_here_or_below(directory)?;
    let prefixes: Vec<String> =
        found.iter().map(|file| file.prefix.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    let prefix = match (prefix, &prefixes[..]) {
        (_, []) => {
            let pictures = holds_pictures(&directory);
            return Err(DataError::NoFiles { directory, pictures });
        }
        (None, [only]) => only.clone(),
        (None, _) => return Err(DataError::SeveralSets { directory, prefixes }),
        (Some(prefix), _) if prefixes.iter().any(|known| known == prefix) => prefix.to_string(),
        (Some(prefix), _) => {
            return Err(DataError::NoSuchSet { directory, prefix: prefix.into(), prefixes });
        }
    };
    found.retain(|file| file.prefix == prefix);
    let stem = if prefix.is_empty() { prefix } else { prefix + "-" };
    let train = pair(&found, &stem, Part::Train)?;
    let test = pair(&found, &stem, Part::Test)?;
    Ok(Files { directory, stem, train, test })
}

/// The most usual name of a file, for messages.
pub(crate) fn customary_name(stem: &str, part: Part, role: Role) -> String {
    let part = match part {
        Part::Train => "train",
        Part::Test => "t10k",
    };
    let rank = match role {
        Role::Images => 3,
        Role::Labels => 1,
    };
    format!("{stem}{part}-{}-idx{rank}-ubyte", role.name())
}

/// A file whose name is a customary one.
struct Found {
    path: PathBuf,
    prefix: String,
    part: Part,
    role: Role,
    /// Preferred the lower: a plain file, a gzipped one, and last a directory, which is an error
    /// once nothing better has its name.
    rank: u8,
}

/// The directory and its files or, if it has none, those of the only directory below that torchvision
/// would have made: `raw`, or `NAME/raw`.
fn list_here_or_below(directory: &Path) -> Result<(PathBuf, Vec<Found>), DataError> {
    let found = list(directory)?;
    if !found.is_empty() {
        return Ok((directory.into(), found));
    }
    let mut below = vec![];
    for candidate in [directory.join("raw")]
        .into_iter()
        .chain(subdirectories(directory).into_iter().map(|path| path.join("raw")))
    {
        let found = if candidate.is_dir() { list(&candidate)? } else { vec![] };
        if !found.is_empty() {
            below.push((candidate, found));
        }
    }
    match below.len() {
        0 => Ok((directory.into(), vec![])),
        1 => Ok(below.remove(0)),
        _ => {
            let found = below.into_iter().map(|(path, _)| path).collect();
            Err(DataError::SeveralDirectories { directory: directory.into(), found })
        }
    }
}

/// The directories in a directory, sorted.
fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    paths.sort();
    paths
}

/// Whether there are pictures in a directory or in those in it, as far as names tell.
fn holds_pictures(directory: &Path) -> bool {
    let is_picture = |path: PathBuf| {
        let extension = path.extension().and_then(|ending| ending.to_str());
        extension.is_some_and(|ending| PICTURE_ENDINGS.contains(&&*ending.to_ascii_lowercase()))
    };
    [directory.into()].into_iter().chain(subdirectories(directory)).any(|directory: PathBuf| {
        fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| is_picture(entry.path()))
    })
}

/// All files with customary names, sorted.
fn list(directory: &Path) -> Result<Vec<Found>, DataError> {
    let error = |cause| DataError::Directory { directory: directory.into(), cause };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        found.extend(recognise(path));
    }
    found.sort_by(|a, b| (a.rank, &a.path).cmp(&(b.rank, &b.path)));
    Ok(found)
}

fn recognise(path: PathBuf) -> Option<Found> {
    const ENDINGS: [(&str, Role); 8] = [
        ("-images-idx3", Role::Images),
        ("-images.idx3", Role::Images),
        ("-images-idx4", Role::Images),
        ("-images.idx4", Role::Images),
        ("-labels-idx1", Role::Labels),
        ("-labels.idx1", Role::Labels),
        ("-labels-idx2", Role::Labels),
        ("-labels.idx2", Role::Labels),
    ];
    const PARTS: [(&str, Part); 3] =
        [("train", Part::Train), ("t10k", Part::Test), ("test", Part::Test)];

    let name = path.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let rank = if path.is_dir() { 2 } else { u8::from(plain != name) };
    let stem = plain.strip_suffix("-ubyte")?;
    let (stem, role) =
        ENDINGS.iter().find_map(|&(end, role)| Some((stem.strip_suffix(end)?, role)))?;
    let (prefix, part) =
        PARTS.iter().find_map(|&(end, part)| Some((stem.strip_suffix(end)?, part)))?;
    let prefix = match prefix {
        "" => "",
        _ => prefix.strip_suffix('-')?,
    };
    Some(Found { prefix: prefix.into(), part, role, rank, path })
}

/// The images and labels of a part, if it is there at all.
fn pair(found: &[Found], stem: &str, part: Part) -> Result<Option<Pair>, DataError> {
    let no_partner = |path, missing| {
        let expected = customary_name(stem, part, missing);
        Err(DataError::NoPartner { path, missing: missing.name(), expected })
    };
    match (pick(found, part, Role::Images)?, pick(found, part, Role::Labels)?) {
        (Some(images), Some(labels)) => Ok(Some(Pair { images, labels })),
        (Some(images), None) => no_partner(images, Role::Labels),
        (None, Some(labels)) => no_partner(labels, Role::Images),
        (None, None) => Ok(None),
    }
}

/// The preferred file of a kind; two equally good ones are an error.
fn pick(found: &[Found], part: Part, role: Role) -> Result<Option<PathBuf>, DataError> {
    let mut candidates = found.iter().filter(|file| file.part == part && file.role == role);
    let Some(first) = candidates.next() else { return Ok(None) };
    match candidates.next() {
        Some(second) if second.rank == first.rank => Err(DataError::Duplicate {
            first: first.path.clone(),
            second: second.path.clone(),
            part: part.name(),
            role: role.name(),
        }),
        _ => Ok(Some(first.path.clone())),
    }
}
