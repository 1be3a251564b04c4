//! The kernels against the reference in `f64`, and what they promise to the bit, on every path.

mod activation;
mod batch_norm;
mod batches;
mod bf16;
mod channels;
mod common;
mod fused_pooling;
mod gemm;
mod image_norm;
mod images;
mod joins;
mod loss;
mod math;
mod optimizer;
mod parts;
mod pointwise;
mod pool;
mod prelu;
mod product_bits;
mod products;
mod smooth;
mod softmax;
mod soundness;
mod tiles;
mod winograd;
mod winograd_bits;
