//! Parameters of a network: their names, shapes and places.

use autograd::Param;

/// A named part of the flat buffer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Parameter {
    /// The name that PyTorch's `state_dict` has for it.
    pub name: String,
    /// Its shape, row-major, as in PyTorch.
    pub shape: Vec<usize>,
    /// Its place in the flat buffer.
    pub place: Param,
    /// Its role.
    pub role: Role,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Weights or bias of a convolution or linear layer with this many inputs to an output.
    Weight {
        /// Inputs to an output.
        fan_in: usize,
    },
    /// The same for a bias.
    Bias {
        /// Inputs to an output.
        fan_in: usize,
    },
    /// The scale of a norm.
    Scale,
    /// The shift of a norm.
    Shift,
    /// The slope of a PReLU.
    Slope,
    /// The running mean of a batch norm: not trained.
    RunningMean,
    /// The running variance of a batch norm: not trained.
    RunningVariance,
    /// The number of batches that the running statistics have seen: not trained.
    BatchesTracked,
}

impl Role {
    /// Whether the optimiser changes it.
    pub fn is_trained(self) -> bool {
        !matches!(self, Role::RunningMean | Role::RunningVariance | Role::BatchesTracked)
    }
}
