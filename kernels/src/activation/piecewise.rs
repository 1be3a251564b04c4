//! Activations of straight and parabolic pieces.

use super::Function;
use crate::output::{relu, relu6};
use crate::simd::Simd;

#[derive(Clone, Copy)]
pub(super) struct Relu;

impl<S: Simd> Function<S> for Relu {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        relu(s, x)
    }

    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let dead = s.select(s.unordered(x, x), dy, s.zero());
        s.select(s.gt(x, s.zero()), dy, dead)
    }
}

#[derive(Clone, Copy)]
pub(super) struct LeakyRelu(pub f32);

impl<S: Simd> Function<S> for LeakyRelu {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        s.select(s.gt(x, s.zero()), x, s.mul(s.splat(self.0), x))
    }

    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        s.select(s.gt(x, s.zero()), dy, s.mul(s.splat(self.0), dy))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Relu6;

impl<S: Simd> Function<S> for Relu6 {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        relu6(s, x)
    }

    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let between = s.select(s.gt(s.splat(6.0), x), dy, s.zero());
        let positive = s.keep(s.gt(x, s.zero()), between);
        s.select(s.unordered(x, x), dy, positive)
    }
}

#[derive(Clone, Copy)]
pub(super) struct HardSigmoid;

impl<S: Simd> Function<S> for HardSigmoid {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        s.div(Relu6.value(s, s.add(x, s.splat(3.0))), s.splat(6.0))
    }

    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let slope = select_between(s, x, s.splat(1.0 / 6.0), s.zero());
        s.mul(dy, slope)
    }
}

#[derive(Clone, Copy)]
pub(super) struct HardSwish;

impl<S: Simd> Function<S> for HardSwish {
    #[inline(always)]
    fn value(self, s: S, x: S::Vector) -> S::Vector {
        let share = s.mul(x, s.add(x, s.splat(3.0)));
        select_between(s, x, s.div(share, s.splat(6.0)), x)
    }

    #[inline(always)]
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector {
        let slope = s.mul_add(x, s.splat(1.0 / 3.0), s.splat(0.5));
        s.mul(dy, select_between(s, x, slope, s.splat(1.0)))
    }
}

/// 0 where `x ≤ −3`, `right` where `x ≥ 3`, `between` elsewhere; NaN where `x` is.
#[inline(always)]
fn select_between<S: Simd>(s: S, x: S::Vector, between: S::Vector, right: S::Vector) -> S::Vector {
    let below = s.select(s.gt(s.splat(3.0), x), between, right);
    let value = s.keep(s.gt(x, s.splat(-3.0)), below);
    s.select(s.unordered(x, x), x, value)
}
