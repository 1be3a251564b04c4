//! Data sets from memory.

use crate::dataset::{Dataset, common_shape};
use crate::discover::{Pair, Part};
use crate::idx::Idx;
use crate::label_sets::LabelSets;
use crate::split::Split;
use crate::{DataError, MAX_CLASSES};
use std::path::{Path, PathBuf};

/// The values of images, one image after another: rows of pixels, the channels of a pixel side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pixels<'a> {
    /// From 0 to 255.
    Bytes(&'a [u8]),
    /// Any finite numbers, of which 0 and 1 stand for the bytes 0 and 255. They are kept as they are; where all are
    /// whole 255ths from 0 to 1 (but for rounding), as bytes, which is the same to the bit.
    Floats(&'a [f32]),
}

impl<'a> From<&'a [u8]> for Pixels<'a> {
    fn from(bytes: &'a [u8]) -> Pixels<'a> {
        Pixels::Bytes(bytes)
    }
}

impl<'a> From<&'a [f32]> for Pixels<'a> {
    fn from(floats: &'a [f32]) -> Pixels<'a> {
        Pixels::Floats(floats)
    }
}

impl Pixels<'_> {
    fn len(self) -> usize {
        match self {
            Pixels::Bytes(bytes) => bytes.len(),
            Pixels::Floats(floats) => floats.len(),
        }
    }

    /// As they are stored; `Err` with the place of the first value that is not finite.
    fn to_images(self, shape: [usize; 3]) -> Result<Idx, usize> {
        let floats = match self {
            Pixels::Bytes(bytes) => return Ok(Idx::of_images(shape, bytes.to_vec())),
            Pixels::Floats(floats) => floats,
        };
        let is_byte = |&value: &f32| {
            let level = level(value);
            (0.0..=255.0).contains(&level) && level == level.round()
        };
        if floats.iter().all(is_byte) {
            let bytes = floats.iter().map(|&value| level(value) as u8).collect();
            return Ok(Idx::of_images(shape, bytes));
        }
        match floats.iter().position(|&value| !level(value).is_finite()) {
            Some(place) => Err(place),
            None => {
                let levels: Vec<f32> = floats.iter().map(|&value| level(value)).collect();
                Ok(Idx::of_float_images(shape, &levels))
            }
        }
    }
}

/// How far from a whole number 255 · value may be for its rounding: that of a division and of a normalisation.
const ROUNDING: f32 = 1.0 / 4096.0;

/// 255 · value, and the whole number itself where that is one but for rounding.
fn level(value: f32) -> f32 {
    let level = 255.0 * value;
    let whole = level.round();
    if (level - whole).abs() <= ROUNDING { whole } else { level }
}

/// Images with their labels: one each, or as many of the classes as there are in the rows of a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Samples<'a> {
    /// The images.
    pub pixels: Pixels<'a>,
    /// The class of each.
    pub labels: Labels<'a>,
}

/// What is in images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Labels<'a> {
    /// The class of each.
    Classes(&'a [u32]),
    /// `[images][classes]`: 1 for each class that an image has, else 0.
    Matrix(&'a [u8]),
}

impl Labels<'_> {
    /// How many images they are of, if classes are so many.
    fn images(self, classes: usize) -> usize {
        match self {
            Labels::Classes(labels) => labels.len(),
            Labels::Matrix(matrix) => matrix.len() / classes,
        }
    }

    /// Labels and sets of labels as a [`Split`] has them.
    fn checked(
        self,
        name: &'static str,
        classes: usize,
    ) -> Result<(Vec<u32>, Option<LabelSets>), DataError> {
        let wrong = |found: String, expected: String| DataError::Memory { name, found, expected };
        match self {
            Labels::Classes(labels) => {
                match labels.iter().position(|&label| label as usize >= classes) {
                    None => Ok((labels.to_vec(), None)),
                    Some(i) => {
                        let found = format!("label {} at index {i}", labels[i]);
                        let expected = format!("labels below {classes}, the number of class names");
                        Err(wrong(found, expected))
                    }
                }
            }
            Labels::Matrix(matrix) if !matrix.len().is_multiple_of(classes) => {
                let found = format!("labels of {} values", matrix.len());
                Err(wrong(found, format!("{classes} for each image, one for each class name")))
            }
            Labels::Matrix(matrix) => {
                let sets = LabelSets::new(Path::new(name), classes, matrix.to_vec())?;
                Ok((sets.combinations(), Some(sets)))
            }
        }
    }
}

