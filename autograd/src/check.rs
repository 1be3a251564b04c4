//! Checks gradients against central differences, in `f64`.
//!
//! For a scalar function `f`, a point `x` and a step `h` along one coordinate, the numeric slope is
//! ```text
//! D(h) = (f(x + h) − f(x − h)) / 2h = f' + h²/6 · f''' + …       give or take  η/h
//! ```
//! where `η` is the rounding error of `f`. The step that balances the two is a cube root of the
//! machine's ε, `h = ε^⅓ · max(1, |x|) ≈ 6e-6`: inputs are taken to be of order one, or larger.
//!
//! The tolerance is the sum of both errors.
//! * *Rounding* is `ROUNDINGS · ε · S / h`, where `S = |f| + ‖gradient · max(1, |x|)‖` stands for the
//!   size of the terms that `f` adds up. They enter by their Euclidean norm because roundings are
//!   independent of each other: they add up as a random walk.
//! * *Truncation* is not guessed but measured, from a second step: `D(2h) − D(h)` is `h²/2 · f'''`,
//!   three times the truncation error.
//!
//! At a kink (ReLU at zero, a tie in max-pooling) a central difference is the mean of two slopes,
//! and proves nothing. The one-sided slopes differ by `K(h) = (f(x + h) − 2f(x) + f(x − h)) / h`,
//! which doubles with `h` where `f` is smooth and does not at a kink; `K(2h) − 2K(h)` gives it away.
//! Its size is added to the measured truncation; where the sum is not small, the slope counts as a
//! kink and is not compared. Tests of single operations keep away from kinks with inputs from
//! `reference::separated`, any two of which are further apart than `4h`; tests of whole networks
//! cannot, and allow a few ([`Check::kinks`]).

use crate::philox::{Philox, Purpose, unit};
use std::fmt;

/// How many roundings of the size of `S` the rounding error of `f` may reach.
const ROUNDINGS: f64 = 64.0;

/// Truncation up to this share of the largest slope is that of a smooth function, more is a kink.
/// A smooth function reaches it where `f'''` is some hundred thousand times `f'`.
const SMOOTH: f64 = 1e-5;

/// Which slopes to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Coordinates to check, drawn at random where the point has more.
    pub coordinates: usize,
    /// Random directions to check, each of which moves every coordinate at once: for points with
    /// too many coordinates to check one by one.
    pub directions: usize,
    /// Slopes that may turn out to be at a kink, and are then not compared.
    pub kinks: usize,
    /// What the random choices depend on.
    pub seed: u64,
}

impl Default for Check {
    /// Every coordinate, no directions, no kinks.
    fn default() -> Check {
        Check { coordinates: usize::MAX, directions: 0, kinks: 0, seed: 0 }
    }
}

/// What a slope is taken along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Along {
    /// The coordinate of this index.
    Coordinate(usize),
    /// The random direction of this number.
    Direction(usize),
}

/// An analytic slope beside its numeric one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// What it is taken along.
    pub along: Along,
    /// From the gradient.
    pub analytic: f64,
    /// From the central difference.
    pub numeric: f64,
    /// How far apart the two may be.
    pub tolerance: f64,
    /// Whether the central difference spans a kink.
    pub kink: bool,
}

impl Slope {
    /// How far apart the two are.
    pub fn error(&self) -> f64 {
        (self.analytic - self.numeric).abs()
    }

    /// The error in units of the tolerance; infinite where either is not finite.
    fn excess(&self) -> f64 {
        match (self.error(), self.tolerance) {
            (0.0, 0.0) => 0.0,
            (error, tolerance) if error.is_finite() && tolerance.is_finite() => error / tolerance,
            _ => f64::INFINITY,
        }
    }
}

impl fmt::Display for Slope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.along {
            Along::Coordinate(index) => write!(f, "element {index}")?,
            Along::Direction(number) => write!(f, "random direction {number}")?,
        }
        write!(
            f,
            ": analytic {:e}, numeric {:e}; error {:e}, tolerance {:e}",
            self.analytic,
            self.numeric,
            self.error(),
            self.tolerance
        )
    }
}

