//! Norms of each image by itself: group, instance and layer norm.

use crate::Real;
use crate::planes::Planes;
use kernels::NormSets;

/// The gradients of [`image_norm`].
#[derive(Clone, Debug, PartialEq)]
pub struct ImageNormGradients<T> {
    /// Of the input, shaped as `x`.
    pub dx: Vec<T>,
    /// Of the scales, as many as there are.
    pub dgamma: Vec<T>,
    /// Of the shifts, as many as there are.
    pub dbeta: Vec<T>,
}

/// `y = gamma · (x − mean) / √(variance + epsilon) + beta`, where mean and biased variance are those of the value's set:
/// of an image, the pixels of a group of channels, or the channels of a pixel.
///
/// `x` and `y` are `[images][channels][size]`; `gamma` and `beta` `[channels]`, `[channels][size]`, or empty: 1 and 0.
pub fn image_norm<T: Real>(
    planes: &Planes,
    sets: NormSets,
    x: &[T],
    (gamma, beta): (&[T], &[T]),
    epsilon: f64,
) -> Vec<T> {
    let (normalised, _) = normalise(planes, sets, x, epsilon);
    let value = |(i, x): (usize, &T)| {
        let scale = place(planes, gamma, i).map_or(T::ONE, |p| gamma[p]);
        scale * *x + place(planes, beta, i).map_or(T::ZERO, |p| beta[p])
    };
    normalised.iter().enumerate().map(value).collect()
}

/// With `g = gamma · dy` and `n` values in a set, `dx = (g − Σ g / n − x̂ · Σ g x̂ / n) / √(variance + epsilon)`,
/// `dgamma = Σ dy · x̂`, `dbeta = Σ dy`.
pub fn image_norm_backward<T: Real>(
    planes: &Planes,
    sets: NormSets,
    x: &[T],
    (gamma, beta): (&[T], &[T]),
    epsilon: f64,
    dy: &[T],
) -> ImageNormGradients<T> {
    planes.check("dy", dy);
    let (normalised, deviations) = normalise(planes, sets, x, epsilon);
    let (mut dgamma, mut dbeta) = (vec![T::ZERO; gamma.len()], vec![T::ZERO; beta.len()]);
    let mut g = dy.to_vec();
    for i in 0..dy.len() {
        if let Some(p) = place(planes, gamma, i) {
            dgamma[p] += dy[i] * normalised[i];
            g[i] = gamma[p] * dy[i];
        }
        if let Some(p) = place(planes, beta, i) {
            dbeta[p] += dy[i];
        }
    }
    let products: Vec<T> = g.iter().zip(&normalised).map(|(g, x)| *g * *x).collect();
    let [means, dots] = [&g, &products].map(|values| means(planes, sets, values));
    let gradient = |i: usize| (g[i] - means[i] - normalised[i] * dots[i]) / deviations[i];
    ImageNormGradients { dx: (0..g.len()).map(gradient).collect(), dgamma, dbeta }
}

/// `x̂`, and what it was divided by.
fn normalise<T: Real>(planes: &Planes, sets: NormSets, x: &[T], epsilon: f64) -> (Vec<T>, Vec<T>) {
    planes.check("x", x);
    let centred: Vec<T> = x.iter().zip(means(planes, sets, x)).map(|(x, mean)| *x - mean).collect();
    let squares: Vec<T> = centred.iter().map(|x| *x * *x).collect();
    let deviation = |variance: T| (variance + T::from_f64(epsilon)).sqrt();
    let deviations: Vec<T> = means(planes, sets, &squares).into_iter().map(deviation).collect();
    (centred.iter().zip(&deviations).map(|(x, deviation)| *x / *deviation).collect(), deviations)
}

/// For each value the mean of its set.
fn means<T: Real>(planes: &Planes, sets: NormSets, values: &[T]) -> Vec<T> {
    let set = |i: usize| {
        let (pixel, plane) = (i % planes.pixels(), i / planes.pixels());
        let (channel, image) = (plane % planes.channels, plane / planes.channels);
        match sets {
            NormSets::Groups(groups) => image * groups + channel * groups / planes.channels,
            NormSets::Pixels => image * planes.pixels() + pixel,
        }
    };
    let (mut sums, mut counts) = (vec![T::ZERO; values.len()], vec![0; values.len()]);
    for (i, value) in values.iter().enumerate() {
        sums[set(i)] += *value;
        counts[set(i)] += 1;
    }
    (0..values.len()).map(|i| sums[set(i)] / T::from_usize(counts[set(i)])).collect()
}

/// Which parameter belongs to value `i`.
fn place<T>(planes: &Planes, parameters: &[T], i: usize) -> Option<usize> {
    match parameters.len() {
        0 => None,
        len if len == planes.channels => Some(i / planes.pixels() % planes.channels),
        _ => Some(i % (planes.channels * planes.pixels())),
    }
}
