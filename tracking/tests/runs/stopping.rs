//! When training ends, and what is left then.

use crate::data::{self, Part, open};
use dataset::{Dataset, Samples};
use kernels::Isa;
use tempfile::TempDir;
use tracking::metrics::{End, Epoch, Line, Validation, read_metrics};
use tracking::{Checkpoints, Collapse, Destination, Recorder};
use trainer::{Recipe, Stop, Trainer, Workers};

/// What a run has left: its lines, and the step of its last checkpoint.
struct Left {
    lines: Vec<Line>,
    checkpoint: usize,
    report: String,
}

impl Left {
    fn epochs(&self) -> Vec<&Epoch> {
        let epochs = self.lines.iter().filter_map(|line| match line {
            Line::Epoch(epoch) => Some(epoch),
            _ => None,
        });
        epochs.collect()
    }

    fn validations(&self) -> Vec<&Validation> {
        let validations = self.lines.iter().filter_map(|line| match line {
            Line::Validation(found) => Some(found),
            _ => None,
        });
        validations.collect()
    }

    /// The last line, after checking that the last checkpoint and the last validation are of its step.
    fn end(&self) -> &End {
        let Some(Line::End(end)) = self.lines.last() else { panic!("{:?}", self.lines.last()) };
        assert_eq!(self.checkpoint, end.step);
        let last = self.validations().last().map(|last| (last.step, last.top1));
        assert_eq!(last.map(|(step, _)| step), last.map(|_| end.step));
        assert_eq!(last.map(|(_, top1)| top1), end.top1);
        assert!(end.model.is_some());
        end
    }
}

fn run(data: &Dataset, settings: &[(&str, &str)]) -> Left {
    let scratch = TempDir::new().unwrap();
    let recipe = recipe(settings);
    let directory = Destination::at(&scratch.path().join("run"), false).unwrap();
    let directory = directory.make(&recipe).unwrap();
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let mut trainer = Trainer::new(&recipe, data, &workers).unwrap();
    let outcome = Recorder::new(&directory).keep(1).record(&mut trainer).unwrap();
    let lines = read_metrics(&directory.metrics()).unwrap();
    let (checkpoint, _) = Checkpoints::new(directory.checkpoints(), 1).latest().unwrap();
    let report = std::fs::read_to_string(directory.report()).unwrap();
    let left = Left { lines, checkpoint: checkpoint.progress().step, report };
    assert_eq!((left.end().reason, left.end().step), (outcome.stop, outcome.step));
    assert_eq!(outcome.epoch.as_ref(), left.epochs().last().copied());
    left
}

/// Twelve epochs of six steps, with 24 images to validate on.
fn recipe(settings: &[(&str, &str)]) -> Recipe {
    let base = [
        ("data.batch_size", "16"),
        ("data.validation", "24"),
        ("model.init", "he"),
        ("optimizer.lr", "0.01"),
        ("stop.epochs", "12"),
    ];
    data::recipe(&[&base[..], settings].concat())
}

fn images() -> (TempDir, Dataset) {
    data::random(120, [1, 16, 16], 4)
}

#[test]
fn after_all_epochs() {
    let (_directory, data) = images();
    let left = run(&data, &[("stop.epochs", "2")]);
    let end = left.end();
    assert_eq!((end.reason, end.epoch, end.step), (Stop::Epochs, 2, 12));
}

/// Also in the middle of an epoch, which is then validated and told of as far as it went.
#[test]
fn after_all_iterations() {
    let (_directory, data) = images();
    for (validation, epoch) in [("24", 6), ("test", 8), ("none", 8)] {
        for iterations in [1, 9, 16, 18] {
            let count = iterations.to_string();
            let left = run(&data, &[("stop.iterations", &count), ("data.validation", validation)]);
            let end = left.end();
            assert_eq!((end.reason, end.step), (Stop::Iterations, iterations));
            assert_eq!(end.epoch, iterations / epoch);
            assert_eq!(left.epochs().len(), iterations.div_ceil(epoch));
            let last = *left.epochs().last().unwrap();
            assert_eq!((last.step, last.top1.is_some()), (iterations, validation != "none"));
        }
    }
    // Epochs may end first.
    let left = run(&data, &[("stop.iterations", "13"), ("stop.epochs", "2")]);
    assert_eq!((left.end().reason, left.end().step), (Stop::Epochs, 12));
}

/// At the first validation that is as accurate, be it in the middle of an epoch.
#[test]
fn at_the_target_accuracy() {
    let (_directory, data) = images();
    for (validate, between) in [("{ epochs = 1 }", 6), ("{ iterations = 4 }", 4)] {
        let whole = run(&data, &[("events.validate", validate)]);
        let tops: Vec<f64> = whole.validations().iter().map(|found| found.top1).collect();
        let best = tops.iter().copied().fold(0.0, f64::max);
        let first = tops.iter().position(|&top1| top1 >= best).unwrap();
        assert!(first > 0 && first + 1 < tops.len(), "{tops:?}");
        let target = best.to_string();
        let settings = [("events.validate", validate), ("stop.target_accuracy", &target)];
        let left = run(&data, &settings);
        let end = left.end();
        assert_eq!((end.reason, end.step), (Stop::TargetAccuracy, (first + 1) * between));
        assert_eq!((end.top1, end.epoch), (Some(best), end.step / 6));
        assert_eq!(left.epochs().len(), end.step.div_ceil(6));
    }
}

