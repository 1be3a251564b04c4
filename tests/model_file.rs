//! The file of a trained model: PyTorch's names, the same bytes every time, and no surprise for
//! whoever reads a damaged one.

use autograd::{Memory, Tape, Tensor};
use kernels::Isa;
use kernels::reference::uniform;
use model::{
    FileError, Init, Model, Network, PRESETS, TensorFile, avg_pool2d, batch_norm2d, conv2d,
    dropout, flatten, leaky_relu, linear, preset, residual, safetensors_bytes,
};
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use tempfile::TempDir;

fn example(name: &str, input: [usize; 3]) -> Model {
    let network = Network::new(input, &preset(name, 3).unwrap()).unwrap();
    let mut weights = network.initialise(5, Init::Pytorch);
    for parameter in network.parameters().iter().filter(|p| !p.role.is_trained()) {
        let values = parameter.place.of_mut(&mut weights);
        let noise: Vec<f32> = uniform(values.len(), 1);
        values.iter_mut().zip(noise).for_each(|(v, n)| *v = 1.0 + 0.5 * n);
        if parameter.shape.is_empty() {
            values[0] = 4711.0;
        }
    }
    Model {
        preset: name.into(),
        network,
        weights,
        classes: vec!["T-shirt/top".into(), "a \"b\"\\\n, c".into(), "Füße 鞋".into()],
        mean: [1.0 / 3.0, 0.286, 0.1][..input[0]].to_vec(),
        std: [0.353, 1e-3, 2.0][..input[0]].to_vec(),
    }
}

/// A path in a directory of its own.
fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("model.safetensors");
    (directory, path)
}

