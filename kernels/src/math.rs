//! `exp` and `ln` on vectors, for every `f32` including subnormals, infinities and NaN.
//!
//! Both are within 0.9 ulp of the exact value with fused multiply-add and within 1.3 ulp without
//! (2 ulp are promised); `tests/math.rs` measures it. They are made of correctly rounded operations
//! alone, so every path with fused multiply-add gives the same bits. The polynomials are Taylor
//! series, long enough that cutting them off costs less than a tenth of an ulp. [`Exponential`] and [`ln_1p`] are for
//! what is made of an exponential: they keep what a float has no room for.

use crate::Store;
use crate::isa::{Isa, dispatch};
use crate::pointwise::map;
use crate::simd::Simd;

/// `y[i] = exp(x[i])`.
///
/// Subnormal results are rounded like any other, below them is 0; overflow gives +∞, NaN gives NaN.
///
/// # Panics
/// If the lengths differ.
pub fn exp(isa: Isa, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        map(s, x, y, Store::Overwrite, #[inline(always)] |x| vector_exp(s, x))
    }));
}

/// `y[i]` = the natural logarithm of `x[i]`.
///
/// ±0 give −∞, negative numbers and NaN give NaN, +∞ gives +∞.
///
/// # Panics
/// If the lengths differ.
pub fn ln(isa: Isa, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        map(s, x, y, Store::Overwrite, #[inline(always)] |x| vector_ln(s, x))
    }));
}

/// ln 2 in two parts (Cody and Waite, "Software Manual for the Elementary Functions", 1980). The
/// first has so few bits that its product with an exponent is exact.
const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];

/// `exp(x) = 2ⁿ · exp(r)` with `n` the integer nearest to `x / ln 2` and `|r| ≤ ln 2 / 2`; `exp(r)`
/// is its Taylor polynomial of degree 7, 5e-9 short of it at most.
#[inline(always)]
pub(crate) fn vector_exp<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    // Beyond these the result is +∞ or 0 all the same, and `scale` takes only so large an exponent.
    // The order of operands lets NaN through.
    let (low, high) = (s.splat(-104.0), s.splat(89.0));
    let x = s.max(low, x);
    let x = s.select(s.gt(x, high), high, x);

    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.mul_add(n, s.splat(-LN_2[0]), x);
    let r = s.mul_add(n, s.splat(-LN_2[1]), r);
    let mut p = s.splat(1.0 / 5040.0);
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        p = s.mul_add(p, r, s.splat(1.0 / factorial));
    }
    s.scale(p, n)
}

/// `ln(x) = e · ln 2 + ln(1 + f)` with `x = (1 + f) · 2ᵉ` and `√½ ≤ 1 + f ≤ √2`. With
/// `s = f / (2 + f)` (so `|s| ≤ 0.172`) and `z = s²`,
/// `ln(1 + f) = 2 artanh(s) = 2s + s · R` with `R = 2z/3 + 2z²/5 + 2z³/7 + …`,
/// written as `f − (f²/2 − s · (f²/2 + R))` because `f` is exact and what is subtracted is small
/// (FreeBSD's `e_logf.c`, by Sun Microsystems, does it in this form).
#[inline(always)]
pub(crate) fn vector_ln<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    let subnormal = s.gt(s.splat(f32::MIN_POSITIVE), x);
    let normal = s.select(subnormal, s.mul(x, s.splat(TWO_24)), x);
    let (m, e) = s.split(normal);
    let e = s.sub(e, s.keep(subnormal, s.splat(24.0)));
    let large = s.gt(m, s.splat(std::f32::consts::SQRT_2));
    let m = s.select(large, s.mul(m, s.splat(0.5)), m);
    let e = s.add(e, s.keep(large, s.splat(1.0)));

    let f = s.sub(m, s.splat(1.0));
    let ln = s.mul_add(e, s.splat(LN_2[0]), s.add(f, tail_of_ln(s, f, e)));

    // What `split` does not take: +∞ and NaN (which are not below +∞), negative numbers, zeros.
    let ln = s.select(s.gt(s.splat(f32::INFINITY), x), ln, x);
    let ln = s.select(s.gt(s.zero(), x), s.splat(f32::NAN), ln);
    s.select(s.eq(x, s.zero()), s.splat(f32::NEG_INFINITY), ln)
}

