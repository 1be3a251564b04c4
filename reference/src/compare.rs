//! Comparing what a kernel computed with what it should have.

use crate::Real;
use std::fmt;

/// The element that is furthest beyond its allowance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Its place.
    pub index: usize,
    /// What was computed.
    pub got: f32,
    /// What it should be.
    pub expected: f64,
    /// How far it may be from that.
    pub allowance: f64,
    /// Elements beyond their allowance.
    pub wrong: usize,
    /// Elements compared.
    pub compared: usize,
}

impl Difference {
    /// How far it is from what was expected.
    pub fn error(&self) -> f64 {
        distance(self.got, self.expected)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "element {}: got {:e}, expected {:e}; error {:e}, allowed {:e} ({} of {} are wrong)",
            self.index,
            self.got,
            self.expected,
            self.error(),
            self.allowance,
            self.wrong,
            self.compared
        )
    }
}

impl std::error::Error for Difference {}

/// Zero for equal values, infinities and NaN included; infinite for NaN beside a number.
fn distance(got: f32, expected: f64) -> f64 {
    let got = f64::from(got);
    if got == expected || (got.is_nan() && expected.is_nan()) {
        0.0
    } else if got.is_nan() || expected.is_nan() {
        f64::INFINITY
    } else {
        (got - expected).abs()
    }
}

/// Compares element by element: `got[i]` may be `allowance(i)` from `expected[i]`. An error names
/// the element that exceeds its allowance by the largest factor.
///
/// # Panics
/// If the lengths differ or an allowance is negative or NaN.
pub fn compare(
    got: &[f32],
    expected: &[f64],
    allowance: impl Fn(usize) -> f64,
) -> Result<(), Difference> {
    crate::planes::check_len("got", got, expected.len());
    let mut worst: Option<(f64, Difference)> = None;
    let mut wrong = 0;
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let allowance = allowance(index);
        assert!(allowance >= 0.0, "element {index}: an allowance of {allowance}");
        let error = distance(got, expected);
        if error <= allowance {
            continue;
        }
        wrong += 1;
        let factor = error / allowance;
        if worst.is_none_or(|(most, _)| factor > most) {
            let difference = Difference { index, got, expected, allowance, wrong: 0, compared: 0 };
            worst = Some((factor, difference));
        }
    }
    let compared = got.len();
    worst.map_or(Ok(()), |(_, worst)| Err(Difference { wrong, compared, ..worst }))
}

/// [`compare`], with a panic that says `what` was compared and names the worst element.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], expected: &[f64], allowance: impl Fn(usize) -> f64) {
    if let Err(difference) = compare(got, expected, allowance) {
        panic!("{what}: {difference}");
    }
}

/// How far the `f32` sum of `terms` products `Σ a·b` may be from the exact one, in any order, fused
/// or not: `terms · ε · ‖a‖ · ‖b‖`.
///
/// Each product and each partial sum is rounded by at most ε/2 of itself, so to first order the
/// error is below `(terms + 1) · ε/2 · Σ|a·b|`, and `Σ|a·b| ≤ ‖a‖ · ‖b‖` by Cauchy and Schwarz. A
/// bias is one more term, `1 · bias`, of the count and of the norms. Where norms of rows are awkward
/// to come by, the operation itself on the [`magnitude`] of its inputs gives `Σ|a·b|` element by
/// element: pass `dot_allowance(terms, sums[i], 1.0)`.
pub fn dot_allowance(terms: usize, norm_a: f64, norm_b: f64) -> f64 {
    terms as f64 * f64::from(f32::EPSILON) * norm_a * norm_b
}

/// `Σ a·b`.
///
/// # Panics
/// If one is longer than the other.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The Euclidean norm, in `f64`.
pub fn norm<T: Real>(x: &[T]) -> f64 {
    x.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>().sqrt()
}

/// The same values in `f64`.
pub fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// The absolute values in `f64`.
pub fn magnitude(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(x.abs())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_element_is_named() {
        let expected = [1.0, 10.0, 100.0, -1.0];
        let allowance = |i: usize| 0.01 * f64::abs(expected[i]);
        compare(&[1.005, 10.05, 99.5, -1.005], &expected, allowance).unwrap();
        let worst = compare(&[1.03, 10.0, 102.0, -1.02], &expected, allowance).unwrap_err();
        assert_eq!((worst.index, worst.wrong, worst.compared), (0, 3, 4));
        let message = worst.to_string();
        assert!(
            message.starts_with("element 0: got 1.03e0, expected 1e0; error 2.99"),
            "{message}"
        );
        assert!(message.ends_with("allowed 1e-2 (3 of 4 are wrong)"), "{message}");
    }

    #[test]
    fn only_nan_is_close_to_nan() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let anything = |_| 1e300;
        compare(&[nan, inf, -inf], &[f64::NAN, f64::INFINITY, -f64::INFINITY], |_| 0.0).unwrap();
        for (got, expected) in
            [(nan, 0.0), (0.0, f64::NAN), (inf, 0.0), (0.0, f64::INFINITY), (inf, -f64::INFINITY)]
        {
            let worst = compare(&[0.0, got], &[0.0, expected], anything).unwrap_err();
            assert_eq!((worst.index, worst.error()), (1, f64::INFINITY));
        }
    }

    #[test]
    fn any_element_that_is_wrong_is_found() {
        for wrong in 0..5 {
            let mut got = [1.0; 5];
            got[wrong] = 1.0 + f32::EPSILON;
            assert_eq!(compare(&got, &[1.0; 5], |_| 0.0).unwrap_err().index, wrong);
        }
    }

    #[test]
    #[should_panic(expected = "product: element 1: got 2e0, expected 3e0")]
    fn the_panic_says_what() {
        assert_close("product", &[1.0, 2.0], &[1.0, 3.0], |_| 0.5);
    }

    #[test]
    #[should_panic(expected = "got: 1 values, expected 2")]
    fn lengths_must_agree() {
        assert_close("product", &[1.0], &[1.0, 3.0], |_| 1e9);
    }

    /// The bound holds for the worst that rounding can do in many sums, and is within a factor of
    /// a few hundred of it: rounding errors are a random walk.
    #[test]
    fn dot_allowance_holds() {
        let mut largest: f64 = 0.0;
        for seed in 0..2000 {
            let terms = 1 + seed as usize % 100;
            let a: Vec<f32> = crate::uniform(terms, 2 * seed);
            let b: Vec<f32> = crate::uniform(terms, 2 * seed + 1);
            let got = a.iter().zip(&b).fold(0.0, |sum, (a, b)| sum + a * b);
            let exact: f64 = widen(&a).iter().zip(widen(&b)).map(|(a, b)| a * b).sum();
            let allowance = dot_allowance(terms, norm(&a), norm(&b));
            largest = largest.max(distance(got, exact) / allowance);
        }
        assert!((0.005..=1.0).contains(&largest), "{largest}");
    }
}
