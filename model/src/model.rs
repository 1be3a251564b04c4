//! A model: a network with its weights, and the file that holds it.

use crate::{
    Architecture, FileError, LayerList, Network, StateDict, TensorFile, preset, safetensors_bytes,
    write_file,
};
use autograd::Buffer;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Stands for a preset where the network is none.
pub const CUSTOM: &str = "custom";

/// The metadata key that only a checkpoint has.
pub const CHECKPOINT: &str = "checkpoint";

/// What the names of a checkpoint's averaged weights begin with.
pub const EMA: &str = "ema.";

/// What the names of an optimiser's state begin with, in a checkpoint.
pub const OPTIMIZER: &str = "optimizer.";

/// A network with its weights and what is needed to use them.
#[derive(Clone, Debug)]
pub struct Model {
    /// The preset that the network is, or [`CUSTOM`].
    pub preset: String,
    /// The architecture.
    pub network: Network,
    /// The flat buffer of its parameters.
    pub weights: Buffer,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Subtracted from pixel / 255, one value or one per channel.
    pub mean: Vec<f64>,
    /// What the difference is divided by, one value or one per channel.
    pub std: Vec<f64>,
}

impl Model {
    /// Writes a safetensors file: parameters under PyTorch's names, and the metadata of
    /// [`Model::metadata`]. The same model gives the same bytes. The file appears whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let tensors = self.network.entries(&self.weights, "");
        write_file(path, &safetensors_bytes(&self.metadata(), &tensors))
    }

    /// `model`, `input` (channels, rows, columns), `classes` (a JSON array), `normalize.mean` and
    /// `normalize.std` (in units of pixel / 255; several values are separated by commas); `layers` (a
    /// JSON array, see [`LayerList`]) where the network is no preset.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let [channels, height, width] = self.network.input();
        let numbers = |v: &[f64]| v.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
        let mut metadata = vec![
            ("model", self.preset.clone()),
            ("input", format!("{channels},{height},{width}")),
            ("classes", json!(self.classes).to_string()),
            ("normalize.mean", numbers(&self.mean)),
            ("normalize.std", numbers(&self.std)),
        ];
        if self.preset == CUSTOM {
            let layers = serde_json::to_string(&LayerList::from(self.network.layers()));
            metadata.push(("layers", layers.expect("a list of plain tables")));
        }
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Reads what [`Model::save`] wrote, or a checkpoint: the same with a metadata key
    /// [`CHECKPOINT`], with tensors whose names begin with [`OPTIMIZER`], which are left out, and
    /// perhaps others that begin with [`EMA`], which are used instead of those whose names follow.
    pub fn load(path: &Path) -> Result<Model, FileError> {
        Model::from_tensors(&TensorFile::read(path)?)
    }

    /// [`Model::load`] of a file that has been read.
    pub fn from_tensors(file: &TensorFile) -> Result<Model, FileError> {
        let description = Description::of(file).map_err(|problem| file.problem(problem))?;
        let Description { preset, network, classes, mean, std } = description;
        let weights = StateDict::of(file).weights(&network)?;
        Ok(Model { preset, network, weights, classes, mean, std })
    }

    /// Whether a file says what network it is for, as those of [`Model::save`] do, and so can be given
    /// to [`Model::from_tensors`]; others need [`Model::from_state_dict`].
    pub fn is_in(file: &TensorFile) -> bool {
        file.metadata().contains_key("model")
    }

    /// A model of weights alone, such as PyTorch's `state_dict` saved by
    /// `safetensors.torch.save_file`. The number of classes is that of the last linear layer.
    pub fn from_state_dict(
        file: &TensorFile,
        architecture: &Architecture,
        usage: Usage,
    ) -> Result<Model, FileError> {
        let state = StateDict::of(file);
        let Usage { input, classes: names, mean, std } = usage;
        let layers = architecture.layers.layers(state.classes(architecture, input).unwrap_or(1));
        let network = Network::new(input, &layers).map_err(|e| file.problem(e.to_string()))?;
        let weights = state.weights(&network)?;
        let numbers = || (0..network.classes()).map(|class| class.to_string()).collect();
        let classes = names.filter(|names| names.len() == network.classes());
        let classes = classes.unwrap_or_else(numbers);
        let preset = architecture.name.clone();
        Ok(Model { preset, network, weights, classes, mean, std })
    }
}

/// What a `state_dict` does not say of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// Channels, rows and columns of an image.
    pub input: [usize; 3],
    /// The names of the classes; numbers if there are none, or not as many as the network has outputs.
    pub classes: Option<Vec<String>>,
    /// See [`Model::mean`].
    pub mean: Vec<f64>,
    /// See [`Model::std`].
    pub std: Vec<f64>,
}

/// What the metadata of a model say.
struct Description {
    preset: String,
    network: Network,
    classes: Vec<String>,
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Description {
    fn of(file: &TensorFile) -> Result<Description, String> {
        let entry = |key: &str| {
            let found = file.metadata().get(key);
            found.ok_or_else(|| format!("metadata has no `{key}`: not a model of Bobbin"))
        };
        let text = entry("input")?;
        let sizes: Option<Vec<usize>> = text.split(',').map(|size| size.parse().ok()).collect();
        let Some(&[channels, height, width]) = sizes.as_deref() else {
            return Err(format!("metadata `input` is `{text}`: expected channels, rows, columns"));
        };
        let numbers = |key: &str| -> Result<Vec<f64>, String> {
            let text = entry(key)?;
            let parse = |part: &str| part.trim().parse::<f64>().ok().filter(|v| v.is_finite());
            let values: Option<Vec<f64>> = text.split(',').map(parse).collect();
            values.filter(|v| v.len() == 1 || v.len() == channels).ok_or_else(|| {
                format!("metadata `{key}` is `{text}`: expected a number, or one per channel")
            })
        };
        let (mean, std) = (numbers("normalize.mean")?, numbers("normalize.std")?);
        if let Some(value) = std.iter().find(|value| **value <= 0.0) {
            return Err(format!("metadata `normalize.std` has {value}: expected positive numbers"));
        }
        let classes: Vec<String> = serde_json::from_str(entry("classes")?)
            .map_err(|_| "metadata `classes`: expected a JSON array of names".to_owned())?;
        let preset_name = entry("model")?.clone();
        let layers = if preset_name == CUSTOM {
            let list: LayerList = serde_json::from_str(entry("layers")?)
                .map_err(|error| format!("metadata `layers`: {error}"))?;
            list.layers(classes.len())
        } else {
            preset(&preset_name, classes.len()).map_err(|error| error.to_string())?
        };
        let network = Network::new([channels, height, width], &layers)
            .and_then(|network| network.check_classes(classes.len()).map(|()| network))
            .map_err(|error| error.to_string())?;
        Ok(Description { preset: preset_name, network, classes, mean, std })
    }
}
