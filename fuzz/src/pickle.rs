//! A file of PyTorch's `torch.save`: as it is, or with what is fuzzed as the pickle of a whole archive, whose checksums
//! no change would survive.

use super::{become_preset, file, refused};
use model::tensors::TensorFile;
use model::{Description, Network, StateDict, batch_norm2d, conv2d, flatten, layers, linear, relu};
use std::io::{Cursor, Write};
use std::sync::LazyLock;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// The network of `tests/fixtures/make_state_dicts.py`.
static NETWORK: LazyLock<Network> = LazyLock::new(|| {
    let layers = layers![conv2d(2, 3), batch_norm2d(), relu(), flatten(), linear(3)];
    Network::new([1, 4, 4], &layers).expect("a network")
});

/// An archive of this pickle and of storages that its network can have.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(vec![]));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut add = |name: &str, bytes: &[u8]| {
        archive.start_file(name, options).expect("a place");
        archive.write_all(bytes).expect("memory");
    };
    add("net/data.pkl", pickle);
    for storage in 0..9 {
        add(&format!("net/data/{storage}"), &[storage; 192]);
    }
    archive.finish().expect("an archive").into_inner()
}

/// The tensors are read, and become models.
pub fn target(bytes: &[u8]) -> bool {
    let path = match bytes {
        [0, pickle @ ..] => file("file.pth", &archive(pickle)),
        bytes => file("file.pth", bytes),
    };
    if let Err(error) = Description::read(&path) {
        refused(error);
    }
    let tensors = match TensorFile::read(&path) {
        Ok(tensors) => tensors,
        Err(error) => return refused(error),
    };
    let is_of_preset = become_preset(&tensors);
    match StateDict::of(&tensors).weights(&NETWORK) {
        Ok(weights) => {
            assert_eq!(weights.len(), NETWORK.len());
            true
        }
        Err(error) => refused(error) || is_of_preset,
    }
}
