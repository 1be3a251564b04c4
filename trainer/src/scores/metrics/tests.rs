//! By hand, and beside scikit-learn, whose results `tests/fixtures/make_metrics.py` has written.

use super::*;
use crate::scores::Sums;
use serde_json::Value;

/// A label, what is predicted, and how surely.
fn metrics(classes: usize, images: &[(usize, usize, f64)]) -> Metrics {
    let outcome =
        |&(label, predicted, value): &(usize, usize, f64)| (label, Outcome { predicted, value });
    Metrics::of(classes, images.iter().map(outcome), &mut Tally::default())
}

#[test]
fn means_over_classes_leave_out_those_that_are_not_there() {
    let found = metrics(4, &[(0, 0, 0.9), (0, 0, 0.9), (0, 1, 0.5), (1, 1, 0.5), (2, 1, 0.5)]);
    // Recalls 2/3, 1, 0; F1 of class 3 is undefined, as nobody knows it.
    assert!((found.balanced_accuracy - 5.0 / 9.0).abs() < 1e-15, "{found:?}");
    assert!((found.macro_f1 - (0.8 + 0.5 + 0.0) / 3.0).abs() < 1e-15, "{found:?}");
    assert_eq!((found.auc, found.collapsed), (None, None));
    // Bins (13/15, 14/15] and (7/15, 8/15].
    assert!((found.ece - (0.2 + 0.5) / 5.0).abs() < 1e-15, "{found:?}");
}

#[test]
fn a_confidence_at_a_bound_is_in_the_bin_below() {
    // 0.4 = 6/15 is the upper bound of the sixth bin, whose confidences are then 0.4 and 0.36.
    let found = metrics(3, &[(0, 0, 0.4), (1, 0, 0.36)]);
    assert!((found.ece - (1.0f64 - 0.76).abs() / 2.0).abs() < 1e-15, "{found:?}");
    let apart = metrics(3, &[(0, 0, 0.41), (1, 0, 0.36)]);
    assert!((apart.ece - (0.59 + 0.36) / 2.0).abs() < 1e-15, "{apart:?}");
}

#[test]
fn pairs_of_equal_scores_count_half() {
    let of = |scores: &[(usize, f64)]| {
        let images: Vec<_> = scores.iter().map(|&(l, s)| (l, usize::from(s > 0.0), s)).collect();
        metrics(2, &images).auc
    };
    assert_eq!(of(&[(0, -1.0), (1, 1.0)]), Some(1.0));
    assert_eq!(of(&[(0, 1.0), (1, -1.0)]), Some(0.0));
    assert_eq!(of(&[(0, 2.0), (1, 2.0)]), Some(0.5));
    // Zero has two signs and one place.
    assert_eq!(of(&[(0, 0.0), (1, -0.0), (1, 1.0), (0, -3.0)]), Some(3.5 / 4.0));
    assert_eq!(of(&[(1, 2.0), (1, 3.0)]), None);
}

/// The rule that the documentation states, at its bounds.
#[test]
fn nearly_one_class_is_a_collapse() {
    let run = |others_predicted: usize, others_labelled: usize, images: usize| {
        let image = |i: usize| {
            let label = usize::from(i < others_labelled);
            // Predicted from the other end, to be wrong.
            (label, usize::from(i >= images - others_predicted), 0.5)
        };
        metrics(3, &(0..images).map(image).collect::<Vec<_>>()).collapsed
    };
    assert_eq!(run(0, 10, 500), Some(0));
    assert_eq!(run(1, 10, 500), None);
    assert_eq!(run(9, 200, 500), Some(0));
    assert_eq!(run(10, 200, 500), None);
    assert_eq!(run(0, 0, 500), None, "of one class all are of it");
}

#[test]
fn words_keep_every_bit() {
    for value in [0.1, -0.0, f64::MAX] {
        let outcome = Outcome { predicted: 1 << 20, value };
        let again = Outcome::from_words(outcome.to_words());
        assert_eq!((again.predicted, again.value.to_bits()), (1 << 20, value.to_bits()));
    }
}

/// Two classes by their difference, so that probabilities of one are told apart.
#[test]
fn outcomes_of_logits() {
    let two = Outcome::of(&[-50.0, 51.0]);
    assert_eq!((two.predicted, two.value), (1, 101.0));
    assert!((two.confidence(2) - 1.0).abs() < 1e-15);
    assert_eq!(Outcome::of(&[1.0, 1.0]).predicted, 0);
    let three = Outcome::of(&[0.0, 2f32.ln(), 0.0]);
    assert!(three.predicted == 1 && (three.value - 0.5).abs() < 1e-7, "{three:?}");
}

#[test]
fn measures_are_those_of_scikit_learn() {
    let file: Value =
        serde_json::from_str(include_str!("../../../../tests/fixtures/metrics.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 7);
    for (number, case) in cases.iter().enumerate() {
        let list = |key: &str| case[key].as_array().unwrap().iter();
        let classes = case["classes"].as_u64().unwrap() as usize;
        let logits: Vec<f32> = list("logits").map(|x| x.as_f64().unwrap() as f32).collect();
        let labels = list("labels").map(|label| label.as_u64().unwrap() as usize);
        let mut sums = Sums::new(classes);
        for (image, (label, logits)) in labels.zip(logits.chunks(classes)).enumerate() {
            sums.add(image, label, logits).unwrap();
        }
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let scores = sums.scores(&names, 0);
        let Metrics { balanced_accuracy, macro_f1, auc, ece, .. } = scores.metrics;
        let found = &case["found"];
        let mut compared = 0;
        for (key, own) in [
            ("balanced_accuracy", Some(balanced_accuracy)),
            ("macro_f1", Some(macro_f1)),
            ("auc", auc),
            ("ece", Some(ece)),
            ("top1", Some(scores.top1)),
            ("top2", Some(scores.top(2))),
            ("top3", Some(scores.top(3))),
            ("top5", scores.top5),
        ] {
            let Some(value) = found.get(key) else { continue };
            compared += 1;
            match (own, value.as_f64()) {
                (Some(own), Some(value)) => {
                    assert!((own - value).abs() < 1e-12, "{number} {key}: {own}, not {value}");
                }
                (own, value) => assert_eq!(own, value, "{number} {key}"),
            }
        }
        assert_eq!(compared, found.as_object().unwrap().len(), "{number}");
    }
}
