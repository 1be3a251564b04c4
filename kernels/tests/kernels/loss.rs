//! Losses of every kind, of labels and of rows, against the reference.

use crate::common::{Batch, EPSILON, on_every_path};
use kernels::{Isa, LANES, Loss, LossKind, LossSums, Targets, cross_entropy, loss};
use proptest::prelude::*;
use reference::{ClassifierLoss, Outputs, assert_close, uniform, widen};

/// The largest magnitude of logits here.
const RANGE: f32 = 20.0;

const SCALE: f32 = 0.125;

/// A loss and its targets.
#[derive(Debug)]
struct Case {
    batch: Batch,
    kind: LossKind,
    smoothing: f32,
    weights: Option<Vec<f32>>,
    labels: Option<Vec<u32>>,
    rows: Vec<f32>,
}

fn classes(kind: LossKind, outputs: usize) -> usize {
    Loss { kind, ..Loss::CROSS_ENTROPY }.classes(outputs)
}

/// From 0 to 1.
fn parts(len: usize, seed: u64) -> Vec<f32> {
    uniform::<f32>(len, seed).iter().map(|x| (x + 1.0) / 2.0).collect()
}

fn cases() -> impl Strategy<Value = Case> {
    let kinds = prop::sample::select(vec![LossKind::CrossEntropy, LossKind::Nll, LossKind::Bce]);
    let smoothing = prop_oneof![Just(0.0f32), 0.0..1.0f32];
    let sizes = (1..50usize, prop_oneof![Just(1usize), 1..40usize]);
    (sizes, kinds, smoothing, any::<[bool; 2]>(), 0..1000u64).prop_map(
        |((images, outputs), kind, smoothing, [weighted, labelled], seed)| {
            let batch = Batch::new(images, outputs, [1, 1]);
            let classes = classes(kind, outputs);
            // Some classes weigh nothing.
            let weight = |x: &f32| if *x < 0.2 { 0.0 } else { 3.0 * x };
            let weights = weighted.then(|| parts(classes, seed).iter().map(weight).collect());
            let places = parts(images, seed + 1);
            let place = |x: &f32| ((x * classes as f32) as usize).min(classes - 1);
            let labels: Vec<u32> = places.iter().map(|x| place(x) as u32).collect();
            let rows = if labelled {
                let mut rows = vec![0.0; images * classes];
                for (row, label) in rows.chunks_mut(classes).zip(&labels) {
                    row[*label as usize] = 1.0;
                }
                rows
            } else {
                parts(images * classes, seed + 2)
            };
            let labels = labelled.then_some(labels);
            Case { batch, kind, smoothing, weights, labels, rows }
        },
    )
}

impl Case {
    fn targets(&self) -> Targets<'_> {
        self.labels.as_ref().map_or(Targets::Rows(&self.rows), |l| Targets::Labels(l))
    }

    fn loss(&self) -> Loss<'_> {
        Loss { kind: self.kind, smoothing: self.smoothing, weights: self.weights.as_deref() }
    }

    fn reference(&self) -> ClassifierLoss {
        let outputs = self.batch.layout.channels();
        let of = match self.kind {
            LossKind::CrossEntropy => Outputs::Logits,
            LossKind::Nll => Outputs::LogProbabilities,
            LossKind::Bce => Outputs::Answers,
        };
        let ones = vec![1.0; classes(self.kind, outputs)];
        let weights = self.weights.as_ref().map_or(ones, |weights| widen(weights));
        ClassifierLoss { of, outputs, smoothing: self.smoothing.into(), weights }
    }

    /// Images whose outputs say what their targets do.
    fn correct(&self, x: &[f32]) -> usize {
        let (outputs, classes) = (self.batch.layout.channels(), self.reference().classes());
        let first = |row: &[f32]| {
            (0..row.len())
                .rev()
                .max_by(|i, j| row[*i].partial_cmp(&row[*j]).unwrap())
                .expect("a class")
        };
        let rows = x.chunks(outputs).zip(self.rows.chunks(classes));
        let right = |(x, t): &(&[f32], &[f32])| match (self.kind, *x) {
            (LossKind::Bce, [x]) => (*x > 0.0) == (t[1] > t[0]),
            (LossKind::Bce, x) => x.iter().zip(*t).all(|(x, t)| (*x > 0.0) == (*t > 0.5)),
            _ => first(x) == first(t),
        };
        rows.filter(right).count()
    }

    /// By which a logarithm of a probability may be off, relative to a probability: see `softmax.rs`.
    fn relative(&self) -> f64 {
        (f64::from(RANGE) * 2.0 + 2.0 * self.batch.layout.channels() as f64 + 16.0) * EPSILON
    }

    fn check(&self, x: &[f32]) {
        let Batch { images, layout } = self.batch;
        let (reference, rows, wide) = (self.reference(), widen(&self.rows), widen(x));
        let sum = reference.sum(&wide, &rows);
        let scaled = reference.gradient(&wide, &rows);
        let exact: Vec<f64> = scaled.iter().map(|dx| dx * f64::from(SCALE)).collect();
        // q of an image is at most the sum of its targets times the largest weight.
        let all: f64 = if self.labels.is_some() { 1.0 } else { reference.classes() as f64 };
        let largest = 3.0 * all;
        let off = self.relative() * largest * (2.0 + f64::from(RANGE) * 2.0);
        let (correct, lanes) = (self.correct(x), self.batch.poisoned(x));
        let check = |path: &str, found: LossSums| {
            let error = (found.loss - sum).abs();
            assert!(error <= off * images as f64, "{path}: {} {sum}", found.loss);
            assert_eq!(found.correct, correct, "{path}");
        };
        on_every_path(
            layout.len() + 2,
            |isa, all| {
                let (dx, two) = all.split_at_mut(layout.len());
                let gradient = Some((dx, SCALE));
                let found = loss(isa, &lanes, &layout, self.targets(), &self.loss(), gradient);
                check(isa.name(), found);
                // Both halves of the f64, so that the paths are compared to the bit.
                (two[0], two[1]) =
                    (found.loss as f32, (found.loss - f64::from(found.loss as f32)) as f32);
                let again = loss(isa, &lanes, &layout, self.targets(), &self.loss(), None);
                assert_eq!(found, again, "{isa}");
            },
            |path, all| {
                let dx = &all[..layout.len()];
                let off = self.relative() * largest * f64::from(SCALE);
                assert_close(path, &self.batch.rows(dx), &exact, |_| off);
                for (i, dx) in dx.iter().enumerate() {
                    let image = i / layout.block_len() * LANES + i % LANES;
                    assert!(image < images || *dx == 0.0, "{path}: lane {} of {i}", i % LANES);
                }
            },
        );
    }
}

