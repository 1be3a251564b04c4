//! Against a file of TensorBoard's own writer (`tests/fixtures/make_events.py`), and runs that are
//! interrupted.

use super::*;
use crate::log::tensorboard::{HistogramProto, read_events};
use tempfile::TempDir;

const BY_TENSORBOARD: &[u8] = include_bytes!("../../../../tests/fixtures/events.tfevents");

fn by_tensorboard() -> Vec<Event> {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("events");
    fs::write(&path, BY_TENSORBOARD).unwrap();
    read_events(&path).unwrap()
}

/// Step and first tag of each summary.
fn summaries(directory: &Path) -> Vec<(i64, String)> {
    let events = read_events(directory).unwrap().into_iter();
    let summary = |event: Event| match event.what {
        Some(What::Summary(summary)) => Some((event.step, summary.value[0].tag.clone())),
        _ => None,
    };
    events.filter_map(summary).collect()
}

fn starts(directory: &Path) -> Vec<i64> {
    let events = read_events(directory).unwrap().into_iter();
    events.filter(|e| matches!(e.what, Some(What::SessionLog(_)))).map(|e| e.step).collect()
}

/// A scalar at each step, and a histogram at each tenth.
fn train(writer: &mut EventWriter, steps: std::ops::RangeInclusive<usize>) {
    for step in steps {
        writer.scalars(step, 1.7e9 + step as f64, &[("Loss", 1.0 / step as f32)]).unwrap();
        if step.is_multiple_of(10) {
            writer.histogram("parameters/w", step, &[step as f32]).unwrap();
        }
    }
}

fn expected(steps: std::ops::RangeInclusive<i64>) -> Vec<(i64, String)> {
    let loss = |step| (step, "Loss".to_owned());
    let all = steps.flat_map(|step| {
        let tenth = step % 10 == 0;
        [Some(loss(step)), tenth.then(|| (step, "parameters/w".to_owned()))]
    });
    all.flatten().collect()
}

#[test]
fn the_same_events_are_the_same_bytes() {
    let events = by_tensorboard();
    assert_eq!(events.len(), 5);
    let scalars = |values: &[(&str, f32)]| {
        let directory = TempDir::new().unwrap();
        let mut writer = EventWriter::create(directory.path()).unwrap();
        writer.scalars(302, 1_700_000_001.5, values).unwrap();
        drop(writer);
        read_events(directory.path()).unwrap().pop().unwrap()
    };
    let values = [("Loss", 0.625), ("Throughput", 2.5e5), ("LearningRate", 0.0)];
    assert_eq!(scalars(&values), events[2]);
    assert_eq!(events[0].what, Some(What::FileVersion(VERSION.into())));
    let mut bytes = vec![];
    for event in &events {
        records::append(&mut bytes, |out| event.encode(out).unwrap());
    }
    assert_eq!(bytes, BY_TENSORBOARD);
}

#[test]
fn a_histogram_is_that_of_tensorflow() {
    let k = |i: i32| f64::from(7919 * i % 10007 - 5000);
    let values: Vec<f32> = (0..5000).map(|i| (k(i).powi(3) * 2f64.powi(-40)) as f32).collect();
    let Some(What::Summary(summary)) = &by_tensorboard()[3].what else { panic!("no summary") };
    let Some(Data::Histogram(theirs)) = &summary.value[0].data else { panic!("no histogram") };
    let ours = histogram(&values);
    assert!((ours.sum - theirs.sum).abs() <= 1e-12 * theirs.sum_squares.sqrt());
    assert!((ours.sum_squares / theirs.sum_squares - 1.0).abs() <= 1e-12);
    let (sum, sum_squares) = (theirs.sum, theirs.sum_squares);
    assert_eq!(HistogramProto { sum, sum_squares, ..ours }, *theirs);
}

