//! A folder of class folders of pictures becomes a data set of IDX files.
//!
//! ```text
//! DIR/Coat/1.jpg              OUT/train-images-idx4-ubyte   (idx3 where pictures are grey)
//! DIR/Coat/old/2.png    ──►       train-labels-idx1-ubyte
//! DIR/Shirt/a.bmp                 t10k-images-idx4-ubyte, t10k-labels-idx1-ubyte
//!                                 labels.txt                Coat, Shirt
//! ```
//! Every picture is decoded once, on all threads, into a file of pixels in a directory beside OUT;
//! once it is known which could be read, they are split, written out and the directory takes OUT's
//! place. In memory there is no more than a picture per thread.

use super::fit::has_colour;
use super::listing::{Listing, list};
use super::output::{Output, Place};
use super::{Fit, Picture, PictureError};
use crate::sampler::permute;
use crate::workers::Workers;
use autograd::{Philox, Purpose};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, mem};
use thiserror::Error;

/// What the words of the generator [`Purpose::Split`] are for, beside the images that are held out
/// for validation.
const SPLIT: u32 = 1;
const ORDER: u32 = 2;

/// How pictures are imported.
#[derive(Clone, Copy, Debug)]
pub struct Import {
    /// Rows and columns of the images.
    pub size: [usize; 2],
    /// Their channels.
    pub channels: Channels,
    /// What is done with pictures of other proportions.
    pub fit: Fit,
    /// The part of the pictures of each class that is put aside to test on, at least 0 and below 1.
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
pub struct Imported {
    /// Channels, rows and columns of the images.
    pub shape: [usize; 3],
    /// The classes in the order of their labels.
    pub classes: Vec<ClassCounts>,
    /// How many pictures have colour, where it was asked.
    pub coloured: usize,
    /// How many files could not be read as pictures.
    pub unreadable: usize,
    /// How many files lie outside of the class folders.
    pub outside: usize,
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

/// Why nothing was imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The folder of pictures.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// It, or what is wrong in it.
        path: PathBuf,
        /// What was found, and what was expected.
        problem: String,
    },
    /// The place of the data set is taken.
    #[error("{}: {problem}", path.display())]
    Taken {
        /// The place, or what is in the way.
        path: PathBuf,
        /// What was found, and what was expected.
        problem: String,
    },
    /// It was interrupted.
    #[error("interrupted: nothing was imported")]
    Interrupted,
    /// The system refused.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        cause: io::Error,
    },
}

/// Imports the pictures in `folder` into the directory `to`; `unreadable` is told of each file that
/// is no picture. Once `stop` is set it ends soon. After an error there is nothing new.
///
/// The same pictures under the same names give the same bytes, whatever the threads and the order in
/// which the system lists files.
///
/// # Panics
/// If the size or the fraction is not as [`Import`] says.
pub fn import(
    folder: &Path,
    to: &Path,
    options: &Import,
    workers: &Workers,
    stop: &AtomicBool,
    mut unreadable: impl FnMut(&PictureError),
) -> Result<Imported, ImportError> {
    assert!((0.0..1.0).contains(&options.test_fraction), "{}", options.test_fraction);
    let listing = list(folder)?;
    let place = Place::find(folder, to, options.replace)?;
    let output = place.begin()?;
    let mut pixels = Pixels::decode(&listing, options, workers, stop, &output, &mut unreadable)?;
    for (class, name) in listing.classes.iter().enumerate() {
        if !pixels.classes.contains(&(class as u8)) {
            let problem = "found no picture that can be read, expected at least one".to_owned();
            return Err(ImportError::Folder { path: folder.join(name), problem });
        }
    }
    let (train, test) = split(&pixels.classes, listing.classes.len(), options);
    let grey = options.channels == Channels::Auto && pixels.coloured == 0;
    let shape = if grey { [1, pixels.shape[1], pixels.shape[2]] } else { pixels.shape };
    for (part, images) in [("train", &train), ("t10k", &test)] {
        if !images.is_empty() {
            write_part(&output, part, images, shape, &mut pixels)?;
        }
    }
    let names: String = listing.classes.iter().map(|name| format!("{name}\n")).collect();
    output.write("labels.txt", |file| file.write_all(names.as_bytes()))?;
    let count = |images: &[u32], class: usize| {
        images.iter().filter(|&&i| usize::from(pixels.classes[i as usize]) == class).count()
    };
    let classes = listing.classes.iter().enumerate().map(|(class, name)| ClassCounts {
        name: name.clone(),
        train: count(&train, class),
        test: count(&test, class),
    });
    let imported = Imported {
        shape,
        classes: classes.collect(),
        coloured: pixels.coloured,
        unreadable: listing.pictures.len() - pixels.classes.len(),
        outside: listing.outside,
    };
    drop(pixels);
    output.finish()?;
    Ok(imported)
}

