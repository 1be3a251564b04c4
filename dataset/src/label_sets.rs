//! Labels of which an image may have several, or none: a matrix of noughts and ones.

use crate::DataError;
use std::collections::HashMap;
use std::path::Path;

/// The labels of images that may have several each: `[images][labels]`, a byte of 1 for each that an image has.
#[derive(Clone, Debug)]
pub(crate) struct LabelSets {
    labels: usize,
    matrix: Vec<u8>,
}

impl LabelSets {
    /// Of a matrix of so many columns. Errors name `path`.
    ///
    /// # Panics
    /// If the matrix is not of whole rows.
    pub fn new(path: &Path, labels: usize, matrix: Vec<u8>) -> Result<LabelSets, DataError> {
        let error =
            |found, expected| Err(DataError::LabelSets { path: path.into(), found, expected });
        if labels < 2 {
            let found = format!("{labels} label to choose from");
            return error(found, "two or more: with one, images are of two classes");
        }
        assert!(matrix.len().is_multiple_of(labels), "{} values, by {labels}", matrix.len());
        if let Some(place) = matrix.iter().position(|&value| value > 1) {
            let (value, image, label) = (matrix[place], place / labels, place % labels);
            let found = format!("{value} for label {label} of image {image}");
            return error(found, "1 for a label that the image has, else 0");
        }
        Ok(LabelSets { labels, matrix })
    }

    /// How many labels there are to choose from.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// The row of an image.
    pub fn of(&self, image: usize) -> &[u8] {
        &self.matrix[image * self.labels..][..self.labels]
    }

    /// All rows, one after another.
    pub fn matrix(&self) -> &[u8] {
        &self.matrix
    }

    /// For each image the number of its set of labels: sets are numbered as they are first met.
    pub fn combinations(&self) -> Vec<u32> {
        let mut numbers = HashMap::new();
        let rows = self.matrix.chunks_exact(self.labels);
        let number = |row| {
            let next = numbers.len() as u32;
            *numbers.entry(row).or_insert(next)
        };
        rows.map(number).collect()
    }
}