/// After the first epoch whose mean training loss is as low.
#[test]
fn at_the_lowest_training_loss() {
    let (_directory, data) = images();
    let whole = run(&data, &[]);
    let losses: Vec<f64> = whole.epochs().iter().map(|epoch| epoch.loss).collect();
    let first = losses.iter().position(|&loss| loss < losses[0] / 2.0).unwrap();
    assert!(first > 0, "{losses:?}");
    let target = losses[first].to_string();
    let left = run(&data, &[("stop.min_loss", &target)]);
    let end = left.end();
    assert_eq!((end.reason, end.epoch, end.loss), (Stop::MinLoss, first + 1, Some(losses[first])));
    assert_eq!(end.step, 6 * (first + 1));
    let target = (0.5 * losses.iter().copied().fold(f64::MAX, f64::min)).to_string();
    assert_eq!(run(&data, &[("stop.min_loss", &target)]).end().reason, Stop::Epochs);
}

/// After so many validations without an improvement by `min_delta`.
#[test]
fn when_patience_is_over() {
    let (_directory, data) = images();
    for (monitor, delta, patience) in
        [("loss", 0.05, 1), ("loss", 0.02, 3), ("accuracy", 0.0, 2), ("accuracy", 0.1, 1)]
    {
        let whole = run(&data, &[("stop.monitor", monitor)]);
        // By the definition, from the validations of a run that goes on.
        let (mut reference, mut waited, mut expected) = (None, 0, None);
        for found in whole.validations() {
            let value = if monitor == "loss" { -found.validation_loss } else { found.top1 };
            match reference {
                Some(old) if value - old <= delta => waited += 1,
                _ => (reference, waited) = (Some(value), 0),
            }
            if waited == patience {
                expected = Some(found.epoch);
                break;
            }
        }
        let expected = expected.unwrap_or_else(|| panic!("{monitor}, {delta}: never"));
        let (delta, patience) = (delta.to_string(), patience.to_string());
        let left = run(
            &data,
            &[("stop.monitor", monitor), ("stop.min_delta", &delta), ("stop.patience", &patience)],
        );
        let end = left.end();
        assert_eq!((end.reason, end.epoch, end.step), (Stop::Patience, expected, 6 * expected));
    }
}

/// Images that are all alike: whatever class the network takes one for, it takes all for.
#[test]
fn a_network_that_tells_no_classes_apart_is_told() {
    let mut part = Part::random(120, [1, 16, 16], 4, 1);
    part.pixels.fill(7);
    let (_directory, data) = open(&part, None);
    let left = run(&data, &[("stop.epochs", "2")]);
    let class = left.end().collapsed.clone().expect("all images are taken for one class");
    let Collapse::Class(class) = class else { panic!("{class:?}") };
    assert!(data.class_names().contains(&class), "{class}");
    assert!(left.validations().iter().all(|found| found.collapsed.is_some()));
    let report = left.report;
    assert!(report.contains(&format!("every validation image is taken for &quot;{class}&quot;")));
    assert!(report.contains("optimizer.lr"));

    // Nothing is wrong where the images themselves are of one class, or the classes are told apart.
    let labels = part.labels.len();
    part.labels = [vec![1; labels - 1], vec![0]].concat();
    let (_directory, data) = open(&part, None);
    assert_eq!(run(&data, &[("stop.epochs", "1")]).end().collapsed, None);
    let (_directory, data) = images();
    let left = run(&data, &[]);
    assert_eq!(left.end().collapsed, None);
    assert!(!left.report.contains("every validation image"));
}

/// Labels, any of which an image may have: where images are all alike, all are given the same ones.
#[test]
fn a_network_that_tells_no_labels_apart_is_told() {
    let names = ["sun", "sea", "sand"].map(str::to_owned);
    let matrix: Vec<u8> = (0..120 * 3).map(|i| u8::from(i / 3 % (i % 3 + 2) == 0)).collect();
    let shades: Vec<u8> =
        matrix.chunks(3).flat_map(|row| vec![[7, 250][usize::from(row[0])]; 256]).collect();
    let layers = "[{ kind = 'flatten' }, { kind = 'linear' }]";
    let learn = |pixels: &[u8]| {
        let samples = Samples::multi_label(pixels, &matrix);
        let data = Dataset::in_memory([1, 16, 16], &names, samples, None).unwrap();
        let settings = [("model.loss", "bce"), ("model.layers", layers), ("data.validation", "40")];
        run(&data, &[&settings[..], &[("stop.epochs", "4"), ("optimizer.lr", "0.01")]].concat())
    };
    let left = learn(&vec![7; 120 * 256]);
    let Some(Collapse::Labels(given)) = left.end().collapsed else { panic!("{:?}", left.end()) };
    assert!(given <= 3);
    assert!(left.report.contains("every validation image is given"), "{given}");
    assert!(left.report.contains("the network tells no images apart"));

    // Images that show whether they have the first of their labels.
    let left = learn(&shades);
    assert_eq!(left.end().collapsed, None);
    assert!(!left.report.contains("every validation image"));
}
