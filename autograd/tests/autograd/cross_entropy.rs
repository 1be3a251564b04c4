//! The loss of a classifier.

use crate::harness::*;
use autograd::{Tape, Tensor, Workspace};
use kernels::Isa;
use proptest::prelude::*;
use reference::*;
use std::cell::Cell;

/// A label for each image.
fn labels(images: usize, classes: usize, seed: u64) -> Vec<usize> {
    let draws: Vec<f64> = uniform(images, seed ^ 0x1abe1);
    draws.iter().map(|u| ((u + 1.0) / 2.0 * classes as f64) as usize).collect()
}

/// Images whose largest logit is that of the label, the first of equal ones.
fn correct(logits: &[f64], labels: &[usize], classes: usize) -> usize {
    let order = |row: &[f64], a: usize, b: usize| row[a].partial_cmp(&row[b]).expect("numbers");
    let best = |row: &[f64]| (0..classes).rev().max_by(|a, b| order(row, *a, *b));
    logits.chunks(classes).zip(labels).filter(|(row, label)| best(row) == Some(**label)).count()
}

proptest! {
    #[test]
    fn softmax_cross_entropy_and_its_gradients(
        (images, classes) in (images(), 1..=20usize),
        numbers in numbers(),
        smoothing in prop::sample::select(vec![0.0f32, 0.1, 0.75]),
        width in 0.1..20.0f32,
        others in 0..40usize,
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let batch = images + others;
        // Quarters, which are often equal, decide what is correct; any numbers, how exact it is.
        let quarters = numbers.draw(images * classes, seed.wrapping_add(1));
        let found = Cell::new(None);
        let case = Case::new(Numbers::Any, seed, &[features(images, classes)], &[])
            .with_input(0, |x| width * x)
            .shared(shared)
            .batch(batch);
        let (x, targets) = (case.x(0), labels(images, classes, seed));
        let share = images as f64 / batch as f64;
        let rate = f64::from(smoothing);
        let loss = softmax_cross_entropy(&x, &targets, classes, rate) * share;
        // Every logit is below `width`, so every term of the loss of an image below this.
        let span = 1.0 + 2.0 * f64::from(width);
        let terms = classes + images + 8;
        let right = correct(&x, &targets, classes);
        case.on_every_path(
            |tape, x, _| {
                let images = tape.value(x[0]).images();
                let labels: Vec<u32> =
                    labels(images, classes, seed).iter().map(|l| *l as u32).collect();
                let (loss, sums) = tape.softmax_cross_entropy(x[0], &labels, smoothing);
                found.set(Some(sums));
                loss
            },
            |got| {
                case.check("loss", &got.y, Expected::sums(terms, vec![loss], vec![span * share]))?;
                let sums = found.get().expect("the operation ran");
                let error = (sums.loss - loss * batch as f64).abs();
                prop_assert!(error <= terms as f64 * 1.2e-7 * span * images as f64, "{}", error);
                prop_assert_eq!(sums.correct, right);

                let r = f64::from(got.r[0]);
                let gradient = softmax_cross_entropy_backward(&x, &targets, classes, rate);
                let dx = gradient.iter().map(|g| r * share * g).collect();
                // Softmax and target are at most one each; relative to itself, softmax is off by its
                // exponent's rounding and the sum's.
                let size = softmax(&x, classes);
                let size = size.iter().map(|y| r.abs() / batch as f64 * (span * y + 1.0)).collect();
                case.check_dx(0, got, Expected::sums(classes + 8, dx, size))
            },
        )?;

        for isa in Isa::available() {
            let mut workspace = Workspace::default();
            let mut tape = Tape::evaluation(isa, &mut workspace, &[]);
            let logits = tape.variable(&Tensor::from_rows(&quarters, images, classes, [1, 1]));
            let labels: Vec<u32> = targets.iter().map(|l| *l as u32).collect();
            let (loss, sums) = tape.softmax_cross_entropy(logits, &labels, 0.0);
            prop_assert_eq!(sums.correct, correct(&widen(&quarters), &targets, classes));
            // Not divided by a batch, which an evaluation has none of.
            prop_assert_eq!(tape.value(loss).to_rows(), [sums.loss as f32]);
        }
    }
}
