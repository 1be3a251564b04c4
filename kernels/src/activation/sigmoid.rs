//! Activations made of an exponential: sigmoid, tanh, SiLU, ELU, softplus.
//!
//! Their exponents are never positive, so nothing overflows, and what is small keeps its digits: `σ(x)` is
//! `e / (1 + e)` on the left and `1 / (1 + e)` on the right with `e = exp(−|x|)`. Intermediate values carry their
//! rounding errors along ([`Exponential`]), so that the result is rounded little more than once.

use super::Function;
use crate::math::{Exponential, ln_1p, vector_exp};
use crate::simd::Simd;

/// Beyond this, `x · exp(−x)` is 0, rounded.
const MOST: f32 = 130.0;

/// `σ(x) = 1 / (1 + exp(−x)) = (high + low) · 2ⁿ`.
pub(super) struct Logistic<S: Simd> {
    high: S::Vector,
    low: S::Vector,
    n: S::Vector,
}

impl<S: Simd> Logistic<S> {
    /// Of `x + low`, where `low` is at most half a unit in the last place of `x`.
    #[inline(always)]
    pub fn new(s: S, x: S::Vector, low: S::Vector) -> Logistic<S> {
        let right = s.gt(x, s.zero());
        let (magnitude, low) = magnitude(s, x, low);
        let e = Exponential::of_negative(s, magnitude, low);
        let one = s.splat(1.0);
        let whole = e.value(s);
        let sum = s.add(one, whole);
        let sum_low = s.add(s.sub(whole, s.sub(sum, one)), s.scale(e.low, e.n));
        let inverse = s.div(one, sum);
        // (upper + upper_low) / (sum + sum_low), first roughly, then what is left of it.
        let (upper, upper_low) = (s.select(right, one, e.high), s.select(right, s.zero(), e.low));
        let high = s.mul(upper, inverse);
        let product = s.mul(high, sum);
        let left = s.sub(s.sub(upper, product), s.product_error(high, sum, product));
        let left = s.add(left, s.sub(upper_low, s.mul(high, sum_low)));
        let n = s.select(right, s.zero(), e.n);
        Logistic { high, low: s.mul(left, inverse), n }
    }

    #[inline(always)]
    fn value(&self, s: S) -> S::Vector {
        s.scale(s.add(self.high, self.low), self.n)
    }

    /// `factor · σ(x)`.
    #[inline(always)]
    pub fn times(&self, s: S, factor: S::Vector) -> S::Vector {
        let high = s.mul(factor, self.high);
        s.scale(s.mul_add(factor, self.low, high), self.n)
    }
}

/// `σ(x)` and `σ′(x)` within a few units in the last place of 1, for gradients: less than half the work of [`Logistic`].
#[inline(always)]
pub(super) fn logistic<S: Simd>(s: S, x: S::Vector) -> [S::Vector; 2] {
    let right = s.gt(x, s.zero());
    let (magnitude, _) = magnitude(s, x, s.zero());
    let (one, e) = (s.splat(1.0), vector_exp(s, magnitude));
    let inverse = s.div(one, s.add(one, e));
    let left = s.mul(e, inverse);
    [s.select(right, inverse, left), s.mul(left, inverse)]
}

/// `−|x + low|` in two parts, and not below −[`MOST`]; NaN stays NaN.
#[inline(always)]
fn magnitude<S: Simd>(s: S, x: S::Vector, low: S::Vector) -> (S::Vector, S::Vector) {
    let right = s.gt(x, s.zero());
    let minus = |v: S::Vector| s.sub(s.zero(), v);
    let x = s.select(right, minus(x), x);
    let low = s.select(right, minus(low), low);
    (s.max(s.splat(-MOST), x), low)
}

#[derive(Clone, Copy)]
pub(super) struct Sigmoid;

impl<S: Simd> Function<S> for Sigmoid {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        Logistic::new(s, x, s.zero()).value(s)
    }

    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let [_, slope] = logistic(s, x);
        s.mul(dy, slope)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Silu;

