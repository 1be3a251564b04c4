//! A sweep, and the recipes of its runs.

use super::{file, refused};
use memchr::memmem;
use tracking::sweep::Sweep;

/// The recipes of all runs are made.
pub fn target(bytes: &[u8]) -> bool {
    // Other files are targets of their own, and could be pipes.
    if [&b"weights"[..], b".toml"].iter().any(|word| memmem::find(bytes, word).is_some()) {
        return false;
    }
    let path = file("sweep.toml", bytes);
    match Sweep::load(path.to_str().expect("plain letters")) {
        Ok(sweep) => match sweep.variants(&[]) {
            Ok(variants) => {
                assert!(!variants.is_empty());
                true
            }
            Err(error) => refused(error),
        },
        Err(error) => refused(error),
    }
}
