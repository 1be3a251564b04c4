//! Files that are given for files of weights, and are something else.

use files::content;

/// As much of the beginning of a file as is looked at.
pub(super) const HEAD: usize = 512;

/// What was to be there.
pub(super) const EXPECTED: &str =
    "expected weights, such as the model.safetensors of a run, or a state_dict of PyTorch";

/// What a file is that begins so and is neither a safetensors file nor PyTorch's, and what to do; nothing if that
/// is not known.
pub(super) fn recognise(head: &[u8]) -> Option<String> {
    let found = content::recognise(head)?;
    Some(match found {
        "an empty file" => "the file is empty: its download or copy has failed".to_owned(),
        "a zip archive" => zip(head),
        "an HTML page" => {
            "a web page (HTML): it was downloaded from an address that is not the file's".to_owned()
        }
        "a gzipped file" => "compressed by gzip: unpack it with gunzip".to_owned(),
        "a Zstandard archive" => "compressed by zstd: unpack it with unzstd".to_owned(),
        "an xz archive" => "compressed by xz: unpack it with unxz".to_owned(),
        "a bzip2 archive" => "compressed by bzip2: unpack it with bunzip2".to_owned(),
        "a tar archive" => "a tar archive: unpack it with tar -xf".to_owned(),
        "an HDF5 file" => format!("an HDF5 file, as Keras writes: {EXPECTED}"),
        "a NumPy array" => format!("a NumPy array: {EXPECTED}; {NUMPY}"),
        "an ONNX model" => format!(
            "an ONNX model, as export writes, which is not read again: {EXPECTED} that it was made from"
        ),
        pointer if pointer.contains("pointer") => pointer.to_owned(),
        other => format!("{other}: {EXPECTED}"),
    })
}

const NUMPY: &str = "in Python, safetensors.numpy.save_file writes one";

/// Another program's archive, by the name of the first file in it.
fn zip(head: &[u8]) -> String {
    match of_another(head) {
        Some("npy") => format!("a NumPy archive (npz): {EXPECTED}; {NUMPY}"),
        Some(_) => format!("a zip archive, as Keras writes: {EXPECTED}"),
        None => format!("a zip archive without files: {EXPECTED}"),
    }
}

/// What the first file of an archive is named that PyTorch does not write.
pub(super) fn of_another(head: &[u8]) -> Option<&'static str> {
    let length = head.get(26..28).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let name = head.get(30..30 + usize::from(length)).unwrap_or_default();
    ["npy", "metadata.json", "config.json"].into_iter().find(|end| name.ends_with(end.as_bytes()))
}
