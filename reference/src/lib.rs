//! What every operation *means*: plain loops over row-major slices, generic over `f32` and `f64`.
//!
//! The truth about arithmetic, in two steps: central differences prove the backward functions here
//! in `f64`, and the functions here prove the SIMD kernels. So nothing below is fast, blocked or
//! clever; each function is the definition of its operation, with its backward beside it.
//!
//! Images are row-major `[images][channels][rows][columns]`, features `[images][features]`, weights
//! have PyTorch's shapes, and PyTorch's semantics hold to the last corner (ties, NaN, padding).
//! A function `f` has its backward in `f_backward`, which takes what `f` took, then the gradient of
//! `f`'s output, and returns the gradients of the inputs. A gradient called `dx` is ∂loss/∂x.
//!
//! Beside the definitions are the tools of those who compare with them: [`to_lanes`] and
//! [`from_lanes`] between row-major images and [`kernels::Layout`], [`compare`] and [`assert_close`]
//! for values with an allowance, reproducible [`uniform`] and [`separated`] inputs, and the random windows of
//! [`WindowLimits`].

mod activation;
mod batch_norm;
mod bfloat16;
mod classifier;
mod compare;
mod conv;
mod gemm;
mod im2col;
mod image_norm;
mod joins;
mod lanes;
mod linear;
mod loss;
mod optimizer;
mod planes;
mod pointwise;
mod pool;
mod real;
mod values;
mod windows;

pub use activation::{
    activation, activation_backward, gelu, gelu_backward, leaky_relu, leaky_relu_backward, prelu,
    prelu_backward, relu, relu_backward,
};
pub use batch_norm::{
    BatchNorm, BatchNormGradients, batch_norm2d, batch_norm2d_backward, batch_norm2d_eval,
};
pub use bfloat16::bfloat16;
pub use classifier::{ClassifierLoss, Outputs};
pub use compare::{Difference, assert_close, compare, dot, dot_allowance, magnitude, norm, widen};
pub use conv::{Conv, ConvGradients, conv2d, conv2d_backward};
pub use gemm::{Gemm, Operand, gemm};
pub use im2col::{col2im, im2col};
pub use image_norm::{ImageNormGradients, image_norm, image_norm_backward};
pub use joins::{concat, concat_backward, scale_planes, scale_planes_backward};
pub use lanes::{from_lanes, to_lanes};
pub use linear::{Linear, LinearGradients, linear, linear_backward};
pub use loss::{
    log_softmax, log_softmax_backward, softmax, softmax_backward, softmax_cross_entropy,
    softmax_cross_entropy_backward,
};
pub use optimizer::{adagrad, adam, rms_prop, sgd};
pub use planes::Planes;
pub use pointwise::{
    add, add_backward, dropout, dropout_backward, mean, mean_backward, mul, mul_backward, sum,
    sum_backward,
};
pub use pool::{
    avg_pool2d, avg_pool2d_backward, global_avg_pool2d, global_avg_pool2d_backward, max_pool2d,
    max_pool2d_backward, max_pool2d_sources,
};
pub use real::Real;
pub use values::{separated, uniform};
pub use windows::{WindowLimits, channels_in_groups};
