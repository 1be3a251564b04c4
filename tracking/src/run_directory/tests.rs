//! Directories of runs: free, taken, locked, moved.

use super::*;

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().to_path_buf();
    (directory, path)
}

fn names(path: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
    let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|e| name(e).unwrap()).collect();
    names.sort();
    names
}

#[test]
fn runs_are_numbered() {
    let (_guard, path) = scratch();
    let runs = path.join("runs");
    let make = |name| {
        let run = Destination::numbered(&runs, name).make(&Recipe::default()).unwrap();
        run.path().file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!([make("fast"), make("fast"), make("own")], ["fast-1", "fast-2", "own-1"]);
    assert_eq!(names(&runs.join("fast-2")), [RECIPE]);
}

#[test]
fn an_older_run_is_replaced_only_if_asked_for() {
    let (_guard, path) = scratch();
    let out = path.join("a/b");
    Destination::at(&out, false).unwrap().make(&Recipe::default()).unwrap();
    fs::write(out.join(MODEL), "older").unwrap();
    fs::write(out.join("notes"), "kept").unwrap();
    let message = Destination::at(&out, false).unwrap_err().to_string();
    assert!(message.contains("exists and is not empty"), "{message}");
    let replacement = Recipe { seed: 5, ..Recipe::default() };
    let destination = Destination::at(&out, true).unwrap();
    assert_eq!(names(&out), [MODEL, "notes", RECIPE]);
    drop(destination.make(&replacement).unwrap());
    assert_eq!(names(&out), ["notes", RECIPE]);
    assert!(fs::read_to_string(out.join(RECIPE)).unwrap().contains("seed = 5"));
}

#[test]
fn what_is_no_run_is_not_replaced() {
    let (_guard, path) = scratch();
    fs::create_dir_all(path.join("train")).unwrap();
    fs::write(path.join("train/events.out.tfevents.1"), "of another program").unwrap();
    let message = Destination::at(&path, true).unwrap_err().to_string();
    assert!(message.ends_with(": not a run directory, so it stays: it has no recipe.toml"));
    fs::remove_dir_all(path.join("train")).unwrap();
    fs::write(path.join("writing-abc"), "half a rec").unwrap();
    Destination::at(&path, true).unwrap().make(&Recipe::default()).unwrap();
    assert_eq!(names(&path), [RECIPE]);
}

/// Whoever made the directory, one of them has it in the end, and those that have not leave it to that one.
#[test]
#[cfg(unix)]
fn of_those_that_begin_together_one_has_the_directory() {
    let (_guard, path) = scratch();
    for round in 0..60 {
        let out = path.join(format!("{round}/run"));
        let together = std::sync::Barrier::new(4);
        let begin = || {
            let destination = Destination::at(&out, false).unwrap();
            together.wait();
            let made = destination.make(&Recipe::default());
            // Held until all have tried.
            together.wait();
            made.map(drop).map_err(|error| error.to_string())
        };
        let ended: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 1, "{ended:?}");
        assert_eq!(names(&out), [RECIPE], "{ended:?}");
        for error in ended.into_iter().filter_map(Result::err) {
            let known = ["a run is going on in it", "exists and is not empty"];
            assert!(known.iter().any(|words| error.contains(words)), "{error}");
        }
    }
}

/// A lock is of what has opened the directory, so one process can stand for two.
#[test]
#[cfg(unix)]
fn one_run_at_a_time() {
    let (_guard, path) = scratch();
    let destination = Destination::at(&path, true).unwrap();
    let first = destination.make(&Recipe::default()).unwrap();
    fs::write(path.join(METRICS), "its lines").unwrap();
    let refused = [
        destination.make(&Recipe::default()).unwrap_err(),
        RunDirectory::open(&path).unwrap().rewrite_recipe(&Recipe::default()).unwrap_err(),
    ];
    for error in refused {
        assert!(error.to_string().ends_with(": a run is going on in it"), "{error}");
    }
    assert_eq!(names(&path), [METRICS, RECIPE]);
    first.lock().unwrap();
    first.unlock();
    destination.make(&Recipe::default()).unwrap();
}

