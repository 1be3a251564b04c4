//! A mapped file that shrinks while it is used.

use crate::fixture::*;
use dataset::{Dataset, Source};
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

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

/// Other bytes of the same length are other images.
#[test]
fn a_change_in_place_is_noticed_by_asking() {
    use std::os::unix::fs::FileExt;
    let directory = Directory::small();
    let path = directory.path().join(TRAIN_IMAGES);
    let file = File::options().write(true).open(&path).unwrap();
    // Clocks of file systems tick slowly.
    file.set_modified(SystemTime::now() - Duration::from_secs(1)).unwrap();
    let data = directory.open().unwrap();
    data.train().unwrap().check_unchanged().unwrap();
    file.write_at(b"x", 20).unwrap();
    let message = data.train().unwrap().check_unchanged().unwrap_err().to_string();
    assert_contains(&message, &[TRAIN_IMAGES, "changed while in use", "written to"]);
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

/// Runs this very test in a child process, of which several threads read beyond the end of the file.
#[test]
fn a_program_that_asks_for_it_ends_with_a_message() {
    let message = child("a_program_that_asks_for_it_ends_with_a_message", "program", Some(1));
    let end = format!(
        "{TRAIN_IMAGES}: the file was truncated while in use (or its disk failed); restore it and \
         start again\n"
    );
    assert!(message.ends_with(&end), "{message}");
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
}

/// A host that does not ask keeps its signals.
#[test]
fn a_host_dies_of_the_signal() {
    let message = child("a_host_dies_of_the_signal", "host", None);
    assert!(!message.contains("truncated"), "{message}");
}

/// What is no data file ends a program as it would without the handler.
#[test]
fn a_foreign_map_is_not_named() {
    let message = child("a_foreign_map_is_not_named", "foreign", None);
    assert!(!message.contains("truncated"), "{message}");
}

/// Runs a test in a child process that must end with this code; what it writes to stderr.
fn child(test: &str, how: &str, code: Option<i32>) -> String {
    const CHILD: &str = "BOBBIN_TEST_TRUNCATED_MAP";
    if let Some(path) = std::env::var_os(CHILD) {
        read_beyond_the_end(Path::new(&path), how);
    }
    let directory = Directory::small();
    directory.write(TRAIN_IMAGES, &images(&[6, 300, 300]));
    directory.write(TEST_IMAGES, &images(&[3, 300, 300]));
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("truncated_map::{test}"), "--nocapture"])
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&child.stderr).into_owned();
    assert_eq!(child.status.code(), code, "{message}");
    if code.is_none() {
        assert_eq!(child.status.signal(), Some(libc::SIGBUS), "{message}");
    }
    message
}

fn read_beyond_the_end(directory: &Path, how: &str) -> ! {
    if how != "host" {
        dataset::install_signal_handlers();
    }
    let data = Dataset::open(&Source::new(directory)).unwrap();
    let train = data.train().unwrap();
    let path = directory.join(TRAIN_IMAGES);
    // SAFETY: read once, below, and what was read goes nowhere.
    let foreign = unsafe { memmap2::Mmap::map(&File::open(path).unwrap()) }.unwrap();
    shrink(directory, 16);
    std::thread::scope(|scope| {
        for i in 0..4 {
            let foreign = &foreign;
            scope.spawn(move || {
                let pixel = match how {
                    "foreign" => foreign[foreign.len() - 1],
                    _ => train.image(5 - i)[0],
                };
                println!("read {pixel} beyond the end");
            });
        }
    });
    std::process::exit(0)
}

fn shrink(directory: &Path, len: u64) {
    let path = directory.join(TRAIN_IMAGES);
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}
