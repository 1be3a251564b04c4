//! One part of a data set: images with their labels.

use crate::DataError;
use crate::cache;
use crate::discover::Pair;
use crate::idx::{Idx, Role};
use crate::label_sets::LabelSets;
use crate::names::Names;
use std::path::Path;

/// One part of a data set: images and as many labels. It is never empty.
#[derive(Debug)]
pub struct Split {
    pub(crate) files: Pair,
    pub(crate) images: Idx,
    /// Copied out of the map, so that they stay the labels that were checked.
    pub(crate) labels: Vec<u32>,
    /// Where images may have several labels.
    pub(crate) sets: Option<LabelSets>,
    names: Option<Names>,
    /// The number of the first image: 0, unless this is a [`Share`](crate::Share).
    pub(crate) first: usize,
}

impl Split {
    pub(crate) fn open(files: Pair, cache: Option<&Path>) -> Result<Split, DataError> {
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
        let names = Names::beside(&files.images, images.header.count)?;
        let (labels, sets) =
            if labels.header.is_matrix {
                let [_, columns, _] = labels.header.shape;
                let sets = LabelSets::new(&files.labels, columns, labels.to_bytes())?;
                (sets.combinations(), Some(sets))
            } else {
                let labels = labels.to_labels().map_err(|(index, label)| {
                    DataError::NegativeLabel { path: files.labels.clone(), index, label }
                })?;
                (labels, None)
            };
        Ok(Split { files, images, labels, sets, names, first: 0 })
    }

    /// Images in memory, with as many labels.
    pub(crate) fn of_memory(
        files: Pair,
        images: Idx,
        labels: Vec<u32>,
        sets: Option<LabelSets>,
    ) -> Split {
        assert_eq!(images.header.count, labels.len(), "images and labels");
        Split { files, images, labels, sets, names: None, first: 0 }
    }

    /// Number of images.
    #[expect(clippy::len_without_is_empty, reason = "a split is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Bytes of an image.
    pub fn image_len(&self) -> usize {
        self.images.header.item_len()
    }

    /// Bytes of a value: 1, or 4 where images in memory are [`Pixels::Floats`](crate::Pixels::Floats) that are not all
    /// whole 255ths. These are `f32`, little-endian, in the same unit as bytes: 255 is white.
    pub fn value_len(&self) -> usize {
        self.images.value_len()
    }

    /// Copies the bytes of image `i` as the file has them: rows of pixels, the channels of a pixel side by
    /// side. They are copied because another process may change the file.
    ///
    /// # Panics
    /// Unless `i < len()`, or `i` is a number of the [`Share`](crate::Share); or if `to` does not have
    /// [`Split::image_len`] bytes.
    pub fn copy_image(&self, i: usize, to: &mut [u8]) {
        self.images.copy(i - self.first, to);
    }

    /// A hint that image `i` will be copied soon. Images are drawn from all over a file, so that without it
    /// each waits for main memory. Does nothing where there is no such image.
    pub fn prefetch_image(&self, i: usize) {
        self.images.prefetch(i.wrapping_sub(self.first));
    }

    /// The same, into memory of its own, as bytes: of other values the nearest ones.
    pub fn image(&self, i: usize) -> Vec<u8> {
        let mut image = vec![0; self.image_len()];
        self.copy_image(i, &mut image);
        if self.value_len() == 1 {
            return image;
        }
        image.as_chunks().0.iter().map(|&value| nearest_byte(f32::from_le_bytes(value))).collect()
    }

    /// The same part with images of bytes, the nearest ones; `Err` with the number of an image that has a value beyond
    /// them.
    pub(crate) fn to_bytes(&self) -> Result<Split, usize> {
        let mut bytes = Vec::with_capacity(self.images.items_len() / self.value_len());
        let mut image = vec![0; self.image_len()];
        for i in 0..self.len() {
            self.images.copy(i, &mut image);
            let values = image.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value));
            if values.clone().any(|value| !(0.0..=255.0).contains(&value)) {
                return Err(i);
            }
            bytes.extend(values.map(nearest_byte));
        }
        let images = Idx::of_images(self.images.header.shape, bytes);
        let sets = self.sets.clone();
        Ok(Split::of_memory(self.files.clone(), images, self.labels.clone(), sets))
    }

    /// The class of image `i`; where images may have several labels, the number of its set of them among those of the
    /// split, which is the same for images with the same. Panics unless `i` is the number of an image.
    pub fn label(&self, i: usize) -> u32 {
        self.labels[i - self.first]
    }

    /// The labels of image `i` where images may have several: a byte for each of the classes, 1 if the image has it,
    /// else 0. Panics unless `i` is the number of an image.
    pub fn label_set(&self, i: usize) -> Option<&[u8]> {
        self.sets.as_ref().map(|sets| sets.of(i - self.first))
    }

    /// Whether images may have several labels, or none.
    pub fn is_multi_label(&self) -> bool {
        self.sets.is_some()
    }

    /// Which picture image `i` was: its path in the folder that it was imported from, on one line, as
    /// [`name_line`](crate::name_line) writes it. `None` if the set does not say (`train-names.txt`,
    /// `t10k-names.txt`). Panics unless `i` is the number of an image.
    pub fn name(&self, i: usize) -> Option<&str> {
        assert!(i - self.first < self.len(), "image {i}");
        self.names.as_ref().map(|names| names.get(i - self.first))
    }

    /// [`Split::label`] of every image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// An error if the mapped images were written to since they were opened, or are no longer as long as
    /// they were: cheap enough to ask before each epoch. Reading images of a file that has shrunk raises
    /// SIGBUS; see [`install_signal_handlers`](crate::install_signal_handlers).
    pub fn check_unchanged(&self) -> Result<(), DataError> {
        self.images.check_unchanged()
    }
}

fn nearest_byte(value: f32) -> u8 {
    (value + 0.5) as u8
}
