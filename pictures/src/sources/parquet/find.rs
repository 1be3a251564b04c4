//! The Parquet files of a folder that are a data set, and the parts that their names say.

use crate::ImportError;
use crate::sources::folders::{entries, is_picture};
use crate::sources::{Part, part_named, refused};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folders in one another that are looked at.
const DEPTH: usize = 3;

/// The Parquet files in a folder, and in the folders in it and in those, with the part that each is. Refused are those
/// of two subsets, and some beside pictures in folders: one would be passed over, or taken twice.
pub(super) fn files_of(folder: &Path) -> Result<Vec<(PathBuf, Option<Part>)>, ImportError> {
    let mut files = vec![];
    find(folder, None, DEPTH, &mut files)?;
    files.sort();
    if let [(first, _), others @ ..] = &files[..]
        && let Some((other, _)) =
            others.iter().find(|(file, _)| subset(folder, file) != subset(folder, first))
    {
        let first = first.display();
        return refused(
            other,
            format!("found it and {first} of two subsets, expected one: import the folder of one"),
        );
    }
    let places: BTreeSet<&Path> = files.iter().filter_map(|(file, _)| file.parent()).collect();
    for place in places {
        // Pictures in the folder itself may be of its description.
        if let Some(picture) = picture_in(place, place != folder, DEPTH)? {
            let file = files.iter().find(|(file, _)| file.parent() == Some(place));
            let (file, picture) = (file.map_or(folder, |(file, _)| file), picture.display());
            return refused(
                file,
                format!("found {picture} beside it, expected Parquet files or pictures alone"),
            );
        }
    }
    Ok(files)
}

/// Adds the Parquet files in a folder with the part that each is. `metadata.parquet` describes pictures in files.
fn find(
    folder: &Path,
    part: Option<Part>,
    depth: usize,
    files: &mut Vec<(PathBuf, Option<Part>)>,
) -> Result<(), ImportError> {
    for path in entries(folder, &mut 0)? {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let named = words(&stem).find_map(part_named).or(part);
        let is_parquet = path.extension().is_some_and(|name| name.eq_ignore_ascii_case("parquet"));
        if is_parquet && path.is_file() {
            if !stem.eq_ignore_ascii_case("metadata") {
                files.push((path, named));
            }
        } else if depth > 1 && path.is_dir() && !path.is_symlink() {
            find(&path, named, depth - 1, files)?;
        }
    }
    Ok(())
}

/// What the folders of a file are called, but for the parts: `160px` of `160px/train/0000.parquet`.
fn subset(folder: &Path, file: &Path) -> Vec<String> {
    let between = file.parent().and_then(|parent| parent.strip_prefix(folder).ok());
    let names = between.into_iter().flatten().map(|name| name.to_string_lossy().into_owned());
    let without = |name: String| -> Vec<String> {
        words(&name).filter(|word| part_named(word).is_none()).map(str::to_owned).collect()
    };
    names.flat_map(without).collect()
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(['-', '_', '.'])
}

/// The first picture in the folders in a folder, and in the folder itself if that is asked.
fn picture_in(folder: &Path, itself: bool, depth: usize) -> Result<Option<PathBuf>, ImportError> {
    for path in entries(folder, &mut 0)? {
        if path.is_dir() && depth > 0 {
            if let Some(picture) = picture_in(&path, true, depth - 1)? {
                return Ok(Some(picture));
            }
        } else if itself && is_picture(&path) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
