//! Every operation of the tape against its definition in `f64`: values and all gradients, on every
//! SIMD path, over random shapes.

mod accumulation;
mod bf16;
mod convolution;
mod cross_entropy;
mod dropout;
mod harness;
mod joins;
mod normalisation;
mod pointwise;
mod pooling;
mod products;
mod reference_gradients;
mod reference_network;
mod winograd;