fn saved(model: &Model) -> Vec<u8> {
    let (_directory, path) = place();
    model.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn load(bytes: &[u8]) -> Result<Model, String> {
    let (_directory, path) = place();
    std::fs::write(&path, bytes).unwrap();
    Model::load(&path).map_err(|error| {
        let message = error.to_string();
        let problem = message.strip_prefix(&format!("{}: ", path.display()));
        let problem = problem.unwrap_or_else(|| panic!("no path in {message}"));
        assert!(!message.contains(char::is_control), "more than a line: {message:?}");
        problem.to_owned()
    })
}

#[test]
fn lenet_has_the_names_and_shapes_of_the_paper() {
    let bytes = saved(&example("lenet", [1, 28, 28]));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let expected: [(&str, &[usize]); 10] = [
        ("conv1.weight", &[6, 1, 5, 5]),
        ("conv1.bias", &[6]),
        ("conv2.weight", &[16, 6, 5, 5]),
        ("conv2.bias", &[16]),
        ("fc1.weight", &[120, 256]),
        ("fc1.bias", &[120]),
        ("fc2.weight", &[84, 120]),
        ("fc2.bias", &[84]),
        ("fc3.weight", &[3, 84]),
        ("fc3.bias", &[3]),
    ];
    assert_eq!(file.len(), expected.len());
    for (name, shape) in expected {
        let tensor = file.tensor(name).unwrap();
        assert_eq!((tensor.shape(), tensor.dtype()), (shape, Dtype::F32), "{name}");
    }
}

/// `nn.Sequential` counts every module; a residual block has a body and a shortcut.
#[test]
fn sequential_networks_have_indices() {
    let names = |preset: &str| -> Vec<String> {
        let model = example(preset, [1, 28, 28]);
        model.network.parameters().iter().map(|p| p.name.clone()).collect()
    };
    let norm = |layer: &str| {
        ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
            .map(|part| format!("{layer}.{part}"))
    };
    let affine = |layer: &str| ["weight", "bias"].map(|part| format!("{layer}.{part}"));
    let cnn_bn = [&affine("0")[..], &norm("1"), &affine("4"), &norm("5"), &affine("9")].concat();
    assert_eq!(names("cnn-bn"), cnn_bn);
    let vgg = names("vgg");
    for layer in [0, 3, 7, 10, 14, 17] {
        assert!(vgg.contains(&format!("{layer}.weight")), "{layer}");
        assert!(!vgg.contains(&format!("{layer}.bias")), "{layer}");
        assert!(norm(&(layer + 1).to_string()).iter().all(|name| vgg.contains(name)), "{layer}");
    }
    assert!(vgg.ends_with(&affine("22")));
    let resnet = names("resnet");
    let stem = [&["0.weight".to_owned()][..], &norm("1"), &["3.body.0.weight".to_owned()]].concat();
    assert!(resnet.starts_with(&stem));
    // Convolutions at 0 and 3 of a body, batch norms at 1 and 4; a ReLU between them.
    for block in 3..=10 {
        for layer in [1, 4] {
            assert!(resnet.contains(&format!("{block}.body.{}.weight", layer - 1)));
            let names = norm(&format!("{block}.body.{layer}"));
            assert!(names.iter().all(|name| resnet.contains(name)), "{block} {layer}");
        }
        // Each stage but the first is entered by a stride.
        let shortcut = resnet.iter().any(|name| name.starts_with(&format!("{block}.shortcut.")));
        assert_eq!(shortcut, [5, 7, 9].contains(&block), "{block}");
    }
    assert!(resnet.contains(&"5.shortcut.0.weight".into()));
    assert!(resnet.contains(&"5.shortcut.1.running_var".into()));
    assert!(resnet.ends_with(&affine("13")));
}

#[test]
fn values_and_metadata_are_those_of_the_model() {
    for (name, _) in PRESETS {
        let model = example(name, [3, 28, 20]);
        let bytes = saved(&model);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), model.network.parameters().len());
        for parameter in model.network.parameters() {
            let tensor = file.tensor(&parameter.name).unwrap();
            assert_eq!(tensor.shape(), parameter.shape);
            let values = parameter.place.of(&model.weights);
            if parameter.shape.is_empty() {
                assert_eq!(
                    (tensor.dtype(), tensor.data()),
                    (Dtype::I64, &4711i64.to_le_bytes()[..])
                );
            } else {
                let expected: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                assert_eq!((tensor.dtype(), tensor.data()), (Dtype::F32, &expected[..]));
            }
        }
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().as_ref().unwrap();
        let text = |key: &str| metadata[key].as_str();
        assert_eq!((metadata.len(), text("model"), text("input")), (5, name, "3,28,20"));
        assert_eq!(text("normalize.mean"), "0.3333333333333333,0.286,0.1");
        assert_eq!(text("normalize.std"), "0.353,0.001,2");
        assert_eq!(text("classes"), r#"["T-shirt/top","a \"b\"\\\n, c","Füße 鞋"]"#);
    }
}

#[test]
fn the_same_model_is_the_same_bytes_and_comes_back() {
    for (name, _) in PRESETS {
        let model = example(name, [3, 28, 20]);
        let bytes = saved(&model);
        assert!(bytes == saved(&model.clone()), "{name}");
        let back = load(&bytes).unwrap();
        assert_eq!((&back.preset, &back.network), (&model.preset, &model.network));
        assert_eq!(
            (&back.classes, &back.mean, &back.std),
            (&model.classes, &model.mean, &model.std)
        );
        assert_eq!(back.weights[..], model.weights[..]);
        assert!(saved(&back) == bytes, "{name}");

        let x: Vec<f32> = uniform(2 * 3 * 28 * 20, 1);
        let logits = |model: &Model| {
            let mut memory = Memory::default();
            let mut tape = Tape::evaluation(Isa::detect(), &mut memory, &model.weights);
            let x = tape.variable(&Tensor::from_rows(&x, 2, 3, [28, 20]));
            let y = model.network.forward(&mut tape, x);
            tape.value(y).to_rows()
        };
        assert_eq!(logits(&model), logits(&back));
    }
}

