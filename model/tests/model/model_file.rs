//! The file of a trained model: PyTorch's names, and the same bytes every time.

use crate::files::{Contents, SMALL, example, load, place, saved};
use autograd::{Tape, Tensor, Workspace};
use files::FileError;
use kernels::{Isa, Precision};
use model::tensors::*;
use model::*;
use reference::uniform;
use safetensors::{Dtype, SafeTensors};

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
    for name in SMALL {
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
        assert_eq!((metadata.len(), text("model"), text("input")), (6, name, "3,28,20"));
        assert_eq!(text("normalize.mean"), "0.3333333333333333,0.286,0.1");
        assert_eq!(text("normalize.std"), "0.353,0.001,2");
        assert_eq!(text("classes"), r#"["T-shirt/top","a \"b\"\\\n, c","Füße 鞋"]"#);
    }
}

#[test]
fn the_same_model_is_the_same_bytes_and_comes_back() {
    for name in SMALL {
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
            let mut memory = Workspace::default();
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
    let body = layers![conv2d(4, 3).padding(1).no_bias(), batch_norm2d()];
    let layers = layers![
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

    // For other data the number of classes is open.
    let (_directory, path) = place();
    std::fs::write(&path, &bytes).unwrap();
    let description = Description::read(&path).unwrap().unwrap();
    assert_eq!(description.architecture.name, CUSTOM);
    let mut wider = layers.clone();
    wider[6] = linear(8).named("head");
    assert_eq!(description.architecture.layers.layers(8), wider);
    assert_eq!(description.architecture.layers.layers(3), layers);

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

/// Known or not; a file without a word of it is the file that it always was.
#[test]
fn how_pictures_were_prepared_comes_back() {
    let plain = example("lenet", [1, 16, 16]);
    assert_eq!(load(&saved(&plain)).unwrap().preparation, None);
    for invert in [false, true] {
        for fit in Fit::ALL {
            let preparation = Some(Preparation::new(invert, fit));
            let model = Model { preparation, ..plain.clone() };
            let bytes = saved(&model);
            assert_eq!(load(&bytes).unwrap().preparation, preparation);
            let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
            let metadata = header.metadata().as_ref().unwrap();
            assert_eq!(metadata["prepare.invert"], invert.to_string());
            assert_eq!(metadata["prepare.fit"], fit.to_string());
        }
    }
    for (key, value) in [("prepare.invert", "auto"), ("prepare.fit", "fill")] {
        let change = |f: &mut Contents| drop(f.metadata.insert(key.into(), value.into()));
        let problem = Contents::problem(&plain, change);
        assert!(problem.contains(&format!("`{key}` is `{value}`")), "{problem}");
    }
}

/// Of `f32` nothing is said, so that a file without a word of it is the file that it always was.
#[test]
fn the_precision_comes_back() {
    let plain = example("lenet", [1, 16, 16]);
    let of = |network| Model { network, ..plain.clone() };
    assert!(saved(&of(plain.network.clone().in_precision(Precision::F32))) == saved(&plain));
    let model = of(plain.network.clone().in_precision(Precision::Bf16));
    let bytes = saved(&model);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["precision"], "bf16");
    let back = load(&bytes).unwrap();
    assert_eq!(back.network, model.network);
    assert_ne!(back.network, plain.network);
    assert!(saved(&back) == bytes);
    let (_directory, path) = place();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(Description::read(&path).unwrap().unwrap().precision, Precision::Bf16);
    let said = |word: &str| {
        Contents::problem(&plain, |file| {
            drop(file.metadata.insert("precision".into(), word.into()));
        })
    };
    assert!(said("fp16").contains("metadata `precision` is `fp16`: expected f32, bf16, or none"));
}

/// Files that were compared by their bytes stay comparable: FNV-1a of those of the first version, which had no
/// hash in them.
#[test]
fn the_bytes_of_a_model_stay_as_they_were() {
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    let hash = |preset, input| fnv(&without_hash(&saved(&example(preset, input))).unwrap());
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
