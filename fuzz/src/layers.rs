//! A list of layers as a recipe has it, and before it the size of an image: built within limits, run, trained for a step
//! and written as ONNX.

use super::{WORKERS, low, refused, run};
use autograd::{Buffer, Tape, Tensor, Workspace};
use model::{CUSTOM, Init, LayerList, Model, Network};

#[derive(serde::Deserialize)]
struct Section {
    layers: LayerList,
}

/// The network is built and used.
pub fn target(bytes: &[u8]) -> bool {
    let Some((&[channels, rows, columns, images], text)) = bytes.split_first_chunk() else {
        return false;
    };
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let section: Section = match toml::from_str(text) {
        Ok(section) => section,
        Err(_) => return false,
    };
    let input = [channels % 5, rows % 40, columns % 40].map(usize::from);
    let layers = section.layers.layers(3);
    let network = match Network::within(input, &layers, &low()) {
        Ok(network) => network,
        Err(error) => return refused(error),
    };
    let weights = network.initialise(1, Init::Pytorch);
    step(&network, &weights, usize::from(images % 40) + 1);
    if network.check_classes(3).is_ok() && network.check_statistics(&weights).is_ok() {
        run(&Model {
            preset: CUSTOM.into(),
            network,
            weights,
            classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
            mean: vec![0.5],
            std: vec![0.5],
            multi_label: false,
            preparation: None,
        });
    }
    true
}

/// Forward and backward.
fn step(network: &Network, weights: &[f32], images: usize) {
    let mut workspace = Workspace::default();
    workspace.set_origin(1, 0, 0..images as u32);
    let mut tape = Tape::training(WORKERS.isa(), &mut workspace, weights, images);
    let [channels, rows, columns] = network.input();
    let pixels = vec![0.25; images * channels * rows * columns];
    let images = Tensor::from_rows(&pixels, images, channels, [rows, columns]);
    let x = tape.variable(&images);
    let y = network.forward(&mut tape, x);
    let (loss, _) = tape.softmax_cross_entropy(y, &vec![0; images.images()], 0.1);
    let mut gradients = Buffer::zeros(network.len());
    tape.backward(loss, &mut gradients);
}
