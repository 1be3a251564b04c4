//! Folders of class folders of pictures, and those of the parts of a data set with class folders in them.

use super::{Collection, Item, MAX_CLASSES, Part, Place, part_named, refused};
use crate::ImportError;
use files::content::PICTURE_ENDINGS;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Names of files and folders that systems and programs put among pictures, in lower case. What begins with
/// a dot (`.DS_Store`, `._1.jpg`, `.ipynb_checkpoints`) is left out as well.
const OF_SYSTEMS: [&str; 10] = [
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__pycache__",
];

/// Lists the files in every folder in `folder` and below. What is hidden (its name begins with a
/// dot) or of a system is left out; links to directories are followed where they are a class alone.
pub(super) fn open(folder: &Path) -> Result<Collection, ImportError> {
    let mut collection = Collection {
        classes: vec![],
        sets: vec![],
        items: vec![],
        root: folder.into(),
        blocks: vec![],
        size: None,
        outside: 0,
        hidden: 0,
    };
    let top = class_folders(folder, &mut collection)?;
    let parts = match parts(folder, &top)? {
        None => vec![(None, top)],
        Some(parts) => {
            let mut found = vec![];
            for (part, path) in parts {
                found.push((Some(part), class_folders(&path, &mut collection)?));
            }
            found
        }
    };
    if let [(_, classes)] = &parts[..] {
        check_depth(folder, classes)?;
    }
    let names: BTreeSet<&String> =
        parts.iter().flat_map(|(_, classes)| classes.iter().map(|(name, _)| name)).collect();
    collection.classes = names.into_iter().cloned().collect();
    if !(2..=MAX_CLASSES).contains(&collection.classes.len()) {
        return refused(
            folder,
            format!(
                "found {} folders in it, expected 2 to {MAX_CLASSES}, one per class, named as the class, with its \
                 pictures in it",
                collection.classes.len()
            ),
        );
    }
    for (part, classes) in &parts {
        for (name, path) in classes {
            let class = collection.classes.binary_search(name).unwrap_or_default() as u32;
            let mut files = vec![];
            walk(path, &mut files, &mut collection.hidden)?;
            let item = |path| Item { class, part: *part, place: Place::File(path) };
            collection.items.extend(files.into_iter().map(item));
        }
    }
    Ok(collection)
}

/// The folders in a folder, with their names, sorted.
fn class_folders(
    folder: &Path,
    collection: &mut Collection,
) -> Result<Vec<(String, PathBuf)>, ImportError> {
    let mut classes = vec![];
    for path in entries(folder, &mut collection.hidden)? {
        if path.is_dir() {
            classes.push((class_name(&path)?, path));
        } else {
            collection.outside += 1;
        }
    }
    classes.sort();
    Ok(classes)
}

/// The folders as parts of a data set, if all of them are called so and have class folders in them. A mixture
/// of such and others is refused.
fn parts(
    folder: &Path,
    folders: &[(String, PathBuf)],
) -> Result<Option<Vec<(Part, PathBuf)>>, ImportError> {
    let (mut parts, mut others, mut inner) = (vec![], vec![], vec![]);
    for (name, path) in folders {
        let classes = subfolders(path)?;
        match part_named(name) {
            Some(part) if !classes.is_empty() => {
                parts.push((part, path.clone()));
                inner.push((name, classes));
            }
            _ => others.push(name),
        }
    }
    let Some(other) = others.first() else {
        return Ok(Some(parts).filter(|parts| !parts.is_empty()));
    };
    // One folder that is called so may be a class: a train is a vehicle.
    if let [(first, classes), (second, _), ..] = &inner[..] {
        return refused(
            folder,
            format!(
                "found {first} and {second}, with folders in them ({first}/{}), which are parts of a data set, and \
                 {other}, which is not; expected parts with class folders in them (train, val, test), or class \
                 folders",
                classes[0],
            ),
        );
    }
    Ok(None)
}

