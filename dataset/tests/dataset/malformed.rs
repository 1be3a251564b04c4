//! A table of malformed files, each with the words its message must have.

use crate::fixture::*;
use proptest::prelude::*;
use std::fs;

/// Opens the small set with one file replaced; the message must name that file.
fn refused(name: &str, bytes: &[u8], words: &[&str]) {
    let directory = Directory::small();
    let _ = fs::remove_file(directory.path().join(name.trim_end_matches(".gz")));
    directory.write(name, bytes);
    let message = directory.message();
    assert_contains(&message, words);
    assert_contains(&message, &[directory.path().join(name).to_str().unwrap()]);
    assert_eq!(message.lines().count(), 1);
    assert!(!directory.cache().exists() || fs::read_dir(directory.cache()).unwrap().count() == 0);
}

#[test]
fn headers() {
    let images_magic = ["0x00000803 (images) or 0x00000804"];
    let cases: [(&[u8], &[&str]); 12] = [
        (b"", &["0 bytes", "too short"]),
        (&[0, 0, 8], &["3 bytes", "too short"]),
        (&header(0x803, &[6, 4]), &["12 bytes", "too short"]),
        (&header(0xd03, &[6, 4, 5]), &["magic number 0x00000d03", images_magic[0]]),
        (&header(0x0308_0000, &[6, 4, 5]), &["magic number 0x03080000"]),
        (&labels(&[0, 1, 2, 0, 1, 2]), &["magic number 0x00000801", images_magic[0]]),
        (&header(0x803, &[0, 4, 5]), &["dimension of zero", "0 × 4 × 5"]),
        (&header(0x803, &[6, 4, 0]), &["dimension of zero", "6 × 4 × 0"]),
        (&images(&[6, 4, 5, 2]), &["2 channels", "1, 3 or 4"]),
        (&header(0x803, &[u32::MAX; 3]), &["4294967295 × 4294967295", "more than memory"]),
        (&header(0x804, &[1 << 31, 1 << 31, 1, 4]), &["more than memory"]),
        (&header(0x803, &[1 << 31, 1 << 30, 1]), &["truncated", "found 16", "2305843009213693968"]),
    ];
    for (bytes, words) in cases {
        refused(TRAIN_IMAGES, bytes, words);
        refused("t10k-images-idx3-ubyte.gz", &gzip(bytes), &words[..1]);
    }
    let words = ["magic number 0x00000803", "0x00000801 (labels)"];
    refused(TRAIN_LABELS, &images(&[6, 4, 5]), &words);
    refused(TRAIN_LABELS, &header(0x801, &[0]), &["dimension of zero"]);
}

/// Labels of two and four bytes, which are signed.
#[test]
fn wide_labels() {
    let wide = |labels: &[i32]| {
        let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_be_bytes()).collect();
        [header(0xc01, &[labels.len() as u32]), bytes].concat()
    };
    let narrow = |labels: &[i16]| {
        let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_be_bytes()).collect();
        [header(0xb01, &[labels.len() as u32]), bytes].concat()
    };
    for file in [wide(&[0, 1, 2, 300, 0, 1]), narrow(&[0, 1, 2, 300, 0, 1])] {
        let directory = Directory::small();
        directory.write(TRAIN_LABELS, &file);
        let data = directory.open().unwrap();
        assert_eq!(
            (data.classes(), data.train().unwrap().labels()),
            (301, &[0, 1, 2, 300, 0, 1][..])
        );
    }
    // What a byte can hold stands for the same data, however wide it is.
    let directory = Directory::small();
    let fingerprint = directory.open().unwrap().fingerprint();
    directory.write(TRAIN_LABELS, &wide(&[0, 1, 2, 0, 1, 2]));
    assert_eq!(directory.open().unwrap().fingerprint(), fingerprint);

    refused(TRAIN_LABELS, &wide(&[0, 1, -1, 0, 1, 2]), &["label -1 at index 2", "from 0 on"]);
    refused(TRAIN_LABELS, &narrow(&[-300, 1, 1, 0, 1, 2]), &["label -300 at index 0"]);
    refused(TRAIN_LABELS, &wide(&[0, 1, 70_000, 0, 1, 2]), &["label 70000", "below 4096"]);
    refused(TRAIN_LABELS, &wide(&[0; 6])[..31], &["truncated", "found 31", "expected 32"]);
}

#[test]
fn lengths() {
    let good = images(&[6, 4, 5]);
    let short = &good[..good.len() - 1];
    let long = [&good[..], &[0]].concat();
    refused(TRAIN_IMAGES, short, &["truncated", "found 135", "expected 136"]);
    refused(TRAIN_IMAGES, &long, &["trailing", "found 137", "expected 136"]);
    let name = "train-images-idx3-ubyte.gz";
    refused(name, &gzip(short), &["truncated", "unpacks to 135", "expected 136"]);
    refused(name, &gzip(&long), &["unpacks to more than the 136 bytes"]);
}

