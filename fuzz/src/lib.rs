//! What the targets have in common: a place for files in memory, and what must hold of every message.

use kernels::Isa;
use model::{Limits, Model};
use prost::Message;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{env, fs, process};
use trainer::{Predictor, Workers};

/// A directory of this process, in memory where there is one for files in memory.
pub fn directory() -> &'static Path {
    static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        let directory = place.join(format!("bobbin-fuzz-{}", process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        directory
    });
    &DIRECTORY
}

/// A file with this content.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory().join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

/// Whatever is wrong is said on one line.
pub fn refused(error: impl ToString) {
    let message = error.to_string();
    assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
}

/// Limits so low that what is within them is run in no time.
pub fn low() -> Limits {
    let mut limits = Limits::STANDARD;
    limits.products = 1 << 18;
    limits.parameters = 1 << 18;
    limits.network_bytes = 1 << 25;
    limits
}

/// One thread.
pub static WORKERS: LazyLock<Workers> =
    LazyLock::new(|| Workers::new(Isa::detect(), 1).expect("a thread"));

/// Two images through a small model, and the model as ONNX, whose graph must be whole. It is kept where
/// `BOBBIN_FUZZ_ONNX` says, for another reader.
pub fn run(model: &Model) {
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
        check_onnx(&bytes);
        if let Some(place) = env::var_os("BOBBIN_FUZZ_ONNX") {
            let sum =
                bytes.iter().fold(0u64, |sum, b| sum.wrapping_mul(31).wrapping_add((*b).into()));
            fs::write(Path::new(&place).join(format!("{sum:016x}.onnx")), bytes).expect("a file");
        }
    }
}

/// Of a message of ONNX what is looked at; <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.
#[derive(Clone, PartialEq, Message)]
struct OnnxModel {
    #[prost(message, optional, tag = "7")]
    graph: Option<OnnxGraph>,
}

#[derive(Clone, PartialEq, Message)]
struct OnnxGraph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<OnnxNode>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<OnnxTensor>,
}

#[derive(Clone, PartialEq, Message)]
struct OnnxNode {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct OnnxTensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
    #[prost(string, tag = "8")]
    name: String,
}

/// Every input has been made before, every name once, and the logits are among them.
fn check_onnx(bytes: &[u8]) {
    let graph = OnnxModel::decode(bytes).expect("a message").graph.expect("a graph");
    let mut known = std::collections::HashSet::from(["image".to_owned()]);
    for tensor in graph.initializer {
        let elements = tensor.dims.iter().product::<i64>() as usize;
        let bytes = tensor.raw_data.len();
        assert!(bytes == 4 * elements || bytes == 8 * elements || bytes == 0, "{}", tensor.name);
        assert!(known.insert(tensor.name.clone()), "{} twice", tensor.name);
    }
    for node in graph.node {
        for input in node.input {
            assert!(input.is_empty() || known.contains(&input), "{input} is not there");
        }
        for output in node.output {
            assert!(known.insert(output.clone()), "{output} twice");
        }
    }
    assert!(known.contains("logits"));
}
