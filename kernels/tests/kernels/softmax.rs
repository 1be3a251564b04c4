//! Softmax and cross-entropy against the reference.

use crate::common::{Batch, EPSILON, on_every_path, on_every_path_stored};
use kernels::{Isa, LANES, LossSums, cross_entropy};
use proptest::prelude::*;
use reference::{self, assert_close, uniform, widen};

/// The largest magnitude of logits here.
const RANGE: f32 = 20.0;

fn batches() -> impl Strategy<Value = Batch> {
    (1..50usize, 1..40usize).prop_map(|(images, classes)| Batch::new(images, classes, [1, 1]))
}

/// The same with classes at pixels.
fn planes() -> impl Strategy<Value = Batch> {
    (1..20usize, 1..12usize, [2..5usize, 2..5usize])
        .prop_map(|(images, classes, size)| Batch::new(images, classes, size))
}

fn logits(batch: &Batch, seed: u64) -> Vec<f32> {
    batch.uniform(seed).iter().map(|x| x * RANGE).collect()
}

fn labels(batch: &Batch, seed: u64) -> Vec<u32> {
    let classes = batch.layout.channels();
    let place = |x: &f32| ((x + 1.0) / 2.0 * classes as f32) as usize;
    uniform::<f32>(batch.images, seed).iter().map(|x| place(x).min(classes - 1) as u32).collect()
}

/// The relative error of a probability: the difference to the maximum is rounded (up to 2 · `RANGE`
/// · ε/2), then exponentials, their sum and a quotient.
fn relative(batch: &Batch) -> f64 {
    (f64::from(RANGE) * 2.0 + batch.layout.channels() as f64 + 8.0) * EPSILON
}