/// All pictures that could be read, one after another in a file.
struct Pixels {
    file: File,
    path: PathBuf,
    shape: [usize; 3],
    /// The class of each.
    classes: Vec<u8>,
    coloured: usize,
}

impl Pixels {
    fn decode(
        listing: &Listing,
        options: &Import,
        workers: &Workers,
        stop: &AtomicBool,
        output: &Output,
        unreadable: &mut impl FnMut(&PictureError),
    ) -> Result<Pixels, ImportError> {
        let channels = if options.channels == Channels::Grey { 1 } else { 3 };
        let shape = [channels, options.size[0], options.size[1]];
        let (path, file) = output.scratch()?;
        let cannot = |cause| ImportError::Io { path: path.clone(), action: "write", cause };
        let mut writer = BufWriter::new(file);
        let (mut classes, mut coloured) = (vec![], 0);
        for pictures in listing.pictures.chunks(8 * workers.threads()) {
            if stop.load(Ordering::Relaxed) {
                return Err(ImportError::Interrupted);
            }
            let mut images: Vec<_> = pictures.iter().map(|_| Ok(vec![])).collect();
            workers.pieces(&mut images, 1, &|i, image, _| {
                let (_, path) = &pictures[i];
                image[0] = Picture::open(path).map(|picture| picture.fit(shape, options.fit));
            });
            for ((class, _), image) in pictures.iter().zip(images) {
                match image {
                    Ok(image) => {
                        writer.write_all(&image).map_err(cannot)?;
                        classes.push(*class);
                        coloured += usize::from(channels == 3 && has_colour(&image));
                    }
                    Err(error) => unreadable(&error),
                }
            }
        }
        let file = writer.into_inner().map_err(|error| cannot(error.into_error()))?;
        Ok(Pixels { file, path, shape, classes, coloured })
    }

    fn read(&mut self, index: u32, image: &mut [u8]) -> Result<(), ImportError> {
        let mut read = || {
            self.file.seek(SeekFrom::Start(u64::from(index) * image.len() as u64))?;
            self.file.read_exact(image)
        };
        read().map_err(|cause| ImportError::Io { path: self.path.clone(), action: "read", cause })
    }
}

/// The images to train on and those to test on, in random order. Of each class the same part is for
/// testing, rounded, but one of two pictures at least and never all.
fn split(classes: &[u8], count: usize, options: &Import) -> (Vec<u32>, Vec<u32>) {
    let philox = Philox::new(options.seed, Purpose::Split);
    let (mut train, mut test) = (vec![], vec![]);
    for class in 0..count {
        let of_class = |&i: &u32| usize::from(classes[i as usize]) == class;
        let mut images: Vec<u32> = (0..classes.len() as u32).filter(of_class).collect();
        permute(&mut images, |group| philox.words([group, class as u32, SPLIT, 0]));
        let wanted = (images.len() as f64 * options.test_fraction).round() as usize;
        let least = usize::from(options.test_fraction > 0.0);
        let tests = wanted.max(least).min(images.len() - 1);
        train.extend(images.split_off(tests));
        test.extend(images);
    }
    for (part, images) in [&mut train, &mut test].into_iter().enumerate() {
        images.sort_unstable();
        permute(images, |group| philox.words([group, part as u32, ORDER, 0]));
    }
    (train, test)
}

fn write_part(
    output: &Output,
    part: &str,
    images: &[u32],
    shape: [usize; 3],
    pixels: &mut Pixels,
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
            if channels == pixels.shape[0] {
                file.write_all(&image)?;
            } else {
                let picture = Picture::from_idx(&image, pixels.shape);
                file.write_all(&picture.fit(shape, Fit::Stretch))?;
            }
        }
        Ok(())
    })?;
    mem::replace(&mut failed, Ok(()))?;
    output.write(&format!("{part}-labels-idx1-ubyte"), |file| {
        file.write_all(&header(0x801, &dims[..1]))?;
        let labels: Vec<u8> = images.iter().map(|&i| pixels.classes[i as usize]).collect();
        file.write_all(&labels)
    })
}

fn header(magic: u32, dims: &[usize]) -> Vec<u8> {
    let words = dims.iter().map(|&dim| dim as u32);
    [magic].into_iter().chain(words).flat_map(u32::to_be_bytes).collect()
}
