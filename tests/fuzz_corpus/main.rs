//! What fuzzing does, for a few seconds and without libFuzzer: each target is given the inputs of its corpus, and inputs
//! that are changed from them by chance, the same at every run. A fault is a panic, of the target or of what it calls.

mod mutation;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use mutation::Mutations;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// No input of a few thousand bytes may take so long, on the slowest machine.
const LONGEST: Duration = Duration::from_secs(20);

/// A test for each target, with the number of changed inputs that it is given: a second or two.
macro_rules! targets {
    ($($name:ident: $inputs:literal),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                attack(stringify!($name), targets::$name::target, $inputs);
            }
        )+

        const TRIED: &[&str] = &[$(stringify!($name)),+];
    };
}

targets! {
    checkpoint: 10_000,
    gzip: 20_000,
    idx: 15_000,
    import: 5_000,
    layers: 50_000,
    pickle: 2_500,
    picture: 30_000,
    recipe: 20_000,
    sweep: 20_000,
    tensors: 3_000,
}

/// Every input of a corpus, and so many changed ones. Were none of either taken, the target would look at nothing but
/// what it is refused for.
fn attack(name: &str, target: fn(&[u8]) -> bool, inputs: usize) {
    let corpus = corpus(name);
    let given = corpus.iter().map(|bytes| attempt(name, target, bytes));
    assert!(given.filter(|taken| *taken).count() > 0, "{name}: nothing of its corpus is taken");
    let changed = Mutations::new(&corpus, 1).take(inputs);
    let taken = changed.filter(|bytes| attempt(name, target, bytes)).count();
    println!("{name}: of {inputs} changed inputs {taken} are taken");
    assert!(taken > 0, "{name}: of {inputs} changed inputs none is taken");
}

/// The inputs in the repository, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = fuzz().join("corpus").join(name);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Whether a target takes an input. One that is a fault is kept as a file, for the targets of libFuzzer too.
fn attempt(name: &str, target: impl FnOnce(&[u8]) -> bool, bytes: &[u8]) -> bool {
    let begun = Instant::now();
    let taken = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    let problem = match taken {
        Ok(taken) if begun.elapsed() < LONGEST => return taken,
        Ok(_) => "takes too long",
        Err(_) => "panics",
    };
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    fs::write(&kept, bytes).unwrap();
    panic!("{name}: {problem}, given {}", kept.display());
}

#[test]
fn every_target_is_tried() {
    let mut names: Vec<String> = fs::read_dir(fuzz().join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, TRIED);
}

/// Faults of the kinds that parsers have are found within a few thousand inputs, and what was found is kept.
#[test]
fn planted_faults_are_found() {
    let corpus = [b"\0\0\0\x1c size = 28, pad = 2".to_vec(), b"\0\0\0\x02 size = 4".to_vec()];
    let number = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (_, rest) = text.split_once("size = ")?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    type Fault<'a> = &'a dyn Fn(&[u8]) -> bool;
    let faults: [(&str, Fault<'_>); 5] = [
        ("a large length", &|bytes| {
            bytes.first_chunk().is_some_and(|n| u32::from_be_bytes(*n) > 1 << 30)
        }),
        ("a length and too few bytes", &|bytes| bytes.len() == 4),
        ("a large number", &|bytes| number(bytes) > Some(u32::MAX.into())),
        ("nothing", &|bytes| number(bytes) == Some(0)),
        ("twice the same", &|bytes| String::from_utf8_lossy(bytes).matches("size").count() > 1),
    ];
    for (what, fault) in faults {
        let planted = |bytes: &[u8]| {
            assert!(!fault(bytes), "planted");
            true
        };
        let found = Mutations::new(&corpus, 1).take(2000).find(|bytes| {
            catch_unwind(AssertUnwindSafe(|| attempt("planted", planted, bytes))).is_err()
        });
        let found = found.unwrap_or_else(|| panic!("{what} is not found"));
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-planted");
        assert_eq!(fs::read(&kept).unwrap(), found, "{what}");
        fs::remove_file(kept).unwrap();
    }
}
