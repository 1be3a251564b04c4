//! Reverse-mode differentiation over Bobbin's kernels.
//!
//! Operations are methods of a [`Tape`]: each runs at once and records what its gradient will need.
//! [`Tape::backward`] runs the records in reverse. There are two kinds of values: a [`Tensor`] is a
//! batch of activations, a [`Param`] a view of the flat buffer of parameters; products are of one
//! with the other.
//!
//! ```
//! use autograd::{Tape, Tensor, Workspace};
//! use kernels::Isa;
//!
//! // f(x) = Σ x², so ∂f/∂x = 2x.
//! let mut workspace = Workspace::default();
//! let mut tape = Tape::training(Isa::detect(), &mut workspace, &[], 1);
//! let x = tape.variable(&Tensor::vectors(&[[1.0, -2.0, 3.0]]));
//! let squares = tape.mul(x, x);
//! let f = tape.sum(squares);
//! tape.backward(f, &mut []);
//! assert_eq!(tape.value(f).to_rows(), [14.0]);
//! assert_eq!(tape.gradient(x).expect("f depends on x").to_rows(), [2.0, -4.0, 6.0]);
//! ```

#![warn(missing_debug_implementations)]

// Values.
mod buffer;
mod tensor;
pub use buffer::Buffer;
pub use tensor::Tensor;

// The tape, and the operations on it.
mod generation;
mod ops;
mod tape;
pub use generation::Generation;
pub use kernels::Precision;
pub use ops::{BatchNorm, ImageNorm};
pub use tape::{Param, Tape, Var, Workspace};

// Random choices that do not depend on threads.
mod philox;
pub use philox::{Philox, Purpose, below, unit};

// Is a gradient right, and what does it cost?
mod check;
pub use check::{Along, Check, GradientError, Slope, check_gradients};
pub use tape::OperationTime;
