//! The data set that comes with Bobbin.

use crate::fixture::Directory;
use dataset::{Dataset, Source, Split};
use sha2::{Digest, Sha256};
use std::fs;

#[test]
fn is_read_whole() {
    let cache = Directory::empty();
    let source = Source { cache: Some(cache.cache()), ..Source::bundled().unwrap() };
    let data = Dataset::open(&source).unwrap();
    assert_eq!((data.classes(), data.image_shape()), (10, [1, 28, 28]));
    assert_eq!(data.class_names()[0], "T-shirt/top");
    assert_eq!(data.class_names()[9], "Ankle boot");

    let balanced = |split: &Split, of_each: usize| {
        assert_eq!(split.len(), 10 * of_each);
        for class in 0..10 {
            assert_eq!(split.labels().iter().filter(|&&label| label == class).count(), of_each);
        }
        assert_eq!(split.image(split.len() - 1).len(), 28 * 28);
    };
    balanced(data.train().unwrap(), 6000);
    balanced(data.test().unwrap(), 1000);

    // The mean pixel of the training set is known to be 0.2860 of white.
    let train = data.train().unwrap();
    let sum: u64 = (0..train.len()).flat_map(|i| train.image(i)).map(u64::from).sum();
    let mean = sum as f64 / (train.len() * 28 * 28 * 255) as f64;
    assert!((mean - 0.2860).abs() < 5e-5, "{mean}");
}

#[test]
fn is_what_its_readme_says() {
    let directory = Source::bundled().unwrap().directory;
    let readme = fs::read_to_string(directory.join("README.md")).unwrap();
    let mut files = 0;
    for (hash, name) in readme.lines().filter_map(|line| line.split_once("  ")) {
        let bytes = fs::read(directory.join(name)).unwrap();
        let found: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(found, hash, "{name}");
        files += 1;
    }
    assert_eq!(files, 4);
}
