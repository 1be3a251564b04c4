//! EMNIST: IDX files whose images lie on their side, and whose labels `mapping.txt` explains.
//!
//! Cohen et al., "EMNIST: an extension of MNIST to handwritten letters" (2017): the images are those of
//! Matlab, column by column, so that rows and columns have to change places. A line of the mapping is a label
//! and the code points of what it stands for: `1 65 97` is A and a. Labels of the letters begin at 1.

use super::{Block, Collection, Content, LabelledBlock, Part, refused};
use crate::{ImportError, Picture, PictureError};
use dataset::{DataError, Dataset, Source, Split};
use model::suggestion;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The set in a directory, if it is one: IDX files with a mapping beside them.
pub(super) fn open(
    directory: &Path,
    prefix: Option<&str>,
) -> Result<Option<Collection>, ImportError> {
    let mappings = mappings(directory);
    let mapping = match (&mappings[..], prefix) {
        ([], _) => return Ok(None),
        (_, Some(prefix)) => mappings.iter().find(|mapping| mapping.0 == prefix),
        ([only], None) => Some(only),
        _ => None,
    };
    let Some((found, mapping)) = mapping else {
        let sets = || mappings.iter().map(|(prefix, _)| &**prefix);
        let given = match prefix {
            None => "expected one to be named (--prefix)".to_owned(),
            Some(prefix) => {
                format!("none {prefix}{}", suggestion(prefix, sets()).unwrap_or_default())
            }
        };
        let sets = sets().collect::<Vec<_>>().join(", ");
        return refused(directory, format!("found mappings of the sets {sets}, {given}"));
    };
    let mut source = Source::new(directory);
    source.prefix = Some(found.clone()).filter(|prefix| !prefix.is_empty());
    let data = match Dataset::open(&source) {
        Ok(data) => data,
        // The mapping is of something else.
        Err(DataError::NoFiles { .. } | DataError::NoSuchSet { .. }) if prefix.is_none() => {
            return Ok(None);
        }
        Err(error) => return Err(ImportError::Data(error)),
    };
    let (labels, classes) = read_mapping(mapping)?;
    let [_, rows, columns] = data.image_shape();
    let class_of: HashMap<u32, u32> = labels.into_iter().zip(0..).collect();
    let data = Arc::new(data);
    let mut blocks: Vec<LabelledBlock> = vec![];
    for part in [Part::Train, Part::Test] {
        let block = Sideways { data: data.clone(), part };
        let Ok(split) = block.split() else { continue };
        let class = |(i, label): (usize, &u32)| match class_of.get(label) {
            Some(&class) => Ok(class),
            None => {
                let problem = format!("found no line for label {label}, that of image {i}");
                refused(mapping, problem)
            }
        };
        let of_part = split.labels().iter().enumerate().map(class).collect::<Result<_, _>>()?;
        blocks.push((Box::new(block), Some(part), of_part));
    }
    Ok(Some(Collection::of_blocks(classes, [columns, rows], blocks)))
}

/// The files `mapping.txt` and `PREFIX-mapping.txt` in a directory, with their prefixes, sorted.
fn mappings(directory: &Path) -> Vec<(String, PathBuf)> {
    let paths = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let prefixed = paths.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix("mapping.txt")?;
        Some((name.trim_end_matches('-').to_owned(), path))
    });
    let mut mappings: Vec<_> = prefixed.collect();
    mappings.sort();
    mappings
}

/// The labels of a mapping in its order, and the name of each: `A`, or `Aa` where it stands for both.
fn read_mapping(path: &Path) -> Result<(Vec<u32>, Vec<String>), ImportError> {
    let cannot = |cause| ImportError::Io { path: path.into(), action: "read", cause };
    let text = fs::read_to_string(path).map_err(cannot)?;
    let mut mapping = vec![];
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let words: Option<Vec<u32>> =
            line.split_whitespace().map(|word| word.parse().ok()).collect();
        let name = |codes: &[u32]| codes.iter().map(|&code| char::from_u32(code)).collect();
        match words.as_deref() {
            Some([label, codes @ ..])
                if !codes.is_empty()
                    && let Some(name) = name(codes) =>
            {
                mapping.push((*label, name));
            }
            _ => {
                let expected = "expected a label and the code points of its characters";
                return refused(path, format!("found {line:?} in line {}, {expected}", number + 1));
            }
        }
    }
    Ok(mapping.into_iter().unzip())
}

/// The images of a part, turned.
struct Sideways {
    data: Arc<Dataset>,
    part: Part,
}

impl Sideways {
    fn split(&self) -> Result<&Split, dataset::DataError> {
        match self.part {
            Part::Test => self.data.test(),
            _ => self.data.train(),
        }
    }
}

impl Block for Sideways {
    fn content(&self, index: usize) -> Result<Content<'_>, PictureError> {
        let split = self
            .split()
            .map_err(|error| PictureError::new(&self.name(index), error.to_string()))?;
        let [channels, rows, columns] = self.data.image_shape();
        let image = split.image(index);
        let pixels =
            (0..columns).flat_map(|x| (0..rows).map(move |y| (y * columns + x) * channels));
        let turned: Vec<u8> = pixels.flat_map(|at| image[at..at + channels].to_vec()).collect();
        Ok(Content::Pixels(Picture::from_idx(&turned, [channels, columns, rows])))
    }

    fn name(&self, index: usize) -> String {
        let part = if self.part == Part::Test { "test" } else { "train" };
        format!("{part}/{index}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn letters(mapping: &str) -> TempDir {
        let directory = TempDir::new().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            fs::write(directory.path().join(format!("emnist-letters-{name}")), bytes).unwrap();
        };
        let images = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        let pixels = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        write("train-images-idx3-ubyte", &[&images[..], &pixels].concat());
        write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 2, 1]);
        write("mapping.txt", mapping.as_bytes());
        directory
    }

    #[test]
    fn images_are_turned_and_labels_named() {
        let directory = letters("1 65 97\r\n2 66\r\n");
        let found = open(directory.path(), None).unwrap().unwrap();
        assert_eq!((found.classes.join(" "), found.size), ("Aa B".into(), Some([3, 2])));
        let items: Vec<_> = found.items.iter().map(|item| (item.class, item.part)).collect();
        assert_eq!(items, [(1, Some(Part::Train)), (0, Some(Part::Train))]);
        let first = found.picture(&found.items[0]).unwrap();
        assert_eq!(first.fit([1, 3, 2], crate::Fit::Pad), [1, 4, 2, 5, 3, 6]);
    }

    /// ImageNet's folders have a mapping of their own beside them.
    #[test]
    fn mappings_of_others_are_none() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("LOC_synset_mapping.txt"), "n01440764 tench\n").unwrap();
        assert!(open(directory.path(), None).unwrap().is_none());
        let message = open(letters("1 65\n2 66\n").path(), Some("emnist-lettres")).err().unwrap();
        let message = message.to_string();
        assert!(
            message.contains("none emnist-lettres; did you mean `emnist-letters`?"),
            "{message}"
        );
    }

    #[test]
    fn what_the_mapping_lacks_is_named() {
        let message =
            |mapping: &str| open(letters(mapping).path(), None).err().unwrap().to_string();
        assert!(message("2 66\n").contains("found no line for label 1, that of image 1"));
        assert!(message("1 A\n").contains("found \"1 A\" in line 1"));
        assert!(message("1\n").contains("in line 1"));
    }
}
