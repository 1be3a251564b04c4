//! Pictures with their classes become a data set of IDX files.
//!
//! ```text
//! DIR/Coat/1.jpg              OUT/train-images-idx4-ubyte   (idx3 where pictures are grey)
//! DIR/Coat/old/2.png    ──►       train-labels-idx1-ubyte
//! DIR/Shirt/a.bmp                 train-names.txt           Coat/1.jpg, Shirt/a.bmp
//!                                 t10k-images-idx4-ubyte, t10k-labels-idx1-ubyte, t10k-names.txt
//!                                 labels.txt                Coat, Shirt
//!                                 preparation.toml          how they were fitted, whether inverted
//! ```
//! What else than folders there may be is in `sources/`. Every picture is decoded once, on all
//! threads, into a file of pixels in a directory beside OUT; once it is known which could be read, they are
//! split, written out and the directory takes OUT's place. In memory there is no more than a picture per thread,
//! and of all of them no more than a budget allows ([`files::Limits::picture_bytes`]).

use crate::fit::{has_colour, invert};
use crate::labels::{header, write_label_sets, write_labels};
use crate::output::{Output, Place};
use crate::parts::{Parts, parts};
use crate::sources::{self, Collection, Given, Item};
use crate::{Fit, ImportError, Picture, PictureError};
use dataset::{PREPARATION_FILE, preparation_text};
use files::digest::Running;
use model::Preparation;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use trainer::{Workers, pool_rare};

/// Rows and columns of images that were pictures of many sizes, unless others are asked for.
const SIZE: [usize; 2] = [28, 28];

/// How pictures are imported.
#[derive(Clone, Copy, Debug)]
pub struct Import {
    /// Rows and columns of the images; `None` is those that all pictures of an array or of CIFAR have, else
    /// 28×28.
    pub size: Option<[usize; 2]>,
    /// Their channels.
    pub channels: Channels,
    /// What is done with pictures of other proportions.
    pub fit: Fit,
    /// Whether bright and dark change places.
    pub invert: bool,
    /// The part of the pictures of each class that is put aside to test on, at least 0 and below 1, where the
    /// source does not say which these are.
    pub test_fraction: f64,
    /// Decides which pictures these are, and the order of all.
    pub seed: u64,
    /// Whether an older data set is replaced.
    pub replace: bool,
}

/// Channels of imported images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// Three if any picture has colour, else one.
    Auto,
    /// One.
    Grey,
    /// Three.
    Rgb,
}

/// What was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Channels, rows and columns of the images.
    pub shape: [usize; 3],
    /// The classes in the order of their labels.
    pub classes: Vec<ClassCounts>,
    /// How many pictures there are to train and to test on, where each may be of several classes.
    pub multi_label: Option<[usize; 2]>,
    /// How many pictures have colour, where it was asked.
    pub coloured: usize,
    /// Whether the source said which pictures are to test on.
    pub came_split: bool,
    /// How many pictures to validate on are among those to train on.
    pub validation: usize,
    /// Pictures to test on that are among those to train on, pixel by pixel.
    pub duplicates: Duplicates,
    /// How many files could not be read as pictures.
    pub unreadable: usize,
    /// How many files lie outside of the class folders.
    pub outside: usize,
    /// How many files and folders are hidden (their names begin with a dot) or those of a system, such as
    /// `__MACOSX`, `@eaDir` and `Thumbs.db`.
    pub hidden: usize,
    /// What imports that were killed had left beside the data set, and is deleted now.
    pub leftovers: Vec<PathBuf>,
}

/// Images of the test set that are in the training set too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// How many.
    pub count: usize,
    /// The first of them, and what it is called among the others.
    pub first: Option<[String; 2]>,
}

/// What is told while pictures are imported.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// This is no picture.
    LeftOut(&'a PictureError),
    /// So many of the pictures are decoded.
    Decoded {
        /// Those that are.
        pictures: usize,
        /// All.
        of: usize,
    },
}

/// The images of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassCounts {
    /// Its name.
    pub name: String,
    /// Images to train on.
    pub train: usize,
    /// Images to test on.
    pub test: usize,
}

