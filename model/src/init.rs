//! Initial weights.

use crate::{Network, Role};
use autograd::{Buffer, Philox, Purpose, unit};

/// The initialisation of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Init {
    /// PyTorch's default: weights and biases uniform in ±1/√fan_in.
    Pytorch,
    /// He: weights normal with deviation √(2/fan_in), biases zero.
    ///
    /// Source: K. He et al., "Delving deep into rectifiers", ICCV 2015.
    He,
}

impl Network {
    /// Weights that are a function of the seed alone.
    #[must_use]
    pub fn initialise(&self, seed: u64, init: Init) -> Buffer {
        let weights = self.draw(seed, init);
        self.note_initial(&weights);
        weights
    }

    fn draw(&self, seed: u64, init: Init) -> Buffer {
        let philox = Philox::new(seed, Purpose::Initialisation);
        let mut weights = Buffer::zeros(self.len());
        for (p, parameter) in self.parameters().iter().enumerate() {
            let values = parameter.place.of_mut(&mut weights);
            let words = |i: usize| philox.words([p as u32, i as u32, 0, 0]);
            match (parameter.role, init) {
                (Role::Weight { fan_in } | Role::Bias { fan_in }, Init::Pytorch) => {
                    let bound = 1.0 / libm::sqrt(fan_in as f64);
                    for (i, value) in values.iter_mut().enumerate() {
                        let u = f64::from(unit(words(i)[0]));
                        *value = ((2.0 * u - 1.0) * bound) as f32;
                    }
                }
                (Role::Weight { fan_in }, Init::He) => {
                    let deviation = libm::sqrt(2.0 / fan_in as f64);
                    for (i, value) in values.iter_mut().enumerate() {
                        *value = (normal(words(i)) * deviation) as f32;
                    }
                }
                (Role::Scale | Role::RunningVariance, _) => values.fill(1.0),
                // PyTorch's.
                (Role::Slope, _) => values.fill(0.25),
                _ => values.fill(0.0),
            }
        }
        weights
    }
}

/// A standard normal number, by Box and Muller.
fn normal([a, b, ..]: [u32; 4]) -> f64 {
    // In (0, 1], so that the logarithm is finite.
    let u = (f64::from(a) + 1.0) / 4_294_967_296.0;
    let angle = 2.0 * std::f64::consts::PI * f64::from(b) / 4_294_967_296.0;
    libm::sqrt(-2.0 * libm::log(u)) * libm::cos(angle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Network, preset};

    #[test]
    fn moments_and_reproducibility() {
        let network = Network::new([1, 28, 28], &preset("vgg", 10).unwrap()).unwrap();
        for (init, factor) in [(Init::Pytorch, 1.0 / 3.0), (Init::He, 2.0)] {
            let weights = network.initialise(7, init);
            assert_eq!(weights[..], network.initialise(7, init)[..]);
            assert_ne!(weights[..], network.initialise(8, init)[..]);
            for parameter in network.parameters() {
                let values = parameter.place.of(&weights);
                let Role::Weight { fan_in } = parameter.role else { continue };
                let n = values.len() as f64;
                let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
                let square = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
                let expected = factor / fan_in as f64;
                // Six standard errors of the mean and (normal) of the variance.
                assert!(mean.abs() < 6.0 * (expected / n).sqrt(), "{}", parameter.name);
                assert!(
                    (square / expected - 1.0).abs() < 6.0 * (2.0 / n).sqrt(),
                    "{}",
                    parameter.name
                );
            }
        }
    }
}
