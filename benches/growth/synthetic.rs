//! Data sets of random images, made for the occasion.

use dataset::{Dataset, Source};
use reference::uniform;
use tempfile::TempDir;

/// So many random images of so many pixels a side, to train and to test on, in ten classes. The
/// directory goes when it is dropped.
pub fn images(count: usize, size: usize) -> (TempDir, Dataset) {
    let directory = TempDir::new().expect("there is room for temporary files");
    let values: Vec<f64> = uniform(count * size * size, 1);
    let pixels = values.iter().map(|value| (128.0 + 127.0 * value) as u8);
    let labels = (0..count).map(|i| (i % 10) as u8);
    for part in ["train", "t10k"] {
        let write = |name: &str, magic: u32, dimensions: &[usize], values: Vec<u8>| {
            let dimensions = dimensions.iter().map(|n| *n as u32);
            let header = [magic].into_iter().chain(dimensions).flat_map(u32::to_be_bytes);
            let path = directory.path().join(format!("{part}-{name}-ubyte"));
            std::fs::write(path, header.chain(values).collect::<Vec<u8>>())
                .expect("there is room for temporary files");
        };
        write("images-idx3", 0x803, &[count, size, size], pixels.clone().collect());
        write("labels-idx1", 0x801, &[count], labels.clone().collect());
    }
    let data = Dataset::open(&Source::new(directory.path())).expect("written just now");
    (directory, data)
}