/// Imports the pictures at `source` into the directory `to`: those of a folder of class folders or of parts with
/// class folders in them, a table (`.csv`, `.tsv`), arrays of NumPy, Parquet files, or a folder of CIFAR's or
/// EMNIST's files. Once `stop` is set it ends soon. After an error there is nothing new.
///
/// The same pictures under the same names give the same bytes, whatever the threads and the order in
/// which the system lists files.
///
/// # Panics
/// If the size or the fraction is not as [`Import`] says.
pub fn import(
    source: &Path,
    given: Given<'_>,
    to: &Path,
    options: &Import,
    workers: &Workers,
    stop: &AtomicBool,
    mut tell: impl FnMut(Event<'_>),
) -> Result<Imported, ImportError> {
    assert!((0.0..1.0).contains(&options.test_fraction), "{}", options.test_fraction);
    let output = Place::find(source, to, options.replace)?.begin()?;
    let collection = sources::open(source, given, output.path(), stop)?;
    let mut pixels = Pixels::decode(&collection, options, workers, stop, &output, &mut tell)?;
    check_classes(source, &collection, &pixels)?;
    if pixels.items.is_empty() {
        let problem = "found no picture that can be read, expected some to train on";
        return Err(ImportError::of(source, problem));
    }
    let mut classes: Vec<u32> = pixels.items.iter().map(|item| item.class).collect();
    if !collection.sets.is_empty() {
        classes = pool_rare(&classes);
    }
    let parts = parts(&pixels.items, &classes, options.test_fraction, options.seed);
    if parts.train.is_empty() {
        let problem = "found pictures to test on alone, expected some to train on".to_owned();
        return Err(ImportError::of(source, &problem));
    }
    let grey = options.channels == Channels::Auto && pixels.coloured == 0;
    let shape = if grey { [1, pixels.shape[1], pixels.shape[2]] } else { pixels.shape };
    for (part, images) in [("train", &parts.train), ("t10k", &parts.test)] {
        if !images.is_empty() {
            write_images(&output, part, images, shape, options.invert, &mut pixels)?;
            let (items, count) =
                (images.iter().map(|&i| pixels.items[i as usize]), collection.classes.len());
            if collection.sets.is_empty() {
                let labels: Vec<u32> = items.map(|item| item.class).collect();
                write_labels(&output, part, &labels, count)?;
            } else {
                let sets: Vec<&[u32]> = items.map(|item| collection.classes_of(item)).collect();
                write_label_sets(&output, part, &sets, count)?;
            }
            output.write(&format!("{part}-names.txt"), |file| {
                images.iter().try_for_each(|&i| writeln!(file, "{}", pixels.name(i)))
            })?;
        }
    }
    let names: String = collection.classes.iter().map(|name| format!("{name}\n")).collect();
    output.write("labels.txt", |file| file.write_all(names.as_bytes()))?;
    let preparation = preparation_text(Preparation::new(options.invert, options.fit));
    output.write(PREPARATION_FILE, |file| file.write_all(preparation.as_bytes()))?;
    let classes = counts(&collection, &pixels, [&parts.train, &parts.test]);
    let several = !collection.sets.is_empty();
    let multi_label = several.then_some([parts.train.len(), parts.test.len()]);
    let duplicates = duplicates(&parts, &pixels);
    let (coloured, read) = (pixels.coloured, pixels.items.len());
    drop(pixels);
    let leftovers = output.finish(options.replace)?;
    Ok(Imported {
        shape,
        classes,
        multi_label,
        coloured,
        came_split: parts.came_split,
        validation: parts.validation,
        duplicates,
        unreadable: collection.items.len() - read,
        outside: collection.outside,
        hidden: collection.hidden,
        leftovers,
    })
}

/// Refuses a class folder without a picture. (Labels of arrays may leave numbers out.)
fn check_classes(
    source: &Path,
    collection: &Collection,
    pixels: &Pixels<'_>,
) -> Result<(), ImportError> {
    let mut found = vec![!collection.blocks.is_empty(); collection.classes.len()];
    let of_items = pixels.items.iter().flat_map(|item| collection.classes_of(item));
    of_items.for_each(|&class| found[class as usize] = true);
    match found.iter().position(|found| !found) {
        None => Ok(()),
        Some(class) => {
            let name = &collection.classes[class];
            let problem =
                format!("class {name}: found no picture that can be read, expected one at least");
            Err(ImportError::of(source, &problem))
        }
    }
}

/// How many images of each class there are to train and to test on.
fn counts(collection: &Collection, pixels: &Pixels<'_>, parts: [&[u32]; 2]) -> Vec<ClassCounts> {
    let mut counts = [vec![0; collection.classes.len()], vec![0; collection.classes.len()]];
    for (counts, images) in counts.iter_mut().zip(parts) {
        let of_images =
            images.iter().flat_map(|&i| collection.classes_of(pixels.items[i as usize]));
        of_images.for_each(|&class| counts[class as usize] += 1);
    }
    let [train, test] = counts;
    let classes = collection.classes.iter().cloned().zip(train).zip(test);
    classes.map(|((name, train), test)| ClassCounts { name, train, test }).collect()
}

/// Pictures to test on that are among those to train on.
fn duplicates(parts: &Parts, pixels: &Pixels<'_>) -> Duplicates {
    let of = |&i: &u32| (pixels.digests[i as usize], i);
    let known: HashMap<u128, u32> = parts.train.iter().rev().map(of).collect();
    let mut found = Duplicates::default();
    for (digest, i) in parts.test.iter().map(of) {
        if let Some(&other) = known.get(&digest) {
            found.count += 1;
            found.first.get_or_insert_with(|| [i, other].map(|i| pixels.name(i)));
        }
    }
    found
}

/// All pictures that could be read, one after another in a file.
struct Pixels<'a> {
    collection: &'a Collection,
    file: File,
    path: PathBuf,
    shape: [usize; 3],
    items: Vec<&'a Item>,
    /// The beginning of the SHA-256 of the pixels of each.
    digests: Vec<u128>,
    coloured: usize,
}

