//! The program `export`: what it writes, and what it refuses without a trace.

use kernels::Precision;
use model::{Init, Model, Network, Role, flatten, layers, linear, preset};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn example() -> Model {
    let network = Network::new([1, 28, 28], &preset("cnn-bn", 10).unwrap()).unwrap();
    let mut weights = network.initialise(5, Init::Pytorch);
    // Running statistics as if of a batch.
    for parameter in network.parameters().iter().filter(|p| p.role == Role::BatchesTracked) {
        parameter.place.of_mut(&mut weights).fill(1.0);
    }
    Model {
        preset: "cnn-bn".into(),
        weights,
        network,
        classes: (0..10).map(|class| format!("class {class}")).collect(),
        mean: vec![0.286],
        std: vec![0.353],
        multi_label: false,
        preparation: None,
    }
}

/// A directory with a model, and its weights as PyTorch saves them.
fn scratch() -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::create_dir(directory.path().join("cache")).unwrap();
    let (model, at) = (example(), |name: &str| directory.path().join(name));
    model.save(&at("model.safetensors")).unwrap();
    let tensors = model.network.entries(&model.weights, "");
    let bytes = model::tensors::safetensors_bytes(&[].into(), &tensors);
    std::fs::write(at("torch.safetensors"), bytes).unwrap();
    directory
}

fn export(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bobbin"));
    command.arg("export").env("BOBBIN_CACHE", directory.join("cache"));
    command.current_dir(directory).args(arguments).output().unwrap()
}

fn printed(output: Output) -> String {
    let problem = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*problem), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_file_is_that_of_the_library() {
    let (directory, model) = (scratch(), example());
    let (path, out) = (directory.path(), directory.path().join("out.onnx"));
    let say = printed(export(path, &["--weights", ".", "--onnx", "out.onnx"]));
    let words = ["out.onnx, cnn-bn: image [batch, 1, 28, 28]", "as in training", "[batch, 10]"];
    assert!(words.iter().all(|word| say.contains(word)), "{say}");
    assert!(std::fs::read(&out).unwrap() == model.to_onnx(false).unwrap());

    // Whole or not at all, and nothing is replaced unasked.
    let again = export(path, &["--weights", ".", "--onnx", "out.onnx", "--fold-batch-norm"]);
    let problem = String::from_utf8(again.stderr).unwrap();
    assert_eq!((again.status.code(), problem.lines().count()), (Some(1), 1));
    assert!(problem.contains("out.onnx: exists; --force replaces it"), "{problem}");
    assert!(std::fs::read(&out).unwrap() == model.to_onnx(false).unwrap());
    let force = ["--weights", ".", "--onnx", "out.onnx", "--fold-batch-norm", "--force"];
    printed(export(path, &force));
    assert!(std::fs::read(&out).unwrap() == model.to_onnx(true).unwrap());
    assert_eq!(names(path), ["cache", "model.safetensors", "out.onnx", "torch.safetensors"]);
}

/// The graph is the same in f32, and the message, the description and the metadata say of what.
#[test]
fn a_network_trained_in_bf16_is_exported_in_f32() {
    let (directory, mut model) = (scratch(), example());
    model.network = model.network.in_precision(Precision::Bf16);
    model.save(&directory.path().join("model.safetensors")).unwrap();
    let say = printed(export(directory.path(), &["--weights", ".", "--onnx", "out.onnx"]));
    assert!(say.contains("[batch, 10], in f32 though it was trained in bf16"), "{say}");
    let written = std::fs::read(directory.path().join("out.onnx")).unwrap();
    let has = |words: &str| written.windows(words.len()).any(|bytes| bytes == words.as_bytes());
    assert!(has("products of bfloat16 numbers; here all is float32") && has("precision"));
    let plain = example().to_onnx(false).unwrap();
    // Nodes and weights, before the metadata, are the same but for the description in front of them.
    assert!(written.len() < plain.len() + 200);
}

/// The bundled data set.
const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/fashion-mnist");

/// Weights without a word about them are for the data set, here the bundled one.
#[test]
fn weights_of_pytorch() {
    let directory = scratch();
    let torch = ["--weights", "torch.safetensors", "--data", BUNDLED, "--onnx", "out.onnx"];
    let given = [&torch[..], &["--normalize", "0.286,0.353"]].concat();
    let say = printed(export(directory.path(), &given));
    assert!(say.contains("cnn-bn: ") && say.contains("as given by --normalize"), "{say}");
    let written = std::fs::read(directory.path().join("out.onnx")).unwrap();
    let named = |name: &str| written.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    assert!(named("Ankle boot") && !named("class 9"));
}

