//! The binary versions of CIFAR-10 and CIFAR-100.
//!
//! A file is records of a label (CIFAR-100: the coarse one, then the fine one, which is used) and 3072
//! bytes: 32×32 pixels of red, then of green, then of blue. From
//! <https://www.cs.toronto.edu/~kriz/cifar.html>.

use super::{Block, Collection, Content, LabelledBlock, MAX_CLASSES, Part, refused};
use crate::{ImportError, Picture, PictureError};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// Records of a file at most: the largest of the two sets has half as many.
const MOST_RECORDS: u64 = 100_000;

/// One of the two sets: the files that it has, and that of the names of its classes.
struct Version {
    files: &'static [(&'static str, Part)],
    names: &'static str,
    classes: usize,
    /// Bytes of labels before the pixels, of which the last is the class.
    labels: usize,
}

const VERSIONS: [Version; 2] = [
    Version {
        files: &[
            ("data_batch_1.bin", Part::Train),
            ("data_batch_2.bin", Part::Train),
            ("data_batch_3.bin", Part::Train),
            ("data_batch_4.bin", Part::Train),
            ("data_batch_5.bin", Part::Train),
            ("test_batch.bin", Part::Test),
        ],
        names: "batches.meta.txt",
        classes: 10,
        labels: 1,
    },
    Version {
        files: &[("train.bin", Part::Train), ("test.bin", Part::Test)],
        names: "fine_label_names.txt",
        classes: 100,
        labels: 2,
    },
];

/// The set in a directory, if it has the files of one.
pub(super) fn open(directory: &Path) -> Result<Option<Collection>, ImportError> {
    for version in &VERSIONS {
        let present = version.files.iter().filter(|(name, _)| directory.join(name).is_file());
        let mut blocks: Vec<LabelledBlock> = vec![];
        for (name, part) in present {
            let records = Records::open(directory.join(name), version)?;
            let labels = records.labels(version)?;
            blocks.push((Box::new(records), Some(*part), labels));
        }
        if !blocks.is_empty() {
            let classes = class_names(&directory.join(version.names), version.classes)?;
            return Ok(Some(Collection::of_blocks(classes, [SIDE; 2], blocks)));
        }
    }
    Ok(None)
}

/// The lines of the file of names, or numbers if there is none.
fn class_names(path: &Path, classes: usize) -> Result<Vec<String>, ImportError> {
    const { assert!(100 <= MAX_CLASSES) }
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok((0..classes).map(|class| class.to_string()).collect());
        }
        Err(cause) => return Err(ImportError::Io { path: path.into(), action: "read", cause }),
    };
    let names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if names.len() != classes {
        return refused(path, format!("found {} names, expected {classes}", names.len()));
    }
    Ok(names)
}

/// A file of records, in memory: the largest has 154 MB.
struct Records {
    path: PathBuf,
    bytes: Vec<u8>,
    labels: usize,
}

impl Records {
    fn open(path: PathBuf, version: &Version) -> Result<Records, ImportError> {
        let io = |cause| ImportError::Io { path: path.clone(), action: "read", cause };
        let record = version.labels + 3 * PLANE;
        let len = fs::metadata(&path).map_err(io)?.len();
        if len == 0 || !len.is_multiple_of(record as u64) || len > MOST_RECORDS * record as u64 {
            let problem = format!(
                "found {len} bytes, expected 1 to {MOST_RECORDS} records of {record}: {} of labels and 3 × {SIDE} × \
                 {SIDE} pixels",
                version.labels
            );
            return refused(&path, problem);
        }
        let bytes = fs::read(&path).map_err(io)?;
        Ok(Records { path, bytes, labels: version.labels })
    }

    fn record(&self, index: usize) -> &[u8] {
        let len = self.labels + 3 * PLANE;
        &self.bytes[index * len..][..len]
    }

    fn labels(&self, version: &Version) -> Result<Vec<u32>, ImportError> {
        let records = 0..self.bytes.len() / (self.labels + 3 * PLANE);
        let label = |index| match self.record(index)[self.labels - 1] {
            label if usize::from(label) < version.classes => Ok(label.into()),
            label => {
                let expected = format!("expected labels below {}", version.classes);
                refused(&self.path, format!("found label {label} in record {index}, {expected}"))
            }
        };
        records.map(label).collect()
    }
}

impl Block for Records {
    fn content(&self, index: usize) -> Result<Content<'_>, PictureError> {
        let planes = &self.record(index)[self.labels..];
        let pixels = (0..PLANE).flat_map(|i| [0, 1, 2].map(|channel| planes[channel * PLANE + i]));
        Ok(Content::Pixels(Picture::from_idx(&pixels.collect::<Vec<u8>>(), [3, SIDE, SIDE])))
    }

    fn name(&self, index: usize) -> String {
        let file = self.path.file_name().unwrap_or_default();
        format!("{}/{index}", dataset::name_line(Path::new(file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// Records whose pixels are their label (red), 1 (green) and 2 (blue), with one corner of 9.
    fn records(labels: &[&[u8]]) -> Vec<u8> {
        let record = |label: &&[u8]| {
            let mut planes =
                [vec![*label.last().unwrap(); PLANE], vec![1; PLANE], vec![2; PLANE]].concat();
            planes[PLANE - 1] = 9;
            [label, &planes[..]].concat()
        };
        labels.iter().flat_map(record).collect()
    }

    #[test]
    fn both_sets_are_read() {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(open(directory.path()).unwrap().is_none());
        fs::write(path("train.bin"), records(&[&[7, 42], &[0, 99]])).unwrap();
        fs::write(path("test.bin"), records(&[&[1, 5]])).unwrap();
        let found = open(directory.path()).unwrap().unwrap();
        let items: Vec<_> = found.items.iter().map(|item| (item.class, item.part)).collect();
        assert_eq!(
            items,
            [(42, Some(Part::Train)), (99, Some(Part::Train)), (5, Some(Part::Test))]
        );
        assert_eq!((found.classes.len(), &*found.classes[42]), (100, "42"));
        assert_eq!(found.name(&found.items[2]), "test.bin/0");
        let pixels = found.picture(&found.items[1]).unwrap().fit([3, SIDE, SIDE], crate::Fit::Pad);
        assert_eq!((&pixels[..3], &pixels[3 * PLANE - 3..]), (&[99, 1, 2][..], &[9, 1, 2][..]));

        fs::write(path("data_batch_2.bin"), records(&[&[3]])).unwrap();
        fs::write(path("batches.meta.txt"), "a b\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
        let found = open(directory.path()).unwrap().unwrap();
        assert_eq!((found.items.len(), &*found.classes[3]), (1, "d"));
    }

    #[test]
    fn damage_is_named() {
        let directory = TempDir::new().unwrap();
        let message = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            let error = open(directory.path()).err().unwrap().to_string();
            fs::remove_file(path).unwrap();
            assert!(error.contains(name), "{error}");
            error
        };
        let cut = &records(&[&[1]])[1..];
        assert!(
            message("test_batch.bin", cut)
                .contains("found 3072 bytes, expected 1 to 100000 records of 3073")
        );
        assert!(message("data_batch_1.bin", &[]).contains("found 0 bytes"));
        let message = message("test.bin", &records(&[&[1, 2], &[1, 100]]));
        assert!(
            message.contains("found label 100 in record 1, expected labels below 100"),
            "{message}"
        );
    }
}
