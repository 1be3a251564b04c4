//! Activation functions, value by value.
//!
//! Each is a [`Function`]: its value and its gradient beside each other. What is made of an exponential is
//! within 2 ulp of the exact value (`tests/kernels/smooth.rs` measures it), but for the exact GELU, whose error is
//! stated where it is.

mod gelu;
mod piecewise;
mod sigmoid;

use crate::isa::{Isa, dispatch};
use crate::pointwise::{apply, map, map2, update};
use crate::simd::Simd;
use crate::{Epilogue, Store};
use gelu::{Gelu, GeluTanh};
use piecewise::{HardSigmoid, HardSwish, LeakyRelu, Relu, Relu6};
use sigmoid::{Elu, Sigmoid, Silu, Softplus, Tanh};

/// An activation function. NaN goes in and comes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x` where `x > 0`, else 0.
    Relu,
    /// `x` where `x > 0`, else the given slope times `x`.
    LeakyRelu(f32),
    /// The nearest value from 0 to 6.
    Relu6,
    /// `relu6(x + 3) / 6`.
    HardSigmoid,
    /// `x · relu6(x + 3) / 6`.
    HardSwish,
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
    /// `(exp(x) − exp(−x)) / (exp(x) + exp(−x))`.
    Tanh,
    /// `x / (1 + exp(−x))`.
    Silu,
    /// `x · Φ(x)` with the normal distribution `Φ` itself, not the approximation by tanh. The error
    /// of `Φ` is below 1.2e-7.
    Gelu,
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    GeluTanh,
    /// `x` where `x > 0`, else the given factor times `exp(x) − 1`.
    Elu(f32),
    /// `ln(1 + exp(β x)) / β` for the given `β > 0`.
    Softplus(f32),
}

/// An activation function on vectors.
trait Function<S: Simd>: Copy {
    fn value(self, s: S, x: S::Vector) -> S::Vector;

    /// `dy · f′(x)`.
    fn gradient(self, s: S, x: S::Vector, dy: S::Vector) -> S::Vector;
}

/// Evaluates `$body` with `$g` bound to the function that an [`Activation`] is.
macro_rules! with_function {
    ($f:expr, $g:ident => $body:expr) => {
        with_function!($f, $g, $body;
            Relu => Relu, LeakyRelu(slope) => LeakyRelu(slope), Relu6 => Relu6,
            HardSigmoid => HardSigmoid, HardSwish => HardSwish, Sigmoid => Sigmoid, Tanh => Tanh,
            Silu => Silu, Gelu => Gelu, GeluTanh => GeluTanh, Elu(alpha) => Elu(alpha),
            Softplus(beta) => Softplus(beta))
    };
    ($f:expr, $g:ident, $body:expr; $($variant:ident $(($of:ident))? => $function:expr),+) => {
        match $f {
            $(Activation::$variant $(($of))? => {
                let $g = $function;
                $body
            })+
        }
    };
}

impl Epilogue {
    /// What a kernel can apply of an activation, or none, before it stores its values, and what of it is left to
    /// [`activate_in_place`].
    pub fn of(activation: Option<Activation>) -> (Epilogue, Option<Activation>) {
        match activation {
            None => (Epilogue::None, None),
            Some(Activation::Relu) => (Epilogue::Relu, None),
            Some(Activation::Relu6) => (Epilogue::Relu6, None),
            Some(_) => (Epilogue::None, activation),
        }
    }
}

/// `y = f(x)`, value by value.
///
/// # Panics
/// If the lengths differ.
pub fn activate(isa: Isa, f: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    dispatch!(isa, s => with_function!(f, f => s.vectorize(#[inline(always)] || {
        map(s, x, y, Store::Overwrite, #[inline(always)] |x| f.value(s, x))
    })));
}

/// `y = f(y)`, value by value: [`activate`] in the room of its input.
pub fn activate_in_place(isa: Isa, f: Activation, y: &mut [f32]) {
    dispatch!(isa, s => with_function!(f, f => s.vectorize(#[inline(always)] || {
        apply(s, y, #[inline(always)] |y| f.value(s, y))
    })));
}

/// `dx = dy · f′(x)` or `dx += dy · f′(x)`, value by value. At a kink the derivative is that of the flatter
/// side; where `x` is NaN, ReLU and ReLU6 pass `dy`, as PyTorch's do.
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
    dispatch!(isa, s => with_function!(f, f => s.vectorize(#[inline(always)] || {
        map2(s, x, dy, dx, store, #[inline(always)] |x, dy| f.gradient(s, x, dy))
    })));
}

/// `dy = 0` in place wherever not `y > 0`: the backward of a ReLU that was fused into the operation
/// that made `y`.
///
/// # Panics
/// If the lengths differ.
pub fn relu_backward(isa: Isa, y: &[f32], dy: &mut [f32]) {
    assert_eq!(y.len(), dy.len(), "lengths of y and dy");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        update(s, y, dy, #[inline(always)] |y, dy| s.keep(s.gt(y, s.zero()), dy))
    }));
}
