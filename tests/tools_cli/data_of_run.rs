//! On which data set weights are measured that name none.

use crate::scratch::*;
use model::{Init, Model, Network, preset};
use std::fs;
use std::path::Path;

const UNKNOWN: &str =
    "neither the file nor a run says which data these weights are for: --data DIR";

fn run(scratch: &Scratch, arguments: &[&str]) -> String {
    succeeded(scratch.bobbin("evaluate", arguments).output().unwrap())
}

/// What was measured, without where.
fn scores(text: &str) -> &str {
    text.split_once("\n\n").unwrap().1
}

/// The run's own, be it the whole run that is named or one of its files, and whatever the working directory.
#[test]
fn a_run_is_measured_on_its_own_data() {
    let scratch = Scratch::with_data(1);
    scratch.write_set("other-", 1);
    scratch.train(&["--set", "data.prefix=other", "--out", "run"]);
    let directory = scratch.work("../data");
    let line = format!("\ndata: {}, that of the run: test images", directory.display());
    let named = run(&scratch, &["--weights", "run", "--data", "../data", "--prefix", "other"]);
    assert!(named.contains("\ndata: ../data, as given by --data: "), "{named}");
    let checkpoint = entries(&scratch.work("run/checkpoints")).pop().unwrap();
    let checkpoint = format!("run/checkpoints/{checkpoint}");
    for weights in ["run", "run/model.safetensors", &checkpoint] {
        let own = run(&scratch, &["--weights", weights]);
        assert!(own.contains(&line), "{line}: {own}");
        assert_eq!(scores(&own), scores(&named), "{weights}");
    }

    fs::rename(scratch.path("data"), scratch.path("moved")).unwrap();
    let failed = scratch.bobbin("evaluate", &["--weights", "run"]).output().unwrap();
    let message = crate::scratch::failed(1, &failed);
    for words in ["data: cannot read", "run/recipe.toml has it", "say where: --data DIR"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    run(&scratch, &["--weights", "run", "--data", "../moved", "--prefix", "other"]);
}

/// Data that were written anew since, though of the same shape and classes, are refused unless they are named.
#[test]
fn data_that_have_changed_are_refused() {
    let scratch = Scratch::with_data(1);
    scratch.train(&["--data", "../data", "--out", "run"]);
    run(&scratch, &["--weights", "run"]);
    let images = scratch.path("data").join("t10k-images-idx3-ubyte");
    let mut bytes = fs::read(&images).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&images, bytes).unwrap();
    let failed = scratch.bobbin("evaluate", &["--weights", "run"]).output().unwrap();
    let message = crate::scratch::failed(1, &failed);
    assert!(message.contains("not the data that") && message.contains("--data "), "{message}");
    run(&scratch, &["--weights", "run", "--data", "../data"]);
}

/// A file that has left its run is measured on the bundled data if it names their classes, else on none.
#[test]
fn a_file_alone_is_measured_on_what_it_names() {
    let scratch = Scratch::empty();
    let network = Network::new([1, 28, 28], &preset("lenet", 10).unwrap()).unwrap();
    let named = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion-mnist/labels.txt"),
    );
    let names: Vec<String> = named.unwrap().lines().map(str::to_owned).collect();
    let save = |file: &str, classes: Vec<String>| {
        let model = Model {
            preset: "lenet".into(),
            weights: network.initialise(1, Init::Pytorch),
            network: network.clone(),
            classes,
            mean: vec![0.286],
            std: vec![0.353],
            multi_label: false,
            preparation: None,
        };
        model.save(&scratch.work(file)).unwrap();
        model
    };
    let model = save("fashion.safetensors", names);
    save("digits.safetensors", (0..10).map(|digit| digit.to_string()).collect());
    let entries = model.network.entries(&model.weights, "");
    let torch = model::tensors::safetensors_bytes(&Default::default(), &entries);
    fs::write(scratch.work("torch.safetensors"), torch).unwrap();
    fs::write(scratch.work("picture.png"), "never read").unwrap();

    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    let bobbin = |name: &str, arguments: &[&str]| {
        let mut command = scratch.bobbin(name, arguments);
        command.env("BOBBIN_CACHE", &cache);
        command
    };
    let weights = ["--weights", "fashion.safetensors"];
    let text = succeeded(bobbin("evaluate", &weights).output().unwrap());
    assert!(text.contains("fashion-mnist, whose classes are those of the model: "), "{text}");
    for (name, arguments) in [
        ("evaluate", &["--weights", "digits.safetensors"][..]),
        ("evaluate", &["--weights", "torch.safetensors"]),
        ("predict", &["--weights", "torch.safetensors", "picture.png"]),
        ("export", &["--weights", "torch.safetensors", "--onnx", "lenet.onnx"]),
    ] {
        scratch.refuses(2, &mut bobbin(name, arguments), &[arguments[1], UNKNOWN]);
    }
}
