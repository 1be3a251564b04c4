//! A checkpoint, with the hash that its content has: what is behind the hash is to hold too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use support::{file, refused};
use tracking::Checkpoint;

/// The content under a hash of its own, if there is a place for one.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    const KEY: &[u8] = b"\"sha256\":\"";
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(KEY.len()).position(|window| window == KEY);
    if let Some(place) = at.map(|at| at + KEY.len()).filter(|at| at + 64 <= bytes.len()) {
        bytes[place..place + 64].fill(b'0');
        let hash = Sha256::digest(&bytes);
        let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        bytes[place..place + 64].copy_from_slice(digits.as_bytes());
    }
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let path = file("step-0000000001.safetensors", &sealed(bytes));
    match Checkpoint::read(&path) {
        Ok(checkpoint) => {
            checkpoint.data();
            if let Err(error) = checkpoint.state() {
                refused(error);
            }
        }
        Err(error) => refused(error),
    }
});
