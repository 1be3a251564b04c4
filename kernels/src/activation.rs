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
    /// of `Φ` is below 1.2e-7.
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
