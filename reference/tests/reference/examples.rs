//! The reference operations on examples worked by hand, and at the corners of PyTorch's semantics:
//! padding, ties, NaN, infinities, nothing at all.

use kernels::{Sgd, Window};
use reference::*;

const NAN: f64 = f64::NAN;
const LOW: f64 = f64::NEG_INFINITY;

/// Every number of it differs between the axes.
const SKEWED: Window = Window { kernel: [2, 3], stride: [1, 2], padding: [0, 1], dilation: [2, 1] };

/// One plane.
fn plane(rows: usize, columns: usize) -> Planes {
    Planes { images: 1, channels: 1, size: [rows, columns] }
}

/// 1, 2, 3, …
fn counting(len: usize) -> Vec<f64> {
    (1..=len).map(|i| i as f64).collect()
}

/// Equal within rounding; NaN equals NaN.
#[track_caller]
fn assert_same(got: &[f64], expected: &[f64]) {
    let same = |(a, b): (&f64, &f64)| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-15 * (1.0 + b.abs())
    };
    let equal = got.len() == expected.len() && got.iter().zip(expected).all(same);
    assert!(equal, "got {got:?}, expected {expected:?}");
}

#[test]
fn conv2d_of_a_skewed_window() {
    let conv = Conv { images: 1, inputs: 1, outputs: 1, size: [3, 4], options: SKEWED.into() };
    // Rows 0 and 2; columns −1, 0, 1 and 1, 2, 3.
    let y = conv2d(&conv, &counting(12), &counting(6), Some(&[100.0]));
    let first = 100.0 + (2.0 * 1.0 + 3.0 * 2.0) + (5.0 * 9.0 + 6.0 * 10.0);
    let second = 100.0 + (2.0 + 2.0 * 3.0 + 3.0 * 4.0) + (4.0 * 10.0 + 5.0 * 11.0 + 6.0 * 12.0);
    assert_same(&y, &[first, second]);
}

#[test]
fn conv2d_of_several_images_and_channels() {
    let conv = Conv {
        images: 2,
        inputs: 2,
        outputs: 3,
        size: [1, 1],
        options: Window::new([1, 1]).into(),
    };
    let w = [1.0, 0.0, 0.0, 1.0, 1.0, 10.0];
    let y = conv2d(&conv, &[1.0, 2.0, 3.0, 4.0], &w, Some(&[0.0, 0.5, 0.0]));
    assert_same(&y, &[1.0, 2.5, 21.0, 3.0, 4.5, 43.0]);
    let gradients = conv2d_backward(&conv, &[1.0, 2.0, 3.0, 4.0], &w, &counting(6));
    assert_same(&gradients.db, &[5.0, 7.0, 9.0]);
    assert_same(&gradients.dw, &[13.0, 18.0, 17.0, 24.0, 21.0, 30.0]);
    assert_same(&gradients.dx, &[4.0, 32.0, 10.0, 65.0]);
}

#[test]
fn linear_by_hand() {
    let shape = Linear { images: 2, inputs: 2, outputs: 3 };
    let (x, w) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0, 1.0, 10.0]);
    let y = linear(&shape, &x, &w, Some(&[0.0, 0.5, 0.0]));
    assert_same(&y, &[1.0, 2.5, 21.0, 3.0, 4.5, 43.0]);
    let gradients = linear_backward(&shape, &x, &w, &counting(6));
    assert_same(&gradients.dw, &[13.0, 18.0, 17.0, 24.0, 21.0, 30.0]);
}

#[test]
fn im2col_of_a_skewed_window() {
    let columns = im2col(&plane(3, 4), &SKEWED, &counting(12));
    assert_same(&columns, &[0.0, 2.0, 1.0, 3.0, 2.0, 4.0, 0.0, 10.0, 9.0, 11.0, 10.0, 12.0]);
    // Column 1 of the image is seen twice, row 1 never.
    let x = col2im(&plane(3, 4), &SKEWED, &columns);
    assert_same(&x, &[1.0, 4.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 9.0, 20.0, 11.0, 12.0]);
}