proptest! {
    #[test]
    fn loss_and_gradient(case in cases(), seed in 0..1000u64) {
        let x: Vec<f32> = case.batch.uniform(seed).iter().map(|x| x * RANGE).collect();
        case.check(&x);
        // Integers: many equal maxima, and zeros.
        let ties: Vec<f32> = x.iter().map(|x| (x / 8.0).round()).collect();
        case.check(&ties);
    }

    /// Rows of ones and zeros are labels, to the bit, and weights of one are none.
    #[test]
    fn labels_are_rows(case in cases(), seed in 0..1000u64) {
        let layout = case.batch.layout;
        let x: Vec<f32> = case.batch.uniform(seed).iter().map(|x| x * RANGE).collect();
        let lanes = case.batch.poisoned(&x);
        let ones = vec![1.0; case.reference().classes()];
        let weights = Some(case.weights.as_deref().unwrap_or(&ones));
        let weighted = Loss { weights, ..case.loss() };
        for isa in Isa::available() {
            let run = |targets: Targets<'_>| {
                let mut dx = vec![f32::NAN; layout.len()];
                let sums = loss(isa, &lanes, &layout, targets, &weighted, Some((&mut dx, SCALE)));
                (sums, dx)
            };
            prop_assert_eq!(run(case.targets()), run(Targets::Rows(&case.rows)));
        }
    }
}

/// ln(1 + exp(−|x|)) where it is far below the last bit of one, and derivatives there.
#[test]
fn sure_answers_keep_their_digits() {
    let batch = Batch::new(4, 1, [1, 1]);
    let x = [-30.0f32, 30.0, 80.0, -100.0];
    let bce = Loss { kind: LossKind::Bce, ..Loss::CROSS_ENTROPY };
    for isa in Isa::available() {
        for (image, label) in [0, 1, 1, 1].into_iter().enumerate() {
            let one = Batch::new(1, 1, [1, 1]);
            let lanes = one.lanes(&x[image..=image]);
            let mut dx = vec![f32::NAN; 16];
            let found = loss(
                isa,
                &lanes,
                &one.layout,
                Targets::Labels(&[label]),
                &bce,
                Some((&mut dx, 1.0)),
            );
            let wrong = f64::from(if label == 1 { -x[image] } else { x[image] });
            let exact = if wrong > 0.0 { wrong } else { wrong.exp() };
            assert!(
                (found.loss - exact).abs() <= 4.0 * EPSILON * exact,
                "{isa}: {found:?} {exact}"
            );
            let slope = 1.0 / (1.0 + (-wrong).exp());
            let slope = if label == 1 { -slope } else { slope };
            let off = 8.0 * EPSILON * slope.abs();
            assert!((f64::from(dx[0]) - slope).abs() <= off, "{isa}: {} {slope}", dx[0]);
        }
        let sure = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 0.0];
        let labels = Targets::Labels(&[0, 1, 1, 0]);
        let mut dx = vec![1.0; 16];
        let gradient = Some((&mut dx[..], 1.0));
        let found = loss(isa, &batch.lanes(&sure), &batch.layout, labels, &bce, gradient);
        assert!(found.loss.is_nan() && found.correct == 3, "{isa}: {found:?}");
        assert_eq!(batch.rows(&dx)[..2], [0.0, 0.0], "{isa}");
        assert!(dx[2].is_nan() && dx[3] == 0.5, "{isa}");
    }
}

