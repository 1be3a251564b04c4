//! Small data sets in temporary directories.

use dataset::{Dataset, Source};
use reference::uniform;
use std::path::Path;
use tempfile::TempDir;
use trainer::Recipe;

/// Images and labels of one part of a data set.
pub struct Part {
    /// Channels, rows and columns.
    pub shape: [usize; 3],
    /// Rows of pixels, the channels of a pixel side by side.
    pub pixels: Vec<u8>,
    pub labels: Vec<u8>,
}

impl Part {
    /// Images that can be learnt: for each class a pattern of its own, under noise.
    pub fn random(images: usize, shape: [usize; 3], classes: usize, seed: u64) -> Part {
        let len = shape.iter().product::<usize>();
        let patterns: Vec<f64> = uniform(classes * len, 99);
        let noise: Vec<f64> = uniform(images * len, seed);
        let mut labels: Vec<u8> = (0..images).map(|i| ((i * i + i / 3) % classes) as u8).collect();
        labels[images - 1] = (classes - 1) as u8;
        let pixel = |i: usize| {
            let pattern = patterns[labels[i / len] as usize * len + i % len];
            (128.0 + 60.0 * pattern + 60.0 * noise[i]) as u8
        };
        Part { shape, pixels: (0..images * len).map(pixel).collect(), labels }
    }

    /// Writes the files of the part: `train` or `t10k`.
    pub fn write(&self, directory: &Path, name: &str) {
        let [channels, rows, columns] = self.shape;
        let mut dims = vec![self.labels.len(), rows, columns];
        if channels > 1 {
            dims.push(channels);
        }
        let words = |magic: u32, dims: &[usize]| -> Vec<u8> {
            let dims = dims.iter().map(|n| *n as u32);
            [magic].into_iter().chain(dims).flat_map(u32::to_be_bytes).collect()
        };
        let images = [words(0x800 + dims.len() as u32, &dims), self.pixels.clone()].concat();
        let labels = [words(0x801, &dims[..1]), self.labels.clone()].concat();
        let write = |file: String, bytes| std::fs::write(directory.join(file), bytes).unwrap();
        write(format!("{name}-images-idx{}-ubyte", dims.len()), images);
        write(format!("{name}-labels-idx1-ubyte"), labels);
    }
}

/// A data set on disk. The directory goes when it is dropped.
pub fn open(train: &Part, test: Option<&Part>) -> (TempDir, Dataset) {
    let directory = TempDir::new().unwrap();
    train.write(directory.path(), "train");
    if let Some(test) = test {
        test.write(directory.path(), "t10k");
    }
    let data = Dataset::open(&Source::new(directory.path())).unwrap();
    (directory, data)
}

/// So many random images of this shape, and 20 to test on.
#[allow(dead_code, reason = "not in every test")]
pub fn random(images: usize, shape: [usize; 3], classes: usize) -> (TempDir, Dataset) {
    let test = Part::random(20, shape, classes, 2);
    open(&Part::random(images, shape, classes, 1), Some(&test))
}

/// The recipe `paper` with these fields set.
#[allow(dead_code, reason = "not in every test")]
pub fn recipe(settings: &[(&str, &str)]) -> Recipe {
    let settings = settings.iter().map(|(field, value)| (field.to_string(), value.to_string()));
    Recipe::load("paper", &settings.collect::<Vec<_>>()).unwrap()
}
