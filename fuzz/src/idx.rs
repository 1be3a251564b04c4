//! A data set: the first two bytes say how many of the others are the images, the rest are the labels.

use super::{directory, file, refused};
use dataset::{Dataset, Source};

/// A data set is opened, and images of it are read.
pub fn target(bytes: &[u8]) -> bool {
    let Some((len, rest)) = bytes.split_first_chunk() else { return false };
    let (images, labels) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
    let axes = if images.get(3) == Some(&4) { 4 } else { 3 };
    let path = file(&format!("train-images-idx{axes}-ubyte"), images);
    file("train-labels-idx1-ubyte", labels);
    let taken = match Dataset::open(&Source::new(directory())) {
        Ok(data) => {
            let train = data.train().expect("it has been opened");
            let mut image = vec![0; train.image_len()];
            for i in [0, train.len() / 2, train.len() - 1] {
                train.copy_image(i, &mut image);
                match train.label_set(i) {
                    Some(set) => assert_eq!(set.len(), data.classes()),
                    None => assert!((train.label(i) as usize) < data.classes()),
                }
            }
            data.fingerprint();
            true
        }
        Err(error) => refused(error),
    };
    std::fs::remove_file(path).expect("it was written");
    taken
}