#[test]
fn nothing_is_left_where_it_cannot_be_made() {
    let (_guard, path) = scratch();
    fs::write(path.join("file"), "").unwrap();
    for out in ["file", "file/below"] {
        let error = Destination::at(&path.join(out), false).unwrap_err();
        assert!(matches!(error, RunDirectoryError::Make { .. }), "{error}");
    }
    // A directory in the recipe's place.
    let out = path.join("out");
    fs::create_dir_all(out.join(RECIPE)).unwrap();
    let error = Destination::at(&out, true).unwrap().make(&Recipe::default()).unwrap_err();
    assert!(error.to_string().contains("recipe.toml: cannot write: "), "{error}");
    assert_eq!(names(&out), [RECIPE]);
    // A name that is too long, below directories that are made for it.
    let out = path.join("new/new").join("x".repeat(300));
    for destination in [
        Destination::numbered(&path.join("new/new"), &"x".repeat(300)),
        Destination::at(&out, false).unwrap(),
    ] {
        destination.make(&Recipe::default()).unwrap_err();
        assert_eq!(names(&path), ["file", "out"]);
    }
}

/// A loop of links stands for a disk that does not answer.
#[test]
#[cfg(unix)]
fn a_recipe_that_cannot_be_read_is_not_absent() {
    let (_guard, path) = scratch();
    std::os::unix::fs::symlink(RECIPE, path.join(RECIPE)).unwrap();
    let message = RunDirectory::open(&path).unwrap_err().to_string();
    assert!(message.contains("recipe.toml: cannot read: "), "{message}");
    fs::remove_file(path.join(RECIPE)).unwrap();
    let message = RunDirectory::open(&path).unwrap_err().to_string();
    assert!(message.ends_with("not a run directory: it has no recipe.toml"), "{message}");
}

/// Both asked whether it is free before either of them had begun.
#[test]
#[cfg(unix)]
fn a_run_that_came_first_is_not_deleted() {
    let (_guard, path) = scratch();
    let out = path.join("out");
    let [first, second] = [(); 2].map(|()| Destination::at(&out, false).unwrap());
    let run = first.make(&Recipe::default()).unwrap();
    fs::write(run.model(), "finished").unwrap();
    run.unlock();
    let error = second.make(&Recipe { seed: 2, ..Recipe::default() }).unwrap_err();
    assert!(matches!(error, RunDirectoryError::Taken(_)), "{error}");
    assert_eq!(fs::read_to_string(run.model()).unwrap(), "finished");
    assert_eq!(fs::read_to_string(run.recipe()).unwrap(), Recipe::default().to_toml());
}

/// A program that was killed before its first file was whole.
#[test]
fn what_was_not_finished_does_not_take_a_directory() {
    let (_guard, path) = scratch();
    fs::write(path.join("writing-abc"), "half a rec").unwrap();
    for destination in [Destination::at(&path, false), Destination::shared(&path, false)] {
        assert!(destination.is_ok());
    }
    Destination::at(&path, false).unwrap().make(&Recipe::default()).unwrap();
    assert_eq!(names(&path), [RECIPE]);
}

/// Reading a pipe, or a device such as /dev/zero, may never end.
#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_files_of_a_run() {
    let (_guard, path) = scratch();
    let made = Destination::at(&path, false).unwrap().make(&Recipe::default()).unwrap();
    drop(made);
    fs::create_dir(path.join(CHECKPOINTS)).unwrap();
    for name in [METRICS, MODEL, REPORT, "checkpoints/step-0000000001.safetensors"] {
        let link = path.join(name);
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        let message = RunDirectory::open(&path).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains("found a pipe or device"), "{message}");
        fs::remove_file(link).unwrap();
    }
    RunDirectory::open(&path).unwrap();
    fs::remove_file(path.join(RECIPE)).unwrap();
    std::os::unix::fs::symlink("/dev/null", path.join(RECIPE)).unwrap();
    let message = Destination::at(&path, true).unwrap().make(&Recipe::default()).unwrap_err();
    assert!(message.to_string().contains("recipe.toml: found a pipe or device"), "{message}");
}
