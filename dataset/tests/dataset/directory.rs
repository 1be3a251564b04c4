//! Which files of a directory make a data set.

use crate::fixture::*;
use dataset::{Dataset, PREPARATION_FILE, Source, preparation_text};
use model::{Fit, Preparation};
use std::fs;

#[test]
fn a_small_set_is_read() {
    let directory = Directory::small();
    let data = directory.open().unwrap();
    assert_eq!((data.classes(), data.image_shape()), (3, [1, 4, 5]));
    assert_eq!(data.class_names(), ["0", "1", "2"]);
    let train = data.train().unwrap();
    assert_eq!((train.len(), train.labels()), (6, &[0, 1, 2, 0, 1, 2][..]));
    assert_eq!(train.image(1), (20..40).collect::<Vec<u8>>());
    let test = data.test().unwrap();
    assert_eq!((test.len(), test.label(0)), (3, 2));
    assert_eq!(test.image(2).len(), 20);
}

#[test]
fn channels_come_from_the_fourth_dimension() {
    for channels in [1, 3, 4] {
        let directory = Directory::empty();
        directory.write("train-images-idx4-ubyte", &images(&[2, 4, 5, channels]));
        directory.write(TRAIN_LABELS, &labels(&[0, 1]));
        let data = directory.open().unwrap();
        assert_eq!(data.image_shape(), [channels as usize, 4, 5]);
        assert_eq!(data.train().unwrap().image(1).len(), 20 * channels as usize);
    }
}

#[test]
fn customary_names() {
    let cases = [
        ["train-images.idx3-ubyte", "train-labels.idx1-ubyte"],
        ["train-images-idx3-ubyte.gz", "train-labels.idx1-ubyte.gz"],
        ["t10k-images.idx4-ubyte.gz", "t10k-labels-idx1-ubyte"],
        ["test-images-idx3-ubyte", "test-labels-idx1-ubyte"],
        ["emnist-letters-test-images-idx3-ubyte.gz", "emnist-letters-test-labels-idx1-ubyte.gz"],
        ["a-train-test-images-idx3-ubyte", "a-train-test-labels-idx1-ubyte"],
    ];
    for names in cases {
        let directory = Directory::empty();
        let rank_4 = names[0].contains("idx4");
        let images = images(if rank_4 { &[2, 4, 5, 3] } else { &[2, 4, 5] });
        for (name, bytes) in names.into_iter().zip([images, labels(&[0, 1])]) {
            let bytes = if name.ends_with(".gz") { gzip(&bytes) } else { bytes };
            directory.write(name, &bytes);
        }
        let data = directory.open().unwrap();
        let (train, test) = (data.train(), data.test());
        assert_eq!(train.is_ok(), names[0].starts_with("train"), "{names:?}");
        assert_eq!(test.is_ok(), !names[0].starts_with("train"), "{names:?}");
        assert_eq!(train.or(test).unwrap().len(), 2);
    }
}

#[test]
fn a_plain_file_is_preferred_to_its_gzipped_twin() {
    let directory = Directory::small();
    directory.write("train-images-idx3-ubyte.gz", b"never read");
    directory.open().unwrap();
    assert!(!directory.cache().exists());
}

#[test]
fn a_missing_part_is_an_error_only_when_asked_for() {
    let directory = Directory::small();
    directory.remove(TRAIN_IMAGES);
    directory.remove(TRAIN_LABELS);
    let data = directory.open().unwrap();
    assert!(data.test().is_ok());
    let message = data.train().err().unwrap().to_string();
    assert_contains(&message, &["no training set", TRAIN_IMAGES, TRAIN_LABELS, ".gz"]);
}

#[test]
fn half_a_part_is_an_error() {
    let directory = Directory::small();
    directory.remove(TRAIN_LABELS);
    assert_contains(&directory.message(), &[TRAIN_IMAGES, "no labels beside it", TRAIN_LABELS]);
    directory.write(TRAIN_LABELS, &labels(&[0; 6]));
    directory.remove(TEST_IMAGES);
    assert_contains(&directory.message(), &[TEST_LABELS, "no images beside it", TEST_IMAGES]);
}

