//! What can be wrong with a data set. Every message names the file, what was found in it and what
//! was expected.

use model::suggestion;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Classes of a data set at most, so that one damaged label does not become billions of classes: the confusion
/// matrix of so many takes 134 MB.
pub const MAX_CLASSES: usize = 4_096;

/// Letters of the name of a class at most: it is in the model, the report, and in messages.
pub const MAX_CLASS_NAME: usize = 1_000;

/// The files of a data set, for messages.
const EXPECTED_FILES: &str = "train-images-idx3-ubyte, train-labels-idx1-ubyte, \
    t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, plain or ending in .gz";

/// How to move the cache, for messages.
const MOVE_CACHE: &str = "name another directory, for example by the variable BOBBIN_CACHE";

/// What to do with pictures, for messages.
const IMPORT: &str = "; it holds pictures: `import` makes a data set of them";

/// Why a data set cannot be used. The message has in it what the system said, which is the variant's `cause` and not
/// repeated by [`source`](std::error::Error::source).
#[derive(Debug, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message says it")]
pub enum DataError {
    // Finding the files.
    #[error(
        "no bundled Fashion-MNIST (data/fashion-mnist) found in the source tree, beside the program or in \
         the current directory; name the directory of a data set. Fashion-MNIST is at \
         https://github.com/zalandoresearch/fashion-mnist (MIT): put its train-images-idx3-ubyte.gz, \
         train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz into one directory, \
         such as data/fashion-mnist in the current one, where it is found without a name"
    )]
    NoBundledData,
    #[error(
        "{directory}: cannot read the data directory: {cause}; \
         expected a directory with {EXPECTED_FILES}"
    )]
    Directory { directory: PathBuf, cause: io::Error },
    #[error(
        "{directory}: no IDX files found; expected {EXPECTED_FILES}{}",
        if *.pictures { IMPORT } else { "" }
    )]
    NoFiles { directory: PathBuf, pictures: bool },
    #[error("{directory}: found data sets in several directories below; name one: {}", paths(.found))]
    SeveralDirectories { directory: PathBuf, found: Vec<PathBuf> },
    #[error(
        "{directory}: found several data sets: {}; choose one by its prefix", listed(.prefixes)
    )]
    SeveralSets { directory: PathBuf, prefixes: Vec<String> },
    #[error(
        "{directory}: no data set with the prefix {prefix:?}; found {}{}", listed(.prefixes),
        suggestion(prefix, prefixes.iter().map(String::as_str)).unwrap_or_default()
    )]
    NoSuchSet { directory: PathBuf, prefix: String, prefixes: Vec<String> },
    #[error("{} and {} could both be the {part} {role}; remove one", .first.display(), .second.display())]
    Duplicate { first: PathBuf, second: PathBuf, part: &'static str, role: &'static str },
    #[error("{path}: found no {missing} beside it; expected {expected}, plain or ending in .gz")]
    NoPartner { path: PathBuf, missing: &'static str, expected: String },
    #[error(
        "{directory}: found no {part} set; expected {images} and {labels}, plain or ending in .gz"
    )]
    NoPart { directory: PathBuf, part: &'static str, images: String, labels: String },

    // Reading one file.
    #[error("{path}: cannot {action}: {cause}")]
    Io { path: PathBuf, action: &'static str, cause: io::Error },
    #[error("{path}: found a directory or device, expected a regular file")]
    NotAFile { path: PathBuf },
    #[error("{path}: found {found} bytes, too short for an IDX header; the file is truncated")]
    ShortHeader { path: PathBuf, found: usize },
    #[error("{path}: found magic number {found:#010x}, expected {expected}")]
    Magic { path: PathBuf, found: u32, expected: &'static str },
    #[error("{path}: found {found}, expected an IDX file of {expected}")]
    NotIdx { path: PathBuf, found: &'static str, expected: &'static str },
    #[error("{path}: found {found}, expected text")]
    NotText { path: PathBuf, found: &'static str },
    #[error("{path}: found a dimension of zero in {}, expected at least 1", product(.dims))]
    ZeroDimension { path: PathBuf, dims: Vec<u32> },
    #[error("{path}: found dimensions {}, more than memory can address", product(.dims))]
    TooLarge { path: PathBuf, dims: Vec<u32> },
    #[error("{path}: found {found} channels, expected 1, 3 or 4 as the last dimension")]
    Channels { path: PathBuf, found: u32 },
    #[error("{path}: truncated: found {found} bytes, expected {expected} by its header")]
    Truncated { path: PathBuf, found: u64, expected: u64 },
    #[error("{path}: trailing bytes: found {found} bytes, expected {expected} by its header")]
    Trailing { path: PathBuf, found: u64, expected: u64 },
    #[error(
        "{path}: changed while in use: found {found} bytes, expected {expected} as at the start"
    )]
    Changed { path: PathBuf, found: u64, expected: u64 },
    #[error("{path}: changed while in use: it was written to; start again from what it holds now")]
    Rewritten { path: PathBuf },

    #[error("{path}: found no image {index}, expected a number from 0 to {}", images - 1)]
    NoImage { path: PathBuf, index: usize, images: usize },

    // Unpacking one file.
    #[error("{path}: damaged gzip file: {cause}")]
    Gzip { path: PathBuf, cause: io::Error },
    #[error("{path}: unpacks to more than the {expected} bytes expected by its header")]
    GzipTrailing { path: PathBuf, expected: u64 },
    #[error("{path}: truncated: unpacks to {found} bytes, expected {expected} by its header")]
    GzipTruncated { path: PathBuf, found: u64, expected: u64 },
    #[error("{directory}: cannot write to the cache directory: {cause}; {MOVE_CACHE}")]
    Cache { directory: PathBuf, cause: io::Error },
    #[error("found no home for the cache of unpacked files; {MOVE_CACHE}")]
    NoCache,

    // Comparing files.
    #[error("{}: found {labels} labels, expected {images} as there are images in {}",
        .labels_path.display(), .images_path.display())]
    Counts { images_path: PathBuf, images: usize, labels_path: PathBuf, labels: usize },
    #[error(
        "{path}: found test images of {} (channels × height × width), \
         expected {} as in the training set", product(.found), product(.expected)
    )]
    Shapes { path: PathBuf, found: [usize; 3], expected: [usize; 3] },
    #[error(
        "{path}: found label {label} at index {index}, \
         expected labels below {classes}, {limit}"
    )]
    Label { path: PathBuf, index: usize, label: u32, classes: usize, limit: String },
    #[error("{path}: found label {label} at index {index}, expected a number from 0 on")]
    NegativeLabel { path: PathBuf, index: usize, label: i64 },
    #[error("{path}: found label {label}, expected labels below {MAX_CLASSES}")]
    TooManyClasses { path: PathBuf, label: u32 },
    #[error("{path}: found {found}, expected {expected}")]
    LabelSets { path: PathBuf, found: String, expected: &'static str },
    #[error("{path}: found {found}, expected {expected}, as many as in {}", .other.display())]
    LabelCounts { path: PathBuf, found: String, expected: String, other: PathBuf },
    #[error(
        "{path}: found {found}, expected 1 to {MAX_CLASSES} class names of at most {MAX_CLASS_NAME} letters, one a line"
    )]
    ClassNames { path: PathBuf, found: String },
    #[error(
        "{path}: found {found} lines, expected {expected}: the name of a picture for each image"
    )]
    Names { path: PathBuf, found: usize, expected: usize },
    #[error("{name}: found {found}; expected {expected}")]
    Memory { name: &'static str, found: String, expected: String },
    #[error("{path}: {found}; expected `fit` (pad, crop or stretch) and `invert` (true or false)")]
    Preparation { path: PathBuf, found: String },
}

fn listed(prefixes: &[String]) -> String {
    let name = |prefix: &String| match prefix.as_str() {
        "" => "one without a prefix".to_string(),
        prefix => prefix.to_string(),
    };
    prefixes.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn product<T: ToString>(dims: &[T]) -> String {
    dims.iter().map(T::to_string).collect::<Vec<_>>().join(" × ")
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
