//! Reading tensors: one clear message for whatever is wrong with a file.

use super::foreign::{HEAD, recognise};
use super::hash::{HASH, is_whole};
use super::numbers::{convert, is_float, is_integer};
use super::pytorch;
use crate::{Network, Parameter, Role};
use autograd::Buffer;
use files::FileError;
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The content of a file of tensors, whoever wrote it: a safetensors file, or what PyTorch's `torch.save` makes of a
/// `state_dict`.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    content: Content,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
enum Content {
    Safetensors {
        bytes: Vec<u8>,
        /// Where the values begin.
        start: usize,
        header: Metadata,
    },
    /// Their values are read when they are asked for.
    Pytorch(pytorch::Tensors),
}

/// No header is longer: a foreign file is not read to its end to find that it is none.
const LONGEST_HEADER: u64 = 100_000_000;

impl TensorFile {
    /// Reads a safetensors file whose header is sound and describes every byte; if it has a [`HASH`], its content is
    /// what was written. Or finds the tensors in a file of `torch.save`, of which nothing is run, and of a checkpoint
    /// (a `dict` with a `state_dict`, or a `model`, and more) the weights alone.
    pub fn read(path: &Path) -> Result<TensorFile, FileError> {
        let (mut file, mut bytes) = begin(path)?;
        if !is_safetensors(&bytes) {
            let content = Content::Pytorch(pytorch::open(path)?);
            return Ok(TensorFile { path: path.to_owned(), content, metadata: BTreeMap::new() });
        }
        file.read_to_end(&mut bytes).map_err(|error| cannot_read(path, error))?;
        let (length, header) = SafeTensors::read_metadata(&bytes).map_err(|error| {
            let problem = match error {
                SafeTensorError::MetadataIncompleteBuffer => {
                    "truncated or damaged: its tensors do not fill it".into()
                }
                error => format!("not a safetensors file ({error})"),
            };
            FileError::content(path, &problem)
        })?;
        let metadata = header.metadata().iter().flatten();
        let metadata: BTreeMap<_, _> =
            metadata.map(|(key, value)| (key.clone(), value.clone())).collect();
        if metadata.contains_key(HASH) && !is_whole(&bytes) {
            let problem = format!(
                "damaged: its content is not what was written, by the SHA-256 in it; a program that \
                 changes it on purpose is to leave `{HASH}` out of the metadata"
            );
            return Err(FileError::content(path, &problem));
        }
        let content = Content::Safetensors { start: 8 + length, bytes, header };
        Ok(TensorFile { path: path.to_owned(), content, metadata })
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the header of a safetensors file says beside the tensors; empty if nothing.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        match &self.content {
            Content::Safetensors { header, .. } => {
                let mut names = header.offset_keys();
                names.sort();
                names
            }
            Content::Pytorch(tensors) => tensors.names(),
        }
    }

