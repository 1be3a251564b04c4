//! Reverse-mode differentiation over Bobbin's kernels.
//!
//! Operations are methods of a [`Tape`]: each runs at once and records what its gradient will need.
//! [`Tape::backward`] runs the records in reverse. There are two kinds of values: a [`Tensor`] is a
//! batch of activations, a [`Param`] a view of the flat buffer of parameters; products are of one
//! with the other.

mod buffer;
mod check;
mod ops;
mod philox;
mod profile;
mod tape;
mod tensor;

pub use buffer::Buffer;
pub use check::*;
pub use ops::BatchNorm;
pub use philox::{Philox, Purpose, below, unit};
pub use profile::OperationTime;
pub use tape::{Memory, Param, Tape, Var};
pub use tensor::Tensor;
