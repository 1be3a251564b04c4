//! A data set: training and test images with their labels and the names of the classes.

use crate::bundled::bundled_directory;
use crate::discover::{Files, Part, customary_name, discover};
use crate::idx::Role;
use crate::label_sets::LabelSets;
use crate::pixel_statistics::PixelStatistics;
use crate::preparation::{self, preparation_text};
use crate::split::Split;
use crate::text;
use crate::{DataError, MAX_CLASS_NAME, MAX_CLASSES};
use files::digest::Running;
use model::Preparation;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where a data set is.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Source {
        Source { directory: directory.into(), prefix: None, cache: None }
    }

    /// The Fashion-MNIST that comes with Bobbin.
    pub fn bundled() -> Result<Source, DataError> {
        bundled_directory().map(Source::new)
    }
}

/// What messages call the place of a set that is in memory.
const MEMORY: &str = "(memory)";

/// A data set, mapped into memory, or in it.
#[derive(Debug)]
pub struct Dataset {
    directory: PathBuf,
    stem: String,
    train: Option<Split>,
    test: Option<Split>,
    class_names: Vec<String>,
    image_shape: [usize; 3],
    preparation: Option<Preparation>,
    /// Where the training images are a part of more.
    share: Option<Share>,
    in_memory: bool,
}

/// The training images of a rank among those of all ranks, which are numbered in order of the ranks.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The rank.
    pub rank: usize,
    /// The numbers of the images of each rank.
    pub parts: Vec<Range<u32>>,
    /// The class of every image.
    pub labels: Vec<u32>,
    /// Mean and deviation of all their pixels.
    pub statistics: PixelStatistics,
    /// Stands for the images of all ranks, as [`Dataset::fingerprint`] does for those of one.
    pub fingerprint: String,
}

impl Share {
    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.parts.len()
    }

    /// The numbers of the images of this rank.
    pub fn own(&self) -> Range<u32> {
        self.parts[self.rank].clone()
    }

    /// How many images all ranks have.
    pub fn images(&self) -> usize {
        self.labels.len()
    }
}

impl Dataset {
    /// Opens and checks all parts of a set.
    ///
    /// Its classes are those that `labels.txt` (or `PREFIX-labels.txt`) in the directory names, one
    /// a line. Without such a file they are the numbers up to the highest label of the training images,
    /// or of the test images of a set that has no others.
    pub fn open(source: &Source) -> Result<Dataset, DataError> {
        let Files { directory, stem, train, test } =
            discover(&source.directory, source.prefix.as_deref())?;
        let open = |files| Split::open(files, source.cache.as_deref());
        let train = train.map(open).transpose()?;
        let test = test.map(open).transpose()?;

        let splits: Vec<&Split> = train.iter().chain(&test).collect();
        let image_shape = common_shape(&splits)?;
        let class_names = class_names(&directory, &stem, &splits)?;
        let preparation = preparation::read(&directory, &stem)?;
        let (share, in_memory) = (None, false);
        Ok(Dataset {
            directory,
            stem,
            train,
            test,
            class_names,
            image_shape,
            preparation,
            share,
            in_memory,
        })
    }

    /// One that is in memory, of parts that were checked.
    pub(crate) fn of_parts(
        train: Option<Split>,
        test: Option<Split>,
        class_names: Vec<String>,
        image_shape: [usize; 3],
    ) -> Dataset {
        Dataset {
            directory: MEMORY.into(),
            stem: String::new(),
            train,
            test,
            class_names,
            image_shape,
            preparation: None,
            share: None,
            in_memory: true,
        }
    }

    /// Whether its images are in memory, and not in files.
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// Where it is: [`Dataset::open`] finds it there again, unless it is in memory.
    pub fn source(&self) -> Source {
        let prefix = self.stem.strip_suffix('-').map(str::to_owned);
        Source { directory: self.directory.clone(), prefix, cache: None }
    }

    /// The training images; an error if the set has none.
    pub fn train(&self) -> Result<&Split, DataError> {
        self.train.as_ref().ok_or_else(|| self.no_part(Part::Train))
    }

    /// The test images; an error if the set has none.
    pub fn test(&self) -> Result<&Split, DataError> {
        self.test.as_ref().ok_or_else(|| self.no_part(Part::Test))
    }

    /// Number of classes. Every label is below it; where images may have several, they are labels of these.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// Whether images may have several labels, or none.
    pub fn is_multi_label(&self) -> bool {
        self.train.iter().chain(&self.test).any(Split::is_multi_label)
    }

    /// The name of each class.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Channels, height and width of every image.
    pub fn image_shape(&self) -> [usize; 3] {
        self.image_shape
    }

    /// How pictures became the images, where the set says it (`preparation.toml`): not, if the images never
    /// were pictures in files, or nobody has written it down.
    pub fn preparation(&self) -> Option<Preparation> {
        self.preparation
    }

    /// A SHA-256 of every image, label and class name, in hexadecimal, and of the preparation where it is
    /// known: two sets that agree in it train the same model. Of a set that is shared out, those of all
    /// ranks.
    pub fn fingerprint(&self) -> String {
        match &self.share {
            Some(share) => share.fingerprint.clone(),
            None => self.fingerprint_of([&self.train, &self.test]),
        }
    }

