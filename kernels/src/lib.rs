//! `f32` arithmetic on slices, with explicit SIMD: the bottom of Bobbin.
//!
//! Activations are laid out sixteen images to a vector ([`Layout`]); parameters are plain row-major
//! slices in PyTorch's shapes. Every function checks the lengths of its slices once, picks the SIMD
//! path ([`Isa`]) and computes; none allocates, starts a thread or does input or output.
//!
//! The order of every sum is stated in the documentation of its kernel and depends on the shape
//! alone, never on tiles, caches, or SIMD path. AVX-512 and AVX2 give the same bits; the portable
//! path, where it has no fused multiply-add, rounds twice where they round once.
//!
//! ```
//! use kernels::{Convolution, Epilogue, Isa, Operands, Start, Window, implicit_gemm};
//!
//! // A 2×2 convolution of one plane of 3×3 pixels, for sixteen images at once.
//! let layer = Convolution::new(1, [3, 3], 1, Window::new([2, 2])).expect("the window fits");
//! let (x, weights) = (vec![2.0; layer.input().len()], vec![0.5; layer.weights()]);
//! let mut y = vec![0.0; layer.output().len()];
//! let operands =
//!     Operands { weights: &weights, x: &x, start: Start::Bias(&[-3.0]), epilogue: Epilogue::Relu };
//! implicit_gemm(Isa::detect(), &layer.forward(), operands, &mut y);
//! assert_eq!(y, vec![1.0; 4 * 16]);
//! ```

#![warn(missing_debug_implementations)]

// Shapes, and where values are.
mod convolution;
mod geometry;
mod im2col;
mod options;
mod output;
mod planes;
mod precision;
mod prefetch;
mod streaming;
pub use convolution::Convolution;
pub use geometry::{Layout, Window};
pub use im2col::Im2col;
pub use options::{Conv2dOptions, PaddingMode};
pub use output::{Epilogue, Store};
pub use precision::Precision;
pub use streaming::streamed_floats;

// SIMD paths.
mod isa;
mod peak;
mod simd;
mod tile;
pub use isa::{ISA_VARIABLE, Isa, REQUIRED_VARIABLE, UnknownIsa};
pub use peak::{bf16_chains, fma_chains};

// Parts of operations, and who does them.
mod team;
pub use team::{Cores, Cost, Team};

// Products: of convolutions, linear layers and plain matrices.
mod bf16;
mod depthwise;
mod gemm;
mod implicit_gemm;
mod linear_weight_gradient;
mod transpose;
mod weight_gradient;
mod winograd;
pub use bf16::{pack_neighbours, pack_pairs, pack_weights, pack_weights_transposed, round_to_bf16};
pub use depthwise::{Depthwise, DepthwiseTensors, depthwise, depthwise_gradients};
pub use gemm::{Gemm, Matrix, MatrixMut, gemm};
pub use implicit_gemm::{Operands, Start, implicit_gemm, implicit_gemm_pooled};
pub use linear_weight_gradient::{KC as LINEAR_WEIGHT_GRADIENT_KC, linear_weight_gradient};
pub use transpose::transpose_weights;
pub use weight_gradient::{weight_gradient, weight_gradient_transposed};
pub use winograd::{
    Winograd, winograd, winograd_data_gradient, winograd_weight_gradient, winograd_weights,
};

// Sixteen channels to a vector: inference for a few images.
mod channels;
pub use channels::{
    ChannelConvolution, ChannelOperands, Part, channel_affine, channel_layout, flatten_channels,
    load_channels, load_float_channels, pack_channel_pairs, pack_panels, place_channels,
    relu_max_pool_channels, rows_of_channels,
};
pub use winograd::{ChannelStrip, ChannelWinograd};

// Normalisation and pooling.
mod batch_norm;
mod image_norm;
mod pool;
pub use batch_norm::{
    BatchNorm, BatchNormGradients, PooledTensors, Statistics, batch_norm, batch_norm_backward,
    batch_norm_evaluate, batch_norm_pool, batch_norm_pool_backward, batch_norm_pool_evaluate,
};
pub use image_norm::{ImageNorm, ImageNormGradients, NormSets, image_norm, image_norm_backward};
pub use pool::{
    Pool, avg_pool, avg_pool_backward, global_avg_pool, global_avg_pool_backward, max_pool,
    max_pool_backward, unpool,
};

// Joins of several tensors.
mod joins;
pub use joins::{add_to, place_planes, plane_products, scale_planes, take_planes};

// Value by value.
mod activation;
mod math;
mod pointwise;
mod prelu;
pub use activation::{Activation, activate, activate_backward, activate_in_place, relu_backward};
pub use math::{exp, ln};
pub use pointwise::{
    add, add_assign, all_finite, channel_sums, clamp, dropout, flatten, lerp, mul, scale, sum,
    sum_of_squares, unflatten,
};
pub use prelu::{prelu, prelu_backward};

// The two ends of a network: images, and the loss.
mod images;
mod loss;
mod softmax;
pub use images::{load_float_images, load_images};
pub use loss::{Loss, LossKind, Targets, loss};
pub use softmax::{
    LossSums, cross_entropy, log_softmax, log_softmax_backward, softmax, softmax_backward,
};

// Steps of optimisers.
mod optimizer;
pub use optimizer::{
    Adagrad, Adam, AdamState, RmsProp, RmsPropState, Sgd, adagrad, adam, rms_prop, sgd,
};

/// Images to a vector.
pub const LANES: usize = 16;
