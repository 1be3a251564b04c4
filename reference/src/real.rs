//! The numbers that the definitions are written in.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// `f32` or `f64`: arithmetic and the few functions that the operations need.
pub trait Real:
    Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// −∞, what the maximum of nothing is.
    const NEG_INFINITY: Self;

    /// The nearest value.
    fn from_f64(x: f64) -> Self;
    /// The same value in `f64`, exactly.
    fn to_f64(self) -> f64;
    /// √x.
    fn sqrt(self) -> Self;
    /// eˣ.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// eˣ − 1.
    fn exp_m1(self) -> Self;
    /// The natural logarithm of 1 + x.
    fn ln_1p(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// 2/√π · ∫₀ˣ exp(−t²) dt.
    fn erf(self) -> Self;

    /// The nearest value to a count.
    fn from_usize(n: usize) -> Self {
        Self::from_f64(n as f64)
    }

    /// Whether it is not a number.
    #[expect(clippy::eq_op, reason = "NaN is what differs from itself")]
    fn is_nan(self) -> bool {
        self != self
    }

    /// The larger of two, and NaN if either is NaN: what `f32::max` is not.
    fn larger(self, other: Self) -> Self {
        if self > other || self.is_nan() { self } else { other }
    }
}

macro_rules! real {
    ($float:ident, $exp:path, $ln:path, $expm1:path, $log1p:path, $tanh:path, $erf:path) => {
        impl Real for $float {
            const ZERO: $float = 0.0;
            const ONE: $float = 1.0;
            const NEG_INFINITY: $float = $float::NEG_INFINITY;

            fn from_f64(x: f64) -> $float {
                x as $float
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn sqrt(self) -> $float {
                self.sqrt()
            }
            fn exp(self) -> $float {
                $exp(self)
            }
            fn ln(self) -> $float {
                $ln(self)
            }
            fn exp_m1(self) -> $float {
                $expm1(self)
            }
            fn ln_1p(self) -> $float {
                $log1p(self)
            }
            fn tanh(self) -> $float {
                $tanh(self)
            }
            fn erf(self) -> $float {
                $erf(self)
            }
        }
    };
}

real!(f32, libm::expf, libm::logf, libm::expm1f, libm::log1pf, libm::tanhf, libm::erff);
real!(f64, libm::exp, libm::log, libm::expm1, libm::log1p, libm::tanh, libm::erf);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_the_larger() {
        assert_eq!((1.0).larger(2.0), 2.0);
        assert_eq!((2.0).larger(1.0), 2.0);
        assert!(f32::NAN.larger(1.0).is_nan());
        assert!((1.0).larger(f64::NAN).is_nan());
        assert!(f64::NAN.larger(f64::INFINITY).is_nan());
    }
}
