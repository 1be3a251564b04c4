//! A gzipped file of images, by way of the cache.

use super::{directory, file, refused};
use dataset::ImageFile;

/// The file is unpacked into a cache, and read.
pub fn target(bytes: &[u8]) -> bool {
    let cache = directory().join("cache");
    let taken = match ImageFile::open(&file("images.gz", bytes), Some(&cache)) {
        Ok(images) => {
            let last = images.images() - 1;
            assert_eq!(
                images.image(last).expect("the last").len(),
                images.shape().iter().product::<usize>()
            );
            refused(images.image(last + 1).expect_err("there is none"));
            true
        }
        Err(error) => refused(error),
    };
    // What is in it must be whole; and it shall not grow.
    for entry in std::fs::read_dir(&cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        assert!(name.to_string_lossy().ends_with(".idx"), "{name:?} is left in the cache");
        std::fs::remove_file(entry.path()).expect("it is there");
    }
    taken
}
