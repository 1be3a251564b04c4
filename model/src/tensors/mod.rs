//! Named tensors in files, whoever wrote them: safetensors, <https://github.com/huggingface/safetensors>, and PyTorch's
//! `torch.save`.

mod foreign;
mod hash;
mod numbers;
mod pytorch;
mod read;
mod write;

pub use hash::{HASH, without_hash};
pub use read::TensorFile;
pub(crate) use read::read_metadata;
pub use write::{Entry, Values, hashed_safetensors_bytes, safetensors_bytes};