proptest! {
    #[test]
    fn softmax(batch in batches(), seed in 0..1000u64) {
        let (x, classes) = (logits(&batch, seed), batch.layout.channels());
        let (layout, relative) = (batch.layout, relative(&batch));
        let exact = reference::softmax(&widen(&x), classes);
        on_every_path(
            layout.len(),
            |isa, y| kernels::softmax(isa, &batch.poisoned(&x), &layout, y),
            |path, y| assert_close(path, &batch.rows(y), &exact, |i| relative * exact[i] + 1e-44),
        );
        let y: Vec<f32> = exact.iter().map(|y| *y as f32).collect();
        let dy = batch.uniform(seed + 1);
        let exact = reference::softmax_backward(&widen(&y), classes, &widen(&dy));
        on_every_path_stored(
            layout.len(),
            |isa, dx, store| {
                let (y, dy) = (batch.poisoned(&y), batch.poisoned(&dy));
                kernels::softmax_backward(isa, &y, &dy, &layout, dx, store);
            },
            |path, dx| {
                let allowance = |i: usize| (classes + 4) as f64 * EPSILON * 2.0 * f64::from(y[i]);
                assert_close(path, &batch.rows(dx), &exact, |i| allowance(i) + 1e-44);
            },
        );
    }

    #[test]
    fn log_softmax(batch in batches(), seed in 0..1000u64) {
        let (x, classes) = (logits(&batch, seed), batch.layout.channels());
        let (layout, relative) = (batch.layout, relative(&batch));
        let exact = reference::log_softmax(&widen(&x), classes);
        on_every_path(
            layout.len(),
            |isa, y| kernels::log_softmax(isa, &batch.poisoned(&x), &layout, y),
            |path, y| assert_close(path, &batch.rows(y), &exact, |i| relative + EPSILON * -exact[i]),
        );
        let y: Vec<f32> = exact.iter().map(|y| *y as f32).collect();
        let dy = batch.uniform(seed + 1);
        let exact = reference::log_softmax_backward(&widen(&y), classes, &widen(&dy));
        on_every_path_stored(
            layout.len(),
            |isa, dx, store| {
                let (y, dy) = (batch.poisoned(&y), batch.poisoned(&dy));
                kernels::log_softmax_backward(isa, &y, &dy, &layout, dx, store);
            },
            |path, dx| {
                let terms = (classes + 4) as f64;
                let allowance = |i: usize| terms * EPSILON * (1.0 + terms * f64::from(y[i].exp()));
                assert_close(path, &batch.rows(dx), &exact, allowance);
            },
        );
    }

    /// A pixel's classes give what the classes of a vector give, to the bit.
    #[test]
    fn pixels_are_vectors(batch in planes(), seed in 0..1000u64) {
        let (x, dy) = (logits(&batch, seed), batch.uniform(seed + 1));
        let [classes, pixels] = [batch.layout.channels(), batch.layout.pixels()];
        // The vector of each pixel as an image of its own.
        let vectors = Batch::new(batch.images * pixels, classes, [1, 1]);
        let place = |i: usize| {
            let (row, class) = (i / classes, i % classes);
            (row / pixels * classes + class) * pixels + row % pixels
        };
        let rows = |values: &[f32]| (0..values.len()).map(|i| values[place(i)]).collect::<Vec<_>>();
        for isa in Isa::available() {
            let run = |batch: &Batch, x: &[f32], dy: &[f32]| {
                let layout = &batch.layout;
                let (x, dy) = (batch.poisoned(x), batch.poisoned(dy));
                let mut all = vec![];
                for log in [false, true] {
                    let [mut y, mut dx] = [0, 1].map(|_| vec![f32::NAN; layout.len()]);
                    let store = kernels::Store::Overwrite;
                    if log {
                        kernels::log_softmax(isa, &x, layout, &mut y);
                        kernels::log_softmax_backward(isa, &y, &dy, layout, &mut dx, store);
                    } else {
                        kernels::softmax(isa, &x, layout, &mut y);
                        kernels::softmax_backward(isa, &y, &dy, layout, &mut dx, store);
                    }
                    all.extend([batch.rows(&y), batch.rows(&dx)]);
                }
                all
            };
            let expected = run(&vectors, &rows(&x), &rows(&dy));
            for (found, expected) in run(&batch, &x, &dy).iter().zip(expected) {
                crate::common::assert_same_bits(isa.name(), &rows(found), &expected);
            }
        }
    }

    #[test]
    fn cross_entropy_and_gradient(
        batch in batches(), seed in 0..1000u64, smoothing in prop_oneof![Just(0.0f32), 0.0..1.0f32],
    ) {
        let (x, labels) = (logits(&batch, seed), labels(&batch, seed + 1));
        check_cross_entropy(&batch, &x, &labels, smoothing);
        // Integers: many equal maxima.
        let ties: Vec<f32> = x.iter().map(|x| (x / 8.0).round()).collect();
        check_cross_entropy(&batch, &ties, &labels, smoothing);
    }
}

fn check_cross_entropy(batch: &Batch, x: &[f32], labels: &[u32], smoothing: f32) {
    let Batch { images, layout } = *batch;
    let classes = layout.channels();
    let places: Vec<usize> = labels.iter().map(|label| *label as usize).collect();
    let (wide, wide_smoothing) = (widen(x), f64::from(smoothing));
    let mean = reference::softmax_cross_entropy(&wide, &places, classes, wide_smoothing);
    let exact: Vec<f64> =
        reference::softmax_cross_entropy_backward(&wide, &places, classes, wide_smoothing)
            .iter()
            .map(|dx| dx * images as f64 * 0.125)
            .collect();
    let first_largest =
        |row: &[f32]| (0..classes).rev().max_by(|i, j| row[*i].partial_cmp(&row[*j]).unwrap());
    let hits = x.chunks(classes).zip(&places);
    let correct = hits.filter(|(row, label)| first_largest(row) == Some(**label)).count();
    // Per image: sums of `classes` terms and of shifted logits, each below 2 · RANGE.
    let allowance = images as f64 * relative(batch) * (1.0 + f64::from(RANGE) * 2.0);
    let check = |path: &str, found: LossSums| {
        let error = (found.loss - mean * images as f64).abs();
        assert!(error <= allowance, "{path}: {} {mean}, {error} {allowance}", found.loss);
        assert_eq!(found.correct, correct, "{path}");
    };
    let lanes = batch.poisoned(x);
    on_every_path(
        layout.len() + 2,
        |isa, all| {
            let (dx, loss) = all.split_at_mut(layout.len());
            let gradient = Some((dx, 0.125));
            let found = cross_entropy(isa, &lanes, &layout, labels, smoothing, gradient);
            check(isa.name(), found);
            // Both halves of the f64, so that the paths are compared to the bit.
            (loss[0], loss[1]) =
                (found.loss as f32, (found.loss - f64::from(found.loss as f32)) as f32);
            let again = cross_entropy(isa, &lanes, &layout, labels, smoothing, None);
            assert_eq!(found, again, "{isa}");
        },
        |path, all| {
            let dx = &all[..layout.len()];
            assert_close(path, &batch.rows(dx), &exact, |_| relative(batch) * 0.125);
            for (i, dx) in dx.iter().enumerate() {
                let image = i / layout.block_len() * LANES + i % LANES;
                assert!(image < images || *dx == 0.0, "{path}: lane {} of {i}", i % LANES);
            }
        },
    );
}