#[test]
fn gemm_with_beta_zero_does_not_read_c() {
    let mut c = [NAN; 4];
    gemm(&Gemm::new(2, 2, 1), 2.0, &[1.0, 2.0], &[3.0, 4.0], 0.0, &mut c);
    assert_same(&c, &[6.0, 8.0, 12.0, 16.0]);
    gemm(&Gemm::new(2, 2, 1), 1.0, &[1.0, 2.0], &[3.0, 4.0], -0.5, &mut c);
    assert_same(&c, &[0.0; 4]);
    let mut c = [1.0, NAN];
    gemm(&Gemm::new(1, 2, 0), 1.0, &[], &[], 3.0, &mut c);
    assert_same(&c, &[3.0, NAN]);
    gemm(&Gemm::new(1, 2, 0), 1.0, &[], &[], 0.0, &mut c);
    assert_same(&c, &[0.0, 0.0]);
}

#[test]
fn pools_of_a_skewed_window() {
    let (planes, x) = (plane(3, 4), counting(12));
    assert_same(&max_pool2d(&planes, SKEWED, &x), &[10.0, 12.0]);
    assert_eq!(max_pool2d_sources(&planes, SKEWED, &x), [Some(9), Some(11)]);
    assert_same(&avg_pool2d(&planes, SKEWED, &x), &[22.0 / 6.0, 42.0 / 6.0]);
    assert_same(&global_avg_pool2d(&planes, &x), &[6.5]);
    let two = Planes { channels: 2, ..plane(1, 2) };
    assert_same(&global_avg_pool2d(&two, &[1.0, 3.0, 10.0, 30.0]), &[2.0, 20.0]);
}

#[test]
fn max_pool2d_leaves_padding_out() {
    let window = Window::new([3, 3]).padding(1);
    assert_same(&max_pool2d(&plane(1, 1), window, &[-7.0]), &[-7.0]);
    let nothing = Window::new([1, 2]).dilation(2);
    let nothing = Window { padding: [0, 1], ..nothing };
    assert_same(&max_pool2d(&plane(1, 1), nothing, &[5.0]), &[LOW]);
    assert_same(&max_pool2d_backward(&plane(1, 1), nothing, &[5.0], &[1.0]), &[0.0]);
}

#[test]
fn max_pool2d_takes_the_first_of_equals() {
    let (planes, window) = (plane(2, 2), Window::new([2, 2]));
    let source = |x: [f64; 4]| max_pool2d_sources(&planes, window, &x)[0].unwrap();
    assert_eq!(source([5.0, 5.0, 5.0, 5.0]), 0);
    assert_eq!(source([1.0, 5.0, 5.0, 5.0]), 1);
    assert_eq!(source([1.0, 2.0, 5.0, 5.0]), 2);
    assert_eq!(source([LOW, LOW, LOW, LOW]), 0);
    assert_eq!(source([-0.0, 0.0, 0.0, 0.0]), 0);
    let gradient = max_pool2d_backward(&planes, window, &[1.0, 5.0, 5.0, 5.0], &[3.0]);
    assert_same(&gradient, &[0.0, 3.0, 0.0, 0.0]);
}

#[test]
fn max_pool2d_adds_the_gradients_of_overlapping_windows() {
    let (planes, window) = (plane(1, 3), Window::new([1, 2]));
    let dx = max_pool2d_backward(&planes, window, &[1.0, 3.0, 2.0], &[10.0, 20.0]);
    assert_same(&dx, &[0.0, 30.0, 0.0]);
}

#[test]
fn max_pool2d_lets_nan_win() {
    let (planes, window) = (plane(2, 2), Window::new([2, 2]));
    for (x, source) in [
        ([NAN, 1.0, 2.0, f64::INFINITY], 0),
        ([1.0, 2.0, 3.0, NAN], 3),
        ([9.0, NAN, 3.0, 4.0], 1),
        ([NAN, NAN, 1.0, NAN], 3), // of several, the last
    ] {
        assert_same(&max_pool2d(&planes, window, &x), &[NAN]);
        assert_eq!(max_pool2d_sources(&planes, window, &x), [Some(source)]);
    }
}

#[test]
fn batch_norm2d_by_hand() {
    let planes = Planes { images: 2, channels: 2, size: [1, 2] };
    // Channel 0 is 1, 3, 5, 7: mean 4, biased variance 5. Channel 1 is constant.
    let x = [1.0, 3.0, 2.0, 2.0, 5.0, 7.0, 2.0, 2.0];
    let BatchNorm { y, mean, variance } = batch_norm2d(&planes, &x, &[6.0, 1.0], &[1.0, -1.0], 4.0);
    assert_same(&mean, &[4.0, 2.0]);
    assert_same(&variance, &[5.0, 0.0]);
    assert_same(&y, &[-5.0, -1.0, -1.0, -1.0, 3.0, 7.0, -1.0, -1.0]);

    let statistics = ([1.0, 0.0], [12.0, 0.0]);
    let affine = ([8.0, 2.0], [0.5, 0.0]);
    let y =
        batch_norm2d_eval(&planes, &x, (&statistics.0, &statistics.1), (&affine.0, &affine.1), 4.0);
    assert_same(&y, &[0.5, 4.5, 2.0, 2.0, 8.5, 12.5, 2.0, 2.0]);
}

