//! The directory that gzipped files are unpacked to.

use crate::fixture::*;
use std::fs;
use std::path::PathBuf;
use std::thread;
use trainer::{Dataset, Source};

/// The small set with its training images gzipped.
fn packed() -> Directory {
    let directory = Directory::small();
    directory.remove(TRAIN_IMAGES);
    directory.write("train-images-idx3-ubyte.gz", &gzip(&images(&[6, 4, 5])));
    directory
}

fn entries(directory: &Directory) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(directory.cache()).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn last_image(directory: &Directory) -> Vec<u8> {
    directory.open().unwrap().train().unwrap().image(5).to_vec()
}

#[test]
fn a_file_is_unpacked_once() {
    let directory = packed();
    assert_eq!(last_image(&directory), (100..120).collect::<Vec<u8>>());
    let [entry] = &entries(&directory)[..] else { panic!("one entry") };
    let hash = entry.file_stem().unwrap().to_str().unwrap();
    assert_eq!((hash.len(), entry.extension().unwrap().to_str().unwrap()), (64, "idx"));

    // The entry is what the second opening reads: a changed pixel shows.
    let mut bytes = fs::read(entry).unwrap();
    *bytes.last_mut().unwrap() = 255;
    fs::write(entry, bytes).unwrap();
    assert_eq!(last_image(&directory)[19], 255);
}

#[test]
fn changed_content_is_a_new_entry() {
    let directory = packed();
    last_image(&directory);
    let mut changed = images(&[6, 4, 5]);
    *changed.last_mut().unwrap() = 255;
    directory.write("train-images-idx3-ubyte.gz", &gzip(&changed));
    assert_eq!(last_image(&directory)[19], 255);
    assert_eq!(entries(&directory).len(), 2);
}

#[test]
fn an_entry_of_the_wrong_length_is_made_anew() {
    let directory = packed();
    last_image(&directory);
    let entry = &entries(&directory)[0];
    let good = fs::read(entry).unwrap();
    for bad in [&good[..good.len() - 1], b"", &[&good[..], b"more"].concat()] {
        fs::write(entry, bad).unwrap();
        assert_eq!(last_image(&directory).len(), 20);
        assert_eq!(fs::read(entry).unwrap(), good);
    }
}

#[test]
fn several_members_are_one_file() {
    let directory = packed();
    let bytes = images(&[6, 4, 5]);
    let members = [gzip(&bytes[..10]), gzip(&bytes[10..])].concat();
    directory.write("train-images-idx3-ubyte.gz", &members);
    assert_eq!(last_image(&directory).len(), 20);
}

#[test]
fn concurrent_openings_share_an_entry() {
    let directory = packed();
    let large = images(&[6, 500, 500]);
    directory.write("train-images-idx3-ubyte.gz", &gzip(&large));
    directory.write(TEST_IMAGES, &images(&[3, 500, 500]));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let data = directory.open().unwrap();
                let train = data.train().unwrap();
                for (i, image) in large[16..].chunks(500 * 500).enumerate() {
                    assert_eq!(train.image(i), image);
                }
            });
        }
    });
    assert_eq!(entries(&directory).len(), 1);
}

/// A file where the directory should be stops even the superuser.
#[test]
fn an_unwritable_cache_is_named() {
    let directory = packed();
    directory.write("file", b"");
    for cache in ["file", "file/below"] {
        let cache = directory.path().join(cache);
        let source = Source { cache: Some(cache.clone()), ..directory.source() };
        let message = Dataset::open(&source).err().unwrap().to_string();
        let path = cache.to_str().unwrap();
        assert_contains(&message, &[path, "cannot write", "--cache DIR", "BOBBIN_CACHE"]);
    }
}

#[cfg(unix)]
#[test]
fn entries_are_readable_by_whom_the_umask_allows() {
    use std::os::unix::fs::PermissionsExt;
    let directory = packed();
    last_image(&directory);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let plain = directory.path().join(TRAIN_LABELS);
    assert_eq!(mode(entries(&directory)[0].clone()), mode(plain));
}
