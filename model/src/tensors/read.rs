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
        let Some(info) = self.header.info(name) else {
            return Some(format!("parameter `{name}` is missing"));
        };
        let (found, dtype) = (&info.shape, info.dtype);
        if found != shape {
            return Some(format!("parameter `{name}` has shape {found:?}: expected {shape:?}"));
        }
        let (known, expected) = match role {
            Role::BatchesTracked => (dtype == Dtype::I64, "I64"),
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
        let tensor = self.header.info(name).and_then(|info| Some((self.bytes_of(info)?, info)));
        match tensor {
            Some((bytes, info)) if bytes.len() * 8 == values.len() * info.dtype.bitsize() => {
                convert(bytes, info.dtype, values);
                Ok(())
            }
            _ => Err(self.problem(format!("`{name}` is damaged"))),
        }
    }

    /// What is wrong with this file.
    pub fn problem(&self, problem: impl AsRef<str>) -> FileError {
        FileError::content(&self.path, problem.as_ref())
    }

    fn bytes_of(&self, info: &TensorInfo) -> Option<&[u8]> {
        self.bytes.get(self.start..)?.get(info.data_offsets.0..info.data_offsets.1)
    }
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16)
}

/// Numbers of one of the types that [`TensorFile::difference`] lets through; rounded to the nearest
/// where they have more digits.
fn convert(bytes: &[u8], dtype: Dtype, values: &mut [f32]) {
    fn each<const N: usize>(bytes: &[u8], values: &mut [f32], read: impl Fn([u8; N]) -> f32) {
        values.iter_mut().zip(bytes.as_chunks().0).for_each(|(v, bytes)| *v = read(*bytes));
    }
    match dtype {
        Dtype::F64 => each(bytes, values, |b| f64::from_le_bytes(b) as f32),
        Dtype::F16 => each(bytes, values, |b| half(u16::from_le_bytes(b))),
        Dtype::BF16 => {
            each(bytes, values, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16));
        }
        Dtype::I64 => each(bytes, values, |b| i64::from_le_bytes(b) as f32),
        _ => each(bytes, values, f32::from_le_bytes),
    }
}

/// An IEEE 754 number of 16 bits: sign, five bits of exponent, ten of fraction.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (bits >> 10 & 31, u32::from(bits & 1023));
    let magnitude = match exponent {
        // Multiples of 2⁻²⁴.
        0 => fraction as f32 / 16_777_216.0,
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        _ => f32::from_bits((u32::from(exponent) + 112) << 23 | fraction << 13),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition, ±(1 + fraction/1024)·2^(exponent − 15), in `f64`.
    #[test]
    fn every_half() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let expected = match exponent {
                0 => fraction * 2f64.powi(-24),
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
            };
            let (found, expected) = (half(bits), expected.copysign(0.5 - f64::from(bits >> 15)));
            assert!(found.is_nan() && expected.is_nan() || f64::from(found) == expected, "{bits}");
            assert_eq!(found.is_sign_negative(), bits >> 15 == 1, "{bits}");
        }
    }
}
