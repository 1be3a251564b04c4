//! What becomes of the values that a kernel computes.

use crate::simd::Simd;

/// How a kernel stores its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Replaces what its output holds, without reading it.
    Overwrite,
    /// Adds to what its output holds.
    Accumulate,
}

/// What a kernel applies to its values before it stores them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Epilogue {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// `min(max(x, 0), 6)`; NaN stays NaN.
    Relu6,
}

impl Epilogue {
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, s: S, v: S::Vector) -> S::Vector {
        match self {
            Epilogue::None => v,
            Epilogue::Relu => relu(s, v),
            Epilogue::Relu6 => relu6(s, v),
        }
    }
}

/// [`relu`], and at most 6.
#[inline(always)]
pub(crate) fn relu6<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    let x = relu(s, x);
    s.select(s.gt(x, s.splat(6.0)), s.splat(6.0), x)
}

/// `x` where it is positive or NaN, else 0.
#[inline(always)]
pub(crate) fn relu<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    s.max(s.zero(), x)
}