/// The files in a folder and below whose names are those of pictures (`.png`, `.jpg`, `.webp`, …), in
/// the order of their names. What is hidden or of a system is left out, and links to directories are.
pub fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let mut files = vec![];
    walk(folder, &mut files, &mut 0)?;
    Ok(files.into_iter().filter(|path| is_picture(path)).collect())
}

/// Whether it is a file whose name is that of a picture.
pub(super) fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    PICTURE_ENDINGS.contains(&&*extension.to_lowercase()) && path.is_file()
}

/// Refuses folders of which each holds the classes, one level deeper.
fn check_depth(folder: &Path, classes: &[(String, PathBuf)]) -> Result<(), ImportError> {
    let mut inner = vec![];
    for (_, path) in classes {
        inner.push(only_folders(path)?);
    }
    if let ([(name, path)], [Some(inner)]) = (classes, &inner[..])
        && entries(path, &mut 0)?.len() > 1
    {
        return refused(
            folder,
            format!(
                "found only the folder {name} in it, with folders ({name}/{inner}) and no pictures in it; import {} \
                 if these are the classes",
                path.display(),
            ),
        );
    }
    if inner.iter().all(Option::is_some)
        && let Some((name, inner)) = repeated_folder(classes)?
    {
        return refused(
            folder,
            format!(
                "found folders and no pictures in each of its {} folders, and {inner} in more than one \
                 ({name}/{inner}), expected a folder for each class with its pictures in it; import {} if its folders \
                 are the classes, or put pictures of a class into its folder itself",
                classes.len(),
                folder.join(name).display(),
            ),
        );
    }
    Ok(())
}

/// A folder that is in more than one of these, as classes are in each part of a data set; and the first of
/// these.
fn repeated_folder(classes: &[(String, PathBuf)]) -> Result<Option<(&str, String)>, ImportError> {
    let mut known: Vec<(&str, String)> = vec![];
    for (name, path) in classes {
        let folders = subfolders(path)?;
        if let Some(repeated) = known.iter().find(|(_, inner)| folders.contains(inner)) {
            return Ok(Some(repeated.clone()));
        }
        known.extend(folders.into_iter().map(|inner| (&**name, inner)));
    }
    Ok(None)
}

/// The names of the folders in a folder.
fn subfolders(folder: &Path) -> Result<Vec<String>, ImportError> {
    let folders = entries(folder, &mut 0)?.into_iter().filter(|path| path.is_dir());
    let name = |path: PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    Ok(folders.filter_map(name).collect())
}

