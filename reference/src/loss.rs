//! Softmax, its logarithm, and the cross-entropy of class labels. All row-major `[images][classes]`.

use crate::Real;
use crate::planes::check_len;
use crate::pointwise::sum;

/// Applies `f` to each row of `classes` values.
fn rows<T: Real>(x: &[T], classes: usize, f: impl Fn(&[T]) -> Vec<T>) -> Vec<T> {
    assert!(x.len().is_multiple_of(classes), "{} values in rows of {classes}", x.len());
    x.chunks(classes).flat_map(f).collect()
}

/// Applies `f` to each row of `classes` values of `y` and the same row of `dy`.
fn rows2<T: Real>(y: &[T], dy: &[T], classes: usize, f: impl Fn(&[T], &[T]) -> Vec<T>) -> Vec<T> {
    assert!(y.len().is_multiple_of(classes), "{} values in rows of {classes}", y.len());
    check_len("dy", dy, y.len());
    y.chunks(classes).zip(dy.chunks(classes)).flat_map(|(y, dy)| f(y, dy)).collect()
}

fn largest<T: Real>(row: &[T]) -> T {
    row.iter().fold(T::NEG_INFINITY, |max, x| max.larger(*x))
}

/// `y_i = exp(x_i − max) / Σ_j exp(x_j − max)`, row by row.
pub fn softmax<T: Real>(x: &[T], classes: usize) -> Vec<T> {
    rows(x, classes, |x| {
        let max = largest(x);
        let exp: Vec<T> = x.iter().map(|x| (*x - max).exp()).collect();
        let total = sum(&exp);
        exp.iter().map(|e| *e / total).collect()
    })
}

/// From the output `y` of [`softmax`]: `dx_i = y_i · (dy_i − Σ_j dy_j · y_j)`.
pub fn softmax_backward<T: Real>(y: &[T], classes: usize, dy: &[T]) -> Vec<T> {
    rows2(y, dy, classes, |y, dy| {
        let dot = y.iter().zip(dy).fold(T::ZERO, |dot, (y, dy)| dot + *y * *dy);
        y.iter().zip(dy).map(|(y, dy)| *y * (*dy - dot)).collect()
    })
}

/// `y_i = x_i − max − ln Σ_j exp(x_j − max)`, row by row.
pub fn log_softmax<T: Real>(x: &[T], classes: usize) -> Vec<T> {
    rows(x, classes, |x| {
        let max = largest(x);
        let exp: Vec<T> = x.iter().map(|x| (*x - max).exp()).collect();
        let log = sum(&exp).ln();
        x.iter().map(|x| *x - max - log).collect()
    })
}

/// From the output `y` of [`log_softmax`]: `dx_i = dy_i − exp(y_i) · Σ_j dy_j`.
pub fn log_softmax_backward<T: Real>(y: &[T], classes: usize, dy: &[T]) -> Vec<T> {
    rows2(y, dy, classes, |y, dy| {
        let total = sum(dy);
        y.iter().zip(dy).map(|(y, dy)| *dy - y.exp() * total).collect()
    })
}

/// The target distribution: `(1 − smoothing) · [i = label] + smoothing / classes`.
fn target<T: Real>(i: usize, label: usize, classes: usize, smoothing: f64) -> T {
    let hit = if i == label { 1.0 - smoothing } else { 0.0 };
    T::from_f64(hit + smoothing / classes as f64)
}

/// `1/images · Σ_n −Σ_i target_i · log_softmax(logits[n])_i`, where the target is
/// `(1 − smoothing) · [i = label] + smoothing / classes`: the mean over images. A class with a target
/// of zero adds nothing, not even where its logit is −∞.
///
/// `logits` is `[images][classes]`, `labels` `[images]`, each below `classes`.
pub fn softmax_cross_entropy<T: Real>(
    logits: &[T],
    labels: &[usize],
    classes: usize,
    smoothing: f64,
) -> T {
    check_labels(logits, labels, classes);
    let mut loss = T::ZERO;
    for (row, label) in log_softmax(logits, classes).chunks(classes).zip(labels) {
        for (i, log) in row.iter().enumerate() {
            let target: T = target(i, *label, classes, smoothing);
            if target != T::ZERO {
                loss += -target * *log;
            }
        }
    }
    loss / T::from_usize(labels.len())
}

/// The gradient of [`softmax_cross_entropy`] with respect to the logits:
/// `(softmax(logits[n])_i − target_i) / images`.
pub fn softmax_cross_entropy_backward<T: Real>(
    logits: &[T],
    labels: &[usize],
    classes: usize,
    smoothing: f64,
) -> Vec<T> {
    check_labels(logits, labels, classes);
    let images = T::from_usize(labels.len());
    let gradient = |(place, y): (usize, &T)| {
        let (image, i) = (place / classes, place % classes);
        (*y - target(i, labels[image], classes, smoothing)) / images
    };
    softmax(logits, classes).iter().enumerate().map(gradient).collect()
}

fn check_labels<T>(logits: &[T], labels: &[usize], classes: usize) {
    check_len("logits", logits, labels.len() * classes);
    for label in labels {
        assert!(*label < classes, "label {label} of {classes} classes");
    }
}
