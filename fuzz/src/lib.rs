//! Whatever comes in, it is taken or refused by a message of one line: a function for each kind of input, which takes
//! any bytes, says whether they were taken, and panics where something is wrong. Here is what they have in common: a place for files in memory, and
//! what must hold of every message and model.

pub mod checkpoint;
pub mod gzip;
pub mod idx;
pub mod import;
pub mod layers;
mod onnx;
pub mod pickle;
pub mod picture;
pub mod recipe;
pub mod sweep;
pub mod tensors;

use kernels::Isa;
use model::tensors::TensorFile;
use model::{Limits, Model, StateDict, Usage};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{env, fs, process};
use trainer::{Predictor, Workers};

/// A directory of a thread, deleted when the thread ends.
struct Place(PathBuf);

impl Place {
    /// In memory, where there is a place for files in memory.
    fn new() -> Place {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        let number = MADE.fetch_add(1, Relaxed);
        let directory = place.join(format!("bobbin-fuzz-{}-{number}", process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        Place(directory)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The directory of this thread: targets that run side by side do not see each other's files.
pub fn directory() -> PathBuf {
    thread_local!(static PLACE: Place = Place::new());
    PLACE.with(|place| place.0.clone())
}

/// A file with this content.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory().join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

/// What a target returns of an input that is not taken. Whatever is wrong is said on one line.
pub fn refused(error: impl ToString) -> bool {
    let message = error.to_string();
    assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
    false
}

/// Whether tensors become a model of a preset.
pub fn become_preset(tensors: &TensorFile) -> bool {
    let input = [1, 28, 28];
    match StateDict::of(tensors).matching_preset(input) {
        Ok(architecture) => {
            let usage = Usage { input, classes: None, mean: vec![0.0], std: vec![1.0] };
            Model::from_state_dict(tensors, &architecture, usage).map_or_else(refused, |_| true)
        }
        Err(error) => refused(error),
    }
}

/// Limits so low that what is within them is run in no time.
pub fn low() -> Limits {
    let mut limits = Limits::STANDARD;
    limits.products = 1 << 18;
    limits.parameters = 1 << 18;
    limits.network_bytes = 1 << 25;
    limits
}

/// One thread, on the SIMD path that `BOBBIN_ISA` asks for.
pub static WORKERS: LazyLock<Workers> = LazyLock::new(|| {
    let isa = Isa::from_env().expect("the name of a path");
    Workers::new(isa, 1).expect("a thread")
});

/// Two images through a small model, and the model as ONNX, whose graph must be whole. It is kept where
/// `BOBBIN_FUZZ_ONNX` says, for another reader.
pub fn run(model: &Model) -> bool {
    let image = vec![77; model.network.input().iter().product()];
    let mut logits = vec![0.0; 2 * model.network.classes()];
    let predictor = match Predictor::new(model, &WORKERS) {
        Ok(predictor) => predictor,
        Err(error) => return refused(error),
    };
    predictor.logits(|_| &image, &mut logits);
    let (a, b) = logits.split_at(model.network.classes());
    assert!(a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()));
    for fold in [false, true] {
        let bytes = model.to_onnx(fold).expect("the predictor has checked the statistics");
        onnx::check(&bytes);
        if let Some(place) = env::var_os("BOBBIN_FUZZ_ONNX") {
            let sum =
                bytes.iter().fold(0u64, |sum, b| sum.wrapping_mul(31).wrapping_add((*b).into()));
            fs::write(Path::new(&place).join(format!("{sum:016x}.onnx")), bytes).expect("a file");
        }
    }
    true
}