/// A network that is no preset is that of a recipe.
#[test]
fn weights_of_pytorch_for_the_layers_of_a_recipe() {
    let directory = scratch();
    let layers = layers![flatten(), linear(10).named("head")];
    let network = Network::new([1, 28, 28], &layers).unwrap();
    let weights = network.initialise(5, Init::Pytorch);
    let bytes = model::tensors::safetensors_bytes(&[].into(), &network.entries(&weights, ""));
    std::fs::write(directory.path().join("own.safetensors"), bytes).unwrap();
    let recipe = "[model]\nlayers = [{ kind = 'flatten' }, { kind = 'linear', name = 'head' }]\n";
    std::fs::write(directory.path().join("own.toml"), recipe).unwrap();
    let weights = ["--weights", "own.safetensors", "--data", BUNDLED];
    let arguments = [&weights[..], &["--normalize", "0,1", "--onnx", "out.onnx"]].concat();
    let output = export(directory.path(), &arguments);
    let problem = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(problem.contains("no preset has these weights for images of 1×28×28"), "{problem}");
    let given = [&arguments[..], &["--model", "own.toml"]].concat();
    let say = printed(export(directory.path(), &given));
    assert!(say.contains("out.onnx, custom: image [batch, 1, 28, 28]"), "{say}");
}

/// Of a network that has not been trained, or whose training left them out.
#[test]
fn statistics_of_no_batch_are_warned_of() {
    let (directory, mut model) = (scratch(), example());
    model.weights = model.network.initialise(5, Init::Pytorch);
    model.save(&directory.path().join("model.safetensors")).unwrap();
    let output = export(directory.path(), &["--weights", ".", "--onnx", "out.onnx"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.lines().count()), (Some(0), 1), "{message}");
    let words =
        "warning: ./model.safetensors: the running statistics of batch norm 1 are of no batch";
    assert!(message.starts_with(words), "{message}");
}

#[test]
fn refusals_leave_nothing() {
    let directory = scratch();
    let path = directory.path();
    std::fs::write(path.join("text"), "this is not a safetensors file").unwrap();
    let whole = std::fs::read(path.join("model.safetensors")).unwrap();
    std::fs::write(path.join("cut"), &whole[..whole.len() / 2]).unwrap();
    let before = names(path);
    let to = ["--onnx", "out.onnx"];
    let of_torch = |model| {
        ["--weights", "torch.safetensors", "--data", BUNDLED, to[0], to[1], "--model", model]
    };
    let [vgg, alexnet, none] = ["vgg", "alexnet", "none.toml"].map(of_torch);
    for (code, arguments, words) in [
        (1, &["--weights", "nothing", to[0], to[1]][..], "nothing: cannot read: No such file"),
        (1, &["--weights", "text", to[0], to[1]], "text: not a safetensors file"),
        (1, &["--weights", "cut", to[0], to[1]], "cut: truncated or damaged"),
        (
            1,
            &["--weights", ".", "--onnx", "no/out.onnx"],
            "no/out.onnx: cannot write: the directory no does not exist",
        ),
        (1, &["--weights", ".", "--onnx", ".", "--force"], "cannot write: "),
        (
            2,
            &["--weights", ".", "--onnx", "model.safetensors", "--force"],
            "model.safetensors is the file of the weights",
        ),
        (2, &["--weights", ".", to[0], to[1], "--model", "vgg"], "--model: "),
        (
            1,
            &vgg,
            "torch.safetensors: parameter `0.weight` has shape [16, 1, 5, 5]: expected [64, 1, 3, 3]",
        ),
        (2, &alexnet, "unknown model `alexnet`: expected lenet, lenet-li"),
        (2, &none, "--model: none.toml: cannot read the recipe"),
    ] {
        let output = export(path, arguments);
        let problem = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{problem}");
        assert!(problem.starts_with("error: ") && problem.contains(words), "{words}: {problem}");
        assert_eq!((problem.lines().count(), output.stdout.len()), (1, 0), "{problem}");
        assert_eq!(names(path), before, "{problem}");
    }
    let nothing = export(path, &[]);
    assert_eq!((nothing.status.code(), names(path)), (Some(2), before));
}

/// Nobody knows the temporary file that it would have been at first.
#[test]
fn a_directory_that_does_not_exist_is_named() {
    let directory = scratch();
    let output = export(directory.path(), &["--weights", ".", "--onnx", "none/out.onnx"]);
    let message = String::from_utf8(output.stderr).unwrap();
    let expected = "error: none/out.onnx: cannot write: the directory none does not exist\n";
    assert_eq!((output.status.code(), &*message), (Some(1), expected));
}
