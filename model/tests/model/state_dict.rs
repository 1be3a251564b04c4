//! Weights that others saved: PyTorch's `state_dict` has names and shapes, and says nothing else.

use files::FileError;
use model::tensors::*;
use model::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::path::Path;
use tempfile::TempDir;

/// Name, type, shape and bytes of a tensor.
pub type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

pub fn network(preset_name: &str, classes: usize) -> Network {
    Network::new([1, 28, 28], &preset(preset_name, classes).unwrap()).unwrap()
}

/// What `safetensors.torch.save_file(net.state_dict(), path)` writes.
pub fn saved_from_torch(network: &Network, weights: &[f32]) -> Vec<Tensor> {
    let tensor = |entry: Entry<'_>| match entry.values {
        Values::F32(values) => {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (entry.name, Dtype::F32, entry.shape, bytes)
        }
        Values::I64(values) => {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (entry.name, Dtype::I64, entry.shape, bytes)
        }
    };
    network.entries(weights, "").into_iter().map(tensor).collect()
}

fn write(path: &Path, tensors: &[Tensor], metadata: &[(&str, &str)]) {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let entries = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let metadata = entries.collect::<HashMap<_, _>>();
    std::fs::write(path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
}

/// Reads a file of these tensors and does something with it.
pub fn with<T>(tensors: &[Tensor], work: impl FnOnce(&TensorFile) -> T) -> T {
    with_metadata(tensors, &[("format", "pt")], work)
}

fn with_metadata<T>(
    tensors: &[Tensor],
    metadata: &[(&str, &str)],
    work: impl FnOnce(&TensorFile) -> T,
) -> T {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("torch.safetensors");
    write(&path, tensors, metadata);
    work(&TensorFile::read(&path).unwrap())
}

fn usage() -> Usage {
    Usage { input: [1, 28, 28], classes: None, mean: vec![0.3], std: vec![0.4] }
}

/// The last line of the model's tests: a problem in one line that has these words.
pub fn refused<T>(result: Result<T, FileError>, words: &[&str]) {
    let problem = result.err().expect("a file of another network").to_string();
    assert!(words.iter().all(|word| problem.contains(word)), "{words:?}: {problem}");
    assert!(!problem.contains('\n'), "{problem}");
}

#[test]
fn the_preset_is_found_by_its_names_and_shapes() {
    for (name, _) in PRESETS {
        // Their images are larger, and the file of one has half a gigabyte.
        if ["vgg11-bn", "densenet121"].contains(&name) {
            continue;
        }
        let network = network(name, 13);
        let weights = network.initialise(5, Init::Pytorch);
        with(&saved_from_torch(&network, &weights), |file| {
            assert!(!Model::is_in(file));
            let found = StateDict::of(file).matching_preset([1, 28, 28]).unwrap();
            assert_eq!(found.name, name);
            let model = Model::from_state_dict(file, &found, usage()).unwrap();
            assert_eq!((&model.preset[..], &model.network), (name, &network));
            assert_eq!(model.weights[..], weights[..]);
            assert_eq!(model.classes[12], "12");
            let names: Vec<String> = (0..13).map(|i| format!("class {i}")).collect();
            let named = Usage { classes: Some(names.clone()), ..usage() };
            assert_eq!(Model::from_state_dict(file, &found, named).unwrap().classes, names);

            refused(Model::from_tensors(file), &["no `", "not a model of Bobbin"]);
            let other = if name == "vgg" { "resnet" } else { "vgg" };
            let other = Architecture::preset(other).unwrap();
            refused(Model::from_state_dict(file, &other, usage()), &["parameter", "; and "]);
        });
    }
    Architecture::preset("alexnet").unwrap_err();
}

#[test]
fn what_is_no_preset_is_compared_with_the_nearest() {
    let network = network("lenet-li", 10);
    let mut tensors = saved_from_torch(&network, &network.initialise(5, Init::Pytorch));
    let find = |file: &TensorFile, input| StateDict::of(file).matching_preset(input);
    let nearest =
        ["the nearest is lenet-li", "`fc1.weight` has shape [120, 192]: expected [120, 300]"];
    refused(with(&tensors, |file| find(file, [1, 32, 32])), &nearest);
    refused(with(&tensors, |file| find(file, [1, 0, 0])), &["no preset is for images of 1×0×0"]);
    tensors[0].0 = "first.weight".into();
    let words = [
        "no preset has these weights for images of 1×28×28; the nearest is lenet-li",
        "parameter `conv1.weight` is missing; `first.weight` is not a parameter",
    ];
    refused(with(&tensors, |file| find(file, [1, 28, 28])), &words);
}

/// A network that is no preset, with its number of classes open.
#[test]
fn layers_may_be_given() {
    let layers: LayerList = serde_json::from_str(
        r#"[{"kind": "conv", "outputs": 4, "kernel": 3, "stride": 2}, {"kind": "relu"},
            {"kind": "flatten"}, {"kind": "linear", "name": "head"}, {"kind": "dropout"}]"#,
    )
    .unwrap();
    let network = Network::new([1, 28, 28], &layers.layers(6)).unwrap();
    let weights = network.initialise(5, Init::Pytorch);
    let own = Architecture { name: CUSTOM.into(), layers };
    with(&saved_from_torch(&network, &weights), |file| {
        let model = Model::from_state_dict(file, &own, usage()).unwrap();
        assert_eq!((&model.network, model.classes.len()), (&network, 6));
        let small = Usage { input: [1, 2, 2], ..usage() };
        refused(Model::from_state_dict(file, &own, small), &["layer 0 (convolution", "fit"]);
    });
}

