//! Reading tensors: one clear message for whatever is wrong with a file.

use crate::{FileError, Network, Parameter, Role};
use autograd::Buffer;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The content of a safetensors file, whoever wrote it.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where the values begin.
    start: usize,
    header: Metadata,
    metadata: BTreeMap<String, String>,
}

/// No header is longer: a foreign file is not read to its end to find that it is none.
const LONGEST_HEADER: u64 = 100_000_000;

impl TensorFile {
    /// Reads a file whose header is sound and describes every byte.
    pub fn read(path: &Path) -> Result<TensorFile, FileError> {
        let cannot = |error| FileError::Io { path: path.to_owned(), action: "read", error };
        let mut file = File::open(path).map_err(cannot)?;
        let mut bytes = vec![];
        file.by_ref().take(8).read_to_end(&mut bytes).map_err(cannot)?;
        let length = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
        let content = |problem: String| FileError::content(path, &problem);
        match length {
            _ if bytes.starts_with(b"PK\x03\x04") => {
                let advice = "a file of torch.save: expected one of safetensors.torch.save_file";
                return Err(content(advice.into()));
            }
            Some(1..=LONGEST_HEADER) => {}
            _ => return Err(content("not a safetensors file (no header)".into())),
        }
        file.read_to_end(&mut bytes).map_err(cannot)?;
        let (length, header) = SafeTensors::read_metadata(&bytes).map_err(|error| {
            content(match error {
                SafeTensorError::MetadataIncompleteBuffer => {
                    "truncated or damaged: its tensors do not fill it".into()
                }
                error => format!("not a safetensors file ({error})"),
            })
        })?;
        let metadata = header.metadata().iter().flatten();
        let metadata = metadata.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(TensorFile { path: path.to_owned(), start: 8 + length, bytes, header, metadata })
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the header says beside the tensors; empty if nothing.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort();
        names
    }

    /// The bytes of all tensors, as they lie in the file.
    pub fn values(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The shape of a tensor, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(name).map(|info| &info.shape[..])
    }

    /// A tensor of type `F32` of this shape.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, FileError> {
        let bytes = self.tensor(name, shape, Dtype::F32)?.as_chunks().0;
        Ok(bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// A tensor of type `I64` of this shape.
    pub fn integers(&self, name: &str, shape: &[usize]) -> Result<Vec<i64>, FileError> {
        let bytes = self.tensor(name, shape, Dtype::I64)?.as_chunks().0;
        Ok(bytes.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
    }

    /// What [`Network::entries`] wrote with this prefix: a buffer of `len` floats, either all of the
    /// network's or those of the trained parameters. Other tensors of the file are not looked at.
    pub fn buffer(&self, network: &Network, prefix: &str, len: usize) -> Result<Buffer, FileError> {
        self.gather(network, len, |name| format!("{prefix}{name}"))
    }

    /// A buffer of `len` floats of this network, the value of each parameter from the tensor that
    /// `source` names.
    pub(crate) fn gather(
        &self,
        network: &Network,
        len: usize,
        source: impl Fn(&str) -> String,
    ) -> Result<Buffer, FileError> {
        let within = || network.parameters().iter().filter(|p| p.place.offset < len);
        // All are looked at before room is made: what is as large as the file can be afforded.
        for Parameter { name, shape, role, .. } in within() {
            self.tensor(&source(name), shape, dtype(*role))?;
        }
        let mut buffer = Buffer::zeros(len);
        for Parameter { name, shape, role, place } in within() {
            let values = place.of_mut(&mut buffer);
            match role {
                Role::BatchesTracked => {
                    values[0] = self.integers(&source(name), shape)?[0] as f32;
                }
                _ => values.copy_from_slice(&self.floats(&source(name), shape)?),
            }
        }
        Ok(buffer)
    }

    /// What is wrong with this file.
    pub fn problem(&self, problem: impl AsRef<str>) -> FileError {
        FileError::content(&self.path, problem.as_ref())
    }

    /// The bytes of a tensor, if it is as expected.
    fn tensor(&self, name: &str, shape: &[usize], dtype: Dtype) -> Result<&[u8], FileError> {
        let info = self.header.info(name);
        let info = info.ok_or_else(|| self.problem(format!("parameter `{name}` is missing")))?;
        if info.shape != shape {
            let found = &info.shape;
            let problem = format!("parameter `{name}` has shape {found:?}: expected {shape:?}");
            return Err(self.problem(problem));
        }
        if info.dtype != dtype {
            let found = info.dtype;
            let problem = format!("parameter `{name}` has type {found:?}: expected {dtype:?}");
            return Err(self.problem(problem));
        }
        self.bytes_of(info).ok_or_else(|| self.problem(format!("`{name}` lies beyond the file")))
    }

    fn bytes_of(&self, info: &TensorInfo) -> Option<&[u8]> {
        self.bytes.get(self.start..)?.get(info.data_offsets.0..info.data_offsets.1)
    }
}

/// The type that a parameter has in a file.
fn dtype(role: Role) -> Dtype {
    if role == Role::BatchesTracked { Dtype::I64 } else { Dtype::F32 }
}
