//! A safetensors file: a model, or PyTorch's state_dict.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::tensors::TensorFile;
use model::{Description, Model, StateDict, Usage};
use support::{file, low, refused, run};

fuzz_target!(|bytes: &[u8]| {
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
    let input = [1, 28, 28];
    match StateDict::of(&tensors).matching_preset(input) {
        Ok(architecture) => {
            let usage = Usage { input, classes: None, mean: vec![0.0], std: vec![1.0] };
            if let Err(error) = Model::from_state_dict(&tensors, &architecture, usage) {
                refused(error);
            }
        }
        Err(error) => refused(error),
    }
    match Model::from_tensors(&tensors) {
        Ok(model) => {
            let network = &model.network;
            if model::Network::within(network.input(), network.layers(), &low()).is_ok() {
                run(&model);
            }
        }
        Err(error) => refused(error),
    }
});
