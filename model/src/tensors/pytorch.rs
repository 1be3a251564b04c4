//! Tensors in files of PyTorch's `torch.save`: a zip archive of a pickle and a file per storage, or the stream of
//! pickles and storages that came before it.
//!
//! The crate `pytorch-reader` understands the pickle, and runs nothing of it: an object that is neither a tensor nor
//! plain data is left alone or refused. It bounds how deep values nest and how often they are copied, and holds the
//! extent of every tensor against its storage. Values are read one tensor at a time, when a network asks for them,
//! and by then they are known to have the shape of a parameter whose cost has been checked.

use super::foreign::{EXPECTED, of_another};
use super::read::cannot_read;
use files::{FileError, Limits};
use pytorch_reader::{DType, PytorchError, PytorchReader, Tensor};
use safetensors::Dtype;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use zip::CompressionMethod;
use zip::ZipArchive;

/// The tensors of a file, by their names in the `state_dict`.
#[derive(Debug)]
pub(super) struct Tensors(BTreeMap<String, Tensor>);

/// Under what training scripts keep the weights beside the optimiser's state, in the order in which they are looked
/// for.
const NESTED: [&str; 6] =
    ["state_dict", "model_state_dict", "model_state", "model", "network", "net"];

/// No message about a file is longer: it may quote the file.
const LONGEST_MESSAGE: usize = 240;

/// Whether a file that begins so, and is no safetensors file, is for [`open`].
pub(super) fn begins(head: &[u8]) -> bool {
    match head {
        [b'P', b'K', 3, 4, ..] => of_another(head).is_none(),
        [0x80, 2..=5, ..] => true,
        _ => false,
    }
}

/// Finds the tensors of a file; their values are left where they are.
pub(super) fn open(path: &Path) -> Result<Tensors, FileError> {
    let problem = |problem: &str| FileError::content(path, problem);
    check_archive(path)?;
    let refused = |error: PytorchError| match error {
        PytorchError::Io(error) if error.raw_os_error().is_some() => cannot_read(path, error),
        PytorchError::Zip(error) => problem(&format!(
            "truncated or damaged: its archive cannot be read ({})",
            shortened(&error)
        )),
        error => {
            problem(&format!("not a state_dict of PyTorch ({}): {EXPECTED}", shortened(&error)))
        }
    };
    let mut tensors = PytorchReader::new(path).map_err(refused)?.into_tensors();
    for key in NESTED {
        let inside = format!("{key}.");
        if tensors.keys().any(|name| name.starts_with(&inside))
            // Fails where it is but a part of a longer name.
            && let Ok(nested) = PytorchReader::with_top_level_key(path, key)
            && !nested.is_empty()
        {
            tensors = nested.into_tensors();
            break;
        }
    }
    if tensors.is_empty() {
        return Err(problem(&format!("a file of PyTorch without tensors in it: {EXPECTED}")));
    }
    Ok(Tensors::of(tensors))
}

impl Tensors {
    fn of(tensors: HashMap<String, Tensor>) -> Tensors {
        Tensors(tensors.into_iter().collect())
    }

    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The shape and type of a tensor.
    pub fn about(&self, name: &str) -> Option<(&[usize], Dtype)> {
        self.0.get(name).map(|tensor| (tensor.shape(), dtype(tensor.dtype())))
    }

    /// The values of a tensor, row-major, whatever its strides are; or why there are none.
    pub fn bytes_of(&self, name: &str) -> Result<Vec<u8>, String> {
        let tensor = self.0.get(name).ok_or_else(|| format!("`{name}` is missing"))?;
        tensor.read().map_err(|error| format!("damaged: {}", shortened(&error)))
    }
}

/// An error unless the files in an archive lie there as they are: what is read is then no more than the file, and a
/// pickle no larger than it may be.
fn check_archive(path: &Path) -> Result<(), FileError> {
    let file = File::open(path).map_err(|error| cannot_read(path, error))?;
    let problem = |problem: String| FileError::content(path, &problem);
    let mut archive = match ZipArchive::new(BufReader::new(file)) {
        Ok(archive) => archive,
        // The stream of old, or a damaged archive, of which the crate says more.
        Err(_) => return Ok(()),
    };
    let most = Limits::in_force().pickle_bytes;
    for index in 0..archive.len() {
        let damaged = |error| problem(format!("damaged: {}", shortened(&error)));
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?;
        if name.contains("/code/__torch__") {
            let found = "a TorchScript program, as torch.jit.save writes";
            return Err(problem(format!("{found}: {EXPECTED}")));
        }
        if entry.compression() != CompressionMethod::Stored {
            return Err(problem(format!(
                "`{name}` in it is compressed, as torch.save never does: {EXPECTED}"
            )));
        }
        if name.ends_with("data.pkl") && entry.size() > most {
            let size = entry.size();
            return Err(problem(format!(
                "`{name}` in it has {size} bytes, expected at most {most} for the names and shapes of weights (more \
                 by BOBBIN_LIMITS)"
            )));
        }
    }
    Ok(())
}

/// A message that is not long, whatever it quotes.
fn shortened(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}
