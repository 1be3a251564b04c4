//! What a model file says of itself beside its weights.

use crate::names::{PRECISION, is_of_model};
use crate::tensors::{TensorFile, read_metadata};
use crate::{Architecture, CUSTOM, LayerList, Network, Preparation, ShapeError};
use files::FileError;
use kernels::Precision;
use std::collections::BTreeMap;
use std::path::Path;

/// What the metadata says of outputs where an image may have several labels.
pub(crate) const LABELS: &str = "labels";

/// What a model file says of itself beside its weights: the network, its classes, and what its images are.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Description {
    /// The network: the number of classes is left open where its last layer with weights is linear or a
    /// convolution.
    pub architecture: Architecture,
    /// Channels, rows and columns of an image.
    pub input: [usize; 3],
    /// The names of the classes.
    pub classes: Vec<String>,
    /// How many outputs the network has: one for each class, or one for two, the logit of the second.
    pub outputs: usize,
    /// See [`Model::multi_label`](crate::Model::multi_label).
    pub multi_label: bool,
    /// See [`Model::mean`](crate::Model::mean).
    pub mean: Vec<f64>,
    /// See [`Model::std`](crate::Model::std).
    pub std: Vec<f64>,
    /// See [`Model::preparation`](crate::Model::preparation).
    pub preparation: Option<Preparation>,
    /// See [`Network::precision`].
    pub precision: Precision,
}

impl Description {
    /// The description in a file, of which no more than the header is read; nothing if it is one of weights
    /// alone, such as PyTorch's.
    pub fn read(path: &Path) -> Result<Option<Description>, FileError> {
        let metadata = read_metadata(path)?;
        if !is_of_model(&metadata) {
            return Ok(None);
        }
        let description = Description::of_metadata(&metadata);
        description.map(Some).map_err(|problem| FileError::content(path, &problem))
    }

    /// The description in a file that has been read.
    pub fn of(file: &TensorFile) -> Result<Description, FileError> {
        Description::of_metadata(file.metadata()).map_err(|problem| file.problem(problem))
    }

    /// The network for the classes that it names.
    pub fn network(&self) -> Result<Network, ShapeError> {
        let network = Network::new(self.input, &self.architecture.layers.layers(self.outputs))?;
        network.check_classes(self.outputs)?;
        Ok(network.in_precision(self.precision))
    }

    fn of_metadata(metadata: &BTreeMap<String, String>) -> Result<Description, String> {
        let text = entry(metadata, "input")?;
        let sizes: Option<Vec<usize>> = text.split(',').map(|size| size.parse().ok()).collect();
        let Some(&[channels, height, width]) = sizes.as_deref() else {
            return Err(format!("metadata `input` is `{text}`: expected channels, rows, columns"));
        };
        let (mean, std) = scaling(metadata, channels)?;
        let classes: Vec<String> = serde_json::from_str(entry(metadata, "classes")?)
            .map_err(|_| "metadata `classes`: expected a JSON array of names".to_owned())?;
        let outputs = outputs(metadata, classes.len())?;
        let multi_label = metadata.get("outputs").is_some_and(|text| text == LABELS);
        let name = entry(metadata, "model")?.clone();
        let layers = if name == CUSTOM {
            let list: LayerList = serde_json::from_str(entry(metadata, "layers")?)
                .map_err(|error| format!("metadata `layers`: {error}"))?;
            list.open(outputs)
        } else {
            LayerList::preset(&name).map_err(|error| error.to_string())?
        };
        let preparation = Preparation::of(metadata)?;
        let precision = precision(metadata)?;
        let architecture = Architecture { name, layers };
        let input = [channels, height, width];
        Ok(Description {
            architecture,
            input,
            classes,
            outputs,
            multi_label,
            mean,
            std,
            preparation,
            precision,
        })
    }
}

fn entry<'m>(metadata: &'m BTreeMap<String, String>, key: &str) -> Result<&'m String, String> {
    let found = metadata.get(key);
    found.ok_or_else(|| format!("metadata has no `{key}`: not a model of Bobbin"))
}

/// How many outputs a network for so many classes has.
fn outputs(metadata: &BTreeMap<String, String>, classes: usize) -> Result<usize, String> {
    match metadata.get("outputs").map(String::as_str) {
        None => Ok(classes),
        Some("1") if classes == 2 => Ok(1),
        Some(LABELS) if classes > 1 => Ok(classes),
        Some(text) => Err(format!(
            "metadata `outputs` is `{text}`: expected 1, for two classes, {LABELS}, for two or more, or none"
        )),
    }
}

/// In which precision its products are computed.
fn precision(metadata: &BTreeMap<String, String>) -> Result<Precision, String> {
    match metadata.get(PRECISION).map(String::as_str) {
        None | Some("f32") => Ok(Precision::F32),
        Some("bf16") => Ok(Precision::Bf16),
        Some(text) => {
            Err(format!("metadata `{PRECISION}` is `{text}`: expected f32, bf16, or none"))
        }
    }
}

/// Mean and deviation of the pixels.
fn scaling(
    metadata: &BTreeMap<String, String>,
    channels: usize,
) -> Result<(Vec<f64>, Vec<f64>), String> {
    let numbers = |key: &str| -> Result<Vec<f64>, String> {
        let text = entry(metadata, key)?;
        let parse = |part: &str| part.trim().parse::<f64>().ok().filter(|v| v.is_finite());
        let values: Option<Vec<f64>> = text.split(',').map(parse).collect();
        values.filter(|v| v.len() == 1 || v.len() == channels).ok_or_else(|| {
            format!("metadata `{key}` is `{text}`: expected a number, or one per channel")
        })
    };
    let (mean, std) = (numbers("normalize.mean")?, numbers("normalize.std")?);
    match std.iter().find(|value| **value <= 0.0) {
        Some(value) => {
            Err(format!("metadata `normalize.std` has {value}: expected positive numbers"))
        }
        None => Ok((mean, std)),
    }
}
