//! `evaluate`.

use crate::model::train;
use crate::scratch::*;
use serde_json::Value;
use std::fs;
use std::process::Stdio;

fn run(scratch: &Scratch, arguments: &[&str]) -> String {
    succeeded(scratch.bobbin("evaluate", arguments).output().unwrap())
}

fn refused(scratch: &Scratch, code: i32, arguments: &[&str], words: &[&str]) {
    scratch.refuses(code, &mut scratch.bobbin("evaluate", arguments), words);
}

#[test]
fn text_and_json_say_the_same() {
    let scratch = Scratch::with_data(1);
    scratch.write("data/labels.txt", "upper half\nleft half\nmiddle\n".as_bytes());
    train(&scratch, "lenet");
    let on_data = ["--weights", "run", "--data", "../data"];
    let text = run(&scratch, &on_data);
    let json = run(&scratch, &[&on_data[..], &["--json"]].concat());
    assert_eq!(json.lines().count(), 1);
    let json: Value = serde_json::from_str(&json).unwrap();

    assert_eq!(json["images"], 90);
    assert_eq!((&json["model"], &json["split"]), (&"lenet".into(), &"test".into()));
    assert_eq!(json["weights"], "run/model.safetensors");
    assert_eq!(json["normalize"]["mean"].as_array().unwrap().len(), 1);
    let (top1, loss) = (json["top1"].as_f64().unwrap(), json["loss"].as_f64().unwrap());
    assert!(top1 > 0.8 && top1 <= 1.0 && json["top5"] == 1.0, "{json}");
    // Three classes: the class is always among the first five.
    let totals = format!("90 images  loss {loss:.4}  top-1 {:.2} %\n", 100.0 * top1);
    assert!(text.contains(&totals) && !text.contains("top-5"), "{text}");
    let mut hits = 0;
    for (class, name) in ["upper half", "left half", "middle"].into_iter().enumerate() {
        let found = &json["classes"][class];
        assert_eq!((&found["name"], &found["support"]), (&name.into(), &30.into()));
        let numbers = ["precision", "recall", "f1"].map(|key| found[key].as_f64().unwrap());
        let [p, r, f] = numbers.map(|number| format!("{number:.4}"));
        let row = format!("{name:10}     {p}  {r}  {f}      30");
        assert!(text.contains(&row), "{row}: {text}");
        let counts = json["confusion"][class].as_array().unwrap();
        assert_eq!(counts.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 30);
        hits += counts[class].as_u64().unwrap();
    }
    assert!((hits as f64 / 90.0 - top1).abs() < 1e-12);
    assert!(text.contains("\n0 upper half"), "{text}");

    // Another split, mirrored images, threads.
    let train_split = run(&scratch, &[&on_data[..], &["--split", "train"]].concat());
    assert!(train_split.contains("300 images  loss "), "{train_split}");
    let mirrored = run(&scratch, &[&on_data[..], &["--tta", "mirror", "--json"]].concat());
    let mirrored: Value = serde_json::from_str(&mirrored).unwrap();
    assert!(mirrored["tta"] == "mirror" && mirrored["loss"] != json["loss"], "{mirrored}");
    let one = run(&scratch, &[&on_data[..], &["--threads", "1"]].concat());
    assert_eq!(one, text);
}

