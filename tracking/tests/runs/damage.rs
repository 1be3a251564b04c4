//! Checkpoints and logs that are not what was written: the run goes on from an older checkpoint, and tells of
//! holes.

use crate::data;
use crate::left::assert_same;
use crate::resume::{ALL, begin, go_on, recipe, workers};
use dataset::Dataset;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tracking::metrics::{Line, Start, read_metrics};
use tracking::{Checkpoint, CheckpointError, Checkpoints};
use trainer::{Recipe, Trainer};

/// A run with checkpoints of steps 0, 4, 8 and 10, after which it was interrupted.
fn interrupted(path: &Path) -> (TempDir, Dataset, Recipe) {
    let (directory, data) = data::random(120, [1, 16, 16], 4);
    let recipe = recipe(&[("optimizer.kind", "adam"), ("events.checkpoint", "{ iterations = 4 }")]);
    begin(&recipe, &data, path, ALL, Some(10));
    (directory, data, recipe)
}

fn file(path: &Path, step: usize) -> PathBuf {
    path.join(format!("checkpoints/step-{step:010}.safetensors"))
}

fn latest(path: &Path) -> (usize, usize) {
    let checkpoints = Checkpoints::new(path.join("checkpoints"), ALL);
    let (checkpoint, passed_over) = checkpoints.latest().unwrap();
    (checkpoint.progress().step, passed_over.len())
}

fn header_length(bytes: &[u8]) -> usize {
    8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize
}

#[test]
fn no_bit_of_a_checkpoint_may_change() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("run");
    let _data = interrupted(&path);
    assert_eq!(latest(&path), (10, 0));
    let newest = file(&path, 10);
    let whole = fs::read(&newest).unwrap();
    let header = header_length(&whole);
    let after = (header..whole.len()).step_by(101).chain([whole.len() - 1]);
    for at in (0..header).chain(after) {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&newest, &changed).unwrap();
        let error = Checkpoint::read(&newest).map(|_| at).unwrap_err().to_string();
        assert!(error.starts_with(&newest.display().to_string()), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert_eq!(latest(&path), (8, 1));
}

/// Tensors of the same shape, so nothing but the hash can tell.
#[test]
fn exchanged_names_are_noticed() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("run");
    let (_guard, data, recipe) = interrupted(&path);
    let newest = file(&path, 10);
    let mut bytes = fs::read(&newest).unwrap();
    let header = header_length(&bytes);
    let text = String::from_utf8(bytes[8..header].to_vec()).unwrap();
    let [a, b] = ["\"1.weight\":", "\"1.bias\":"];
    assert!(text.contains(a) && text.contains(b), "{text}");
    let exchanged = text.replace(a, "@").replace(b, a).replace('@', b);
    bytes[8..header].copy_from_slice(exchanged.as_bytes());
    fs::write(&newest, &bytes).unwrap();
    assert_eq!(latest(&path), (8, 1));

    let whole = scratch.path().join("whole");
    begin(&recipe, &data, &whole, ALL, None);
    let directory = tracking::RunDirectory::open(&path).unwrap();
    let checkpoints = Checkpoints::new(directory.checkpoints(), ALL);
    let workers = workers(2);
    let (mut trainer, _) = checkpoints
        .restore(|checkpoint| {
            let state = checkpoint.state()?;
            Ok::<_, tracking::RunError>(Trainer::resume(&recipe, &data, &workers, state)?)
        })
        .unwrap();
    tracking::Recorder::new(&directory).keep(ALL).record(&mut trainer).unwrap();
    for name in ["model.safetensors", "best.safetensors"] {
        assert_eq!(fs::read(path.join(name)).unwrap(), fs::read(whole.join(name)).unwrap());
    }
}

/// So many epochs that the number of their steps is the right one modulo 2⁶⁴.
#[test]
fn a_position_beyond_all_numbers_is_refused() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("run");
    let (_guard, data, recipe) = interrupted(&path);
    let workers = workers(1);
    let mut state = Checkpoint::read(&file(&path, 10)).unwrap().state().unwrap();
    let steps_per_epoch = Trainer::new(&recipe, &data, &workers).unwrap().steps_per_epoch();
    let steps = (1u128 << 64) + 10;
    state.progress.epoch = (steps / steps_per_epoch as u128) as usize;
    state.progress.batch = (steps % steps_per_epoch as u128) as usize;
    let error = Trainer::resume(&recipe, &data, &workers, state).err().unwrap().to_string();
    assert!(error.contains("0010.safetensors: step 10 is not batch "), "{error}");
}

