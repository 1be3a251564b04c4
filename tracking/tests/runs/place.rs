//! Run directories that are renamed or deleted while a run goes on in them.

use crate::{data, trained};
use kernels::Isa;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tracking::metrics::Line;
use tracking::{Checkpoints, Destination, Recorder, RunDirectory, RunDisplay};
use trainer::{Recipe, Trainer, Workers};

/// Does something to the files of a run after its first epoch.
struct Meddler<F>(Option<F>);

impl<F: FnOnce() + Send> RunDisplay for Meddler<F> {
    fn line(&mut self, line: &Line) {
        if matches!(line, Line::Epoch(_))
            && let Some(meddle) = self.0.take()
        {
            meddle();
        }
    }
}

fn recipe() -> Recipe {
    data::recipe(&[("stop.epochs", "3"), ("data.batch_size", "16")])
}

/// What a run says that is meddled with.
fn error_of(path: &Path, meddle: impl FnOnce() + Send) -> String {
    let (_data, data) = data::random(64, [1, 16, 16], 3);
    let directory = Destination::at(path, false).unwrap().make(&recipe()).unwrap();
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let mut trainer = Trainer::new(&recipe(), &data, &workers).unwrap();
    let mut meddler = Meddler(Some(meddle));
    let outcome = Recorder::new(&directory).display(&mut meddler).record(&mut trainer);
    outcome.expect_err("a run whose files are gone").to_string()
}

#[test]
fn a_run_that_is_renamed_ends_and_goes_on_from_its_new_place() {
    let scratch = TempDir::new().unwrap();
    let [old, new] = ["old", "new"].map(|name| scratch.path().join(name));
    let error = error_of(&old, || fs::rename(&old, &new).unwrap());
    assert!(
        error.starts_with(&format!("{}: no longer at this path: it is now ", old.display())),
        "{error}"
    );
    assert!(!old.exists(), "nothing is written in its old place");

    // On the same data, which the first run had in a directory that is gone.
    let (_data, data) = data::random(64, [1, 16, 16], 3);
    let whole = trained(&recipe(), &data, &scratch.path().join("whole"));
    let directory = RunDirectory::open(&new).unwrap();
    let (checkpoint, damaged) = Checkpoints::new(directory.checkpoints(), 3).latest().unwrap();
    assert!(damaged.is_empty());
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let mut trainer =
        Trainer::resume(&recipe(), &data, &workers, checkpoint.state().unwrap()).unwrap();
    Recorder::new(&directory).record(&mut trainer).unwrap();
    crate::left::assert_same(whole.path(), &new);
    assert!(directory.report().exists());
}

#[test]
fn another_directory_in_its_place_is_left_alone() {
    let scratch = TempDir::new().unwrap();
    let [old, new] = ["old", "new"].map(|name| scratch.path().join(name));
    let error = error_of(&old, || {
        fs::rename(&old, &new).unwrap();
        fs::create_dir(&old).unwrap();
    });
    assert!(
        error.starts_with(&format!("{}: no longer at this path: it is now ", old.display())),
        "{error}"
    );
    assert_eq!(fs::read_dir(&old).unwrap().count(), 0);
}

#[test]
fn a_run_that_is_deleted_is_an_error() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("run");
    let error = error_of(&path, || fs::remove_dir_all(&path).unwrap());
    assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
    assert!(error.ends_with("deleted while the run went on"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_deleted_renamed_or_cut_is_an_error() {
    let scratch = TempDir::new().unwrap();
    type Meddle = fn(&Path);
    let cases: [(&str, &str, Meddle); 5] = [
        ("lines", "metrics.jsonl", |run| fs::remove_file(run.join("metrics.jsonl")).unwrap()),
        ("kept", "metrics.jsonl", |run| {
            fs::rename(run.join("metrics.jsonl"), run.join("kept")).unwrap();
        }),
        ("events", "train", |run| fs::remove_dir_all(run.join("train")).unwrap()),
        ("recipe", "recipe.toml", |run| fs::remove_file(run.join("recipe.toml")).unwrap()),
        ("cut", "metrics.jsonl", |run| {
            let log = fs::OpenOptions::new().write(true).open(run.join("metrics.jsonl"));
            log.unwrap().set_len(10).unwrap();
        }),
    ];
    for (name, file, meddle) in cases {
        let path: PathBuf = scratch.path().join(name);
        let error = error_of(&path, || meddle(&path));
        let start = path.join(file).display().to_string();
        let problem = match name {
            "kept" => ": no longer at this path: it is now ",
            "cut" => ": changed while the run went on: found 10 bytes, expected ",
            _ => ": deleted while the run went on",
        };
        // Of the events it is a file in the directory.
        assert!(error.starts_with(&start) && error.contains(problem), "{error}");
    }
}