/// Weights alone, as PyTorch saves them, are for the images and classes of the data.
#[test]
fn weights_without_a_description() {
    let scratch = Scratch::with_data(3);
    let model = train(&scratch, "cnn-bn");
    let entries = model.network.entries(&model.weights, "");
    let bytes = model::tensors::safetensors_bytes(&Default::default(), &entries);
    fs::write(scratch.work("torch.safetensors"), bytes).unwrap();
    let own = run(&scratch, &["--weights", "run", "--data", "../data"]);
    let base = ["--weights", "torch.safetensors", "--data", "../data"];
    let found = run(&scratch, &base);
    let body = |text: &str| text.split_once("\n\n").unwrap().1.to_owned();
    assert_eq!(body(&found), body(&own));
    assert!(found.contains("cnn-bn of ") && found.contains("measured on the training"), "{found}");
    let named = run(&scratch, &[&base[..], &["--model", "cnn-bn"]].concat());
    assert_eq!(named, found);

    let all: Vec<String> = model.mean.iter().chain(&model.std).map(f64::to_string).collect();
    let given = run(&scratch, &[&base[..], &["--normalize", &all.join(",")]].concat());
    assert_eq!(body(&given), body(&own));
    assert!(given.contains("as given by --normalize"), "{given}");
    let other = run(&scratch, &[&base[..], &["--normalize", "-1,2"]].concat());
    assert_ne!(body(&other), body(&own));

    let with = |more: &[&'static str]| [&base[..], more].concat();
    let words = ["torch.safetensors: ", "`conv1.weight` is missing"];
    refused(&scratch, 1, &with(&["--model", "lenet"]), &words);
    refused(&scratch, 2, &with(&["--model", "alexnet"]), &["--model: ", "alexnet", "lenet"]);
    refused(
        &scratch,
        2,
        &with(&["--normalize", "0,0,1,1"]),
        &["--normalize: found 2 means", "1 or 3"],
    );
    let words = ["--model: run/model.safetensors says this itself"];
    refused(&scratch, 2, &["--weights", "run", "--data", "../data", "--model", "vgg"], &words);
    for part in ["images-idx4", "labels-idx1"] {
        fs::remove_file(scratch.path(&format!("data/train-{part}-ubyte"))).unwrap();
    }
    refused(&scratch, 1, &base, &["no training set", "--normalize MEAN,STD"]);
    assert!(run(&scratch, &with(&["--normalize", "0.5,0.2"])).contains("as given by --normalize"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let scratch = Scratch::with_data(1);
    let model = train(&scratch, "lenet");
    let on_data = ["--weights", "run", "--data", "../data"];
    refused(&scratch, 1, &["--weights", "none", "--data", "../data"], &["none: cannot read"]);
    refused(
        &scratch,
        1,
        &["--weights", ".", "--data", "../data"],
        &[".: no model.safetensors in it"],
    );
    fs::write(scratch.work("text"), "no weights").unwrap();
    let words = ["text: not a safetensors file"];
    refused(&scratch, 1, &["--weights", "text", "--data", "../data"], &words);
    let bytes = fs::read(scratch.work("run/model.safetensors")).unwrap();
    fs::write(scratch.work("cut"), &bytes[..bytes.len() - 5]).unwrap();
    refused(&scratch, 1, &["--weights", "cut", "--data", "../data"], &["cut: "]);
    refused(&scratch, 1, &["--weights", "run", "--data", "../none"], &["../none: cannot read"]);
    fs::create_dir(scratch.path("small")).unwrap();
    let (images, labels) = ([&header(0x803, &[1, 8, 8])[..], &[0; 64]].concat(), [0]);
    scratch.write("small/t10k-images-idx3-ubyte", &images);
    scratch.write("small/t10k-labels-idx1-ubyte", &[&header(0x801, &[1])[..], &labels].concat());
    let words = ["small: its images are 1×8×8", "the model 1×16×16; the model is run/"];
    refused(&scratch, 1, &["--weights", "run", "--data", "../small"], &words);

    fs::create_dir(scratch.path("sets")).unwrap();
    for (from, to) in [(TEST_IMAGES, "images-idx3"), (TEST_LABELS, "labels-idx1")] {
        for prefix in ["alpha", "beta"] {
            let to = scratch.path(&format!("sets/{prefix}-t10k-{to}-ubyte"));
            fs::copy(scratch.path(&format!("data/{from}")), to).unwrap();
        }
    }
    let words = ["several data sets: alpha, beta; choose one by its prefix", "--prefix=beta"];
    refused(&scratch, 1, &["--weights", "run", "--data", "../sets"], &words);
    run(&scratch, &["--weights", "run", "--data", "../sets", "--prefix=beta"]);

    scratch.write("data/labels.txt", b"a\nb\nc\nd\n");
    refused(&scratch, 1, &on_data, &["../data: it has 4 classes, the model 3; the model is run/"]);
    let named = model::Model { classes: ["a", "b", "x"].map(String::from).into(), ..model.clone() };
    named.save(&scratch.work("named")).unwrap();
    scratch.write("data/labels.txt", b"a\nb\nc\n");
    run(&scratch, &on_data);
    let words = ["../data: its class 2 is \"c\", that of the model \"x\"; the model is named"];
    refused(&scratch, 1, &["--weights", "named", "--data", "../data"], &words);

    let mut broken = model;
    broken.weights[0] = f32::NAN;
    broken.save(&scratch.work("broken")).unwrap();
    let words = ["broken: what the network makes of image 0 is not finite"];
    refused(&scratch, 1, &["--weights", "broken", "--data", "../data"], &words);
    scratch.write(&format!("data/{TEST_LABELS}"), b"");
    refused(&scratch, 1, &on_data, &[TEST_LABELS, "too short"]);
}

#[test]
fn the_command_line_is_checked() {
    let scratch = Scratch::with_data(1);
    let cases: [(&[&str], &str); 7] = [
        (&[], "--weights <FILE>"),
        (&["--weights", "run", "--split", "all"], "possible values: train, test"),
        (&["--weights", "run", "--tta", "flip"], "possible values: mirror"),
        (&["--weights", "run", "--normalize", "1"], "0.286,0.353"),
        (&["--weights", "run", "--normalize", "0,0"], "positive deviation"),
        (&["--weights", "run", "--prefix", "x"], "--data <DIR>"),
        (&["--weights", "run", "--threads", "0"], "expected a whole number from 1 to 1024"),
    ];
    for (arguments, words) in cases {
        let output = scratch.bobbin("evaluate", arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{message}");
        assert!(message.starts_with("error: ") && message.contains(words), "{words}: {message}");
    }
}

#[test]
fn nobody_needs_to_listen() {
    let scratch = Scratch::with_data(1);
    train(&scratch, "lenet");
    let mut command = scratch.bobbin("evaluate", &["--weights", "run", "--data", "../data"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    succeeded(child.wait_with_output().unwrap());
}

/// Every write to this device fails as on a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_printed_is_an_error() {
    let scratch = Scratch::with_data(1);
    train(&scratch, "lenet");
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let images = format!("../data/{TEST_IMAGES}");
    let cases: [(&str, &[&str]); 6] = [
        ("evaluate", &["--weights", "run", "--data", "../data", "--json"]),
        ("evaluate", &["--weights", "run", "--data", "../data"]),
        ("evaluate", &["--help"]),
        ("predict", &["--weights", "run", &images, "--index", "0..9"]),
        ("export", &["--weights", "run", "--onnx", "lenet.onnx"]),
        ("train", &["--help"]),
    ];
    for (name, arguments) in cases {
        let output = scratch.bobbin(name, arguments).stdout(full()).output().unwrap();
        let message = failed(1, &output);
        assert!(message.starts_with("error: standard output: cannot write: "), "{message}");
    }
    assert!(scratch.work("lenet.onnx").is_file());
}
