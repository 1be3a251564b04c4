//! Files of PyTorch's `torch.save`, made by `tests/fixtures/make_state_dicts.py`.

use crate::files::place;
use crate::state_dict::refused;
use model::tensors::TensorFile;
use model::*;
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/state_dicts");
    folder.join(name).with_extension("pth")
}

fn network() -> Network {
    let layers = layers![conv2d(2, 3), batch_norm2d(), relu(), flatten(), linear(3)];
    Network::new([1, 4, 4], &layers).unwrap()
}

/// The formula of the script.
fn expected(network: &Network) -> Vec<f32> {
    let mut weights = vec![0.0; network.len()];
    // The order of a state_dict: running statistics are behind the layer's parameters.
    let names = [
        ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean"],
        ["1.running_var", "1.num_batches_tracked", "4.weight", "4.bias", ""],
    ];
    for (t, name) in names.as_flattened()[..9].iter().enumerate() {
        let parameter = network.parameters().iter().find(|p| p.name == **name).unwrap();
        for (i, value) in parameter.place.of_mut(&mut weights).iter_mut().enumerate() {
            let formula = ((37 * i + 11 * t) % 97) as f32 / 16.0 - 3.0;
            *value = match *name {
                "1.num_batches_tracked" => 3.0,
                "1.running_var" => formula.abs() + 0.5,
                _ => formula,
            };
        }
    }
    weights
}

/// Whatever type, strides, container and surroundings: the values are those that were saved.
#[test]
fn what_torch_saves_is_read() {
    let network = network();
    let expected = expected(&network);
    for name in [
        "plain",
        "double",
        "half",
        "bfloat16",
        "strided",
        "nested",
        "nested-model",
        "module",
        "legacy",
        "legacy-strided",
    ] {
        let file = TensorFile::read(&fixture(name)).unwrap_or_else(|error| panic!("{error}"));
        assert!(file.metadata().is_empty() && !Model::is_in(&file));
        let weights = StateDict::of(&file).weights(&network).unwrap();
        assert_eq!(weights[..], expected[..], "{name}");
        assert_eq!(Description::read(&fixture(name)).unwrap(), None, "{name}");
    }
}

/// Of others something is said, and nothing that they name is run.
#[test]
fn other_pickles_are_refused() {
    let read = |name: &str| TensorFile::read(&fixture(name));
    let expected =
        "expected weights, such as the model.safetensors of a run, or a state_dict of PyTorch";
    refused(read("sparse"), &["not a state_dict of PyTorch", "sparse", expected]);
    refused(read("complex"), &["not a state_dict of PyTorch", "Complex", expected]);
    refused(read("list"), &["not a state_dict of PyTorch", "found list", expected]);
    refused(read("script"), &["a TorchScript program, as torch.jit.save writes", expected]);
    refused(read("numbers"), &["a file of PyTorch without tensors in it", expected]);
    refused(read("legacy-runs"), &["not a state_dict of PyTorch", expected]);
    let (network, file) = (network(), read("runs").unwrap());
    refused(StateDict::of(&file).weights(&network), &["parameter `0.weight` is missing"]);
    assert!(!Path::new("/tmp/a-pickle-was-run").exists());
}

/// A file that is cut or changed is refused in a line, or says what it can.
#[test]
fn damaged_files_of_pytorch() {
    let network = network();
    let (_directory, path) = place();
    for name in ["plain", "strided", "legacy-strided"] {
        let whole = fs::read(fixture(name)).unwrap();
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            TensorFile::read(&path).and_then(|file| StateDict::of(&file).weights(&network))
        };
        read(&whole).unwrap();
        for length in (2..whole.len()).step_by(13) {
            refused(read(&whole[..length]), &[""]);
        }
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            if let Err(error) = read(&bytes) {
                assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
    }
}
