//! SHA-256, written in hexadecimal digits.

use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// The digest of several parts. Each counts with its length, so that no byte can move to its neighbour.
pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut running = Running::default();
    for part in parts {
        running.begin_part(part.len());
        running.update(part);
    }
    running.finish()
}

/// The digest of bytes, as `sha256sum` prints it.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A digest computed piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Running(Sha256);

impl Running {
    /// Begins a part of this length, as [`of_parts`] does: the pieces of it follow.
    pub fn begin_part(&mut self, len: usize) {
        self.update(&(len as u64).to_le_bytes());
    }

    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest, as [`of_bytes`] of all pieces in a row, or [`of_parts`] of the parts.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// The digest of all that a reader gives.
pub fn of_reader(mut reader: impl Read) -> io::Result<String> {
    let mut running = Running::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(running.finish()),
            count => running.update(&buffer[..count]),
        }
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc"), abc);
        let mut running = Running::default();
        running.update(b"a");
        running.update(b"bc");
        assert_eq!(running.finish(), abc);
        assert_eq!(of_reader(&b"abc"[..]).unwrap(), abc);
    }

    #[test]
    fn bytes_that_move_to_another_part_are_noticed() {
        let parts = |parts: &[&'static [u8]]| of_parts(parts.iter().copied());
        assert_ne!(parts(&[b"ab", b"c"]), parts(&[b"a", b"bc"]));
        assert_ne!(parts(&[b"ab", b""]), parts(&[b"ab"]));
        assert_eq!(parts(&[]), of_bytes(b""));
    }
}