impl<'a> Samples<'a> {
    /// These images with these labels, one each.
    #[must_use]
    pub fn new(pixels: impl Into<Pixels<'a>>, labels: &'a [u32]) -> Samples<'a> {
        Samples { pixels: pixels.into(), labels: Labels::Classes(labels) }
    }

    /// These images with any number of labels each: a row of the matrix `[images][classes]` has 1 for each class that
    /// an image has, else 0.
    #[must_use]
    pub fn multi_label(pixels: impl Into<Pixels<'a>>, matrix: &'a [u8]) -> Samples<'a> {
        Samples { pixels: pixels.into(), labels: Labels::Matrix(matrix) }
    }

    /// How many images there are, if classes are so many.
    pub fn images(self, classes: usize) -> usize {
        self.labels.images(classes)
    }

    /// A part of a data set of images of this shape (channels, rows, columns) and so many classes, copied.
    pub fn to_split(self, shape: [usize; 3], classes: usize) -> Result<Split, DataError> {
        self.part("the images in memory", shape, classes)
    }

    fn part(
        self,
        name: &'static str,
        shape: [usize; 3],
        classes: usize,
    ) -> Result<Split, DataError> {
        let wrong = |found: String, expected: String| DataError::Memory { name, found, expected };
        let Samples { pixels, labels } = self;
        let [channels, rows, columns] = shape;
        let values =
            [rows, columns, channels].iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
        let values = values.filter(|values| *values > 0 && matches!(channels, 1 | 3 | 4));
        let Some(values) = values else {
            let expected = "1, 3 or 4 channels, and a row and a column at least".to_owned();
            return Err(wrong(format!("images of {channels} × {rows} × {columns}"), expected));
        };
        let (labels, sets) = labels.checked(name, classes)?;
        if labels.is_empty() || labels.len().checked_mul(values) != Some(pixels.len()) {
            let found = format!("{} values and {} labels", pixels.len(), labels.len());
            let expected =
                format!("{values} values for each label ({channels} × {rows} × {columns})");
            return Err(wrong(found, expected + ", and one image at least"));
        }
        let images = pixels.to_images(shape).map_err(|place| {
            let Pixels::Floats(floats) = pixels else { unreachable!("every byte is a value") };
            let found = format!("{} in image {}", floats[place], place / values);
            wrong(found, "finite numbers, below 1e36".to_owned())
        })?;
        let path = PathBuf::from(name);
        let files = Pair { images: path.clone(), labels: path };
        Ok(Split::of_memory(files, images, labels, sets))
    }
}

