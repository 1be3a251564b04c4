//! Every backward of the reference against central differences in `f64`, element by element of the Jacobian, with the
//! settings of `torch.autograd.gradcheck`: |analytic − numeric| ≤ atol + rtol · |numeric|.

use kernels::{Conv2dOptions, PaddingMode, Window};
use reference::*;

const EPS: f64 = 1e-6;
const ATOL: f64 = 1e-5;
const RTOL: f64 = 1e-3;

/// `f` at `x`, and its backward: the gradient of `Σ y · dy` with respect to `x`.
fn gradcheck(
    what: &str,
    x: &[f64],
    f: impl Fn(&[f64]) -> Vec<f64>,
    backward: impl Fn(&[f64]) -> Vec<f64>,
) {
    let outputs = f(x).len();
    assert!(outputs > 0 && !x.is_empty(), "{what}: nothing to check");
    let rows: Vec<Vec<f64>> = (0..outputs)
        .map(|o| backward(&(0..outputs).map(|i| f64::from(i == o)).collect::<Vec<_>>()))
        .collect();
    let mut largest = 0.0f64;
    for i in 0..x.len() {
        let at = |step: f64| {
            let mut x = x.to_vec();
            x[i] += step;
            f(&x)
        };
        let (after, before) = (at(EPS), at(-EPS));
        for o in 0..outputs {
            let numeric = (after[o] - before[o]) / (2.0 * EPS);
            let analytic = rows[o][i];
            let close = (analytic - numeric).abs() <= ATOL + RTOL * numeric.abs();
            assert!(close, "{what}: d y[{o}] / d x[{i}] is {analytic}, by differences {numeric}");
            largest = largest.max(analytic.abs());
        }
    }
    assert!(largest > 1e-3, "{what}: all zeros prove nothing");
}

/// An operation of one input.
fn unary(
    what: &str,
    x: &[f64],
    f: impl Fn(&[f64]) -> Vec<f64>,
    backward: impl Fn(&[f64], &[f64]) -> Vec<f64>,
) {
    gradcheck(what, x, f, |dy| backward(x, dy));
}

#[test]
fn value_by_value() {
    // Away from the kinks.
    let x: Vec<f64> = separated(12, 0.25, 1);
    unary("relu", &x, relu, relu_backward);
    unary("leaky relu", &x, |x| leaky_relu(x, 0.1), |x, dy| leaky_relu_backward(x, 0.1, dy));
    unary("gelu", &x, gelu, gelu_backward);
    let other: Vec<f64> = uniform(12, 2);
    unary("add", &x, |x| add(x, &other), |_, dy| add_backward(dy).0);
    unary("add, second", &x, |x| add(&other, x), |_, dy| add_backward(dy).1);
    unary("mul", &x, |x| mul(x, &other), |x, dy| mul_backward(x, &other, dy).0);
    unary("mul, second", &x, |x| mul(&other, x), |x, dy| mul_backward(&other, x, dy).1);
    unary("sum", &x, |x| vec![sum(x)], |x, dy| sum_backward(x.len(), dy[0]));
    unary("mean", &x, |x| vec![mean(x)], |x, dy| mean_backward(x.len(), dy[0]));
    let keep: Vec<bool> = (0..12).map(|i| i % 3 != 0).collect();
    unary("dropout", &x, |x| dropout(x, &keep, 0.3), |_, dy| dropout_backward(&keep, 0.3, dy));
}

#[test]
fn classes() {
    let x: Vec<f64> = uniform::<f64>(12, 3).iter().map(|v| 3.0 * v).collect();
    unary("softmax", &x, |x| softmax(x, 4), |x, dy| softmax_backward(&softmax(x, 4), 4, dy));
    let log = |x: &[f64], dy: &[f64]| log_softmax_backward(&log_softmax(x, 4), 4, dy);
    unary("log softmax", &x, |x| log_softmax(x, 4), log);
    for smoothing in [0.0, 0.1] {
        let labels = [3, 0, 1];
        let loss = |x: &[f64]| vec![softmax_cross_entropy(x, &labels, 4, smoothing)];
        let scaled = |x: &[f64], dy: &[f64]| {
            let gradient = softmax_cross_entropy_backward(x, &labels, 4, smoothing);
            gradient.iter().map(|g| g * dy[0]).collect()
        };
        unary("cross-entropy", &x, loss, scaled);
    }
}

