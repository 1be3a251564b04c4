//! The directory that gzipped files are unpacked to.

use crate::fixture::*;
use dataset::{Dataset, Source};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

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
    directory.open().unwrap().train().unwrap().image(5)
}

#[test]
fn a_file_is_unpacked_once() {
    let directory = packed();
    assert_eq!(last_image(&directory), (100..120).collect::<Vec<u8>>());
    let [entry] = &entries(&directory)[..] else { panic!("one entry") };
    let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
    let digest = |bytes: &[u8]| {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let packed = fs::read(directory.path().join("train-images-idx3-ubyte.gz")).unwrap();
    let plain = fs::read(entry).unwrap();
    assert_eq!(name, format!("{}-{}.idx", digest(&packed), digest(&plain)));

    // The second opening reads the entry, and makes no other.
    let inode = fs::metadata(entry).unwrap().ino();
    last_image(&directory);
    assert_eq!(fs::metadata(entry).unwrap().ino(), inode);
    assert_eq!(entries(&directory).len(), 1);
}

/// Whatever a disk or a program has made of an entry, what is read is what was packed.
#[test]
fn an_entry_with_another_content_is_made_anew() {
    let directory = packed();
    last_image(&directory);
    let entry = &entries(&directory)[0];
    let good = fs::read(entry).unwrap();
    for i in [0, 15, 16, good.len() - 1] {
        let mut bad = good.clone();
        bad[i] ^= 1;
        fs::write(entry, bad).unwrap();
        assert_eq!(last_image(&directory), (100..120).collect::<Vec<u8>>());
        assert_eq!(fs::read(entry).unwrap(), good);
    }
}

/// What was killed while it unpacked is deleted, unless it lives.
#[test]
fn leftovers_are_deleted() {
    let directory = packed();
    fs::create_dir(directory.cache()).unwrap();
    fs::write(directory.cache().join("unpacking-a8Kq2x"), "half").unwrap();
    fs::write(directory.cache().join("other"), "").unwrap();
    let cache = fs::File::open(directory.cache()).unwrap();
    cache.lock_shared().unwrap();
    last_image(&directory);
    assert_eq!(entries(&directory).len(), 3);
    drop(cache);
    directory.write("train-images-idx3-ubyte.gz", &gzip(&images(&[6, 4, 5, 1])));
    fs::remove_file(&entries(&directory)[0]).unwrap();
    last_image(&directory);
    assert_eq!(entries(&directory).len(), 2);
}

/// Content decides, not the name.
#[test]
fn names_may_be_wrong() {
    let directory = packed();
    directory.write("train-images-idx3-ubyte.gz", &images(&[6, 4, 5]));
    directory.write(TRAIN_LABELS, &gzip(&labels(&[0, 1, 2, 0, 1, 2])));
    let data = directory.open().unwrap();
    assert_eq!(data.train().unwrap().image(5)[19], 119);
    assert_eq!(data.train().unwrap().labels(), [0, 1, 2, 0, 1, 2]);
    assert_eq!(entries(&directory).len(), 1);
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
                    assert_eq!(train.image(i), *image);
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
        assert_contains(&message, &[path, "cannot write", "BOBBIN_CACHE"]);
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
