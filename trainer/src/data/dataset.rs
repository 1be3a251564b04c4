//! A data set: training and test images with their labels and the names of the classes.

use super::DataError;
use super::bundled::bundled_directory;
use super::cache;
use super::discover::{Files, Pair, Part, customary_name, discover};
use super::idx::{Idx, Role};
use crate::digest;
use crate::recipe::Moments;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where a data set is.
#[derive(Clone, Debug)]
pub struct Source {
    /// The directory of its IDX files.
    pub directory: PathBuf,
    /// What the names of its files begin with, such as `emnist-letters`, or nothing for names such
    /// as `train-images-idx3-ubyte`. Needed only if the directory holds several sets.
    pub prefix: Option<String>,
    /// Where gzipped files are unpacked to; else `BOBBIN_CACHE`, `$XDG_CACHE_HOME/bobbin` or
    /// `~/.cache/bobbin`.
    pub cache: Option<PathBuf>,
}

impl Source {
    /// The only data set of a directory, unpacked into the default cache.
    pub fn new(directory: impl Into<PathBuf>) -> Source {
        Source { directory: directory.into(), prefix: None, cache: None }
    }

    /// The Fashion-MNIST that comes with Bobbin.
    pub fn bundled() -> Result<Source, DataError> {
        bundled_directory().map(Source::new)
    }
}

/// A data set, mapped into memory.
pub struct Dataset {
    directory: PathBuf,
    stem: String,
    train: Option<Split>,
    test: Option<Split>,
    class_names: Vec<String>,
    image_shape: [usize; 3],
    /// Where the training images are a part of more.
    share: Option<Share>,
}

/// The training images of a rank among those of all ranks, which are numbered in order of the ranks.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The rank.
    pub rank: usize,
    /// How many ranks there are.
    pub ranks: usize,
    /// The numbers of its images.
    pub own: Range<u32>,
    /// How many images all ranks have.
    pub images: usize,
    /// Mean and deviation of all their pixels.
    pub moments: Moments,
    /// Stands for the images of all ranks, as [`Dataset::fingerprint`] does for those of one.
    pub fingerprint: String,
}

impl Dataset {
    /// Opens and checks all parts of a set.
    ///
    /// Its classes are those that `labels.txt` (or `PREFIX-labels.txt`) in the directory names, one
    /// a line. Without such a file they are the numbers up to the highest label of the training images,
    /// or of the test images of a set that has no others.
    pub fn open(source: &Source) -> Result<Dataset, DataError> {
        let Files { stem, train, test } = discover(&source.directory, source.prefix.as_deref())?;
        let open = |files| Split::open(files, source.cache.as_deref());
        let train = train.map(open).transpose()?;
        let test = test.map(open).transpose()?;
        let directory = source.directory.clone();

        let splits: Vec<&Split> = train.iter().chain(&test).collect();
        let image_shape = common_shape(&splits)?;
        let class_names = class_names(&directory, &stem, &splits)?;
        Ok(Dataset { directory, stem, train, test, class_names, image_shape, share: None })
    }

    /// The training images; an error if the set has none.
    pub fn train(&self) -> Result<&Split, DataError> {
        self.train.as_ref().ok_or_else(|| self.no_part(Part::Train))
    }

    /// The test images; an error if the set has none.
    pub fn test(&self) -> Result<&Split, DataError> {
        self.test.as_ref().ok_or_else(|| self.no_part(Part::Test))
    }

    /// Number of classes. Every label is below it.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The name of each class.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Channels, height and width of every image.
    pub fn image_shape(&self) -> [usize; 3] {
        self.image_shape
    }

    /// A SHA-256 of every image, label and class name, in hexadecimal: two sets that agree in it train
    /// the same weights. Of a set that is shared out, those of all ranks.
    pub fn fingerprint(&self) -> String {
        match &self.share {
            Some(share) => share.fingerprint.clone(),
            None => self.fingerprint_of([&self.train, &self.test]),
        }
    }

    /// The same without the training images.
    pub(crate) fn fingerprint_but_training(&self) -> String {
        self.fingerprint_of([&None, &self.test])
    }

    fn fingerprint_of(&self, parts: [&Option<Split>; 2]) -> String {
        let shape = self.image_shape.map(|n| n as u64).map(u64::to_le_bytes).concat();
        let names = self.class_names.join("\n");
        let parts = parts.into_iter().flat_map(|part| match part {
            Some(part) => [part.images.items(), &part.labels],
            None => [&[][..]; 2],
        });
        digest::of_parts([&*shape, names.as_bytes()].into_iter().chain(parts))
    }