/// The first folder in a folder that holds folders, and no file.
fn only_folders(folder: &Path) -> Result<Option<String>, ImportError> {
    let paths = entries(folder, &mut 0)?;
    let name = paths.first().and_then(|path| path.file_name());
    let name = name.map(|name| name.to_string_lossy().into_owned());
    Ok(name.filter(|_| paths.iter().all(|path| path.is_dir())))
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
    refused(path, format!("{problem}, expected a name for a class"))
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>, hidden: &mut usize) -> Result<(), ImportError> {
    for path in entries(folder, hidden)? {
        if path.is_dir() && !path.is_symlink() {
            walk(&path, files, hidden)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// What is in a folder and neither hidden nor of a system, sorted; how many entries are is added to `hidden`.
pub(super) fn entries(folder: &Path, hidden: &mut usize) -> Result<Vec<PathBuf>, ImportError> {
    let cannot = |cause| ImportError::Io { path: folder.into(), action: "read the folder", cause };
    let mut paths = vec![];
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        if is_hidden(&entry.file_name()) {
            *hidden += 1;
        } else {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_hidden(name: &OsStr) -> bool {
    let of_system = |name: &str| OF_SYSTEMS.contains(&&*name.to_lowercase());
    name.as_encoded_bytes().starts_with(b".") || name.to_str().is_some_and(of_system)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A folder with these files.
    fn folder(files: &[&str]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    fn refusal(files: &[&str]) -> String {
        open(folder(files).path()).err().expect("refused").to_string()
    }

    fn classes(files: &[&str]) -> Vec<String> {
        open(folder(files).path()).unwrap().classes
    }

    /// The class and part of each picture, in order.
    fn items(files: &[&str]) -> Vec<(String, Option<Part>)> {
        let found = open(folder(files).path()).unwrap();
        let item = |item: &Item| (found.classes[item.class as usize].clone(), item.part);
        found.items.iter().map(item).collect()
    }

    #[test]
    fn parts_of_a_data_set_are_parts() {
        let of = |class: &str, part| (class.to_owned(), Some(part));
        assert_eq!(
            items(&[
                "test/dog/1.png",
                "train/cat/1.png",
                "train/dog/1.png",
                "val/cat/1.png",
                "README.md"
            ]),
            [
                of("dog", Part::Test),
                of("cat", Part::Train),
                of("dog", Part::Train),
                of("cat", Part::Validation)
            ]
        );
        let split =
            ["Training/cat/1.png", "VALID/dog/1.png", "VALID/dog/.hidden", "Training/1.png"];
        assert_eq!(items(&split), [of("cat", Part::Train), of("dog", Part::Validation)]);
        let only = ["train/cat/1.png", "train/dog/1.png", "@eaDir/1.png"];
        assert_eq!(items(&only), [of("cat", Part::Train), of("dog", Part::Train)]);
    }

    #[test]
    fn mixtures_are_refused() {
        let message = refusal(&["train/cat/1.png", "test/cat/1.png", "extra/1.png"]);
        assert!(
            message.contains("found test and train, with folders in them (test/cat)"),
            "{message}"
        );
        assert!(message.contains("extra, which is not"), "{message}");
    }

    #[test]
    fn classes_one_level_too_deep_are_not_found() {
        let message = refusal(&["all/cat/1.png", "all/dog/1.png", "index.html"]);
        assert!(
            message.contains("only the folder all in it") && message.contains("import "),
            "{message}"
        );
        let message = refusal(&["summer/cat/1.png", "winter/cat/1.png", "winter/dog/1.png"]);
        assert!(message.contains("cat in more than one (summer/cat)"), "{message}");
        assert!(refusal(&["cat/1.png"]).contains("found 1 folders"));
        assert!(refusal(&["1.png"]).contains("found 0 folders"));
    }

    /// Words are not enough: a train is a vehicle.
    #[test]
    fn classes_may_be_called_like_parts() {
        assert_eq!(classes(&["train/1.png", "test/1.png"]), ["test", "train"]);
        assert_eq!(classes(&["train/steam/1.png", "car/1.png"]), ["car", "train"]);
        assert_eq!(classes(&["cat/old/1.png", "cat/2.png", "dog/old/1.png"]), ["cat", "dog"]);
        // All one level down, under names of their own.
        assert_eq!(classes(&["cat/tabby/1.png", "dog/poodle/1.png"]), ["cat", "dog"]);
    }

    #[test]
    fn what_systems_leave_is_left_out() {
        let folder = folder(&[
            "cat/1.png",
            "cat/@eaDir/1.png",
            "cat/Thumbs.db",
            "cat/.ipynb_checkpoints/1-checkpoint.png",
            "dog/1.png",
            "dog/deep/.DS_Store",
            "dog/DESKTOP.INI",
            "__MACOSX/cat/._1.png",
            "@eaDir/1.png",
            ".git/HEAD",
            "notes.txt",
        ]);
        let listing = open(folder.path()).unwrap();
        assert_eq!(listing.classes, ["cat", "dog"]);
        let found: Vec<_> =
            listing.items.iter().map(|item| (item.class, item.place.clone())).collect();
        let file = |name: &str| Place::File(folder.path().join(name));
        assert_eq!(found, [(0, file("cat/1.png")), (1, file("dog/1.png"))]);
        assert_eq!((listing.outside, listing.hidden), (1, 8));
    }
}
