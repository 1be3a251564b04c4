//! Labels of which an image may have several, in files and in memory.

use crate::fixture::*;
use dataset::{Dataset, Samples};

const SETS: &str = "train-labels-idx2-ubyte";

/// Six training images with sets of three labels.
const MATRIX: [u8; 18] = [1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1];

fn sets(labels: u32, matrix: &[u8]) -> Vec<u8> {
    [&header(0x802, &[matrix.len() as u32 / labels, labels]), matrix].concat()
}

/// The small set with labels of this kind, and three test images without any.
fn directory() -> Directory {
    let directory = Directory::small();
    directory.remove(TRAIN_LABELS);
    directory.remove(TEST_LABELS);
    directory.write(SETS, &sets(3, &MATRIX));
    directory.write("t10k-labels-idx2-ubyte.gz", &gzip(&sets(3, &[0; 9])));
    directory
}

#[test]
fn images_have_any_number_of_labels() {
    let directory = directory();
    let data = directory.open().unwrap();
    assert!(data.is_multi_label());
    assert_eq!(data.class_names(), ["0", "1", "2"]);
    let (train, test) = (data.train().unwrap(), data.test().unwrap());
    assert_eq!(train.label_set(5), Some(&[1, 1, 1][..]));
    assert_eq!(test.label_set(2), Some(&[0, 0, 0][..]));
    // Images with the same labels are alike.
    assert_eq!(train.labels(), [0, 1, 0, 2, 1, 3]);
    assert!(!Directory::small().open().unwrap().is_multi_label());
    directory.write("labels.txt", b"sun\nsea\nsand\n");
    assert_eq!(directory.open().unwrap().class_names(), ["sun", "sea", "sand"]);

    let before = directory.open().unwrap().fingerprint();
    let mut other = MATRIX;
    other[3] = 1;
    directory.write(SETS, &sets(3, &other));
    assert_ne!(directory.open().unwrap().fingerprint(), before);
}

#[test]
fn the_same_in_memory() {
    let directory = directory();
    let files = directory.open().unwrap();
    let of =
        |part: &dataset::Split| (0..part.len()).flat_map(|i| part.image(i)).collect::<Vec<u8>>();
    let [train, test] = [files.train().unwrap(), files.test().unwrap()].map(of);
    let names = ["0", "1", "2"].map(str::to_owned);
    let samples = |pixels, matrix| Samples::multi_label(pixels, matrix);
    let test = Some(samples(&test[..], &[0; 9]));
    let memory = Dataset::in_memory([1, 4, 5], &names, samples(&train[..], &MATRIX), test).unwrap();
    assert!(memory.is_multi_label());
    assert_eq!(memory.fingerprint(), files.fingerprint());
    for (matrix, words) in [
        (&MATRIX[..17], "labels of 17 values; expected 3 for each image"),
        (
            &[2; 18],
            "found 2 for label 0 of image 0, expected 1 for a label that the image has, else 0",
        ),
    ] {
        let error = Dataset::in_memory([1, 4, 5], &names, samples(&train[..], matrix), None);
        assert_contains(&error.unwrap_err().to_string(), &[words]);
    }
    let one = Samples::new(&train[..20], &[1]);
    let error = Dataset::in_memory([1, 4, 5], &names, samples(&train[..], &MATRIX), Some(one));
    assert_contains(&error.unwrap_err().to_string(), &["several to an image in one of training"]);
}

#[test]
fn what_is_wrong_is_named() {
    let directory = directory();
    for (bytes, words) in [
        (sets(3, &[7; 18]), "found 7 for label 0 of image 0"),
        (sets(1, &[1; 6]), "found 1 label to choose from, expected two or more"),
        (sets(3, &MATRIX)[..29].to_vec(), "truncated"),
        (sets(3, &MATRIX[..15]), "found 5 labels, expected 6"),
        (sets(2, &MATRIX[..12]), "found 3 labels to choose from, expected 2 labels to choose from"),
    ] {
        directory.write(SETS, &bytes);
        assert_contains(&directory.message(), &[words]);
    }
    directory.write(SETS, &sets(3, &MATRIX));
    directory.write("labels.txt", b"a\nb\n");
    assert_contains(&directory.message(), &["labels.txt: found 2 labels", "expected 3 labels"]);
    directory.remove("labels.txt");
    directory.remove("t10k-labels-idx2-ubyte.gz");
    directory.write(TEST_LABELS, &labels(&[2, 1, 0]));
    assert_contains(&directory.message(), &["found one label for each image, expected 3 labels"]);
}