    /// The share that the training images are, if they are not all.
    pub fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }

    /// Makes the training images a share of more. From now on they have its numbers.
    ///
    /// # Panics
    /// If there are others.
    pub(crate) fn set_share(&mut self, share: Share) {
        let train = self.train.as_mut().expect("training images");
        assert_eq!(share.own.len(), train.len());
        train.first = share.own.start as usize;
        self.share = Some(share);
    }

    /// The directory of its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn no_part(&self, part: Part) -> DataError {
        DataError::NoPart {
            directory: self.directory.clone(),
            part: part.name(),
            images: customary_name(&self.stem, part, Role::Images),
            labels: customary_name(&self.stem, part, Role::Labels),
        }
    }
}

/// One part of a data set: images and as many labels. It is never empty.
pub struct Split {
    files: Pair,
    images: Idx,
    /// Copied out of the map, so that they stay the labels that were checked.
    labels: Vec<u8>,
    /// The number of the first image: 0, unless this is a [`Share`].
    first: usize,
}

impl Split {
    fn open(files: Pair, cache: Option<&Path>) -> Result<Split, DataError> {
        let images = cache::open(&files.images, Role::Images, cache)?;
        let labels = cache::open(&files.labels, Role::Labels, cache)?;
        if images.header.count != labels.header.count {
            return Err(DataError::Counts {
                labels_path: files.labels,
                labels: labels.header.count,
                images_path: files.images,
                images: images.header.count,
            });
        }
        Ok(Split { files, images, labels: labels.items().to_vec(), first: 0 })
    }

    /// Number of images.
    #[expect(clippy::len_without_is_empty, reason = "a split is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The bytes of image `i` as the file has them: rows of pixels, the channels of a pixel side by
    /// side. Panics unless `i < len()`, or `i` is a number of the [`Share`].
    pub fn image(&self, i: usize) -> &[u8] {
        self.images.item(i - self.first)
    }

    /// The class of image `i`. Panics where [`Split::image`] does.
    pub fn label(&self, i: usize) -> u8 {
        self.labels[i - self.first]
    }

    /// The classes of all images.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// An error if the mapped images are no longer as long as they were: cheap enough to ask before
    /// each epoch. Reading images of a file that has shrunk ends the process (exit code 1).
    pub fn check_unchanged(&self) -> Result<(), DataError> {
        self.images.check_unchanged()
    }
}

/// The shape of the images of all parts.
fn common_shape(splits: &[&Split]) -> Result<[usize; 3], DataError> {
    let expected = splits[0].images.header.shape;
    for split in splits {
        let found = split.images.header.shape;
        if found != expected {
            return Err(DataError::Shapes { path: split.files.images.clone(), found, expected });
        }
    }
    Ok(expected)
}

/// The name of each class. Afterwards no label is beyond them.
fn class_names(directory: &Path, stem: &str, splits: &[&Split]) -> Result<Vec<String>, DataError> {
    let (limit, names) = match read_class_names(directory, stem)? {
        Some((path, names)) => (format!("the number of names in {}", path.display()), names),
        None => {
            let highest = splits[0].labels.iter().max().copied().unwrap_or(0);
            let names = (0..=highest).map(|label| label.to_string()).collect();
            (format!("as in {}", splits[0].files.labels.display()), names)
        }
    };
    for split in splits {
        if let Some(index) = split.labels.iter().position(|&label| label as usize >= names.len()) {
            return Err(DataError::Label {
                path: split.files.labels.clone(),
                index,
                label: split.labels[index],
                limit,
                classes: names.len(),
            });
        }
    }
    Ok(names)
}

/// The lines of `labels.txt`, of this set alone or of the directory, if there is one.
fn read_class_names(
    directory: &Path,
    stem: &str,
) -> Result<Option<(PathBuf, Vec<String>)>, DataError> {
    let own = directory.join(format!("{stem}labels.txt"));
    let path = if own.exists() { own } else { directory.join("labels.txt") };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(DataError::Io { path, action: "read", cause }),
    };
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().into()).collect();
    if let Some(line) = names.iter().position(String::is_empty) {
        let found = format!("an empty line {}", line + 1);
        return Err(DataError::ClassNames { path, found });
    }
    if !(1..=256).contains(&names.len()) {
        let found = format!("{} lines", names.len());
        return Err(DataError::ClassNames { path, found });
    }
    Ok(Some((path, names)))
}