#[test]
fn nan_is_loss_gradient_and_wrong_but_only_its_own_images() {
    let batch = Batch::new(20, 4, [1, 1]);
    for (class, bad) in [(0, f32::NAN), (3, f32::NAN), (2, f32::INFINITY)] {
        let mut x = vec![0.0; 80];
        for image in 0..20 {
            x[image * 4 + 1] = 1.0;
        }
        x[17 * 4 + class] = bad;
        for isa in Isa::available() {
            let mut dx = vec![0.0; batch.layout.len()];
            let gradient = Some((dx.as_mut_slice(), 1.0));
            let lanes = batch.lanes(&x);
            let found = cross_entropy(isa, &lanes, &batch.layout, &[1; 20], 0.0, gradient);
            assert!(found.loss.is_nan(), "{isa}");
            assert_eq!(found.correct, 19, "{isa}");
            let dx = batch.rows(&dx);
            assert!((0..80).all(|i| dx[i].is_nan() == (i / 4 == 17)), "{isa}: {dx:?}");
            let mut y = vec![0.0; batch.layout.len()];
            kernels::softmax(isa, &lanes, &batch.layout, &mut y);
            let y = batch.rows(&y);
            assert!((0..80).all(|i| y[i].is_nan() == (i / 4 == 17)), "{isa}: {y:?}");
        }
    }
}

/// −∞ is an honest logit, of a class that is out of the question.
#[test]
fn impossible_classes() {
    let batch = Batch::new(16, 3, [1, 1]);
    let x: Vec<f32> = [0.0, f32::NEG_INFINITY, 0.0].repeat(16);
    for isa in Isa::available() {
        let found = cross_entropy(isa, &batch.lanes(&x), &batch.layout, &[2; 16], 0.0, None);
        assert!((found.loss - 16.0 * 2f64.ln()).abs() < 1e-5, "{isa}: {found:?}");
        assert_eq!(found.correct, 0, "{isa}: ties go to the first class");
        let mut y = [f32::NAN; 48];
        kernels::softmax(isa, &batch.lanes(&x), &batch.layout, &mut y);
        assert_eq!(batch.rows(&y), [0.5, 0.0, 0.5].repeat(16), "{isa}");
    }
}

#[test]
fn no_images_no_loss() {
    let batch = Batch::new(16, 3, [1, 1]);
    for isa in Isa::available() {
        let mut dx = [f32::NAN; 48];
        let gradient = Some((dx.as_mut_slice(), 1.0));
        let found = cross_entropy(isa, &[1.0; 48], &batch.layout, &[], 0.1, gradient);
        assert_eq!((found, dx), (LossSums::default(), [0.0; 48]), "{isa}");
    }
}

#[test]
#[should_panic(expected = "label 3 of 3 classes")]
fn labels_must_be_classes() {
    let batch = Batch::new(1, 3, [1, 1]);
    cross_entropy(Isa::detect(), &[0.0; 48], &batch.layout, &[3], 0.0, None);
}