/// Why a gradient is not proved.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum GradientError {
    /// It is wrong.
    Wrong {
        /// The slope with the largest error in units of its tolerance.
        worst: Slope,
        /// Slopes beyond their tolerance.
        wrong: usize,
        /// Slopes checked.
        checked: usize,
    },
    /// The function has kinks within the steps of the differences.
    Kinks {
        /// The first slope at a kink.
        first: Slope,
        /// Slopes at kinks.
        kinks: usize,
        /// How many the check allowed.
        allowed: usize,
    },
}

impl fmt::Display for GradientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GradientError::Wrong { worst, wrong, checked } => {
                write!(f, "wrong gradient at {worst} ({wrong} of {checked} slopes are wrong)")
            }
            GradientError::Kinks { first, kinks, allowed } => {
                write!(f, "{kinks} slopes at kinks, {allowed} allowed; the first at {first}")
            }
        }
    }
}

impl std::error::Error for GradientError {}

/// Checks every element of `gradient`, that of `f` at `x`, against a central difference.
///
/// # Panics
/// If `gradient` is not as long as `x`.
pub fn check_gradients(
    f: impl Fn(&[f64]) -> f64,
    x: &[f64],
    gradient: &[f64],
) -> Result<(), GradientError> {
    Check::default().run(f, x, gradient)
}

impl Check {
    /// Checks the chosen slopes of `gradient`, that of `f` at `x`, against central differences.
    ///
    /// # Panics
    /// If `gradient` is not as long as `x`.
    pub fn run(
        &self,
        f: impl Fn(&[f64]) -> f64,
        x: &[f64],
        gradient: &[f64],
    ) -> Result<(), GradientError> {
        let slopes = self.slopes(f, x, gradient);
        let (kinks, smooth): (Vec<Slope>, Vec<Slope>) = slopes.iter().partition(|s| s.kink);
        let wrong = smooth.iter().filter(|slope| slope.excess() > 1.0);
        let worst = wrong.clone().max_by(|a, b| a.excess().total_cmp(&b.excess()));
        if let Some(worst) = worst {
            let (wrong, checked) = (wrong.count(), slopes.len());
            return Err(GradientError::Wrong { worst: *worst, wrong, checked });
        }
        if kinks.len() > self.kinks {
            let allowed = self.kinks;
            return Err(GradientError::Kinks { first: kinks[0], kinks: kinks.len(), allowed });
        }
        Ok(())
    }

    /// Measures the chosen slopes.
    fn slopes(&self, f: impl Fn(&[f64]) -> f64, x: &[f64], gradient: &[f64]) -> Vec<Slope> {
        assert!(
            gradient.len() == x.len(),
            "a gradient of {} elements at a point of {}",
            gradient.len(),
            x.len()
        );
        let probe = Probe::new(&f, x, gradient);
        let coordinates = self.chosen(x.len()).into_iter().map(|i| probe.coordinate(i));
        let directions = (0..self.directions)
            .map(|number| probe.direction(number, self.seed.wrapping_add(number as u64 + 1)));
        coordinates.chain(directions).collect()
    }

    /// The coordinates to check, in order.
    fn chosen(&self, len: usize) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..len).collect();
        if self.coordinates < len {
            let keys = uniform(len, self.seed);
            indices.sort_by(|a, b| keys[*a].total_cmp(&keys[*b]));
            indices.truncate(self.coordinates);
            indices.sort();
        }
        indices
    }
}

/// `len` random numbers from −1 to 1.
fn uniform(len: usize, seed: u64) -> Vec<f64> {
    let random = Philox::new(seed, Purpose::GradientCheck);
    let word = |i: usize| random.words([i as u32, 0, 0, 0])[0];
    (0..len).map(|i| f64::from(2.0 * unit(word(i)) - 1.0)).collect()
}