#[test]
fn a_resumed_run_tells_each_step_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run/train");
    let mut writer = EventWriter::create(&path).unwrap();
    train(&mut writer, 1..=100);
    drop(writer);
    // Twice from the same checkpoint, from one before, and after a run without an interruption.
    for (resumed, last) in [(70, 90), (70, 75), (20, 45), (45, 60)] {
        let mut writer = EventWriter::resume(&path, resumed).unwrap();
        assert_eq!(summaries(&path), expected(1..=resumed as i64));
        assert_eq!(starts(&path).last(), Some(&(resumed as i64 + 1)));
        train(&mut writer, resumed + 1..=last);
        writer.flush().unwrap();
        assert_eq!(summaries(&path), expected(1..=last as i64));
    }
    // Of the second and third file nothing was left.
    assert_eq!(starts(&path), [0, 21, 46]);
    // Files of which nothing is left do not gather.
    assert!(fs::read_dir(&path).unwrap().count() <= 4);
    EventWriter::resume(&path, 0).unwrap();
    assert_eq!((summaries(&path), starts(&path)), (vec![], vec![0, 1]));
}

#[test]
fn a_record_that_is_not_whole_is_cut_off() {
    let directory = TempDir::new().unwrap();
    let mut writer = EventWriter::create(directory.path()).unwrap();
    let file = writer.path().to_owned();
    train(&mut writer, 1..=3);
    drop(writer);
    let whole = fs::read(&file).unwrap();
    let start = whole.len() - 30;
    for length in start..whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        let mut writer = EventWriter::resume(directory.path(), 9).unwrap();
        train(&mut writer, 3..=3);
        let second = writer.path().to_owned();
        drop(writer);
        assert_eq!(summaries(directory.path()), expected(1..=3));
        fs::remove_file(second).unwrap();
    }
}

#[test]
fn a_new_log_replaces_an_older_one_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let notes = directory.path().join("notes");
    fs::write(&notes, "kept").unwrap();
    train(&mut EventWriter::create(directory.path()).unwrap(), 1..=3);
    train(&mut EventWriter::create(directory.path()).unwrap(), 1..=2);
    assert_eq!(summaries(directory.path()), expected(1..=2));
    assert_eq!(starts(directory.path()), [0]);
    let files = event_files(directory.path()).unwrap();
    let lengths = files.iter().map(|file| fs::metadata(file).unwrap().len());
    assert_eq!(lengths.clone().count(), 2);
    // A frame of 16 bytes, a time, a text of 13 with tag and length.
    assert_eq!(lengths.min(), Some(16 + 9 + 15));
    drop(EventWriter::create(directory.path()).unwrap());
    assert_eq!(event_files(directory.path()).unwrap().len(), 2);
    assert_eq!(fs::read(notes).unwrap(), b"kept");
}

/// Where the clock has been set back, and where files have names of others.
#[test]
fn a_later_file_has_a_later_name() {
    let directory = TempDir::new().unwrap();
    for rest in ["99999999990.host.1.2", "host"] {
        fs::write(directory.path().join(format!("{PREFIX}{rest}")), BY_TENSORBOARD).unwrap();
    }
    for seconds in ["99999999991", "99999999992"] {
        let writer = EventWriter::resume(directory.path(), 302).unwrap();
        let path = writer.path().to_str().unwrap();
        assert!(path.contains(&format!(".tfevents.{seconds}.")), "{path}");
    }
}

#[test]
fn errors_name_the_place() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("train");
    fs::write(&file, "").unwrap();
    for made in [EventWriter::create(&file), EventWriter::resume(&file, 3)] {
        let message = made.err().unwrap().to_string();
        assert!(message.contains(&format!("{}: cannot make: ", file.display())), "{message}");
    }
    let path = directory.path().join("logs");
    fs::create_dir_all(path.join(format!("{PREFIX}1.directory"))).unwrap();
    let message = EventWriter::resume(&path, 3).err().unwrap().to_string();
    assert!(message.contains("1.directory: cannot read: "), "{message}");
}
