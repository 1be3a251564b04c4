//! The hash in the metadata of what Bobbin writes, by which damage is noticed.
//!
//! The entry [`HASH`] is the SHA-256 of the file as it would be without that entry, header and all. So a name, a
//! shape or a value that changes is noticed, and the digest of a model is one, with the entry or without. Files
//! of other programs have no such entry, and are taken as they are.

use super::write::framed;
use files::digest;

/// The metadata key of the hash: 64 hexadecimal digits.
pub const HASH: &str = "sha256";

const DIGITS: usize = 64;

/// A file of [`hashed_safetensors_bytes`](super::hashed_safetensors_bytes) without its hash: what
/// [`safetensors_bytes`](super::safetensors_bytes) writes of the same. None if there is no hash where it was put.
#[must_use]
pub fn without_hash(bytes: &[u8]) -> Option<Vec<u8>> {
    let Parts { head, values, .. } = Parts::of(bytes)?;
    Some([&head, values].concat())
}

/// Whether the hash in a file is that of its content.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    Parts::of(bytes).is_some_and(|Parts { head, values, hash }| {
        let mut running = digest::Running::default();
        running.update(&head);
        running.update(values);
        running.finish() == hash
    })
}

struct Parts<'a> {
    /// Length and header, without the hash.
    head: Vec<u8>,
    values: &'a [u8],
    hash: &'a str,
}

impl Parts<'_> {
    /// The hash is where it was put if it follows another entry, and its digits are followed by the end of the
    /// metadata or by one more. In the text of an entry a quotation mark follows a backslash.
    fn of(bytes: &[u8]) -> Option<Parts<'_>> {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (header, values) = rest.split_at_checked(length)?;
        let header = str::from_utf8(header).ok()?;
        let (before, after) = header.split_once(&format!(",\"{HASH}\":\""))?;
        let (hash, after) = after.split_at_checked(DIGITS)?;
        let after = after.strip_prefix('"')?;
        let header = [before, after.trim_end_matches(' ')].concat();
        Some(Parts { head: framed(header), values, hash })
    }
}
