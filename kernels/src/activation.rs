//! Activation functions.

use crate::Store;
use crate::isa::{Isa, dispatch};
use crate::math::vector_exp;
use crate::pointwise::{map, map2, update};
use crate::simd::Simd;

/// An activation function. NaN goes in and comes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x` where `x > 0`, else 0.
    Relu,
    /// `x` where `x > 0`, else the given slope times `x`.
    LeakyRelu(f32),
    /// `x · Φ(x)` with the normal distribution `Φ` itself, not the approximation by tanh. The error
    /// of `Φ` is below 2e-7.
    Gelu,
}

/// `y = f(x)`, value by value.
///
/// # Panics
/// If the lengths differ.
pub fn activate(isa: Isa, f: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || forward(s, f, x, y)));
}

/// `dx = dy · f′(x)` or `dx += dy · f′(x)`, value by value. At the kink of a ReLU the derivative is
/// that of the left side; where `x` is NaN, ReLU passes `dy`, as PyTorch does.
///
/// # Panics
/// If the lengths differ.
pub fn activate_backward(
    isa: Isa,
    f: Activation,
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    store: Store,
) {
    assert_eq!([x.len(), dy.len()], [dx.len(); 2], "lengths of x and dy, and of dx");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || backward(s, f, x, dy, dx, store)));
}

/// `dy = 0` in place wherever not `y > 0`: the backward of a ReLU that was fused into the operation
/// that made `y`.
///
/// # Panics
/// If the lengths differ.
pub fn gate(isa: Isa, y: &[f32], dy: &mut [f32]) {
    assert_eq!(y.len(), dy.len(), "lengths of y and dy");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        update(s, y, dy, #[inline(always)] |y, dy| s.keep(s.gt(y, s.zero()), dy))
    }));
}

#[inline(always)]
fn forward<S: Simd>(s: S, f: Activation, x: &[f32], y: &mut [f32]) {
    let store = Store::Overwrite;
    match f {
        Activation::Relu => map(
            s,
            x,
            y,
            store,
            #[inline(always)]
            |x| relu(s, x),
        ),
        Activation::LeakyRelu(slope) => {
            let slope = s.splat(slope);
            map(
                s,
                x,
                y,
                store,
                #[inline(always)]
                |x| s.select(s.gt(x, s.zero()), x, s.mul(slope, x)),
            )
        }
        Activation::Gelu => map(
            s,
            x,
            y,
            store,
            #[inline(always)]
            |x| s.mul(x, normal(s, x).0),
        ),
    }
}

#[inline(always)]
fn backward<S: Simd>(s: S, f: Activation, x: &[f32], dy: &[f32], dx: &mut [f32], store: Store) {
    match f {
        Activation::Relu => map2(
            s,
            x,
            dy,
            dx,
            store,
            #[inline(always)]
            |x, dy| {
                let dead = s.select(s.unordered(x, x), dy, s.zero());
                s.select(s.gt(x, s.zero()), dy, dead)
            },
        ),
        Activation::LeakyRelu(slope) => {
            let slope = s.splat(slope);
            map2(
                s,
                x,
                dy,
                dx,
                store,
                #[inline(always)]
                |x, dy| s.select(s.gt(x, s.zero()), dy, s.mul(slope, dy)),
            )
        }
        Activation::Gelu => map2(
            s,
            x,
            dy,
            dx,
            store,
            #[inline(always)]
            |x, dy| {
                let (distribution, bell) = normal(s, x);
                let density = s.mul(bell, s.splat(INV_SQRT_2_PI));
                s.mul(dy, s.mul_add(x, density, distribution))
            },
        ),
    }
}

/// `x` where it is positive or NaN, else 0.
#[inline(always)]
pub(crate) fn relu<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    s.max(s.zero(), x)
}

/// 1 / √(2π).
const INV_SQRT_2_PI: f32 = 0.398_942_3;

/// The coefficients `P`, constant first, of the upper tail of the normal distribution,
/// `1 − Φ(x) = t · P(t) · exp(−x²/2)` with `t = 1 / (1 + x/4)`, for `x ≥ 0`.
///
/// The form is that of Abramowitz and Stegun 7.1.26 (after Hastings 1955), with a longer polynomial.
/// The coefficients are the exchange of Remez on [0, 1] for the smallest largest relative error,
/// 3.4e-8, against `erfc(x/√2) · exp(x²/2) / (2t)` in double precision (its asymptotic series where
/// `x > 28`); 1/4 was the roundest number near the best one.
const TAIL: [f32; 10] = [
    0.099_735_565,
    0.099_736_43,
    0.093_466_36,
    0.081_603_1,
    0.058_975_19,
    0.063_698_99,
    -0.031_717_32,
    0.095_596_88,
    -0.080_877_21,
    0.019_781_986,
];

/// `Φ(x)` and `exp(−x²/2)`.
#[inline(always)]
fn normal<S: Simd>(s: S, x: S::Vector) -> (S::Vector, S::Vector) {
    let magnitude = s.max(s.sub(s.zero(), x), x);
    let bell = vector_exp(s, s.mul(s.mul(x, s.splat(-0.5)), x));
    let t = s.div(s.splat(1.0), s.mul_add(magnitude, s.splat(0.25), s.splat(1.0)));
    let mut p = s.splat(TAIL[9]);
    for k in (0..9).rev() {
        p = s.mul_add(p, t, s.splat(TAIL[k]));
    }
    let tail = s.mul(s.mul(t, p), bell);
    (s.select(s.gt(x, s.zero()), s.sub(s.splat(1.0), tail), tail), bell)
}
