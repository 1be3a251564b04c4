//! Networks: layers, presets, initial weights, and the files that hold weights.
//!
//! A [`Network`] is an architecture: layers whose shapes have been checked, and where each of their
//! parameters lies in one flat buffer. It holds no weights itself, so every thread can share it; a
//! [`Model`] is a network with its weights.

mod builder;
mod describe;
mod file;
mod forward;
mod init;
mod layer;
mod layer_list;
mod model;
mod network;
mod onnx;
mod presets;
mod state_dict;
mod tensors;

pub use file::{FileError, is_unfinished, of_system, remove_unfinished, write_file};
pub use init::Init;
pub use layer::{
    Kind, Layer, avg_pool2d, batch_norm2d, conv2d, dropout, flatten, gelu, global_avg_pool2d,
    leaky_relu, linear, max_pool2d, relu, residual,
};
pub use layer_list::LayerList;
pub use model::{CHECKPOINT, CUSTOM, EMA, Model, OPTIMIZER, Usage};
pub use network::{Network, Parameter, Role, ShapeError, Summary};
pub use presets::{PRESETS, UnknownPreset, preset};
pub use state_dict::{Architecture, StateDict};
pub use tensors::{Entry, TensorFile, Values, safetensors_bytes};