#[test]
fn activations_by_hand() {
    let x = [-2.0, -0.0, 0.0, 3.0, NAN, LOW];
    let dy = counting(6);
    assert_same(&relu(&x), &[0.0, 0.0, 0.0, 3.0, NAN, 0.0]);
    assert_same(&relu_backward(&x, &dy), &[0.0, 0.0, 0.0, 4.0, 5.0, 0.0]);
    assert_same(&leaky_relu(&x, 0.25), &[-0.5, 0.0, 0.0, 3.0, NAN, LOW]);
    assert_same(&leaky_relu_backward(&x, 0.25, &dy), &[0.25, 0.5, 0.75, 4.0, 1.25, 1.5]);
    // Φ(1) = 0.8413447460685429…, φ(1) = 0.2419707245191434…
    let (distribution, density) = (0.841_344_746_068_542_9, 0.241_970_724_519_143_4);
    assert_same(&gelu(&[0.0, 1.0, -1.0, NAN]), &[0.0, distribution, distribution - 1.0, NAN]);
    assert_same(&gelu_backward(&[0.0, 1.0], &[2.0, 1.0]), &[1.0, distribution + density]);
}

#[test]
fn pointwise_by_hand() {
    assert_same(&add(&[1.0, 2.0], &[10.0, NAN]), &[11.0, NAN]);
    assert_same(&mul(&[2.0, 3.0], &[5.0, 7.0]), &[10.0, 21.0]);
    assert_eq!((sum(&[1.0, 2.0, 6.0]), mean(&[1.0, 2.0, 6.0])), (9.0, 3.0));
    let keep = [true, false, false, true];
    assert_same(&dropout(&[1.0, 2.0, NAN, 4.0], &keep, 0.75), &[4.0, 0.0, NAN, 16.0]);
    assert_same(&dropout(&[1.0, 2.0], &[false, false], 1.0), &[0.0, 0.0]);
}

#[test]
fn softmax_by_hand() {
    let ln = |x: f64| x.ln();
    assert_same(&softmax(&[0.0, ln(3.0), 1000.0, 1000.0], 2), &[0.25, 0.75, 0.5, 0.5]);
    let log = log_softmax(&[0.0, ln(3.0), 0.0, 1000.0], 2);
    assert_same(&log, &[ln(0.25), ln(0.75), -1000.0, 0.0]);
    assert_same(&softmax(&[0.0, NAN, 0.0, LOW], 2), &[NAN, NAN, 1.0, 0.0]);
    assert_same(&log_softmax(&[NAN, 0.0, 0.0, LOW], 2), &[NAN, NAN, 0.0, LOW]);
}

#[test]
fn cross_entropy_by_hand() {
    let logits = [0.0, 3f64.ln(), 0.0, 3f64.ln()];
    let (quarter, three) = (0.25f64.ln(), 0.75f64.ln());
    let loss = softmax_cross_entropy(&logits, &[1, 0], 2, 0.0);
    assert_same(&[loss], &[-(three + quarter) / 2.0]);
    // Smoothed by a fifth, the targets are (0.1, 0.9) and (0.9, 0.1).
    let loss = softmax_cross_entropy(&logits, &[1, 0], 2, 0.2);
    assert_same(&[loss], &[-(quarter + three) / 2.0]);
    let loss = softmax_cross_entropy(&logits[..2], &[1], 2, 0.2);
    assert_same(&[loss], &[-(0.1 * quarter + 0.9 * three)]);
    let gradient = softmax_cross_entropy_backward(&logits, &[1, 0], 2, 0.2);
    assert_same(&gradient, &[0.075, -0.075, -0.325, 0.325]);
    assert_eq!(softmax_cross_entropy(&[0.0, LOW], &[0], 2, 0.0), 0.0);
    assert_eq!(softmax_cross_entropy(&[0.0, LOW], &[0], 2, 0.1), f64::INFINITY);
    assert!(softmax_cross_entropy(&[0.0, NAN], &[0], 2, 0.0).is_nan());
}

