//! Batch normalisation over images and pixels, channel by channel.

use crate::Real;
use crate::planes::{Planes, check_len};

/// What [`batch_norm2d`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm<T> {
    /// The output, shaped as `x`.
    pub y: Vec<T>,
    /// Mean of each channel.
    pub mean: Vec<T>,
    /// Biased variance of each channel: the sum of squares over the count, not the count less one.
    pub variance: Vec<T>,
}

/// The gradients of [`batch_norm2d`].
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormGradients<T> {
    /// Of the input, shaped as `x`.
    pub dx: Vec<T>,
    /// Of the scale, `[channels]`.
    pub dgamma: Vec<T>,
    /// Of the shift, `[channels]`.
    pub dbeta: Vec<T>,
}

/// Training: `y = gamma · (x − mean) / √(variance + epsilon) + beta`, where mean and biased variance
/// are those of the channel over all images and pixels, in two passes.
///
/// `x` and `y` are `[images][channels][size]`, `gamma` and `beta` `[channels]`.
pub fn batch_norm2d<T: Real>(
    planes: &Planes,
    x: &[T],
    gamma: &[T],
    beta: &[T],
    epsilon: f64,
) -> BatchNorm<T> {
    let count = T::from_usize(planes.images * planes.pixels());
    let mut mean = vec![T::ZERO; planes.channels];
    let mut variance = vec![T::ZERO; planes.channels];
    for (i, x) in x.iter().enumerate() {
        mean[channel(planes, i)] += *x / count;
    }
    for (i, x) in x.iter().enumerate() {
        let deviation = *x - mean[channel(planes, i)];
        variance[channel(planes, i)] += deviation * deviation / count;
    }
    let statistics = (mean.as_slice(), variance.as_slice());
    let y = batch_norm2d_eval(planes, x, statistics, (gamma, beta), epsilon);
    BatchNorm { y, mean, variance }
}

/// Evaluation: `y = gamma · (x − mean) / √(variance + epsilon) + beta` with given statistics.
///
/// `x` and `y` are `[images][channels][size]`; `mean`, `variance`, `gamma` and `beta` `[channels]`.
pub fn batch_norm2d_eval<T: Real>(
    planes: &Planes,
    x: &[T],
    (mean, variance): (&[T], &[T]),
    (gamma, beta): (&[T], &[T]),
    epsilon: f64,
) -> Vec<T> {
    planes.check("x", x);
    check_len("mean", mean, planes.channels);
    check_len("variance", variance, planes.channels);
    check_len("gamma", gamma, planes.channels);
    check_len("beta", beta, planes.channels);
    let normalise = |(i, x): (usize, &T)| {
        let c = channel(planes, i);
        let deviation = (variance[c] + T::from_f64(epsilon)).sqrt();
        gamma[c] * (*x - mean[c]) / deviation + beta[c]
    };
    x.iter().enumerate().map(normalise).collect()
}

/// With `x̂ = (x − mean) / √(variance + epsilon)`: `dbeta = Σ dy`, `dgamma = Σ dy · x̂` and
/// `dx = gamma / √(variance + epsilon) · (dy − dbeta / count − x̂ · dgamma / count)`, where sums run
/// over the images and pixels of the channel, `count` of them. (The two subtractions are what flows
/// through mean and variance.)
pub fn batch_norm2d_backward<T: Real>(
    planes: &Planes,
    x: &[T],
    gamma: &[T],
    epsilon: f64,
    dy: &[T],
) -> BatchNormGradients<T> {
    planes.check("dy", dy);
    let (ones, zeros) = (vec![T::ONE; planes.channels], vec![T::ZERO; planes.channels]);
    let BatchNorm { y: normalised, variance, .. } = batch_norm2d(planes, x, &ones, &zeros, epsilon);
    let (mut dgamma, mut dbeta) = (zeros.clone(), zeros);
    for (i, dy) in dy.iter().enumerate() {
        dgamma[channel(planes, i)] += *dy * normalised[i];
        dbeta[channel(planes, i)] += *dy;
    }
    let count = T::from_usize(planes.images * planes.pixels());
    let gradient = |(i, dy): (usize, &T)| {
        let c = channel(planes, i);
        let scale = gamma[c] / (variance[c] + T::from_f64(epsilon)).sqrt();
        scale * (*dy - dbeta[c] / count - normalised[i] * dgamma[c] / count)
    };
    let dx = dy.iter().enumerate().map(gradient).collect();
    BatchNormGradients { dx, dgamma, dbeta }
}

/// The channel of the value at place `i`.
fn channel(planes: &Planes, i: usize) -> usize {
    i / planes.pixels() % planes.channels
}
