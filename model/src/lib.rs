//! Networks: layers, presets, initial weights, and the files that hold weights.
//!
//! A [`Network`] is an architecture: layers whose shapes have been checked, and where each of their
//! parameters lies in one flat buffer. It holds no weights itself, so every thread can share it; a
//! [`Model`] is a network with its weights and what is needed to use them.
//!
//! ```
//! use model::{CUSTOM, Init, Model, Network, conv2d, flatten, layers, linear, max_pool2d, relu};
//!
//! let layers = layers![conv2d(8, 3).padding(1), relu(), max_pool2d(2), flatten(), linear(3)];
//! let network = Network::new([1, 28, 28], &layers)?;
//! let weights = network.initialise(1, Init::Pytorch);
//! let model = Model {
//!     preset: CUSTOM.to_owned(),
//!     network,
//!     weights,
//!     classes: ["cat", "dog", "owl"].map(str::to_owned).to_vec(),
//!     mean: vec![0.5],
//!     std: vec![0.5],
//!     multi_label: false,
//!     preparation: None,
//! };
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("model.safetensors");
//! model.save(&path)?;
//! let again = Model::load(&path)?;
//! assert_eq!(again.network, model.network);
//! assert_eq!(again.weights[..], model.weights[..]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to | there is |
//! |---|---|
//! | write a network | [`layers!`] with [`conv2d`], [`linear`], …; [`preset`]; [`LayerList`], as recipes have it |
//! | check and describe it | [`Network`], its [`Parameter`]s, [`Network::describe`] |
//! | start its weights | [`Network::initialise`], [`StateDict::fine_tune`] |
//! | run it | [`Network::forward`] on a tape of the crate `autograd` |
//! | keep it | [`Model::save`] and [`Model::load`]; [`Description`], without the weights |
//! | exchange it | [`StateDict`], PyTorch's; `Model::to_onnx` (Cargo feature `onnx`, on by default) |

#![warn(missing_debug_implementations)]

mod description;
mod few_images;
mod fine_tune;
mod forward;
mod init;
mod layer_list;
mod layers;
mod model;
mod names;
mod network;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "onnx")]
mod onnx_nodes;
mod parameter;
mod preparation;
mod presets;
mod state_dict;
mod steps;
mod suggestion;
pub mod tensors;

pub use description::Description;
pub use few_images::FewImages;
pub use files::Limits;
pub use fine_tune::FineTuned;
pub use init::Init;
pub use kernels::Precision;
pub use layer_list::LayerList;
pub use layers::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, Add, Again, AvgPool2d, Axes, BatchNorm2d, Concat, Conv2d,
    Dropout, Flatten, GlobalAvgPool2d, GroupNorm, INPUT, InstanceNorm, Kind, Layer, LayerNorm,
    Linear, MaxPool2d, Multiply, Prelu, Residual, Softmax, Unit, adaptive_avg_pool2d,
    adaptive_max_pool2d, add, again, avg_pool2d, batch_norm2d, concat, conv2d, dropout, dropout2d,
    elu, flatten, gelu, gelu_tanh, global_avg_pool2d, group_norm, hardsigmoid, hardswish,
    instance_norm, layer_norm, leaky_relu, linear, log_softmax, max_pool2d, multiply, prelu, relu,
    relu6, residual, sigmoid, silu, softmax, softplus, stochastic_depth, tanh,
};
pub use model::{Model, Usage};
pub use names::{CHECKPOINT, CUSTOM, EMA, OPTIMIZER};
pub use network::{Movement, Network, Products, ShapeError, StatisticsError, Summary, is_large};
pub use parameter::{Parameter, Role};
pub use preparation::{Fit, Preparation, UnknownFit};
pub use presets::{PRESETS, UnknownPreset, preset};
pub use state_dict::{Architecture, StateDict};
pub use steps::Room;
pub use suggestion::suggestion;