/// A weight doubles what it weighs; targets need not be certain; one logit is two, of which one is zero.
#[test]
fn classifier_losses_by_hand() {
    let loss = |of, outputs, smoothing, weights: &[f64]| ClassifierLoss {
        of,
        outputs,
        smoothing,
        weights: weights.to_vec(),
    };
    let logits = [0.0, 3f64.ln(), 0.0, 3f64.ln()];
    let (quarter, three) = (0.25f64.ln(), 0.75f64.ln());
    let weighted = loss(Outputs::Logits, 2, 0.0, &[2.0, 1.0]);
    let sum = weighted.sum(&logits, &[0.0, 1.0, 1.0, 0.0]);
    assert_same(&[sum], &[-(three + 2.0 * quarter)]);
    let gradient = weighted.gradient(&logits, &[0.0, 1.0, 1.0, 0.0]);
    assert_same(&gradient, &[0.25, -0.25, -1.5, 1.5]);
    // Smoothed by a fifth, a half stays a half.
    let soft = loss(Outputs::Logits, 2, 0.2, &[1.0; 2]).sum(&logits[..2], &[0.5, 0.5]);
    assert_same(&[soft], &[-0.5 * (quarter + three)]);
    let logs = [quarter, three];
    assert_same(
        &[loss(Outputs::LogProbabilities, 2, 0.0, &[2.0, 1.0]).sum(&logs, &[1.0, 0.0])],
        &[-2.0 * quarter],
    );
    let answer = loss(Outputs::Answers, 1, 0.2, &[2.0, 1.0]);
    let sum = answer.sum(&[3f64.ln()], &[1.0, 0.0]);
    assert_same(&[sum], &[-(1.8 * quarter + 0.1 * three)]);
    assert_same(&answer.gradient(&[3f64.ln()], &[1.0, 0.0]), &[0.75 * 1.8 - 0.25 * 0.1]);
    let several = loss(Outputs::Answers, 2, 0.0, &[1.0, 3.0]);
    assert_same(&[several.sum(&[3f64.ln(); 2], &[1.0, 0.0])], &[-(three + 3.0 * quarter) / 2.0]);
}

/// Two steps of a weight of 1 with gradients of 0.5 each.
fn two_steps(options: Sgd) -> [f64; 2] {
    let (mut w, mut velocity) = ([1.0], [0.0]);
    [0, 1].map(|_| {
        sgd(&options, &mut w, &mut velocity, &[0.5]);
        w[0]
    })
}

#[test]
fn sgd_by_hand() {
    let plain =
        Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0, gradient_scale: 1.0 };
    assert_same(&two_steps(plain), &[0.95, 0.9]);
    let decayed = Sgd { weight_decay: 0.2, ..plain };
    assert_same(&two_steps(decayed), &[0.93, 0.93 - 0.1 * (0.5 + 0.2 * 0.93)]);
    // v = 0.7, then 0.9 · 0.7 + 0.686 = 1.316.
    let momentum = Sgd { momentum: 0.9, ..decayed };
    assert_same(&two_steps(momentum), &[0.93, 0.93 - 0.1316]);
    // Steps of 0.7 + 0.9 · 0.7 = 1.33, then 0.6734 + 0.9 · 1.3034 = 1.84646.
    let nesterov = Sgd { nesterov: true, ..momentum };
    assert_same(&two_steps(nesterov), &[0.867, 0.867 - 0.184_646]);
}

/// The definitions in `f32` are those in `f64`, rounded at every step.
#[test]
fn f32_agrees_with_f64() {
    let conv = Conv { images: 2, inputs: 3, outputs: 4, size: [7, 6], options: SKEWED.into() };
    let (x, w) = (uniform(conv.input().len(), 1), uniform(conv.weights(), 2));
    let y = conv2d(&conv, &widen(&x), &widen(&w), None);
    let sums = conv2d(&conv, &magnitude(&x), &magnitude(&w), None);
    let allowance = |i: usize| dot_allowance(conv.taps(), sums[i], 1.0);
    assert_close("conv2d", &conv2d(&conv, &x, &w, None), &y, allowance);

    let x: Vec<f32> = uniform(60, 3);
    let epsilon = |_| 8.0 * f64::from(f32::EPSILON);
    assert_close("gelu", &gelu(&x), &gelu(&widen(&x)), epsilon);
    assert_close("softmax", &softmax(&x, 5), &softmax(&widen(&x), 5), epsilon);
    assert_close("log_softmax", &log_softmax(&x, 5), &log_softmax(&widen(&x), 5), epsilon);
}