#[test]
fn a_checkpoint_that_cannot_be_restored_is_passed_over() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("run");
    let _data = interrupted(&path);
    fs::write(file(&path, 8), "damaged").unwrap();
    let checkpoints = Checkpoints::new(path.join("checkpoints"), ALL);
    #[derive(Debug)]
    enum Problem {
        Refused(usize),
        Checkpoint(CheckpointError),
    }
    impl From<CheckpointError> for Problem {
        fn from(error: CheckpointError) -> Problem {
            Problem::Checkpoint(error)
        }
    }
    let restore = |last: usize| {
        checkpoints.restore(|checkpoint| {
            let step = checkpoint.progress().step;
            if step > last { Err(Problem::Refused(step)) } else { Ok(step) }
        })
    };
    let (step, problems) = restore(4).unwrap();
    assert_eq!(step, 4);
    assert!(
        matches!(
            &problems[..],
            [Problem::Refused(10), Problem::Checkpoint(CheckpointError::File(_))]
        ),
        "{problems:?}"
    );
    // If none can be, the latest that is whole says why.
    let error = checkpoints
        .restore(|checkpoint| Err::<(), _>(Problem::Refused(checkpoint.progress().step)))
        .unwrap_err();
    assert!(matches!(error, Problem::Refused(10)), "{error:?}");
    for step in [0, 4, 10] {
        fs::write(file(&path, step), "damaged").unwrap();
    }
    let error = checkpoints.latest().unwrap_err().to_string();
    assert!(error.contains("no checkpoint to go on from; ") && error.contains("0010"), "{error}");
}

/// The last line that says how a run begins.
fn last_start(path: &Path) -> Start {
    let lines = read_metrics(&path.join("metrics.jsonl")).unwrap();
    let starts = lines.into_iter().rev();
    starts
        .filter_map(|line| if let Line::Start(start) = line { Some(start) } else { None })
        .next()
        .unwrap()
}

/// Cuts the lines of `metrics.jsonl` off that follow the first `kept`.
fn keep_lines(path: &Path, kept: usize) -> Vec<String> {
    let metrics = path.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    let mut lines: Vec<String> = text.lines().map(|line| format!("{line}\n")).collect();
    let rest = lines.split_off(kept);
    fs::write(metrics, lines.concat()).unwrap();
    rest
}

#[test]
fn holes_in_logs_are_told_and_in_the_report() {
    type Damage = fn(&Path);
    let cases: [(Damage, Option<&str>); 5] = [
        (|_| {}, None),
        // After the lines of the first steps.
        (|path| drop(keep_lines(path, 4)), Some("steps 3 to 10 of metrics.jsonl")),
        (
            |path| fs::remove_file(path.join("metrics.jsonl")).unwrap(),
            Some("steps 1 to 10 of metrics.jsonl"),
        ),
        (|path| fs::remove_dir_all(path.join("train")).unwrap(), Some("steps 1 to 10 of train")),
        (|path| fs::remove_dir_all(path.join("validation")).unwrap(), Some("step 6 of validation")),
    ];
    for (damage, expected) in cases {
        let scratch = TempDir::new().unwrap();
        let path = scratch.path().join("run");
        let (_guard, data, recipe) = interrupted(&path);
        damage(&path);
        go_on(&recipe, &data, &path, 2, ALL, None);
        let missing = last_start(&path).missing;
        assert_eq!(missing.as_deref(), expected);
        let page = fs::read_to_string(path.join("report.html")).unwrap();
        let warning = format!("{} are missing", expected.unwrap_or("of"));
        assert_eq!(page.contains(&warning), expected.is_some());
    }
}

/// A kill between a checkpoint and the line that tells of it.
#[test]
fn the_line_of_a_checkpoint_is_not_lost() {
    let scratch = TempDir::new().unwrap();
    let [whole, path] = ["whole", "run"].map(|name| scratch.path().join(name));
    let (_guard, data, recipe) = interrupted(&path);
    begin(&recipe, &data, &whole, ALL, None);
    let lines = fs::read_to_string(path.join("metrics.jsonl")).unwrap().lines().count();
    let rest = keep_lines(&path, lines - 2).concat();
    assert!(rest.starts_with("{\"event\":\"checkpoint\",\"epoch\":1,\"step\":10,"), "{rest}");
    go_on(&recipe, &data, &path, 2, ALL, None);
    let told = |path: &Path| {
        let lines = read_metrics(&path.join("metrics.jsonl")).unwrap();
        let steps = lines.iter().filter(|line| matches!(line, Line::Checkpoint(_)));
        steps.map(Line::step).collect::<Vec<_>>()
    };
    assert_eq!(told(&whole), [0, 4, 8, 12, 16, 18]);
    assert_eq!(told(&path), [0, 4, 8, 10, 12, 16, 18]);
    fs::remove_file(file(&path, 10)).unwrap();
    assert_same(&whole, &path);
}
