//! A safetensors file: a model, or PyTorch's state_dict.

use super::{become_preset, file, low, refused, run};
use model::tensors::TensorFile;
use model::{Description, Model, Network};

/// What is read becomes models, and small ones are run.
pub fn target(bytes: &[u8]) -> bool {
    let path = file("file.safetensors", bytes);
    if let Err(error) = Description::read(&path) {
        refused(error);
    }
    let tensors = match TensorFile::read(&path) {
        Ok(tensors) => tensors,
        Err(error) => return refused(error),
    };
    for name in tensors.names() {
        tensors.shape(&name).expect("a tensor of this name");
    }
    let is_of_preset = become_preset(&tensors);
    match Model::from_tensors(&tensors) {
        Ok(model) => {
            let network = &model.network;
            Network::within(network.input(), network.layers(), &low()).is_err() || run(&model)
        }
        Err(error) => refused(error) || is_of_preset,
    }
}
