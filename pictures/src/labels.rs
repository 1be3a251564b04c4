//! The labels of an imported data set, as IDX files.

use crate::ImportError;
use crate::output::Output;
use std::io::Write;

/// Classes whose labels have a byte.
const CLASSES_OF_A_BYTE: usize = 256;

/// Writes the class of each image of a part.
pub(crate) fn write_labels(
    output: &Output,
    part: &str,
    labels: &[u32],
    classes: usize,
) -> Result<(), ImportError> {
    let (magic, bytes): (u32, Vec<u8>) = match classes <= CLASSES_OF_A_BYTE {
        true => (0x801, labels.iter().map(|&label| label as u8).collect()),
        false => (0xc01, labels.iter().flat_map(|label| label.to_be_bytes()).collect()),
    };
    output.write(&format!("{part}-labels-idx1-ubyte"), |file| {
        file.write_all(&header(magic, &[labels.len()]))?;
        file.write_all(&bytes)
    })
}

/// Writes the classes of each image of a part, of which it may have several: a row of noughts and ones.
pub(crate) fn write_label_sets(
    output: &Output,
    part: &str,
    sets: &[&[u32]],
    classes: usize,
) -> Result<(), ImportError> {
    output.write(&format!("{part}-labels-idx2-ubyte"), |file| {
        file.write_all(&header(0x802, &[sets.len(), classes]))?;
        let mut row = vec![0; classes];
        sets.iter().try_for_each(|set| {
            row.fill(0);
            set.iter().for_each(|&class| row[class as usize] = 1);
            file.write_all(&row)
        })
    })
}

/// The header of an IDX file.
pub(crate) fn header(magic: u32, dims: &[usize]) -> Vec<u8> {
    let words = dims.iter().map(|&dim| dim as u32);
    [magic].into_iter().chain(words).flat_map(u32::to_be_bytes).collect()
}
