//! The frame around each event, that of TFRecord files:
//!
//! ```text
//! 8 bytes   length of the data
//! 4 bytes   masked CRC-32C of the length
//!           the data
//! 4 bytes   masked CRC-32C of the data
//! ```
//! Integers are little-endian. A record that the writer did not finish is thereby told from a whole
//! one.

use std::io::{self, Read};

const LENGTH: usize = 8;
const CHECKSUM: usize = 4;

/// Appends the record whose data `data` appends.
pub(super) fn append(out: &mut Vec<u8>, data: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; LENGTH + CHECKSUM]);
    let first = out.len();
    data(out);
    let length = ((out.len() - first) as u64).to_le_bytes();
    out[start..][..LENGTH].copy_from_slice(&length);
    out[start + LENGTH..first].copy_from_slice(&checksum(&length));
    let checksum = checksum(&out[first..]);
    out.extend(checksum);
}

/// Whole records from the beginning of a file, until its end or one that is not whole.
pub(super) struct Records<R> {
    input: R,
    data: Vec<u8>,
    position: u64,
}

impl<R: Read> Records<R> {
    pub(super) fn new(input: R) -> Records<R> {
        Records { input, data: vec![], position: 0 }
    }

    /// Bytes of the records so far, frames included.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The data of the next record.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.read((LENGTH + CHECKSUM) as u64)? {
            return Ok(None);
        }
        let (length, found) = self.data.split_at(LENGTH);
        let length: [u8; LENGTH] = length.try_into().expect("eight bytes");
        if found != checksum(&length) {
            return Ok(None);
        }
        let length = u64::from_le_bytes(length);
        let Some(with_checksum) = length.checked_add(CHECKSUM as u64) else { return Ok(None) };
        if !self.read(with_checksum)? {
            return Ok(None);
        }
        let (data, found) = self.data.split_at(self.data.len() - CHECKSUM);
        if found != checksum(data) {
            return Ok(None);
        }
        self.position += (LENGTH + CHECKSUM) as u64 + with_checksum;
        Ok(Some(data))
    }

    /// Whether there were as many bytes to read. Room is made as they come, not as a length says.
    fn read(&mut self, bytes: u64) -> io::Result<bool> {
        self.data.clear();
        let read = self.input.by_ref().take(bytes).read_to_end(&mut self.data)?;
        Ok(read as u64 == bytes)
    }
}

/// A CRC of data that holds CRCs is weak, so it is rotated, and a constant added.
fn checksum(data: &[u8]) -> [u8; CHECKSUM] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_damage_ends_the_records_before_it() {
        let mut bytes = vec![];
        append(&mut bytes, |out| out.extend(b"first"));
        let first = bytes.len();
        append(&mut bytes, |_| {});
        append(&mut bytes, |out| out.extend(b"last"));
        let read = |bytes: &[u8]| {
            let (mut records, mut data) = (Records::new(bytes), vec![]);
            while let Some(record) = records.next().unwrap() {
                data.push(record.to_vec());
            }
            (data, records.position())
        };
        let whole = vec![b"first".to_vec(), vec![], b"last".to_vec()];
        assert_eq!(read(&bytes), (whole.clone(), bytes.len() as u64));
        let empty = first + LENGTH + 2 * CHECKSUM;
        for at in 0..bytes.len() {
            let before = usize::from(at >= first) + usize::from(at >= empty);
            let end = [0, first, empty][before] as u64;
            assert_eq!(read(&bytes[..at]), (whole[..before].to_vec(), end));
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(read(&damaged), (whole[..before].to_vec(), end));
        }
    }

    /// A whole frame around a length of which there is no file.
    #[test]
    fn a_length_is_not_believed() {
        for length in [1 << 40, u64::MAX - 3, u64::MAX] {
            let length = u64::to_le_bytes(length);
            let bytes = [&length[..], &checksum(&length), b"data"].concat();
            assert_eq!(Records::new(&bytes[..]).next().unwrap(), None);
        }
    }
}
