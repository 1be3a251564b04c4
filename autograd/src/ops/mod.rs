//! The differentiable operations, a file each: forward, then backward beside it.

mod activation;
mod add;
mod arithmetic;
mod batch_norm2d;
mod bf16;
mod concat;
mod conv2d;
mod dropout;
mod flatten;
mod image_norm;
mod linear;
mod loss;
pub(crate) mod pieces;
mod plan;
mod pool;
mod prelu;
mod scale_planes;
mod softmax;

pub use batch_norm2d::BatchNorm;
pub use image_norm::ImageNorm;
pub(crate) use plan::{Plan, Scratch};

use crate::Tensor;
use crate::tape::{Backward, Param, Var};

/// An operation on the tape: what its backward needs to know.
pub(crate) trait Operation {
    /// What it is, in the words of a network's summary; " + " before what is done along.
    fn name(&self) -> &'static str;

    /// The value that it computed.
    fn output(&self) -> Var;

    /// Whether its backward reads the output.
    fn reads_output(&self) -> bool {
        true
    }

    /// From the gradient of the output to those of the inputs and parameters. `dy` may be
    /// overwritten.
    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor);
}

/// What is computed in the same pass after a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Epilogue {
    None,
    Relu,
    /// ReLU, then a max-pool of 2×2 with stride 2.
    ReluMaxPool,
}

impl Epilogue {
    /// What a kernel without a pool applies.
    fn kernel(self) -> kernels::Epilogue {
        match self {
            Epilogue::None => kernels::Epilogue::None,
            Epilogue::Relu | Epilogue::ReluMaxPool => kernels::Epilogue::Relu,
        }
    }
}

/// Two parts of a buffer that do not overlap, the first before the second where both have a length.
fn two_parts(buffer: &mut [f32], first: Param, second: Param) -> [&mut [f32]; 2] {
    if second.len == 0 {
        return [first.of_mut(buffer), &mut []];
    }
    assert!(first.offset + first.len <= second.offset, "weight and bias in this order");
    let (before, after) = buffer.split_at_mut(second.offset);
    [first.of_mut(before), &mut after[..second.len]]
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

            pub(crate) fn reads_output(&self) -> bool {
                match self {
                    $(Record::$name(op) => op.reads_output()),+
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
    Add(add::Add),
    Mul(arithmetic::Mul),
    Sum(arithmetic::Sum),
    BatchNorm2d(batch_norm2d::BatchNorm2d),
    Concat(concat::Concat),
    Conv2d(conv2d::Conv2d),
    Loss(loss::LossOf),
    Dropout(dropout::Dropout),
    Flatten(flatten::Flatten),
    ImageNorm(image_norm::Norm),
    Linear(linear::Linear),
    MaxPool2d(pool::MaxPool2d),
    AvgPool2d(pool::AvgPool2d),
    GlobalAvgPool2d(pool::GlobalAvgPool2d),
    Prelu(prelu::Prelu),
    Softmax(softmax::Softmax),
    ScalePlanes(scale_planes::ScalePlanes),
}