#[test]
fn of_several_sets_one_is_chosen_by_its_prefix() {
    let directory = Directory::small();
    for (set, count) in [("emnist-digits-", 1), ("emnist-letters-", 2)] {
        directory.write(&format!("{set}{TRAIN_IMAGES}"), &images(&[count, 4, 5]));
        directory.write(&format!("{set}{TRAIN_LABELS}"), &labels(&vec![0; count as usize]));
    }
    assert_contains(
        &directory.message(),
        &["one without a prefix, emnist-digits, emnist-letters", "choose one by its prefix"],
    );
    let open =
        |prefix: &str| Dataset::open(&Source { prefix: Some(prefix.into()), ..directory.source() });
    assert_eq!(open("").unwrap().train().unwrap().len(), 6);
    assert_eq!(open("emnist-digits").unwrap().train().unwrap().len(), 1);
    let letters = open("emnist-letters").unwrap();
    assert_eq!(letters.train().unwrap().len(), 2);
    let message = letters.test().err().unwrap().to_string();
    assert_contains(&message, &["emnist-letters-t10k-images-idx3-ubyte"]);
    let message = open("letters").err().unwrap().to_string();
    assert_contains(&message, &["\"letters\"", "emnist-digits, emnist-letters"]);
}

#[test]
fn two_spellings_of_one_file_are_refused() {
    let directory = Directory::small();
    directory.write("test-images.idx3-ubyte", &images(&[3, 4, 5]));
    let words = ["test-images.idx3-ubyte", TEST_IMAGES, "both be the test images"];
    assert_contains(&directory.message(), &words);
    // Unpackers make directories that are called like the files.
    directory.remove("test-images.idx3-ubyte");
    fs::create_dir(directory.path().join("t10k-images.idx3-ubyte")).unwrap();
    directory.open().unwrap();
}

#[test]
fn classes_are_named_by_labels_txt() {
    let directory = Directory::small();
    directory.write("labels.txt", b"cat\r\n dog \nowl\nyak\n\n");
    assert_eq!(directory.open().unwrap().class_names(), ["cat", "dog", "owl", "yak"]);

    directory.write("labels.txt", b"\xef\xbb\xbfcat\r\ndog\r\nowl\r\n\r\n \r\n");
    assert_eq!(directory.open().unwrap().class_names(), ["cat", "dog", "owl"]);

    directory.write("labels.txt", b"cat\ndog\n");
    let words = [TRAIN_LABELS, "label 2 at index 2", "below 2", "labels.txt"];
    assert_contains(&directory.message(), &words);

    directory.write("labels.txt", b"cat\n\nowl");
    assert_contains(&directory.message(), &["labels.txt", "empty line 2"]);
    directory.write("labels.txt", b" \n");
    assert_contains(&directory.message(), &["labels.txt", "0 lines"]);
    directory.write("labels.txt", &b"3\n".repeat(4_097));
    assert_contains(&directory.message(), &["labels.txt", "4097 lines", "1 to 4096"]);
    let long = format!("cat\n{}\n", "ü".repeat(1_001));
    directory.write("labels.txt", long.as_bytes());
    assert_contains(
        &directory.message(),
        &["labels.txt", "1001 letters in line 2", "at most 1000"],
    );
    directory.write("labels.txt", b"\xff\xfe");
    assert_contains(&directory.message(), &["labels.txt", "UTF-8"]);
}

/// To read them may never end.
#[cfg(unix)]
#[test]
fn texts_beside_the_images_are_files() {
    for name in ["labels.txt", "preparation.toml", "train-names.txt"] {
        let directory = Directory::small();
        std::os::unix::fs::symlink("/dev/zero", directory.path().join(name)).unwrap();
        assert_contains(&directory.message(), &[name, "found a directory or device"]);
    }
}

/// Without names the training labels say how many classes there are.
#[test]
fn a_test_label_makes_no_class() {
    let directory = Directory::empty();
    directory.write(TRAIN_IMAGES, &images(&[2, 4, 5]));
    directory.write(TRAIN_LABELS, &labels(&[0, 2]));
    directory.write(TEST_IMAGES, &images(&[2, 4, 5]));
    directory.write(TEST_LABELS, &labels(&[2, 1]));
    assert_eq!(directory.open().unwrap().classes(), 3);
    directory.write(TEST_LABELS, &labels(&[2, 77]));
    let words = [TEST_LABELS, "label 77 at index 1", "labels below 3, as in", TRAIN_LABELS];
    assert_contains(&directory.message(), &words);
}

#[test]
fn a_set_may_have_its_own_labels_txt() {
    let directory = Directory::empty();
    directory.write("a-train-images-idx3-ubyte", &images(&[1, 4, 5]));
    directory.write("a-train-labels-idx1-ubyte", &labels(&[0]));
    directory.write("labels.txt", b"common");
    assert_eq!(directory.open().unwrap().class_names(), ["common"]);
    directory.write("a-labels.txt", b"own");
    assert_eq!(directory.open().unwrap().class_names(), ["own"]);
}

#[test]
fn an_unusable_directory_is_named() {
    let directory = Directory::empty();
    let every_file = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS, ".gz"];
    directory.write("notes.txt", b"");
    directory.write("train-images-idx3-ubyte.zip", b"");
    assert_contains(&directory.message(), &["no IDX files"]);
    assert_contains(&directory.message(), &every_file);

    for name in ["missing", "notes.txt"] {
        let path = directory.path().join(name);
        let message = Dataset::open(&Source::new(&path)).err().unwrap().to_string();
        assert_contains(&message, &[path.to_str().unwrap(), "cannot read the data directory"]);
        assert_contains(&message, &every_file);
    }
}

