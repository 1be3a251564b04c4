//! A model: a network with its weights, and the file that holds it.

use crate::description::LABELS;
use crate::names::{CUSTOM, PRECISION, is_of_model};
use crate::tensors::{TensorFile, hashed_safetensors_bytes, safetensors_bytes};
use crate::{Architecture, Description, LayerList, Network, Preparation, StateDict};
use autograd::Buffer;
use files::{FileError, digest, write_file};
use kernels::Precision;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// The key of the metadata of a network that has not been trained, although its batch norms have scales or shifts of
/// their own: that they have no running statistics is then no mistake.
const UNTRAINED: &str = "untrained";

/// A network with its weights and what is needed to use them.
#[derive(Clone, Debug)]
pub struct Model {
    /// The preset that the network is, or [`CUSTOM`].
    pub preset: String,
    /// The architecture.
    pub network: Network,
    /// The flat buffer of its parameters.
    pub weights: Buffer,
    /// The names of the classes: as many as the network has outputs, or two for one, the logit of the second.
    pub classes: Vec<String>,
    /// Whether an image may have several of the classes, or none: each output is the logit of a yes, and of no sum.
    pub multi_label: bool,
    /// Subtracted from pixel / 255, one value or one per channel.
    pub mean: Vec<f64>,
    /// What the difference is divided by, one value or one per channel.
    pub std: Vec<f64>,
    /// How pictures became the images that it was trained on, where that is known.
    pub preparation: Option<Preparation>,
}

impl Model {
    /// Writes a safetensors file: parameters under PyTorch's names, and the metadata of [`Model::metadata`] with
    /// the [`HASH`](crate::tensors::HASH) of the file. The same model gives the same bytes. The file appears whole
    /// or not at all.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let statistics = self.network.check_statistics(&self.weights);
        statistics.map_err(|error| FileError::content(path, &error.to_string()))?;
        let tensors = self.network.entries(&self.weights, "");
        write_file(path, &hashed_safetensors_bytes(&self.metadata(), &tensors))
    }

    /// The SHA-256 that [`Model::save`] writes into its file ([`HASH`](crate::tensors::HASH)).
    #[must_use]
    pub fn digest(&self) -> String {
        let tensors = self.network.entries(&self.weights, "");
        digest::of_bytes(&safetensors_bytes(&self.metadata(), &tensors))
    }

    /// `model`, `input` (channels, rows, columns), `classes` (a JSON array), `normalize.mean` and
    /// `normalize.std` (in units of pixel / 255; several values are separated by commas); `layers` (a
    /// JSON array, see [`LayerList`]) where the network is no preset; `outputs`, which is `1` where one is for two
    /// classes and `labels` where an image may have several; `prepare.invert` and `prepare.fit` where the
    /// [`Preparation`] is known; `precision`, `bf16`, where the products of the network are not computed in `f32`;
    /// `untrained` where batch norms have no running statistics yet, but scales or shifts of their own.
    #[must_use]
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
        if self.network.classes() == 1 && self.classes.len() == 2 {
            metadata.push(("outputs", "1".to_owned()));
        }
        if self.multi_label {
            metadata.push(("outputs", LABELS.to_owned()));
        }
        if self.network.is_untrained(&self.weights) {
            metadata.push((UNTRAINED, "true".to_owned()));
        }
        if self.preset == CUSTOM {
            let layers = serde_json::to_string(&LayerList::from(self.network.layers()));
            metadata.push(("layers", layers.expect("a list of plain tables")));
        }
        if self.network.precision() == Precision::Bf16 {
            metadata.push((PRECISION, "bf16".to_owned()));
        }
        metadata.extend(self.preparation.into_iter().flat_map(Preparation::metadata));
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Reads what [`Model::save`] wrote, or a checkpoint: the same with a metadata key
    /// [`CHECKPOINT`](crate::CHECKPOINT), with tensors whose names begin with [`OPTIMIZER`](crate::OPTIMIZER), which
    /// are left out, and
    /// perhaps others that begin with [`EMA`](crate::EMA), which are used instead of those whose names follow.
    pub fn load(path: &Path) -> Result<Model, FileError> {
        Model::from_tensors(&TensorFile::read(path)?)
    }

    /// [`Model::load`] of a file that has been read.
    pub fn from_tensors(file: &TensorFile) -> Result<Model, FileError> {
        let description = Description::of(file)?;
        let network = description.network().map_err(|error| file.problem(error.to_string()))?;
        let weights = StateDict::of(file).weights(&network)?;
        if file.metadata().contains_key(UNTRAINED) {
            network.note_initial(&weights);
        }
        network.check_statistics(&weights).map_err(|error| file.problem(error.to_string()))?;
        let Description { architecture, classes, multi_label, mean, std, preparation, .. } =
            description;
        let preset = architecture.name;
        Ok(Model { preset, network, weights, classes, multi_label, mean, std, preparation })
    }

    /// Whether a file says what network it is for, as those of [`Model::save`] do, and so can be given
    /// to [`Model::from_tensors`]; others need [`Model::from_state_dict`].
    pub fn is_in(file: &TensorFile) -> bool {
        is_of_model(file.metadata())
    }

    /// A model of weights alone, such as PyTorch's `state_dict` saved by
    /// `safetensors.torch.save_file`. The number of classes is that of the last layer with weights.
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
        network.check_statistics(&weights).map_err(|error| file.problem(error.to_string()))?;
        let numbers = || (0..network.classes()).map(|class| class.to_string()).collect();
        let classes = names.filter(|names| names.len() == network.classes());
        let classes = classes.unwrap_or_else(numbers);
        Ok(Model {
            preset: architecture.name.clone(),
            network,
            weights,
            classes,
            multi_label: false,
            mean,
            std,
            preparation: None,
        })
    }
}

/// What a `state_dict` does not say about a model.
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
