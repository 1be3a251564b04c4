//! The differentiable operations, a file each: forward, then backward beside it.

mod activation;
mod arithmetic;
mod batch_norm2d;
mod conv2d;
mod cross_entropy;
mod dropout;
mod flatten;
mod linear;
mod plan;
mod pool;

pub use batch_norm2d::BatchNorm;
pub(crate) use plan::{Plan, Scratch};

use crate::Tensor;
use crate::tape::{Backward, Var};

/// An operation on the tape: what its backward needs to know.
pub(crate) trait Operation {
    /// What it is, in the words of a network's summary; " + " before what is done along.
    fn name(&self) -> &'static str;

    /// The value that it computed.
    fn output(&self) -> Var;

    /// From the gradient of the output to those of the inputs and parameters. `dy` may be
    /// overwritten.
    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor);
}

/// What is computed in the same pass after a convolution or a batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Epilogue {
    None,
    Relu,
    /// ReLU, then a max-pool of 2×2 with stride 2.
    ReluMaxPool,
}

/// One variant per operation: records are plain values in one vector, not boxes.
macro_rules! records {
    ($($name:ident($path:path)),+ $(,)?) => {
        pub(crate) enum Record {
            $($name($path)),+
        }

        impl Record {
            pub(crate) fn name(&self) -> &'static str {
                match self {
                    $(Record::$name(op) => op.name()),+
                }
            }

            pub(crate) fn output(&self) -> Var {
                match self {
                    $(Record::$name(op) => op.output()),+
                }
            }

            pub(crate) fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
                match self {
                    $(Record::$name(op) => op.backward(b, dy)),+
                }
            }
        }

        $(impl From<$path> for Record {
            fn from(op: $path) -> Record {
                Record::$name(op)
            }
        })+
    };
}

records! {
    Activation(activation::Activate),
    Add(arithmetic::Add),
    Mul(arithmetic::Mul),
    Sum(arithmetic::Sum),
    BatchNorm2d(batch_norm2d::BatchNorm2d),
    Conv2d(conv2d::Conv2d),
    CrossEntropy(cross_entropy::CrossEntropy),
    Dropout(dropout::Dropout),
    Flatten(flatten::Flatten),
    Linear(linear::Linear),
    MaxPool2d(pool::MaxPool2d),
    AvgPool2d(pool::AvgPool2d),
    GlobalAvgPool2d(pool::GlobalAvgPool2d),
}