/// A function at a point, with the scales of its inputs and terms.
struct Probe<'a, F> {
    f: &'a F,
    x: &'a [f64],
    gradient: &'a [f64],
    /// `f(x)`.
    value: f64,
    /// `max(1, |x|)`.
    scales: Vec<f64>,
    /// Largest element of `gradient · scales`.
    steepest: f64,
    /// Euclidean norm of `gradient · scales`.
    terms: f64,
}

impl<'a, F: Fn(&[f64]) -> f64> Probe<'a, F> {
    fn new(f: &'a F, x: &'a [f64], gradient: &'a [f64]) -> Self {
        let scales: Vec<f64> = x.iter().map(|x| x.abs().max(1.0)).collect();
        let slopes = || gradient.iter().zip(&scales).map(|(g, scale)| g * scale);
        let steepest = slopes().fold(0.0, |most: f64, slope| most.max(slope.abs()));
        let terms = slopes().map(|slope| slope * slope).sum::<f64>().sqrt();
        Probe { f, x, gradient, value: f(x), scales, steepest, terms }
    }

    fn coordinate(&self, i: usize) -> Slope {
        let scale = self.scales[i];
        let moved = |t: f64| {
            let mut x = self.x.to_vec();
            x[i] += t * scale;
            (self.f)(&x)
        };
        let slope = self.along(Along::Coordinate(i), self.gradient[i] * scale, moved);
        Slope {
            analytic: self.gradient[i],
            numeric: slope.numeric / scale,
            tolerance: slope.tolerance / scale,
            ..slope
        }
    }

    /// Along a vector of random signs, each as long as the scale of its coordinate over √len.
    fn direction(&self, number: usize, seed: u64) -> Slope {
        let signs = uniform(self.x.len(), seed);
        let root = (self.x.len() as f64).sqrt();
        let direction: Vec<f64> =
            signs.iter().zip(&self.scales).map(|(sign, s)| s.copysign(*sign) / root).collect();
        let analytic = self.gradient.iter().zip(&direction).map(|(g, u)| g * u).sum();
        let moved = |t: f64| {
            let x: Vec<f64> = self.x.iter().zip(&direction).map(|(x, u)| x + t * u).collect();
            (self.f)(&x)
        };
        self.along(Along::Direction(number), analytic, moved)
    }