    /// The fingerprint without the training images.
    pub fn fingerprint_but_training(&self) -> String {
        self.fingerprint_of([&None, &self.test])
    }

    fn fingerprint_of(&self, parts: [&Option<Split>; 2]) -> String {
        let mut digest = Running::default();
        let mut add = |bytes: &[u8]| {
            digest.begin_part(bytes.len());
            digest.update(bytes);
        };
        add(&self.image_shape.map(|n| n as u64).map(u64::to_le_bytes).concat());
        add(self.class_names.join("\n").as_bytes());
        for part in parts {
            let Some(part) = part else {
                (0..2).for_each(|_| digest.begin_part(0));
                continue;
            };
            digest.begin_part(part.images.items_len());
            part.images.each_piece(|piece| digest.update(piece));
            if let Some(sets) = &part.sets {
                add_labels(&mut digest, sets.matrix());
                continue;
            }
            // Of a byte each, where that is enough: as they mostly are in the file.
            let labels: Vec<u8> = match part.labels.iter().all(|&label| label < 256) {
                true => part.labels.iter().map(|&label| label as u8).collect(),
                false => part.labels.iter().flat_map(|label| label.to_le_bytes()).collect(),
            };
            add_labels(&mut digest, &labels);
        }
        if let Some(preparation) = self.preparation {
            let text = preparation_text(preparation);
            digest.begin_part(text.len());
            digest.update(text.as_bytes());
        }
        digest.finish()
    }

    /// The share that the training images are, if they are not all.
    pub fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }

    /// Makes the training images a share of more. From now on they have its numbers.
    ///
    /// # Panics
    /// If there are others.
    pub fn set_share(&mut self, share: Share) {
        let train = self.train.as_mut().expect("training images");
        assert_eq!(share.own().len(), train.len());
        train.first = share.own().start as usize;
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

/// The labels of a part.
fn add_labels(digest: &mut Running, labels: &[u8]) {
    digest.begin_part(labels.len());
    digest.update(labels);
}

/// The shape of the images of all parts.
pub(crate) fn common_shape(splits: &[&Split]) -> Result<[usize; 3], DataError> {
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
    if splits.iter().any(|split| split.is_multi_label()) {
        return label_names(directory, stem, splits);
    }
    let (limit, names) = match read_class_names(directory, stem)? {
        Some((path, names)) => (format!("the number of names in {}", path.display()), names),
        None => {
            let highest = splits[0].labels.iter().max().copied().unwrap_or(0);
            if highest as usize >= MAX_CLASSES {
                let path = splits[0].files.labels.clone();
                return Err(DataError::TooManyClasses { path, label: highest });
            }
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

/// The same where images may have several labels: a name for each column of their matrices.
fn label_names(directory: &Path, stem: &str, splits: &[&Split]) -> Result<Vec<String>, DataError> {
    let first = &splits[0].files.labels;
    let columns = |split: &Split| split.sets.as_ref().map(LabelSets::labels);
    let words = |columns: Option<usize>| match columns {
        Some(columns) => format!("{columns} labels to choose from"),
        None => "one label for each image".to_owned(),
    };
    let expected = columns(splits[0]);
    let wrong = |path: &Path, found, other: &Path| DataError::LabelCounts {
        path: path.into(),
        found: words(found),
        expected: words(expected),
        other: other.into(),
    };
    if let Some(other) = splits.iter().find(|split| columns(split) != expected) {
        return Err(wrong(&other.files.labels, columns(other), first));
    }
    let labels = expected.unwrap_or_default();
    match read_class_names(directory, stem)? {
        Some((path, names)) if names.len() != labels => Err(wrong(&path, Some(names.len()), first)),
        Some((_, names)) => Ok(names),
        None if labels > MAX_CLASSES => {
            Err(DataError::TooManyClasses { path: first.clone(), label: labels as u32 - 1 })
        }
        None => Ok((0..labels).map(|label| label.to_string()).collect()),
    }
}

/// The lines of `labels.txt`, of this set alone or of the directory, if there is one.
fn read_class_names(
    directory: &Path,
    stem: &str,
) -> Result<Option<(PathBuf, Vec<String>)>, DataError> {
    let Some((path, text)) = text::of_set(directory, stem, "labels.txt")? else { return Ok(None) };
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().into()).collect();
    if let Some(line) = names.iter().position(String::is_empty) {
        let found = format!("an empty line {}", line + 1);
        return Err(DataError::ClassNames { path, found });
    }
    if !(1..=MAX_CLASSES).contains(&names.len()) {
        let found = format!("{} lines", names.len());
        return Err(DataError::ClassNames { path, found });
    }
    let letters = |name: &String| name.chars().count();
    if let Some(line) = names.iter().position(|name| letters(name) > MAX_CLASS_NAME) {
        let found = format!("{} letters in line {}", letters(&names[line]), line + 1);
        return Err(DataError::ClassNames { path, found });
    }
    Ok(Some((path, names)))
}