impl<'a> Pixels<'a> {
    fn decode(
        collection: &'a Collection,
        options: &Import,
        workers: &Workers,
        stop: &AtomicBool,
        output: &Output,
        tell: &mut impl FnMut(Event<'_>),
    ) -> Result<Pixels<'a>, ImportError> {
        let channels = if options.channels == Channels::Grey { 1 } else { 3 };
        let [rows, columns] = options.size.or(collection.size).unwrap_or(SIZE);
        let shape = [channels, rows, columns];
        let (path, file) = output.scratch()?;
        let cannot = |cause| ImportError::Io { path: path.clone(), action: "write", cause };
        let mut writer = BufWriter::new(file);
        let (mut items, mut digests, mut coloured) = (vec![], vec![], 0);
        let mut decoded = 0;
        for together in collection.items.chunks(8 * workers.threads()) {
            if stop.load(Ordering::Relaxed) {
                return Err(ImportError::Interrupted);
            }
            let mut images: Vec<_> = together.iter().map(|_| Ok(Decoded::default())).collect();
            workers.pieces(&mut images, 1, &|i, image, _| {
                let side = shape[1].max(shape[2]);
                let fit = |picture: Picture| Decoded::new(picture.fit(shape, options.fit), shape);
                image[0] = collection.picture_then(&together[i], side, fit);
            });
            for (item, image) in together.iter().zip(images) {
                match image {
                    Ok(image) => {
                        writer.write_all(&image.pixels).map_err(cannot)?;
                        items.push(item);
                        digests.push(image.digest);
                        coloured += usize::from(image.is_coloured);
                    }
                    // Without it this would be another data set than the next time.
                    Err(PictureError { name, problem, is_of_system: true, .. }) => {
                        return Err(ImportError::Folder { path: name.into(), problem });
                    }
                    Err(error) => tell(Event::LeftOut(&error)),
                }
            }
            decoded += together.len();
            tell(Event::Decoded { pictures: decoded, of: collection.items.len() });
        }
        let file = writer.into_inner().map_err(|error| cannot(error.into_error()))?;
        Ok(Pixels { collection, file, path, shape, items, digests, coloured })
    }

    fn name(&self, i: u32) -> String {
        self.collection.name(self.items[i as usize])
    }

    fn read(&mut self, index: u32, image: &mut [u8]) -> Result<(), ImportError> {
        let mut read = || {
            self.file.seek(SeekFrom::Start(u64::from(index) * image.len() as u64))?;
            self.file.read_exact(image)
        };
        read().map_err(|cause| ImportError::Io { path: self.path.clone(), action: "read", cause })
    }
}

/// A picture as an image, and what is asked of its pixels.
#[derive(Default)]
struct Decoded {
    pixels: Vec<u8>,
    /// The first 16 bytes of the SHA-256 of the pixels.
    digest: u128,
    is_coloured: bool,
}

impl Decoded {
    fn new(pixels: Vec<u8>, [channels, _, _]: [usize; 3]) -> Decoded {
        let mut running = Running::default();
        running.update(&pixels);
        let digest = u128::from_str_radix(&running.finish()[..32], 16).expect("hexadecimal digits");
        let is_coloured = channels == 3 && has_colour(&pixels);
        Decoded { pixels, digest, is_coloured }
    }
}

fn write_images(
    output: &Output,
    part: &str,
    images: &[u32],
    shape: [usize; 3],
    inverted: bool,
    pixels: &mut Pixels<'_>,
) -> Result<(), ImportError> {
    let [channels, rows, columns] = shape;
    let dims = [images.len(), rows, columns, channels];
    let rank = if channels == 1 { 3 } else { 4 };
    let mut image = vec![0; pixels.shape.iter().product()];
    let mut failed = Ok(());
    output.write(&format!("{part}-images-idx{rank}-ubyte"), |file| {
        file.write_all(&header(0x800 + rank as u32, &dims[..rank]))?;
        for &index in images {
            if let Err(error) = pixels.read(index, &mut image) {
                failed = Err(error);
                return Ok(());
            }
            let mut image = match channels == pixels.shape[0] {
                true => image.clone(),
                false => Picture::from_idx(&image, pixels.shape).fit(shape, Fit::Stretch),
            };
            if inverted {
                invert(&mut image, channels);
            }
            file.write_all(&image)?;
        }
        Ok(())
    })?;
    failed
}
