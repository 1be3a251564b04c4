//! Computing with sixteen channels to a vector (`kernels/src/channels/`): operations between slots of memory, with
//! weights laid out once. What the operations of a network are is said elsewhere (`few_images.rs`).

mod build;
mod parts;
mod run;

pub(crate) use build::{Steps, Value, relu_if};
pub(crate) use run::Inputs;
pub use run::Room;

use autograd::Buffer;
use kernels::{ChannelConvolution, ChannelWinograd, Cores, Epilogue, Isa, Layout};
use std::ops::Range;

/// Operations in order, and what they need.
pub(crate) struct Sequence {
    pub isa: Isa,
    /// Weights in panels of sixteen outputs, biases, constants of batch norms; each begins on a cache line.
    pub constants: Buffer,
    pub steps: Vec<Step>,
    /// Floats of each slot for an image; images are loaded into the first.
    pub slots: Vec<usize>,
    /// The shape of an image.
    pub input: [usize; 3],
    /// The slot and shape of what the last step computes.
    pub output: Value,
    /// Vectors of multiply-adds of one image here, and of sixteen on a tape.
    pub cost: usize,
    pub batch_cost: usize,
}

/// An operation between slots.
pub(crate) struct Step {
    operation: Operation,
    from: Vec<Value>,
    to: Value,
}

enum Operation {
    Convolution {
        plan: ChannelConvolution,
        weights: Place,
        bias: Option<Place>,
        epilogue: Epilogue,
    },
    /// A convolution whose operands are rounded to bfloat16.
    Bf16 {
        plan: ChannelConvolution,
        weights: Place,
        bias: Option<Place>,
        epilogue: Epilogue,
    },
    Winograd {
        plan: ChannelWinograd,
        weights: Place,
        bias: Option<Place>,
        epilogue: Epilogue,
    },
    /// Mean, slope and shift; in place where it reads the slot that it writes.
    Affine {
        norm: [Place; 3],
        epilogue: Epilogue,
    },
    /// Anything else.
    Kernel(Kernel),
}

/// Computes an output, of this layout, from inputs.
type Kernel = Box<dyn Fn(Cores<'_>, &Inputs<'_>, &Layout, &mut [f32]) + Send + Sync>;

/// Floats of the constants.
type Place = Range<usize>;