#[test]
fn parts_that_disagree() {
    let words = ["5 labels", "expected 6", TRAIN_IMAGES];
    refused(TRAIN_LABELS, &labels(&[0; 5]), &words);
    let directory = Directory::small();
    directory.write(TEST_IMAGES, &images(&[3, 5, 4]));
    assert_contains(&directory.message(), &[TEST_IMAGES, "1 × 5 × 4", "expected 1 × 4 × 5"]);
    directory.remove(TEST_IMAGES);
    directory.write("t10k-images-idx4-ubyte", &images(&[3, 4, 5, 3]));
    assert_contains(&directory.message(), &["t10k-images-idx4-ubyte", "3 × 4 × 5"]);
}

#[test]
fn gzip_damage() {
    let name = "train-images-idx3-ubyte.gz";
    let good = gzip(&images(&[6, 4, 5]));
    let end = good.len();
    let flipped = |i: usize| {
        let mut bytes = good.clone();
        bytes[i] ^= 0x10;
        bytes
    };
    let cases: [&[u8]; 6] = [
        &good[..5],
        &good[..end / 2],
        &good[..end - 1],
        &flipped(end - 8),                 // the CRC
        &flipped(end - 1),                 // the length
        &[&good[..], b"trailer"].concat(), // neither the end nor another member
    ];
    for bytes in cases {
        refused(name, bytes, &["damaged gzip"]);
    }
    refused(name, b"", &["0 bytes", "too short"]);
    refused(name, b"not a gzip file at all", &["magic number 0x6e6f7420"]);
}

/// What a failed or half-hearted download leaves says what it is.
#[test]
fn other_files_are_recognised() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    let page = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<title>404</title>";
    for (bytes, word) in [
        (&pointer[..], "a Git LFS pointer"),
        (page, "an HTML page"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    ] {
        for name in [TRAIN_IMAGES, "train-images-idx3-ubyte.gz"] {
            refused(name, bytes, &[word, "expected an IDX file of images"]);
        }
        refused(TRAIN_LABELS, bytes, &[word, "expected an IDX file of labels"]);
        refused("train-images-idx3-ubyte.gz", &gzip(bytes), &[word]);
        refused("labels.txt", bytes, &[word, "expected text"]);
        refused("train-names.txt", bytes, &[word, "expected text"]);
    }
}

/// The bomb is cut short: only who unpacked it to the end would notice.
#[test]
fn a_gzip_bomb_is_not_unpacked() {
    let mut bomb = images(&[6, 4, 5]);
    bomb.resize(20 << 20, 0);
    let bomb = gzip(&bomb);
    let words = ["more than the 136 bytes"];
    refused("train-images-idx3-ubyte.gz", &bomb[..bomb.len() / 2], &words);
}

#[test]
fn a_directory_is_not_a_file() {
    let directory = Directory::small();
    for name in [TRAIN_LABELS, "train-labels-idx1-ubyte.gz"] {
        let _ = fs::remove_file(directory.path().join(TRAIN_LABELS));
        let path = directory.path().join(name);
        fs::create_dir(&path).unwrap();
        assert_contains(&directory.message(), &[path.to_str().unwrap(), "regular file"]);
        fs::remove_dir(&path).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_broken_link_is_named() {
    let directory = Directory::small();
    directory.remove(TRAIN_LABELS);
    let path = directory.path().join(TRAIN_LABELS);
    std::os::unix::fs::symlink("nowhere", path).unwrap();
    assert_contains(&directory.message(), &[TRAIN_LABELS, "cannot open"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Any damage to any file is either harmless or an error, never a panic.
    #[test]
    fn random_damage(
        file in 0..4usize,
        packed: bool,
        cut in prop::option::of(0..200usize),
        changes in prop::collection::vec((0..200usize, any::<u8>()), 0..3),
    ) {
        let directory = Directory::small();
        let name = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS][file];
        let mut bytes = fs::read(directory.path().join(name)).unwrap();
        if packed {
            bytes = gzip(&bytes);
            directory.remove(name);
        }
        bytes.truncate(cut.unwrap_or(bytes.len()));
        for (i, byte) in changes {
            if let Some(place) = bytes.get_mut(i) {
                *place = byte;
            }
        }
        directory.write(&if packed { format!("{name}.gz") } else { name.into() }, &bytes);
        if let Ok(data) = directory.open() {
            for split in [data.train().unwrap(), data.test().unwrap()] {
                for i in 0..split.len() {
                    prop_assert_eq!(split.image(i).len(), data.image_shape().iter().product::<usize>());
                    prop_assert!((split.label(i) as usize) < data.classes());
                }
            }
        }
    }
}
