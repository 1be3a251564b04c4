//! Which pictures there are in a folder of class folders.

use super::ImportError;
use std::fs;
use std::path::{Path, PathBuf};

/// Classes at most: a label is a byte.
const CLASSES: usize = 256;

/// The pictures of a folder, in an order that the names alone decide.
pub(super) struct Listing {
    /// The names of the classes, sorted.
    pub classes: Vec<String>,
    /// Class and path of every file that may be a picture.
    pub pictures: Vec<(u8, PathBuf)>,
    /// How many files lie outside of the class folders.
    pub outside: usize,
}

/// Lists the files in every folder in `folder` and below. What is hidden (its name begins with a
/// dot) is left out; links to directories are followed where they are a class alone.
pub(super) fn list(folder: &Path) -> Result<Listing, ImportError> {
    let mut outside = 0;
    let mut classes: Vec<(String, PathBuf)> = vec![];
    for path in entries(folder)? {
        if path.is_dir() {
            classes.push((class_name(&path)?, path));
        } else {
            outside += 1;
        }
    }
    classes.sort();
    if !(2..=CLASSES).contains(&classes.len()) {
        let problem = format!(
            "found {} folders in it, expected 2 to {CLASSES}, one per class, named as the class, \
             with its pictures in it",
            classes.len()
        );
        return Err(ImportError::Folder { path: folder.into(), problem });
    }
    let mut pictures = vec![];
    for (class, (_, path)) in classes.iter().enumerate() {
        walk(path, class as u8, &mut pictures)?;
    }
    let classes = classes.into_iter().map(|(name, _)| name).collect();
    Ok(Listing { classes, pictures, outside })
}

/// The name of a class folder, which shall be a line of `labels.txt`.
fn class_name(path: &Path) -> Result<String, ImportError> {
    let problem = match path.file_name().and_then(|name| name.to_str()) {
        None => "found a folder name that is not UTF-8",
        Some(name) if name.contains(char::is_control) => {
            "found a control character (such as a new line) in the name of a folder"
        }
        Some(name) if name.trim() != name => "found a folder name that begins or ends with a space",
        Some(name) => return Ok(name.to_owned()),
    };
    let problem = format!("{problem}, expected a name for a class");
    Err(ImportError::Folder { path: path.into(), problem })
}

fn walk(folder: &Path, class: u8, pictures: &mut Vec<(u8, PathBuf)>) -> Result<(), ImportError> {
    for path in entries(folder)? {
        if path.is_dir() && !path.is_symlink() {
            walk(&path, class, pictures)?;
        } else {
            pictures.push((class, path));
        }
    }
    Ok(())
}

/// What is in a folder and not hidden, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let cannot = |cause| ImportError::Io { path: folder.into(), action: "read the folder", cause };
    let mut paths = vec![];
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