/// Torchvision puts the files into `ROOT/MNIST/raw`.
#[test]
fn the_layout_of_torchvision_is_understood() {
    let small = Directory::small();
    let root = Directory::empty();
    let raw = root.path().join("MNIST/raw");
    fs::create_dir_all(&raw).unwrap();
    for name in [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS] {
        fs::copy(small.path().join(name), raw.join(name)).unwrap();
    }
    fs::write(raw.join("labels.txt"), "a\nb\nc\n").unwrap();
    for directory in [root.path().into(), root.path().join("MNIST"), raw.clone()] {
        let data = Dataset::open(&Source::new(directory)).unwrap();
        assert_eq!(data.directory(), raw);
        assert_eq!((data.train().unwrap().len(), data.class_names()[2].as_str()), (6, "c"));
    }
    let other = root.path().join("FashionMNIST/raw");
    fs::create_dir_all(&other).unwrap();
    fs::copy(small.path().join(TRAIN_IMAGES), other.join(TRAIN_IMAGES)).unwrap();
    let words = ["several directories", raw.to_str().unwrap(), other.to_str().unwrap()];
    assert_contains(&root.message(), &words);
}

#[test]
fn a_folder_of_pictures_is_to_be_imported() {
    let directory = Directory::empty();
    assert!(!directory.message().contains("import"));
    fs::create_dir(directory.path().join("Coat")).unwrap();
    assert!(!directory.message().contains("import"));
    directory.write("Coat/1.JPG", b"");
    assert_contains(&directory.message(), &["no IDX files", "pictures", "`import`"]);
}

#[test]
fn the_preparation_is_what_the_file_says() {
    let directory = Directory::small();
    let fingerprint = directory.open().unwrap().fingerprint();
    assert_eq!(directory.open().unwrap().preparation(), None);
    for invert in [false, true] {
        for fit in Fit::ALL {
            let preparation = Preparation::new(invert, fit);
            directory.write(PREPARATION_FILE, preparation_text(preparation).as_bytes());
            let data = directory.open().unwrap();
            assert_eq!(data.preparation(), Some(preparation));
            assert_ne!(data.fingerprint(), fingerprint);
        }
    }
    for (text, words) in [
        ("", "missing field"),
        ("invert = false", "missing field `fit`"),
        ("fit = \"pad\"", "missing field `invert`"),
        ("fit = \"fill\"\ninvert = true", "`fill`"),
        ("fit = \"pad\"\ninvert = true\nsize = 3", "`size`"),
        ("fit = ", "preparation.toml"),
    ] {
        directory.write(PREPARATION_FILE, text.as_bytes());
        let expected = "expected `fit` (pad, crop or stretch) and `invert` (true or false)";
        assert_contains(&directory.message(), &[PREPARATION_FILE, words, expected]);
        assert_eq!(directory.message().lines().count(), 1);
    }
}

#[test]
fn pictures_have_names() {
    let directory = Directory::small();
    assert_eq!(directory.open().unwrap().train().unwrap().name(0), None);
    directory.write("train-names.txt", b"a/1.png\nb\\x0a.png\r\n\n\xc3\xbc\n5\n6");
    let data = directory.open().unwrap();
    let names: Vec<_> = (0..6).map(|i| data.train().unwrap().name(i).unwrap()).collect();
    assert_eq!(names, ["a/1.png", r"b\x0a.png", "", "ü", "5", "6"]);
    assert_eq!(data.test().unwrap().name(2), None);
    directory.write("train-names.txt", b"a\nb\n");
    assert_contains(&directory.message(), &["train-names.txt", "found 2 lines", "expected 6"]);
}

/// Names that are not UTF-8 are written as well as may be, and never a panic.
#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let directory = Directory::small();
    let strange = directory.path().join(OsStr::from_bytes(b"\xff\xfe"));
    fs::create_dir(&strange).unwrap();
    fs::write(directory.path().join(OsStr::from_bytes(b"\xff-images-idx3-ubyte")), "").unwrap();
    for name in [TRAIN_IMAGES, TRAIN_LABELS] {
        fs::copy(directory.path().join(name), strange.join(name)).unwrap();
    }
    directory.open().unwrap();
    assert_eq!(Dataset::open(&Source::new(&strange)).unwrap().train().unwrap().len(), 6);
    fs::write(strange.join(TRAIN_LABELS), "").unwrap();
    assert!(Dataset::open(&Source::new(&strange)).is_err());
}
