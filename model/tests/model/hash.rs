//! The hash in a model file: damage is noticed, and files of other programs are as welcome as before.

use crate::files::{Contents, SMALL, example, load, saved};
use files::digest;
use model::Model;
use model::tensors::{HASH, hashed_safetensors_bytes, safetensors_bytes, without_hash};
use safetensors::SafeTensors;

fn header_end(bytes: &[u8]) -> usize {
    8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize
}

/// All that a model is.
fn parts(model: &Model) -> impl PartialEq + std::fmt::Debug {
    let Model { preset, network, weights, classes, multi_label, mean, std, preparation } =
        model.clone();
    let weights: Vec<u32> = weights.iter().map(|weight| weight.to_bits()).collect();
    (preset, format!("{network:?}"), weights, classes, multi_label, mean, std, preparation)
}

#[test]
fn no_value_changes_unnoticed() {
    for name in SMALL {
        let whole = saved(&example(name, [3, 28, 20]));
        let values = header_end(&whole)..whole.len();
        for number in 0..60 {
            let mut bytes = whole.clone();
            let place = values.start + values.len() * number / 60 + number % 4;
            bytes[place] ^= 1 << (number % 8);
            let problem = load(&bytes).expect_err("a changed value");
            assert!(problem.starts_with("damaged: its content is not what was written"));
        }
    }
}

/// But for the name of the hash itself, without which there is a file without one.
#[test]
fn no_byte_of_a_header_changes_what_is_loaded() {
    let model = example("lenet", [1, 16, 16]);
    let whole = saved(&model);
    let mut loaded = 0;
    for place in 0..header_end(&whole) {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 7);
        if let Ok(found) = load(&bytes) {
            assert_eq!(parts(&found), parts(&model), "byte {place}");
            loaded += 1;
        }
    }
    assert!(loaded <= HASH.len(), "{loaded} changes are not noticed");
}

#[test]
fn the_hash_is_that_of_the_file_without_it() {
    for name in SMALL {
        let model = example(name, [3, 28, 20]);
        let bytes = saved(&model);
        let plain =
            safetensors_bytes(&model.metadata(), &model.network.entries(&model.weights, ""));
        assert!(without_hash(&bytes).unwrap() == plain, "{name}");
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()[HASH], digest::of_bytes(&plain));
        assert_eq!(model.digest(), digest::of_bytes(&plain));
        // Files without one are read as before, and lack nothing.
        assert_eq!(parts(&load(&plain).unwrap()), parts(&model));
        assert_eq!(without_hash(&plain), None);
    }
}

/// Text in the metadata is not taken for the hash, wherever it sorts.
#[test]
fn other_entries_do_not_confuse_it() {
    let text = format!(",\"{HASH}\":\"{}\"", "0".repeat(64));
    let metadata = [("a", &text), ("z", &text), (HASH, &text)];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.clone())).into();
    let bytes = hashed_safetensors_bytes(&metadata, &[]);
    let plain = without_hash(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&plain).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap().len(), 2);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()[HASH], digest::of_bytes(&plain));
}

/// A program that keeps the metadata and changes a tensor is told what to do; one that does it is understood.
#[test]
fn edited_files() {
    let model = example("lenet", [1, 16, 16]);
    let whole = saved(&model);
    let mut edited = Contents::read(&whole);
    edited.tensors[0].3[0] ^= 1;
    load(&edited.bytes()).unwrap();
    let (_, header) = SafeTensors::read_metadata(&whole).unwrap();
    edited.metadata.insert(HASH.into(), header.metadata().as_ref().unwrap()[HASH].clone());
    let problem = load(&edited.bytes()).unwrap_err();
    assert!(problem.contains("leave `sha256` out of the metadata"), "{problem}");
}