    /// The shape of a tensor, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.about(name).map(|(shape, _)| shape)
    }

    /// The shape and type of a tensor, if there is one of this name.
    fn about(&self, name: &str) -> Option<(&[usize], Dtype)> {
        match &self.content {
            Content::Safetensors { header, .. } => {
                header.info(name).map(|info| (&info.shape[..], info.dtype))
            }
            Content::Pytorch(tensors) => tensors.about(name),
        }
    }

    /// The values of a tensor, if it is whole.
    fn bytes_of(&self, name: &str) -> Result<Cow<'_, [u8]>, FileError> {
        let damaged = || self.problem(format!("`{name}` is damaged"));
        match &self.content {
            Content::Safetensors { bytes, start, header } => {
                let (from, to) = header.info(name).ok_or_else(damaged)?.data_offsets;
                let values = bytes.get(*start..).and_then(|values| values.get(from..to));
                values.map(Cow::Borrowed).ok_or_else(damaged)
            }
            Content::Pytorch(tensors) => {
                tensors.bytes_of(name).map(Cow::Owned).map_err(|problem| self.problem(problem))
            }
        }
    }

    /// What [`Network::entries`] wrote with this prefix: a buffer of `len` floats, either all of the
    /// network's or those of the trained parameters. Other tensors of the file are not looked at.
    pub fn buffer(&self, network: &Network, prefix: &str, len: usize) -> Result<Buffer, FileError> {
        let within = || network.parameters().iter().filter(|p| p.place.offset < len);
        // All are looked at before room is made: what is as large as the file can be afforded.
        for parameter in within() {
            let difference = self.difference(&format!("{prefix}{}", parameter.name), parameter);
            difference.map_or(Ok(()), |problem| Err(self.problem(problem)))?;
        }
        let mut buffer = Buffer::zeros(len);
        for parameter in within() {
            self.copy(&format!("{prefix}{}", parameter.name), parameter, &mut buffer)?;
        }
        Ok(buffer)
    }

    /// Why a tensor is not a value of this parameter, if it is none.
    pub(crate) fn difference(&self, name: &str, parameter: &Parameter) -> Option<String> {
        let Parameter { shape, role, .. } = parameter;
        let Some((found, dtype)) = self.about(name) else {
            return Some(format!("parameter `{name}` is missing"));
        };
        // PyTorch takes a list of one number for a number.
        let same = found == shape || shape.is_empty() && found[..] == [1];
        if !same {
            return Some(format!("parameter `{name}` has shape {found:?}: expected {shape:?}"));
        }
        let (known, expected) = match role {
            Role::BatchesTracked => {
                (is_float(dtype) || is_integer(dtype), "an integer type, F32, F64, F16 or BF16")
            }
            _ => (is_float(dtype), "F32, F64, F16 or BF16"),
        };
        (!known).then(|| format!("parameter `{name}` has type {dtype:?}: expected {expected}"))
    }

    /// Puts a tensor that does not differ from this parameter into its place.
    pub(crate) fn copy(
        &self,
        name: &str,
        parameter: &Parameter,
        buffer: &mut [f32],
    ) -> Result<(), FileError> {
        let values = parameter.place.of_mut(buffer);
        let bytes = self.bytes_of(name)?;
        match self.about(name) {
            Some((_, dtype)) if bytes.len() * 8 == values.len() * dtype.bitsize() => {
                convert(&bytes, dtype, values);
                if parameter.role == Role::BatchesTracked {
                    // A whole number, as PyTorch makes of it.
                    values.iter_mut().for_each(|count| *count = *count as i64 as f32);
                }
                Ok(())
            }
            _ => Err(self.problem(format!("`{name}` is damaged"))),
        }
    }

    /// An error about this file.
    pub fn problem(&self, problem: impl AsRef<str>) -> FileError {
        FileError::content(&self.path, problem.as_ref())
    }
}

/// What the header of a file says beside the tensors, without reading those; nothing of PyTorch's.
pub(crate) fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, FileError> {
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__", default)]
        metadata: BTreeMap<String, String>,
    }
    let (mut file, mut bytes) = begin(path)?;
    if !is_safetensors(&bytes) {
        return Ok(BTreeMap::new());
    }
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let rest = (8 + length).saturating_sub(bytes.len() as u64);
    file.by_ref().take(rest).read_to_end(&mut bytes).map_err(|error| cannot_read(path, error))?;
    let Some(header) = bytes.get(8..8 + length as usize) else {
        return Err(FileError::content(path, "truncated or damaged: its header is not whole"));
    };
    let header: Header = serde_json::from_slice(header).map_err(|error| {
        FileError::content(path, &format!("not a safetensors file (its header: {error})"))
    })?;
    Ok(header.metadata)
}

/// Opens a file that begins as a safetensors file does, or as PyTorch's; returns that beginning too.
fn begin(path: &Path) -> Result<(File, Vec<u8>), FileError> {
    let mut file = File::open(path).map_err(|error| cannot_read(path, error))?;
    let mut head = vec![];
    let read = file.by_ref().take(HEAD as u64).read_to_end(&mut head);
    read.map_err(|error| cannot_read(path, error))?;
    if is_safetensors(&head) || pytorch::begins(&head) {
        return Ok((file, head));
    }
    let problem = recognise(&head);
    let problem = problem.unwrap_or_else(|| "not a safetensors file (no header)".into());
    Err(FileError::content(path, &problem))
}

/// Whether a file begins with the length of a header, and that header.
fn is_safetensors(head: &[u8]) -> bool {
    let length = head.first_chunk().map(|length| u64::from_le_bytes(*length));
    matches!(length, Some(1..=LONGEST_HEADER)) && head.get(8).is_none_or(|byte| *byte == b'{')
}

pub(super) fn cannot_read(path: &Path, error: std::io::Error) -> FileError {
    FileError::Io { path: path.to_owned(), action: "read", error: files::of_link(path, error) }
}
