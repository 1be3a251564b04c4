//! A source of `import`, by its first byte: arrays of NumPy, a table of pictures, CIFAR, EMNIST, or a Parquet file.
//! Where it is two files, the second and third bytes say how many of the others are the first.

use super::{WORKERS, directory, file, refused};
use dataset::{Dataset, Source};
use pictures::{Channels, Fit, Given, Import, import};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// A picture for tables to name.
const PICTURE: &[u8] = include_bytes!("../corpus/picture/grey-png");

const OPTIONS: Import = Import {
    size: Some([4, 4]),
    channels: Channels::Auto,
    fit: Fit::Stretch,
    invert: false,
    test_fraction: 0.3,
    seed: 1,
    replace: true,
};

/// The source becomes a data set, which is opened.
pub fn target(bytes: &[u8]) -> bool {
    let [kind, low, high, rest @ ..] = bytes else { return false };
    let (first, second) =
        rest.split_at(rest.len().min(usize::from(u16::from_le_bytes([*low, *high]))));
    let place = fresh();
    let write = |name: &str, bytes: &[u8]| file(&format!("source/{name}"), bytes);
    let (mut source, mut labels) = (place.clone(), None);
    match kind % 6 {
        0 => {
            source = write("images.npy", first);
            labels = Some(write("labels.npy", second));
        }
        1 => source = write("set.npz", rest),
        2 => {
            for name in ["a.png", "b.png"] {
                write(name, PICTURE);
            }
            source = write("table.csv", rest);
        }
        3 => {
            write("data_batch_1.bin", first);
            write("test_batch.bin", second);
        }
        4 => {
            write("emnist-x-train-images-idx3-ubyte", first);
            write("emnist-x-train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 1, 2]);
            write("emnist-x-mapping.txt", second);
        }
        _ => source = write("set.parquet", rest),
    }
    let (given, to) =
        (Given { labels: labels.as_deref(), ..Given::default() }, directory().join("made"));
    let stop = AtomicBool::new(false);
    let taken = match import(&source, given, &to, &OPTIONS, &WORKERS, &stop, |_| {}) {
        Ok(imported) => {
            let data = Dataset::open(&Source::new(&to)).expect("what import writes can be opened");
            let images: usize = imported.classes.iter().map(|class| class.train).sum();
            assert_eq!(data.train().expect("images to train on").len(), images);
            true
        }
        Err(error) => refused(error),
    };
    let _ = fs::remove_dir_all(&to);
    taken
}

/// The directory `source`, empty.
fn fresh() -> PathBuf {
    let place = directory().join("source");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir(&place).expect("a directory");
    place
}