/// A network that is no preset has its layers in the file.
#[test]
fn layers_of_ones_own_come_back() {
    let body = vec![conv2d(4, 3).padding(1).no_bias(), batch_norm2d()];
    let layers = [
        conv2d(4, 3).named("stem"),
        residual(body, vec![]),
        leaky_relu(0.1),
        avg_pool2d(2),
        dropout(0.3),
        flatten(),
        linear(3).named("head"),
    ];
    let network = Network::new([1, 8, 8], &layers).unwrap();
    let model = Model {
        preset: "custom".into(),
        weights: network.initialise(3, Init::He),
        network,
        ..example("lenet", [1, 16, 16])
    };
    let bytes = saved(&model);
    let back = load(&bytes).unwrap();
    assert_eq!((&back.network, &back.weights[..]), (&model.network, &model.weights[..]));
    assert!(saved(&back) == bytes);

    let metadata = |key: &str, value: &str| {
        Contents::problem(&model, |file| drop(file.metadata.insert(key.into(), value.into())))
    };
    let refused = |problem: String, words: &str| assert!(problem.contains(words), "{problem}");
    refused(metadata("layers", "["), "metadata `layers`: ");
    refused(metadata("layers", "[{\"kind\": \"x\"}]"), "layer 0 is of unknown kind \"x\"");
    refused(metadata("layers", "[]"), "the network must end in vectors");
    refused(
        metadata("classes", "[\"a\"]"),
        "layer head (linear): it gives 3 outputs for 1 classes",
    );
    refused(metadata("model", "lenet"), "does not fit");
    refused(Contents::problem(&model, |f| drop(f.metadata.remove("layers"))), "no `layers`");
    let deep = "[{\"kind\":\"residual\",\"body\":".repeat(10_000);
    refused(metadata("layers", &deep), "recursion limit");
}

/// Files that were compared by their bytes stay comparable: FNV-1a of those of the first version.
#[test]
fn the_bytes_of_a_model_stay_as_they_were() {
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    let hash = |preset, input| fnv(&saved(&example(preset, input)));
    assert_eq!(
        [hash("lenet", [1, 16, 16]), hash("cnn-bn", [3, 4, 4])],
        [9_905_424_876_654_250_301, 4_075_991_990_644_885_769]
    );
}

#[test]
fn saving_replaces_a_file_or_says_why_not() {
    let (directory, path) = place();
    let model = example("lenet", [1, 28, 28]);
    std::fs::write(&path, "something else").unwrap();
    model.save(&path).unwrap();
    Model::load(&path).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);

    let nowhere = directory.path().join("missing").join("model.safetensors");
    for error in [model.save(&nowhere).unwrap_err(), Model::load(&nowhere).unwrap_err()] {
        let FileError::Io { path, .. } = &error else { panic!("{error}") };
        assert_eq!(*path, nowhere);
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

/// Name, type, shape and bytes of a tensor.
type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

/// The tensors and metadata of a file, to be written again with changes.
struct Contents {
    tensors: Vec<Entry>,
    metadata: HashMap<String, String>,
}

impl Contents {
    fn of(model: &Model) -> Contents {
        Contents::read(&saved(model))
    }

    fn read(bytes: &[u8]) -> Contents {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, tensor)| {
            (name, tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec())
        });
        let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        Contents { tensors: tensors.collect(), metadata }
    }

    fn bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, dtype, shape, data)| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    /// The problem that is found after this change.
    fn problem(model: &Model, change: impl FnOnce(&mut Contents)) -> String {
        let mut contents = Contents::of(model);
        change(&mut contents);
        load(&contents.bytes()).expect_err("a change must be found")
    }
}

