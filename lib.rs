//! Bobbin trains convolutional image classifiers on CPUs: hand-written SIMD kernels, a small reverse-mode autograd,
//! and a data-parallel trainer whose weights depend on the data, the recipe and the seed alone.
//!
//! # A whole program
//!
//! A network of one's own, trained on the bundled Fashion-MNIST with a recipe:
//!
//! ```no_run
#![doc = include_str!("examples/own_network.rs")]
//! ```
//!
//! `bobbin train` does the same from a recipe file, and records the run on disk, as a [`tracking::Recorder`] does.
//!
//! # The crates
//!
//! Each module is a crate of its own, usable without those before it in this list.
//!
//! | module | holds | start with |
//! |---|---|---|
//! | [`tracking`] | what a run leaves: run directory, logs, TensorBoard events, report; comparisons, sweeps | [`tracking::Recorder`] |
//! | [`pictures`] | pictures in files as input of a network; folders, tables, arrays and Parquet files of them as data sets | [`pictures::import`](fn@pictures::import) |
//! | [`trainer`] | recipes, the training loop, evaluation, prediction | [`trainer::Trainer`], [`trainer::Predictor`] |
//! | [`dataset`] | memory-mapped IDX files | [`dataset::Dataset`] |
//! | [`model`] | layers, presets, weights, safetensors, ONNX | [`model::Model`] |
//! | [`autograd`] | tensors, and the tape that differentiates | [`autograd::Tape`] |
//! | [`kernels`] | `f32` arithmetic on slices, on every SIMD path | [`kernels::gemm`](fn@kernels::gemm), [`kernels::Isa`] |
//! | [`files`] | files written whole or not at all | [`files::write_file`] |
//!
//! # On the tape
//!
//! Without a trainer: gradients of variables and of parameters, beside what calculus says.
//!
//! ```no_run
#![doc = include_str!("examples/autograd.rs")]
//! ```
//!
//! # Cargo features
//!
//! | feature | default | for |
//! |---|---|---|
//! | `cli` | yes | the program `bobbin` |
//! | `onnx` | yes | `model::Model::to_onnx` |
//! | `pictures` | yes | the module `pictures` |
//! | `tracking` | yes | the module `tracking` |
//! | `mpi` | no | training on the ranks of an MPI job; needs an MPI library and libclang |

#[cfg(feature = "pictures")]
pub use pictures;
#[cfg(feature = "tracking")]
pub use tracking;
pub use {autograd, dataset, files, kernels, model, trainer};