/// NaN is noticed by every kind; −∞ is an honest logit where nothing is expected of it.
#[test]
fn not_numbers_and_impossible_classes() {
    let batch = Batch::new(20, 4, [1, 1]);
    let weights = [1.0, 2.0, 3.0, 4.0];
    for kind in [LossKind::CrossEntropy, LossKind::Nll, LossKind::Bce] {
        let with = Loss { kind, smoothing: 0.0, weights: Some(&weights) };
        for isa in Isa::available() {
            let run = |bad: f32| {
                let mut x = [-1.0, 1.0, -1.0, -1.0].repeat(20);
                x[17 * 4 + 2] = bad;
                let mut dx = vec![0.0; batch.layout.len()];
                let (lanes, targets) = (batch.lanes(&x), Targets::Labels(&[1; 20]));
                let found = loss(isa, &lanes, &batch.layout, targets, &with, Some((&mut dx, 1.0)));
                (found, batch.rows(&dx))
            };
            let (found, dx) = run(f32::NAN);
            assert!(found.loss.is_nan() && found.correct == 19, "{isa} {kind:?}: {found:?}");
            for (i, dx) in dx.iter().enumerate() {
                let bad = match kind {
                    LossKind::Bce => i == 17 * 4 + 2,
                    _ => i / 4 == 17,
                };
                assert_eq!(dx.is_nan(), bad, "{isa} {kind:?}: {i}");
            }
            let (found, dx) = run(f32::NEG_INFINITY);
            let finite = found.loss.is_finite() && dx.iter().all(|dx| dx.is_finite());
            assert!(finite && found.correct == 20, "{isa} {kind:?}: {found:?}");
        }
    }
}

/// The cross-entropy of two logits of which one is zero is that of one output for two classes.
#[test]
fn one_output_is_two_of_which_one_is_zero() {
    let (one, two) = (Batch::new(40, 1, [1, 1]), Batch::new(40, 2, [1, 1]));
    let x: Vec<f32> = one.uniform(5).iter().map(|x| 6.0 * x).collect();
    let pairs: Vec<f32> = x.iter().flat_map(|x| [0.0, *x]).collect();
    let labels: Vec<u32> = (0..40).map(|i| u32::from(i % 3 == 0)).collect();
    let (targets, isa) = (Targets::Labels(&labels), Isa::detect());
    let weights = [0.5, 2.0];
    let bce = Loss { kind: LossKind::Bce, smoothing: 0.1, weights: Some(&weights) };
    let ce = Loss { kind: LossKind::CrossEntropy, ..bce };
    let a = loss(isa, &one.lanes(&x), &one.layout, targets, &bce, None);
    let b = loss(isa, &two.lanes(&pairs), &two.layout, targets, &ce, None);
    assert!((a.loss - b.loss).abs() < 1e-5 * b.loss && a.correct == b.correct, "{a:?} {b:?}");
}

#[test]
fn plain_cross_entropy_is_the_kernel_of_its_own() {
    let batch = Batch::new(20, 5, [1, 1]);
    let (x, labels) = (batch.lanes(&batch.uniform(3)), [2; 20]);
    for isa in Isa::available() {
        let plain = Loss { smoothing: 0.1, ..Loss::CROSS_ENTROPY };
        let found = loss(isa, &x, &batch.layout, Targets::Labels(&labels), &plain, None);
        assert_eq!(found, cross_entropy(isa, &x, &batch.layout, &labels, 0.1, None));
    }
}

#[test]
#[should_panic(expected = "label 2 of 2 classes")]
fn labels_of_one_output_are_two() {
    let bce = Loss { kind: LossKind::Bce, ..Loss::CROSS_ENTROPY };
    let layout = Batch::new(1, 1, [1, 1]).layout;
    loss(Isa::detect(), &[0.0; 16], &layout, Targets::Labels(&[2]), &bce, None);
}

#[test]
#[should_panic(expected = "weights, one for each class")]
fn weights_are_one_for_each_class() {
    let weighted = Loss { weights: Some(&[1.0, 2.0]), ..Loss::CROSS_ENTROPY };
    let layout = Batch::new(1, 3, [1, 1]).layout;
    loss(Isa::detect(), &[0.0; 48], &layout, Targets::Labels(&[2]), &weighted, None);
}
