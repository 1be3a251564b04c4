//! Weights in safetensors files, with PyTorch's names and shapes.

use crate::{Network, Parameter, Role, ShapeError, UnknownPreset, preset};
use autograd::Buffer;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Stands for a preset where the network is none.
pub const CUSTOM: &str = "custom";

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

/// Why a file of weights cannot be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The system refused.
    #[error("{}: cannot {action}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is not a safetensors file of this program.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected.
        problem: String,
    },
}

/// Writes a file whole or not at all: under another name beside it, flushed to disk and renamed.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let write = || {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // As any new file: what the umask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.prefix("writing-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| FileError::Io { path: path.to_owned(), action: "write", error })
}

impl Model {
    /// Writes a safetensors file: parameters under PyTorch's names, and as metadata `model`,
    /// `input` (channels, rows, columns), `classes` (a JSON array), `normalize.mean` and
    /// `normalize.std` (in units of pixel / 255; several values are separated by commas).
    ///
    /// The same model gives the same bytes. The file appears whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        write_file(path, &self.to_bytes())
    }

    /// Reads what [`Model::save`] wrote.
    pub fn load(path: &Path) -> Result<Model, FileError> {
        let cannot = |error| FileError::Io { path: path.to_owned(), action: "read", error };
        let bytes = std::fs::read(path).map_err(cannot)?;
        Model::from_bytes(&bytes)
            .map_err(|problem| FileError::Content { path: path.to_owned(), problem })
    }

    /// The length of the header, the header, the values: <https://github.com/huggingface/safetensors>.
    /// Written here because the crate writes metadata in the order of a hash map.
    fn to_bytes(&self) -> Vec<u8> {
        let [channels, height, width] = self.network.input();
        let numbers = |v: &[f64]| v.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
        let mut header = Map::new();
        header.insert(
            "__metadata__".into(),
            json!({
                "model": self.preset,
                "input": format!("{channels},{height},{width}"),
                "classes": json!(self.classes).to_string(),
                "normalize.mean": numbers(&self.mean),
                "normalize.std": numbers(&self.std),
            }),
        );
        let mut values = vec![];
        // Eight-byte values first, so that everything is aligned.
        let (wide, narrow): (Vec<_>, Vec<_>) =
            self.network.parameters().iter().partition(|p| p.role == Role::BatchesTracked);
        for parameter in wide.into_iter().chain(narrow) {
            let start = values.len();
            let dtype = if parameter.role == Role::BatchesTracked {
                values.extend((parameter.place.of(&self.weights)[0] as i64).to_le_bytes());
                "I64"
            } else {
                let floats = parameter.place.of(&self.weights).iter();
                values.extend(floats.flat_map(|v| v.to_le_bytes()));
                "F32"
            };
            let entry = json!({
                "dtype": dtype, "shape": parameter.shape, "data_offsets": [start, values.len()],
            });
            header.insert(parameter.name.clone(), entry);
        }
        let mut header = Value::Object(header).to_string();
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &values].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Model, String> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| format!("not a safetensors file ({error})"))?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let entry = |key: &str| {
            metadata
                .get(key)
                .ok_or_else(|| format!("metadata has no `{key}`: not a model of Bobbin"))
        };
        let numbers = |key: &str| -> Result<Vec<f64>, String> {
            let text = entry(key)?;
            let parse = |part: &str| part.trim().parse::<f64>().ok().filter(|v| v.is_finite());
            text.split(',').map(parse).collect::<Option<_>>().ok_or_else(|| {
                format!("metadata `{key}` is `{text}`: expected numbers separated by commas")
            })
        };
        let input = numbers("input")?;
        let &[channels, height, width] = &input[..] else {
            return Err(format!("metadata `input` has {} numbers: expected 3", input.len()));
        };
        let classes: Vec<String> = serde_json::from_str(entry("classes")?)
            .map_err(|_| "metadata `classes`: expected a JSON array of names".to_owned())?;
        let name = entry("model")?.clone();
        let layers = preset(&name, classes.len()).map_err(|e: UnknownPreset| e.to_string())?;
        let network = Network::new([channels, height, width].map(|n| n as usize), &layers)
            .map_err(|e: ShapeError| e.to_string())?;
        let weights = read_weights(&network, &file)?;
        let (mean, std) = (numbers("normalize.mean")?, numbers("normalize.std")?);
        Ok(Model { preset: name, network, weights, classes, mean, std })
    }
}

/// The values of every parameter of the network; others in the file are an error, as they belong to
/// another network.
fn read_weights(network: &Network, file: &SafeTensors<'_>) -> Result<Buffer, String> {
    let mut weights = Buffer::zeros(network.len());
    for parameter in network.parameters() {
        let Parameter { name, shape, place, role } = parameter;
        let tensor = file.tensor(name).map_err(|_| format!("parameter `{name}` is missing"))?;
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(format!("parameter `{name}` has shape {found:?}: expected {shape:?}"));
        }
        let expected = if *role == Role::BatchesTracked { Dtype::I64 } else { Dtype::F32 };
        if tensor.dtype() != expected {
            let found = tensor.dtype();
            return Err(format!("parameter `{name}` has type {found:?}: expected {expected:?}"));
        }
        let values = place.of_mut(&mut weights);
        if *role == Role::BatchesTracked {
            let bytes = tensor.data().try_into().map_err(|_| format!("`{name}` is cut short"))?;
            values[0] = i64::from_le_bytes(bytes) as f32;
        } else {
            for (value, bytes) in values.iter_mut().zip(tensor.data().as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
    }
    let known = |name: &str| network.parameters().iter().any(|p| p.name == name);
    match file.names().into_iter().find(|name| !known(name)) {
        Some(name) => Err(format!("`{name}` is not a parameter of this network")),
        None => Ok(weights),
    }
}