#[test]
fn products() {
    let windows = [
        Window::new([3, 3]).padding(1),
        Window::new([2, 3]).stride(2),
        Window { padding: [2, 0], ..Window::new([3, 2]).dilation(2) },
    ];
    let grouped = Conv2dOptions::from(windows[0]).groups(2).padding([2, 1], [0, 2]);
    let mirrored = grouped.padding_mode(PaddingMode::Reflect);
    let options = windows.map(Conv2dOptions::from).into_iter().chain([grouped, mirrored]);
    for options in options {
        let conv = Conv { images: 2, inputs: 4, outputs: 6, size: [5, 6], options };
        let (x, w) = (uniform::<f64>(conv.input().len(), 4), uniform::<f64>(conv.weights(), 5));
        let b: Vec<f64> = uniform(6, 6);
        let back = |dy: &[f64]| conv2d_backward(&conv, &x, &w, dy);
        gradcheck("conv2d, x", &x, |x| conv2d(&conv, x, &w, Some(&b)), |dy| back(dy).dx);
        gradcheck("conv2d, w", &w, |w| conv2d(&conv, &x, w, Some(&b)), |dy| back(dy).dw);
        gradcheck("conv2d, b", &b, |b| conv2d(&conv, &x, &w, Some(b)), |dy| back(dy).db);
    }
    let shape = Linear { images: 3, inputs: 4, outputs: 2 };
    let (x, w, b) = (uniform::<f64>(12, 7), uniform::<f64>(8, 8), uniform::<f64>(2, 9));
    let back = |dy: &[f64]| linear_backward(&shape, &x, &w, dy);
    gradcheck("linear, x", &x, |x| linear(&shape, x, &w, Some(&b)), |dy| back(dy).dx);
    gradcheck("linear, w", &w, |w| linear(&shape, &x, w, Some(&b)), |dy| back(dy).dw);
    gradcheck("linear, b", &b, |b| linear(&shape, &x, &w, Some(b)), |dy| back(dy).db);
}

#[test]
fn pooling() {
    let planes = Planes { images: 2, channels: 2, size: [5, 4] };
    let x: Vec<f64> = separated(planes.len(), 0.01, 10);
    for window in [Window::new([2, 2]).stride(2), Window::new([3, 2]).padding(1)] {
        let max = |x: &[f64]| max_pool2d(&planes, window, x);
        unary("max pool", &x, max, |x, dy| max_pool2d_backward(&planes, window, x, dy));
        let average = |x: &[f64]| avg_pool2d(&planes, window, x);
        unary("average pool", &x, average, |_, dy| avg_pool2d_backward(&planes, window, dy));
    }
    let all = |x: &[f64]| global_avg_pool2d(&planes, x);
    unary("global average pool", &x, all, |_, dy| global_avg_pool2d_backward(&planes, dy));
}

#[test]
fn batch_norm() {
    let planes = Planes { images: 3, channels: 2, size: [2, 3] };
    let x: Vec<f64> = uniform(planes.len(), 11);
    let (gamma, beta) = (uniform::<f64>(2, 12), uniform::<f64>(2, 13));
    let y = |x: &[f64], gamma: &[f64], beta: &[f64]| batch_norm2d(&planes, x, gamma, beta, 1e-5).y;
    let back = |dy: &[f64]| batch_norm2d_backward(&planes, &x, &gamma, 1e-5, dy);
    gradcheck("batch norm, x", &x, |x| y(x, &gamma, &beta), |dy| back(dy).dx);
    gradcheck("batch norm, gamma", &gamma, |gamma| y(&x, gamma, &beta), |dy| back(dy).dgamma);
    gradcheck("batch norm, beta", &beta, |beta| y(&x, &gamma, beta), |dy| back(dy).dbeta);
}