impl Dataset {
    /// A data set of images in memory, which are copied: of this shape (channels: 1, 3 or 4; rows; columns), with
    /// labels that are the numbers of these classes. It trains to the bits of the same images in files.
    ///
    /// A run on it keeps no name of the data: another program cannot find them again.
    ///
    /// ```
    /// use dataset::{Dataset, Samples};
    /// let (pixels, labels) = ([0.0f32, 1.0, 0.5, 0.25], [0, 1]);
    /// let classes = ["dark", "bright"].map(str::to_owned);
    /// let train = Samples::new(&pixels[..], &labels);
    /// let data = Dataset::in_memory([1, 1, 2], &classes, train, None)?;
    /// assert_eq!(data.train()?.image(1), [128, 64]);
    /// # Ok::<(), dataset::DataError>(())
    /// ```
    pub fn in_memory(
        shape: [usize; 3],
        classes: &[String],
        train: Samples<'_>,
        test: Option<Samples<'_>>,
    ) -> Result<Dataset, DataError> {
        if !(1..=MAX_CLASSES).contains(&classes.len()) {
            let (found, expected) =
                (format!("{} class names", classes.len()), format!("1 to {MAX_CLASSES}"));
            return Err(DataError::Memory { name: "the classes in memory", found, expected });
        }
        let part = |samples: Samples<'_>, part: Part| {
            let name = match part {
                Part::Train => "the training images in memory",
                Part::Test => "the test images in memory",
            };
            samples.part(name, shape, classes.len())
        };
        let train = part(train, Part::Train)?;
        let test = test.map(|test| part(test, Part::Test)).transpose()?;
        let splits: Vec<&Split> = [&train].into_iter().chain(&test).collect();
        let image_shape = common_shape(&splits)?;
        if splits.iter().any(|split| split.is_multi_label() != splits[0].is_multi_label()) {
            let name = "the labels in memory";
            let found = "several to an image in one of training and test images alone".to_owned();
            return Err(DataError::Memory { name, found, expected: "the same of both".to_owned() });
        }
        Ok(Dataset::of_parts(Some(train), test, classes.to_vec(), image_shape))
    }

    /// Whether some of its images are of values that are no bytes.
    pub fn has_floats(&self) -> bool {
        [self.train(), self.test()].into_iter().flatten().any(|split| split.value_len() > 1)
    }

    /// The same data, in memory, with the nearest bytes for values. An error if one is not from 0 to 1.
    pub fn to_bytes(&self) -> Result<Dataset, DataError> {
        let part = |split: Result<&Split, DataError>| {
            let Ok(split) = split else { return Ok(None) };
            let wrong = |image| DataError::Memory {
                name: "the images in memory",
                found: format!("values below 0 or above 1 in image {image}"),
                expected: "uint8, or numbers from 0 to 1, as the recipe changes images".to_owned(),
            };
            split.to_bytes().map(Some).map_err(wrong)
        };
        let (train, test) = (part(self.train())?, part(self.test())?);
        Ok(Dataset::of_parts(train, test, self.class_names().to_vec(), self.image_shape()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(values: &[f32]) -> Result<Split, DataError> {
        Samples::new(values, &[0, 1]).to_split([1, 1, 2], 2)
    }

    #[test]
    fn floats_that_are_pixels_are_bytes() {
        let levels = [0u8, 17, 254, 255];
        let split = split(&levels.map(|level| f32::from(level) / 255.0)).unwrap();
        assert_eq!(
            (split.value_len(), split.image(0), split.image(1)),
            (1, vec![0, 17], vec![254, 255])
        );
    }

    #[test]
    fn other_floats_are_kept_as_they_are() {
        let values = [-0.25f32, 0.5, 1e20, 17.0 / 255.0];
        let split = split(&values).unwrap();
        assert_eq!((split.value_len(), split.image_len()), (4, 8));
        let mut image = vec![0; 8];
        split.copy_image(1, &mut image);
        let found = [&image[..4], &image[4..]].map(|v| f32::from_le_bytes(v.try_into().unwrap()));
        assert_eq!(found, [255.0 * 1e20, 17.0]);
        assert_eq!((split.image(0), split.image(1)), (vec![0, 128], vec![255, 17]));
        assert_eq!(split.to_bytes().unwrap_err(), 0);
        assert_eq!(
            super::tests::split(&[0.0, 0.5, 0.1, 1.0]).unwrap().to_bytes().unwrap().image(1),
            [26, 255]
        );
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for value in [f32::NAN, f32::INFINITY, 3e38] {
            let error = split(&[0.0, 0.5, 0.1, value]).unwrap_err().to_string();
            assert!(error.contains("in image 1") && error.contains("finite numbers"), "{error}");
        }
    }
}
