//! `f32` arithmetic on slices, with explicit SIMD: the bottom of Bobbin.
//!
//! Activations are laid out sixteen images to a vector ([`Layout`]); parameters are plain row-major
//! slices in PyTorch's shapes. Every function checks the lengths of its slices once, picks the SIMD
//! path ([`Isa`]) and computes; none allocates, starts a thread or does input or output.
//!
//! The order of every sum is stated in the documentation of its kernel and depends on the shape
//! alone, never on tiles, caches, or SIMD path. AVX-512 and AVX2 give the same bits; the portable
//! path, where it has no fused multiply-add, rounds twice where they round once.

mod activation;
mod batch_norm;
mod contract;
mod correlate;
mod gemm;
mod geometry;
mod images;
mod isa;
mod math;
mod optimizer;
mod outer;
mod patches;
mod peak;
mod planes;
mod pointwise;
mod pool;
pub mod reference;
mod simd;
mod softmax;
mod tile;
mod transpose;
mod winograd;

pub use activation::{Activation, activate, activate_backward, gate};
pub use batch_norm::{
    BatchNorm, batch_norm, batch_norm_backward, batch_norm_evaluate, batch_norm_pool,
    batch_norm_pool_backward, batch_norm_pool_evaluate,
};
pub use contract::{Start, contract, contract_pooled};
pub use correlate::{BAND, correlate};
pub use gemm::{Gemm, Matrix, MatrixMut, gemm};
pub use geometry::{Layout, Window};
pub use images::load_images;
pub use isa::{ISA_VARIABLE, Isa, REQUIRED_VARIABLE, UnknownIsa};
pub use math::{exp, ln};
pub use optimizer::{Adagrad, Adam, RmsProp, Sgd, adagrad, adam, rms_prop, sgd};
pub use outer::{GROUP, outer, outer_patches};
pub use patches::{Convolution, Patches};
pub use peak::fma_chains;
pub use pointwise::{
    add, add_assign, all_finite, channel_sums, clamp, flatten, keep_masked, lerp, mul, scale, sum,
    sum_of_squares, unflatten,
};
pub use pool::{
    avg_pool, avg_pool_backward, global_avg_pool, global_avg_pool_backward, max_pool,
    max_pool_backward, unpool,
};
pub use softmax::{
    CrossEntropy, cross_entropy, log_softmax, log_softmax_backward, softmax, softmax_backward,
};
pub use transpose::transpose_weights;
pub use winograd::{
    Winograd, winograd, winograd_data_gradient, winograd_weight_gradient, winograd_weights,
};

/// Images to a vector.
pub const LANES: usize = 16;

/// What a kernel does with the values that its output holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Replaces them without reading them.
    Overwrite,
    /// Adds to them.
    Accumulate,
}