/// `ln(1 + f) + e · ln 2` without `f` and without the first part of `e · ln 2`.
#[inline(always)]
fn tail_of_ln<S: Simd>(s: S, f: S::Vector, e: S::Vector) -> S::Vector {
    let half_square = s.mul(s.mul(f, s.splat(0.5)), f);
    let root = s.div(f, s.add(f, s.splat(2.0)));
    let z = s.mul(root, root);
    let mut r = s.splat(2.0 / 11.0);
    for odd in [9.0, 7.0, 5.0, 3.0] {
        r = s.mul_add(r, z, s.splat(2.0 / odd));
    }
    let tail = s.mul_add(r, z, half_square);
    let tail = s.mul_add(root, tail, s.mul(e, s.splat(LN_2[1])));
    s.sub(tail, half_square)
}

/// `ln(1 + f + low)` for `f` from 0 to 1 and `low` of at most half a unit in its last place, in two parts.
#[inline(always)]
pub(crate) fn ln_1p<S: Simd>(s: S, f: S::Vector, low: S::Vector) -> (S::Vector, S::Vector) {
    // 1 + f = (1 + (f − 1)/2) · 2 where f is large.
    let (one, half) = (s.splat(1.0), s.splat(0.5));
    let large = s.gt(f, s.splat(std::f32::consts::SQRT_2 - 1.0));
    let e = s.keep(large, one);
    let low = s.select(large, s.mul(low, half), low);
    let f = s.select(large, s.mul(s.sub(f, one), half), f);
    let tail = s.add(tail_of_ln(s, f, e), low);
    let near = s.add(f, tail);
    let whole = s.mul(e, s.splat(LN_2[0]));
    let log = s.add(whole, near);
    // What each sum has rounded off its smaller term.
    (log, s.add(s.sub(near, s.sub(log, whole)), s.sub(tail, s.sub(near, f))))
}

/// `exp(x) = (1 + m + m_low) · 2ⁿ = (high + low) · 2ⁿ` with `0.7 < high < 1.42`, `n` as in [`vector_exp`], and each
/// `low` at most half a unit in the last place of what it belongs to. What is lost is less than a quarter of an ulp.
pub(crate) struct Exponential<S: Simd> {
    m: S::Vector,
    m_low: S::Vector,
    pub high: S::Vector,
    pub low: S::Vector,
    pub n: S::Vector,
}

impl<S: Simd> Exponential<S> {
    /// Of `x + low` for `x` from −160 to 0; NaN gives NaN.
    #[inline(always)]
    pub(crate) fn of_negative(s: S, x: S::Vector, low: S::Vector) -> Exponential<S> {
        let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
        let first = s.mul_add(n, s.splat(-LN_2[0]), x);
        let second = s.mul_add(n, s.splat(-LN_2[1]), low);
        let r = s.add(first, second);
        let r_low = s.sub(second, s.sub(r, first));
        // exp(r) − 1 − r = r² · (1/2 + r/6 + …).
        let mut q = s.splat(1.0 / 5040.0);
        for factorial in [720.0, 120.0, 24.0, 6.0, 2.0] {
            q = s.mul_add(q, r, s.splat(1.0 / factorial));
        }
        let tail = s.mul_add(s.mul(r, r), q, r_low);
        let m = s.add(r, tail);
        let m_low = s.sub(tail, s.sub(m, r));
        let one = s.splat(1.0);
        let high = s.add(one, m);
        let low = s.add(s.sub(m, s.sub(high, one)), m_low);
        Exponential { m, m_low, high, low, n }
    }

    #[inline(always)]
    pub(crate) fn value(&self, s: S) -> S::Vector {
        s.scale(self.high, self.n)
    }

    /// `exp(x) − 1`, in two parts.
    #[inline(always)]
    pub(crate) fn minus_one(&self, s: S) -> (S::Vector, S::Vector) {
        let (one, e) = (s.splat(1.0), self.value(s));
        let high = s.sub(e, one);
        let low = s.add(s.sub(e, s.add(high, one)), s.scale(self.low, self.n));
        let near = s.eq(self.n, s.zero());
        (s.select(near, self.m, high), s.select(near, self.m_low, low))
    }
}

/// Makes every subnormal normal, exactly.
const TWO_24: f32 = 16_777_216.0;