#[test]
fn files_of_others_are_refused_with_a_reason() {
    let model = example("cnn-bn", [1, 8, 8]);
    load(&Contents::of(&model).bytes()).unwrap();
    let metadata = |key: &str, value: &str| {
        Contents::problem(&model, |file| drop(file.metadata.insert(key.into(), value.into())))
    };
    let refused = |problem: String, words: &[&str]| {
        assert!(words.iter().all(|word| problem.contains(word)), "{words:?}: {problem}");
    };
    refused(Contents::problem(&model, |f| f.metadata.clear()), &["no `", "not a model of Bobbin"]);
    for key in ["model", "input", "classes", "normalize.mean", "normalize.std"] {
        let problem = Contents::problem(&model, |f| drop(f.metadata.remove(key)));
        refused(problem, &[&format!("no `{key}`")]);
    }
    refused(metadata("model", "alexnet"), &["alexnet", "lenet, lenet-li, cnn-bn"]);
    refused(metadata("model", "two\nlines"), &["unknown model"]);
    for input in ["1,8", "1,8,-8", "1,8,8.5", "1,8,inf", "1,8,", "1,8,1e3", "x"] {
        refused(metadata("input", input), &["`input`", input]);
    }
    refused(metadata("input", "1,8,0"), &["nothing to compute"]);
    refused(metadata("input", "1,4294967295,4294967295"), &["too large"]);
    refused(metadata("input", "4000000,8,8"), &["too large"]);
    // Found in the header, before room is made for weights of 400 MB.
    refused(metadata("input", "1,4000,4000"), &["`9.weight` has shape [3, 128]"]);
    refused(metadata("classes", "{}"), &["`classes`"]);
    refused(metadata("classes", "[]"), &["at least one output"]);
    refused(metadata("classes", r#"["a"]"#), &["`9.weight` has shape [3, 128]", "[1, 128]"]);
    for numbers in ["", "nan", "0.5,", "a"] {
        refused(metadata("normalize.mean", numbers), &["`normalize.mean`", numbers]);
    }
    refused(
        metadata("normalize.mean", "1,2"),
        &["`normalize.mean`", "a number, or one per channel"],
    );
    refused(metadata("normalize.std", "0"), &["`normalize.std`", "positive"]);
    refused(metadata("normalize.std", "-1"), &["`normalize.std`", "positive"]);

    let at = |file: &Contents, name: &str| file.tensors.iter().position(|t| t.0 == name).unwrap();
    let change = |name: &str, change: fn(&mut Entry)| {
        Contents::problem(&model, |file| {
            let at = at(file, name);
            change(&mut file.tensors[at]);
        })
    };
    refused(
        Contents::problem(&model, |f| drop(f.tensors.remove(at(f, "5.running_var")))),
        &["`5.running_var` is missing"],
    );
    refused(change("0.bias", |t| t.0 = "0.bïas\n".into()), &["`0.bias` is missing"]);
    let more = ("more\n".to_owned(), Dtype::F32, vec![1], vec![0; 4]);
    refused(Contents::problem(&model, |f| f.tensors.push(more)), &["not a parameter"]);
    refused(change("0.weight", |t| t.2 = vec![16, 25]), &["[16, 25]", "[16, 1, 5, 5]"]);
    refused(change("0.bias", |t| t.1 = Dtype::I32), &["`0.bias` has type I32", "F32"]);
    refused(
        change("1.num_batches_tracked", |t| (t.1, t.3) = (Dtype::F64, vec![0; 8])),
        &["has type F64", "I64"],
    );
}

/// What is damaged.
static FILES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is done to a file, it is read or refused in one line (see [`load`]).
    #[test]
    fn damage_is_survived(
        small in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        in_header in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
        insert in prop::option::of((any::<prop::sample::Index>(), "[0-9a-z,\\\\\"\\]}]{1,4}")),
    ) {
        let files = FILES.get_or_init(|| {
            [("lenet", [1, 16, 16]), ("cnn-bn", [1, 4, 4])].map(|(p, input)| saved(&example(p, input)))
        });
        let mut bytes = files[usize::from(small)].clone();
        let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        for (at, byte) in changes {
            let at = at.index(if in_header { header } else { bytes.len() });
            bytes[at] = byte;
        }
        if let Some((at, text)) = insert {
            let at = at.index(header);
            bytes.splice(at..at, text.bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(load(&bytes).is_err());
        } else {
            let _ = load(&bytes);
        }
    }

    #[test]
    fn anything_else_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(load(&bytes).is_err());
    }
}

/// A checkpoint of this model with averaged weights, all a half, and an optimiser's state.
fn checkpoint(model: &Model, averaged: bool) -> Vec<u8> {
    let mut metadata = model.metadata();
    metadata.insert("checkpoint".into(), "{}".into());
    let (half, moments) = (vec![0.5; model.network.len()], vec![2.0; model.network.trained_len()]);
    let mut tensors = model.network.entries(&model.weights, "");
    tensors.extend(model.network.entries(&moments, "optimizer.exp_avg."));
    if averaged {
        tensors.extend(model.network.entries(&half, "ema."));
    }
    safetensors_bytes(&metadata, &tensors)
}

#[test]
fn a_checkpoint_is_a_model_with_its_averaged_weights() {
    let model = example("cnn-bn", [1, 8, 8]);
    let plain = load(&checkpoint(&model, false)).unwrap();
    assert_eq!(plain.weights[..], model.weights[..]);
    let averaged = load(&checkpoint(&model, true)).unwrap();
    for parameter in averaged.network.parameters() {
        let value = if parameter.shape.is_empty() { 0.0 } else { 0.5 };
        assert!(parameter.place.of(&averaged.weights).iter().all(|v| *v == value));
    }
    // Its parts, for whoever goes on training.
    let (_directory, path) = place();
    std::fs::write(&path, checkpoint(&model, true)).unwrap();
    let (file, network) = (TensorFile::read(&path).unwrap(), &model.network);
    assert_eq!(file.buffer(network, "", network.len()).unwrap()[..], model.weights[..]);
    let moments = file.buffer(network, "optimizer.exp_avg.", network.trained_len()).unwrap();
    assert_eq!(moments.len(), network.trained_len());
    assert!(
        network
            .parameters()
            .iter()
            .filter(|p| p.role.is_trained())
            .all(|p| { p.place.of(&moments).iter().all(|v| *v == 2.0) })
    );
    let error = file.buffer(network, "optimizer.exp_avg_sq.", network.trained_len()).unwrap_err();
    assert!(error.to_string().contains("`optimizer.exp_avg_sq.0.weight` is missing"), "{error}");

    // Without the key they are the parameters of another network, and others always are.
    let refused = |change: &dyn Fn(&mut Contents)| {
        let mut contents = Contents::read(&checkpoint(&model, true));
        change(&mut contents);
        load(&contents.bytes()).unwrap_err()
    };
    let problem = refused(&|file| drop(file.metadata.remove("checkpoint")));
    assert!(problem.contains("`ema.0.bias` is not a parameter"), "{problem}");
    let other = ("other.weight".to_owned(), Dtype::F32, vec![1], vec![0; 4]);
    let problem = refused(&|file| file.tensors.push(other.clone()));
    assert!(problem.contains("`other.weight` is not a parameter"), "{problem}");
}

/// What is no safetensors file is said to be none before its gigabytes are read.
#[test]
fn files_of_another_kind() {
    let refused = |bytes: &[u8], words: &str| {
        let problem = load(bytes).unwrap_err();
        assert!(problem.contains(words), "{words:?}: {problem}");
    };
    refused(b"", "not a safetensors file");
    refused(b"1234567", "not a safetensors file");
    refused(b"PK\x03\x04 and more", "a file of torch.save");
    refused(b"\x89PNG\r\n\x1a\n and more", "not a safetensors file");
    let whole = saved(&example("cnn-bn", [1, 4, 4]));
    for length in (0..whole.len()).step_by(97) {
        refused(&whole[..length], "a");
    }
    refused(&whole[..whole.len() - 1], "truncated or damaged");
    // Offsets whose sum wraps around to the length of the file.
    let half = (u64::MAX / 2 / 4 - 1) * 4;
    let tensor = |name: &str, start: u64| {
        let (shape, end) = (half / 4, start + half);
        format!(r#""{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[{start},{end}]}}"#)
    };
    let text = format!("{{{},{}}}", tensor("a", 0), tensor("b", half));
    refused(&[&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat(), "safetensors");
    #[cfg(target_os = "linux")]
    assert!(TensorFile::read("/dev/zero".as_ref()).is_err());
}
