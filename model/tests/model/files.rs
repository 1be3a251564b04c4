//! Model files to be looked at and changed.

use model::tensors::HASH;
use model::{Init, Model, Network, preset};
use reference::uniform;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::path::PathBuf;
use tempfile::TempDir;

pub fn example(name: &str, input: [usize; 3]) -> Model {
    let network = Network::new(input, &preset(name, 3).unwrap()).unwrap();
    let mut weights = network.initialise(5, Init::Pytorch);
    for parameter in network.parameters().iter().filter(|p| !p.role.is_trained()) {
        let values = parameter.place.of_mut(&mut weights);
        let noise: Vec<f32> = uniform(values.len(), 1);
        values.iter_mut().zip(noise).for_each(|(v, n)| *v = 1.0 + 0.5 * n);
        if parameter.shape.is_empty() {
            values[0] = 4711.0;
        }
    }
    Model {
        preset: name.into(),
        network,
        weights,
        classes: vec!["T-shirt/top".into(), "a \"b\"\\\n, c".into(), "Füße 鞋".into()],
        mean: [1.0 / 3.0, 0.286, 0.1][..input[0]].to_vec(),
        std: [0.353, 1e-3, 2.0][..input[0]].to_vec(),
        multi_label: false,
        preparation: None,
    }
}

/// Presets that are small enough to be tried in every way.
pub const SMALL: [&str; 6] = ["lenet", "lenet-li", "cnn-bn", "vgg", "resnet", "resnet20"];

/// A path in a directory of its own.
pub fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("model.safetensors");
    (directory, path)
}

pub fn saved(model: &Model) -> Vec<u8> {
    let (_directory, path) = place();
    model.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

pub fn load(bytes: &[u8]) -> Result<Model, String> {
    let (_directory, path) = place();
    std::fs::write(&path, bytes).unwrap();
    Model::load(&path).map_err(|error| {
        let message = error.to_string();
        let problem = message.strip_prefix(&format!("{}: ", path.display()));
        let problem = problem.unwrap_or_else(|| panic!("no path in {message}"));
        assert!(!message.contains(char::is_control), "more than a line: {message:?}");
        problem.to_owned()
    })
}

/// Name, type, shape and bytes of a tensor.
pub type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

/// The tensors and metadata of a file, to be written again with changes.
pub struct Contents {
    pub tensors: Vec<Entry>,
    pub metadata: HashMap<String, String>,
}

impl Contents {
    pub fn of(model: &Model) -> Contents {
        Contents::read(&saved(model))
    }

    pub fn read(bytes: &[u8]) -> Contents {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, tensor)| {
            (name, tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec())
        });
        let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
        let mut metadata = header.metadata().clone().unwrap();
        // As a program must that changes files.
        metadata.remove(HASH);
        Contents { tensors: tensors.collect(), metadata }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, dtype, shape, data)| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    /// The problem that is found after this change.
    pub fn problem(model: &Model, change: impl FnOnce(&mut Contents)) -> String {
        let mut contents = Contents::of(model);
        change(&mut contents);
        load(&contents.bytes()).expect_err("a change must be found")
    }
}