/// Weights in other types than ours, whose values 32 bits hold or are rounded to.
#[test]
fn types_are_converted() {
    let network = network("cnn-bn", 3);
    let architecture = Architecture::preset("cnn-bn").unwrap();
    let mut weights = network.initialise(5, Init::Pytorch);
    // Seven bits of a fraction: every type holds them.
    weights
        .iter_mut()
        .for_each(|w| *w = f32::from_bits(w.to_bits() & 0xffff_0000).clamp(0.01, 9.0));
    weights.iter_mut().for_each(|w| *w = f32::from_bits(w.to_bits() & 0xffff_0000));
    let original = saved_from_torch(&network, &weights);
    let converted = |dtype, convert: fn(f32) -> Vec<u8>| {
        let mut tensors = original.clone();
        for tensor in tensors.iter_mut().filter(|t| t.1 == Dtype::F32) {
            let floats = tensor.3.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
            (tensor.1, tensor.3) = (dtype, floats.flat_map(convert).collect());
        }
        with(&tensors, |file| Model::from_state_dict(file, &architecture, usage()))
    };
    let f16 = |v: f32| {
        let (exponent, fraction) = ((v.to_bits() >> 23) - 112, v.to_bits() >> 13 & 1023);
        ((exponent << 10 | fraction) as u16).to_le_bytes().to_vec()
    };
    let bf16 = |v: f32| ((v.to_bits() >> 16) as u16).to_le_bytes().to_vec();
    let expected = with(&original, |file| Model::from_state_dict(file, &architecture, usage()));
    let expected = expected.unwrap().weights;
    for model in [
        converted(Dtype::F64, |v| (f64::from(v) * (1.0 + 1e-12)).to_le_bytes().to_vec()),
        converted(Dtype::F16, f16),
        converted(Dtype::BF16, bf16),
    ] {
        assert_eq!(model.unwrap().weights[..], expected[..]);
    }
    let integers = converted(Dtype::I32, |v| (v as i32).to_le_bytes().to_vec());
    refused(integers, &["`0.weight` has type I32: expected F32, F64, F16 or BF16"]);
}

#[test]
fn what_wrapping_and_old_versions_change() {
    let network = network("cnn-bn", 3);
    let architecture = Architecture::preset("cnn-bn").unwrap();
    let weights = network.initialise(5, Init::Pytorch);
    let mut tensors = saved_from_torch(&network, &weights);
    let model = |tensors: &[Tensor]| {
        with(tensors, |file| Model::from_state_dict(file, &architecture, usage()))
    };
    let whole = tensors.clone();
    tensors.retain(|tensor| !tensor.0.ends_with("num_batches_tracked"));
    assert_eq!(model(&tensors).unwrap().weights[..], weights[..]);
    for wrapper in [
        "module.",
        "_orig_mod.",
        "_orig_mod.module.",
        "module._orig_mod.",
        "module.module.",
        "model.",
        "net.",
        "model.net._orig_mod.",
        // Numbers are names as well.
        "0.",
        "0.0.",
    ] {
        let wrap = |tensors: &[Tensor]| -> Vec<Tensor> {
            let mut wrapped = tensors.to_vec();
            wrapped.iter_mut().for_each(|tensor| tensor.0.insert_str(0, wrapper));
            wrapped
        };
        assert_eq!(model(&wrap(&whole)).unwrap().weights[..], weights[..], "{wrapper}");
        let mut wrapped = wrap(&tensors);
        assert_eq!(model(&wrapped).unwrap().weights[..], weights[..], "{wrapper}");
        let found = with(&wrapped, |file| StateDict::of(file).matching_preset([1, 28, 28]));
        assert_eq!(found.unwrap().name, "cnn-bn", "{wrapper}");
        // `torch.optim.swa_utils.AveragedModel` counts, and what is around it may be wrapped again.
        for counter in ["n_averaged", "_orig_mod.n_averaged"] {
            let mut averaged = wrapped.clone();
            averaged.push((counter.into(), Dtype::I64, vec![], vec![3, 0, 0, 0, 0, 0, 0, 0]));
            assert_eq!(model(&averaged).unwrap().weights[..], weights[..], "{wrapper}{counter}");
        }
        wrapped.push(("other".into(), Dtype::F32, vec![1], vec![0; 4]));
        refused(model(&wrapped), &["is missing", "; and "]);
    }
    tensors.retain(|tensor| tensor.0 != "1.running_var");
    refused(model(&tensors), &["parameter `1.running_var` is missing"]);
}

