//! GELU, exact and by tanh.

use super::Function;
use super::sigmoid::{Logistic, logistic};
use crate::math::vector_exp;
use crate::simd::Simd;

#[derive(Clone, Copy)]
pub(super) struct Gelu;

impl<S: Simd> Function<S> for Gelu {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        s.mul(x, normal(s, x).0)
    }

    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let (distribution, bell) = normal(s, x);
        let density = s.mul(bell, s.splat(INV_SQRT_2_PI));
        s.mul(dy, s.mul_add(x, density, distribution))
    }
}

/// 1 / √(2π).
const INV_SQRT_2_PI: f32 = 0.398_942_3;

/// The coefficients `Q`, constant first, of the upper tail of the normal distribution,
/// `1 − Φ(x) = Q(u) · exp(−x²/2)` with `u = 0.35 x / (1 + 0.35 x)`, for `x ≥ 0`.
///
/// This is the form of Abramowitz and Stegun 7.1.26 (after Hastings 1955), which is a polynomial in
/// `t = 1 − u` without a constant, written in `u` because near `x = 0` that has no rounding error to
/// speak of. The coefficients come from the exchange of Remez on the interval [0, 1] of `t`, for the
/// smallest largest relative error, 1.4e-8, of a polynomial of degree 10 against
/// `erfc(x/√2) · exp(x²/2) / (2t)` in double precision (its asymptotic series where `x > 28`). Of the
/// factors of `x` near the best one, 0.35 gives small coefficients.
const TAIL: [f32; 12] = [
    0.5,
    -1.139_834_3,
    0.900_968_6,
    -0.159_786_72,
    -0.156_044_77,
    -0.001_314_053_9,
    0.094_593_68,
    -0.113_015_71,
    0.203_344_51,
    -0.213_594_65,
    0.103_997_29,
    -0.019_313_863,
];

/// `Φ(x)` and `exp(−x²/2)`.
#[inline(always)]
fn normal<S: Simd>(s: S, x: S::Vector) -> (S::Vector, S::Vector) {
    let bell = vector_exp(s, s.mul(s.mul(x, s.splat(-0.5)), x));
    // Beyond 16 the tail is 0 in any case; ∞/∞ would not be.
    let (magnitude, most) = (s.max(s.sub(s.zero(), x), x), s.splat(16.0));
    let magnitude = s.select(s.gt(magnitude, most), most, magnitude);
    let scaled = s.mul(magnitude, s.splat(0.35));
    let u = s.div(scaled, s.add(s.splat(1.0), scaled));
    let mut q = s.splat(TAIL[11]);
    for k in (0..11).rev() {
        q = s.mul_add(q, u, s.splat(TAIL[k]));
    }
    let tail = s.mul(q, bell);
    (s.select(s.gt(x, s.zero()), s.sub(s.splat(1.0), tail), tail), bell)
}

/// `x · σ(w)` with `w = 2 √(2/π) · (x + 0.044715 x³)`, as `1 + tanh(w/2) = 2 σ(w)`.
#[derive(Clone, Copy)]
pub(super) struct GeluTanh;

/// `2 √(2/π)` and `0.044715 · 2 √(2/π)`, each as a float and what is left.
const SLOPE: [f32; 2] = [1.595_769_2, -4.534_068e-8];
const CUBIC: [f32; 2] = [0.071_354_814, 2.398_832_5e-9];

/// Where `σ(w)` is 1, or 0 on the other side, whatever is further out.
const FAR: f32 = 12.0;

impl<S: Simd> Function<S> for GeluTanh {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        let near = clamped(s, x);
        // An error of w would be one of the exponent: twice the precision.
        let square = s.mul(near, near);
        let rest = s.product_error(near, near, square);
        let cubic = s.splat(CUBIC[0]);
        let product = s.mul(square, cubic);
        let low = s.mul_add(square, s.splat(CUBIC[1]), s.mul(rest, cubic));
        let low = s.add(s.product_error(square, cubic, product), low);
        let slope = s.splat(SLOPE[0]);
        let swap = s.gt(product, slope);
        let (larger, smaller) = (s.select(swap, product, slope), s.select(swap, slope, product));
        let sum = s.add(larger, smaller);
        let low = s.add(s.sub(smaller, s.sub(sum, larger)), s.add(low, s.splat(SLOPE[1])));
        let w = s.mul(near, sum);
        let low = s.mul_add(near, low, s.product_error(near, sum, w));
        let product = Logistic::new(s, w, low).times(s, near);
        s.select(s.gt(x, s.splat(FAR)), x, product)
    }

    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let x = clamped(s, x);
        let square = s.mul(x, x);
        let w = s.mul(x, s.mul_add(square, s.splat(CUBIC[0]), s.splat(SLOPE[0])));
        let along = s.mul_add(square, s.splat(3.0 * CUBIC[0]), s.splat(SLOPE[0]));
        let [value, slope] = logistic(s, w);
        s.mul(dy, s.mul_add(s.mul(x, along), slope, value))
    }
}

/// The nearest value within ±`FAR`; NaN stays NaN.
#[inline(always)]
fn clamped<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    let x = s.max(s.splat(-FAR), x);
    s.select(s.gt(x, s.splat(FAR)), s.splat(FAR), x)
}