impl<S: Simd> Function<S> for Silu {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        let product = Logistic::new(s, x, s.zero()).times(s, s.max(s.splat(-MOST), x));
        s.select(s.gt(x, s.splat(MOST)), x, product)
    }

    /// `σ + x σ′`.
    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let x = s.max(s.splat(-MOST), x);
        let x = s.select(s.gt(x, s.splat(MOST)), s.splat(MOST), x);
        let [value, slope] = logistic(s, x);
        s.mul(dy, s.mul_add(x, slope, value))
    }
}

/// `tanh |x| = −m / (2 + m)` with `m = exp(−2|x|) − 1`.
#[derive(Clone, Copy)]
pub(super) struct Tanh;

impl<S: Simd> Function<S> for Tanh {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        // 1, rounded, at 20 as beyond.
        let half = s.max(s.splat(-20.0), magnitude(s, x, s.zero()).0);
        let (m, m_low) = Exponential::of_negative(s, s.add(half, half), s.zero()).minus_one(s);
        let two = s.splat(2.0);
        let sum = s.add(two, m);
        let sum_low = s.add(s.sub(m, s.sub(sum, two)), m_low);
        let quotient = s.div(m, sum);
        let product = s.mul(quotient, sum);
        let left = s.sub(s.sub(m, product), s.product_error(quotient, sum, product));
        let left = s.add(left, s.sub(m_low, s.mul(quotient, sum_low)));
        // Its sign is that of a negative x.
        let y = s.add(quotient, s.div(left, sum));
        s.select(s.gt(x, s.zero()), s.sub(s.zero(), y), y)
    }

    /// `1 − tanh² = 4 σ′(2x)`.
    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let (half, _) = magnitude(s, x, s.zero());
        let [_, slope] = logistic(s, s.add(half, half));
        s.mul(dy, s.mul(s.splat(4.0), slope))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Elu(pub f32);

impl<S: Simd> Function<S> for Elu {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        let alpha = s.splat(self.0);
        let (m, low) = Exponential::of_negative(s, at_most_zero(s, x), s.zero()).minus_one(s);
        let left = s.mul_add(alpha, m, s.mul(alpha, low));
        s.select(s.gt(x, s.zero()), x, left)
    }

    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let left = s.mul(s.splat(self.0), vector_exp(s, at_most_zero(s, x)));
        s.mul(dy, s.select(s.gt(x, s.zero()), s.splat(1.0), left))
    }
}

/// The nearest value from −[`MOST`] to 0; NaN stays NaN.
#[inline(always)]
fn at_most_zero<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    s.max(s.splat(-MOST), s.select(s.gt(x, s.zero()), s.zero(), x))
}

/// `max(w, 0) + ln(1 + exp(−|w|))` over `β`, with `w = β x`.
#[derive(Clone, Copy)]
pub(super) struct Softplus(pub f32);

impl<S: Simd> Function<S> for Softplus {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        let beta = s.splat(self.0);
        let x = s.max(s.splat(-MOST / self.0), x);
        let w = s.mul(x, beta);
        // No more than x itself: ln(1 + exp(−25)) is lost in it. (And w may be infinite.)
        let linear = s.gt(w, s.splat(25.0));
        let rest = s.product_error(x, beta, w);
        let (minus, low) = magnitude(s, w, rest);
        let e = Exponential::of_negative(s, minus, low);
        let (log, log_low) = ln_1p(s, e.value(s), s.scale(e.low, e.n));
        // The larger of the two terms first, then what their sum has rounded off.
        let right = s.gt(w, s.zero());
        let (straight, rest) = (s.keep(right, w), s.keep(right, rest));
        let swap = s.gt(log, straight);
        let (most, least) = (s.select(swap, log, straight), s.select(swap, straight, log));
        let sum = s.add(most, least);
        let low = s.add(s.sub(least, s.sub(sum, most)), s.add(log_low, rest));
        let quotient = s.div(sum, beta);
        let product = s.mul(quotient, beta);
        let left = s.sub(s.sub(sum, product), s.product_error(quotient, beta, product));
        let y = s.add(quotient, s.div(s.add(left, low), beta));
        s.select(linear, x, y)
    }

    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let [value, _] = logistic(s, s.mul(x, s.splat(self.0)));
        s.mul(dy, value)
    }
}