/// A prefix is left out where that makes names fit, not because it looks like one.
#[test]
fn a_layer_may_be_called_as_a_wrapper_is() {
    let layers = layers![flatten(), linear(4).named("model")];
    let network = Network::new([1, 5, 5], &layers).unwrap();
    let weights = network.initialise(5, Init::Pytorch);
    let mut tensors = saved_from_torch(&network, &weights);
    for _ in 0..3 {
        let read = with(&tensors, |file| StateDict::of(file).weights(&network));
        assert_eq!(read.unwrap()[..], weights[..]);
        tensors.iter_mut().for_each(|tensor| tensor.0.insert_str(0, "model."));
    }
    // What some names have and others have not is no prefix.
    tensors[0].0 = "model.weight".into();
    let read = with(&tensors, |file| StateDict::of(file).weights(&network));
    refused(read, &["`model.model.model.model.bias` is not a parameter"]);
}

/// `load_state_dict` takes any number for the count of batches, alone or as a list of one.
#[test]
fn counters_of_any_type() {
    let network = network("cnn-bn", 3);
    let mut expected = network.initialise(5, Init::Pytorch);
    for parameter in network.parameters().iter().filter(|p| p.role == Role::BatchesTracked) {
        parameter.place.of_mut(&mut expected).fill(100.0);
    }
    let original = saved_from_torch(&network, &expected);
    let read = |shape: &[usize], dtype: Dtype, bytes: &[u8]| {
        let mut tensors = original.clone();
        for tensor in tensors.iter_mut().filter(|t| t.0.ends_with("num_batches_tracked")) {
            (tensor.1, tensor.2, tensor.3) = (dtype, shape.to_vec(), bytes.to_vec());
        }
        with(&tensors, |file| StateDict::of(file).weights(&network))
    };
    for shape in [&[][..], &[1]] {
        for (dtype, bytes) in [
            (Dtype::I64, &100i64.to_le_bytes()[..]),
            (Dtype::I32, &100i32.to_le_bytes()),
            (Dtype::I16, &100i16.to_le_bytes()),
            (Dtype::I8, &[100]),
            (Dtype::U64, &100u64.to_le_bytes()),
            (Dtype::U32, &100u32.to_le_bytes()),
            (Dtype::U16, &100u16.to_le_bytes()),
            (Dtype::U8, &[100]),
            (Dtype::F64, &100.9f64.to_le_bytes()),
            (Dtype::F32, &100f32.to_le_bytes()),
            (Dtype::F16, &0x5640u16.to_le_bytes()),
            (Dtype::BF16, &0x42c8u16.to_le_bytes()),
        ] {
            assert_eq!(read(shape, dtype, bytes).unwrap()[..], expected[..], "{dtype:?} {shape:?}");
        }
    }
    let name = "parameter `1.num_batches_tracked` has";
    refused(read(&[2], Dtype::I64, &[0; 16]), &[name, "shape [2]: expected []"]);
    refused(read(&[1, 1], Dtype::I64, &[0; 8]), &[name, "shape [1, 1]: expected []"]);
    refused(read(&[], Dtype::BOOL, &[1]), &[name, "type BOOL: expected an integer type, F32"]);
}

/// Metadata are the user's own, unless they are all that a model of Bobbin has.
#[test]
fn keys_of_ones_own_are_not_bobbins() {
    let network = network("lenet", 3);
    let weights = network.initialise(5, Init::Pytorch);
    let tensors = saved_from_torch(&network, &weights);
    let own = [("model", "my net"), ("classes", "3"), ("checkpoint", "7"), ("input", "28×28")];
    let architecture = Architecture::preset("lenet").unwrap();
    let model = with_metadata(&tensors, &own, |file| {
        assert!(!Model::is_in(file));
        assert_eq!(Description::read(file.path()).unwrap(), None);
        Model::from_state_dict(file, &architecture, usage())
    });
    assert_eq!(model.unwrap().weights[..], weights[..]);
}
