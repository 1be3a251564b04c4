//! Bobbin: trains convolutional image classifiers on CPUs.
//!
//! Each module is a crate of its own, and each knows only those after it: [`trainer`] reads data and
//! runs the loop, [`model`] holds layers and weights, [`autograd`] differentiates, [`kernels`]
//! computes. `examples/own_network.rs` and `examples/autograd.rs` show them at work.

pub use {autograd, kernels, model, trainer};