    /// Compares the slope of `moved` at zero, a function whose input is of order one.
    fn along(&self, along: Along, analytic: f64, moved: impl Fn(f64) -> f64) -> Slope {
        let h = f64::EPSILON.cbrt();
        let [down2, down, up, up2] = [-2.0 * h, -h, h, 2.0 * h].map(moved);
        let central = [(up - down) / (2.0 * h), (up2 - down2) / (4.0 * h)];
        let one_sided = [
            ((up - self.value) - (self.value - down)) / h,
            ((up2 - self.value) - (self.value - down2)) / (2.0 * h),
        ];
        let numeric = central[0];

        let size = self.terms + [down2, up2].iter().fold(self.value.abs(), |s, f| s.max(f.abs()));
        let rounding = ROUNDINGS * f64::EPSILON * size / h;
        let truncation =
            (central[1] - central[0]).abs() + (one_sided[1] - 2.0 * one_sided[0]).abs();
        // The rounding errors of the twelve terms of the truncation may reach twelve times η/h.
        let smooth = SMOOTH * self.steepest.max(numeric.abs()) + 12.0 * rounding;
        let kink = truncation > smooth; // never where f is not finite: then both are not
        Slope { along, analytic, numeric, tolerance: rounding + truncation, kink }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequency(i: usize) -> f64 {
        (i % 7) as f64
    }

    /// Smooth, with slopes from zero up.
    fn smooth(x: &[f64]) -> f64 {
        x.iter().enumerate().map(|(i, x)| (frequency(i) * x).sin() + x * x * x).sum()
    }

    fn slopes_of_smooth(x: &[f64]) -> Vec<f64> {
        let slope = |(i, x): (usize, &f64)| (frequency(i) * x).cos() * frequency(i) + 3.0 * x * x;
        x.iter().enumerate().map(slope).collect()
    }

    #[test]
    fn right_gradients_pass() {
        let x = uniform(30, 1);
        check_gradients(smooth, &x, &slopes_of_smooth(&x)).unwrap();
        let far: Vec<f64> = x.iter().map(|x| 1e3 * x).collect();
        check_gradients(smooth, &far, &slopes_of_smooth(&far)).unwrap();
        let minimum = |x: &[f64]| x[0] * x[0] + 1e3 * x[1] * x[1];
        check_gradients(minimum, &[0.0, 0.0], &[0.0, 0.0]).unwrap();
        check_gradients(|_| 7.0, &[0.0, 1e6], &[0.0, 0.0]).unwrap();
    }

    #[test]
    fn a_small_error_is_found_and_named() {
        let x = uniform(30, 2);
        let mut gradient = slopes_of_smooth(&x);
        gradient[4] += 1e-6;
        gradient[17] += 1e-5;
        let error = check_gradients(smooth, &x, &gradient).unwrap_err();
        let GradientError::Wrong { worst, wrong, checked } = error else { panic!("{error}") };
        assert_eq!((worst.along, wrong, checked), (Along::Coordinate(17), 2, 30));
        assert!((worst.error() - 1e-5).abs() < 1e-7 && worst.tolerance < 1e-6, "{worst}");
        let message = error.to_string();
        assert!(message.starts_with("wrong gradient at element 17: analytic "), "{message}");
        assert!(message.ends_with("(2 of 30 slopes are wrong)"), "{message}");
    }

    #[test]
    fn nothing_passes_for_not_being_a_number() {
        let check = Check { kinks: 1, ..Check::default() };
        for gradient in [f64::NAN, f64::INFINITY] {
            check.run(|x| x[0], &[1.0], &[gradient]).unwrap_err();
        }
        check.run(|x| x[0].sqrt(), &[-1.0], &[0.5]).unwrap_err();
        check.run(|x| 1.0 / x[0], &[0.0], &[0.5]).unwrap_err();
        for step in -2..=2 {
            let pole = |x: &[f64]| 1.0 / (x[0] - f64::from(step) * f64::EPSILON.cbrt());
            check.run(pole, &[0.0], &[0.5]).unwrap_err();
        }
    }

    #[test]
    fn kinks_are_told_from_errors() {
        let relu = |x: &[f64]| x.iter().map(|x| x.max(0.0)).sum::<f64>();
        let h = f64::EPSILON.cbrt();
        for at in [0.0, 0.1 * h, 0.5 * h, -h * 2.0 / 3.0, h, -1.7 * h] {
            let error = check_gradients(relu, &[at, 1.0], &[f64::from(at > 0.0), 1.0]).unwrap_err();
            assert!(matches!(error, GradientError::Kinks { kinks: 1, .. }), "{at}: {error}");
            let check = Check { kinks: 1, ..Check::default() };
            check.run(relu, &[at, 1.0], &[0.0, 1.0]).unwrap();
            check.run(relu, &[at, 1.0], &[0.0, 0.9]).unwrap_err();
        }
        check_gradients(relu, &[3.0 * h, -3.0 * h], &[1.0, 0.0]).unwrap();
    }

    #[test]
    fn samples_are_of_the_size_asked_for() {
        let x = uniform(1000, 3);
        let mut gradient = slopes_of_smooth(&x);
        let check = Check { coordinates: 20, directions: 5, ..Check::default() };
        check.run(smooth, &x, &gradient).unwrap();
        assert_eq!(check.slopes(smooth, &x, &gradient).len(), 25);
        let chosen = check.chosen(1000);
        assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]) && chosen.len() == 20);
        assert_ne!(chosen, Check { seed: 1, ..check }.chosen(1000));

        let directions = Check { coordinates: 0, ..check };
        gradient[123] += 1e-2;
        let error = directions.run(smooth, &x, &gradient).unwrap_err();
        let GradientError::Wrong { worst, wrong: 5, checked: 5 } = error else { panic!("{error}") };
        assert!(matches!(worst.along, Along::Direction(_)), "{error}");
    }
}
