//! A sweep, and the recipes of its runs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::{file, refused};
use tracking::sweep::Sweep;

fuzz_target!(|bytes: &[u8]| {
    // Other files are targets of their own, and could be pipes.
    if bytes.windows(7).any(|word| word == b"weights" || word.starts_with(b".toml")) {
        return;
    }
    let path = file("sweep.toml", bytes);
    match Sweep::load(path.to_str().expect("plain letters")) {
        Ok(sweep) => match sweep.variants(&[]) {
            Ok(variants) => assert!(!variants.is_empty()),
            Err(error) => refused(error),
        },
        Err(error) => refused(error),
    }
});
