//! Named tensors in safetensors files: <https://github.com/huggingface/safetensors>.

mod read;
mod write;

pub use read::TensorFile;
pub use write::{Entry, Values, safetensors_bytes};
