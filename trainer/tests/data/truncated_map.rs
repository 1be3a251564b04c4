//! A mapped file that shrinks while it is used.

use crate::fixture::*;
use std::fs::File;
use std::path::Path;
use trainer::{Dataset, Source};

#[test]
fn is_noticed_by_asking() {
    let directory = Directory::small();
    let data = directory.open().unwrap();
    let train = data.train().unwrap();
    train.check_unchanged().unwrap();
    shrink(directory.path(), 100);
    let message = train.check_unchanged().unwrap_err().to_string();
    let words = [TRAIN_IMAGES, "changed while in use", "found 100", "expected 136"];
    assert_contains(&message, &words);
    data.test().unwrap().check_unchanged().unwrap();
}

/// A file replaced by renaming is another file: the map keeps the old one.
#[test]
fn renaming_over_it_is_harmless() {
    let directory = Directory::small();
    let data = directory.open().unwrap();
    directory.write("new", b"");
    std::fs::rename(directory.path().join("new"), directory.path().join(TRAIN_IMAGES)).unwrap();
    let train = data.train().unwrap();
    train.check_unchanged().unwrap();
    assert_eq!(train.image(5)[19], 119);
}

/// Runs this very test in a child process, which reads beyond the end of its file.
#[test]
fn ends_the_process_with_a_message() {
    const CHILD: &str = "BOBBIN_TEST_TRUNCATED_MAP";
    if let Some(path) = std::env::var_os(CHILD) {
        read_beyond_the_end(Path::new(&path));
    }
    let directory = Directory::small();
    directory.write(TRAIN_IMAGES, &images(&[6, 300, 300]));
    directory.write(TEST_IMAGES, &images(&[3, 300, 300]));
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "truncated_map::ends_the_process_with_a_message", "--nocapture"])
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), Some(1), "{message}");
    let words = ["error: a mapped data file was truncated while in use", "start again\n"];
    assert_contains(&message, &words);
}

fn read_beyond_the_end(directory: &Path) -> ! {
    let data = Dataset::open(&Source::new(directory)).unwrap();
    shrink(directory, 16);
    let pixel = data.train().unwrap().image(5)[0];
    println!("read {pixel} beyond the end of the file");
    std::process::exit(0)
}

fn shrink(directory: &Path, len: u64) {
    let path = directory.join(TRAIN_IMAGES);
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}
