//! Small files of huge cost are refused before it is paid, and who wants to pay can say so.

use crate::scratch::*;
use kernels::Window;
use model::tensors::{Entry, Values, safetensors_bytes};
use model::{CUSTOM, Conv2d, Layer, LayerList, conv2d, flatten, global_avg_pool2d, layers, linear};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Command;

/// A model file of zeros for images of one channel; the shape of each tensor by its name.
fn model(scratch: &Scratch, size: [usize; 2], layers: &[Layer], tensors: &[(&str, &[usize])]) {
    let metadata = [
        ("model", CUSTOM.to_owned()),
        ("input", format!("1,{},{}", size[0], size[1])),
        ("classes", json!(["a", "b"]).to_string()),
        ("normalize.mean", "0".to_owned()),
        ("normalize.std", "1".to_owned()),
        ("layers", serde_json::to_string(&LayerList::from(layers)).unwrap()),
    ];
    let metadata: BTreeMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let zeros = vec![0.0; tensors.iter().map(|(_, shape)| shape.iter().product()).max().unwrap()];
    let entries: Vec<Entry> = tensors
        .iter()
        .map(|(name, shape)| Entry {
            name: (*name).to_owned(),
            shape: shape.to_vec(),
            values: Values::F32(&zeros[..shape.iter().product()]),
        })
        .collect();
    scratch.write("work/model.safetensors", &safetensors_bytes(&metadata, &entries));
}

/// One convolution to one channel, and what makes two classes of it.
fn one_convolution(window: Window) -> Vec<Layer> {
    let convolution = Conv2d { options: window.into(), bias: false, ..conv2d(1, 1) };
    layers![convolution, global_avg_pool2d(), flatten(), linear(2)]
}

const PREDICT: [&str; 6] =
    ["predict", "--weights", "model.safetensors", "picture.png", "--threads", "1"];

fn with_picture() -> Scratch {
    let scratch = Scratch::empty();
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pictures/grey.png");
    scratch.write("work/picture.png", &std::fs::read(picture).unwrap());
    scratch
}

/// 17 KB, and hours of arithmetic; 120 KB, and 7 GB of tables.
#[test]
fn models_of_huge_cost_are_refused() {
    let scratch = with_picture();
    let tall = Window { padding: [4095, 0], ..Window::new([4096, 1]) };
    let tensors: [(&str, &[usize]); 3] =
        [("0.weight", &[1, 1, 4096, 1]), ("3.weight", &[2, 1]), ("3.bias", &[2])];
    model(&scratch, [1 << 26, 1], &one_convolution(tall), &tensors);
    let words = ["layer 0", "more than 2³⁶ products: too large", "BOBBIN_LIMITS=N allows N times"];
    scratch.refuses(1, &mut scratch.bobbin(PREDICT[0], &PREDICT[1..]), &words);

    let wide = Window::new([170, 170]).padding(169);
    let tensors: [(&str, &[usize]); 3] =
        [("0.weight", &[1, 1, 170, 170]), ("3.weight", &[2, 1]), ("3.bias", &[2])];
    model(&scratch, [170, 170], &one_convolution(wide), &tensors);
    let words = ["layer 0", "MiB of memory, expected at most 4096; BOBBIN_LIMITS=N allows"];
    scratch.refuses(1, &mut scratch.bobbin(PREDICT[0], &PREDICT[1..]), &words);
}

/// `export` reads the same file and computes nothing.
#[test]
fn the_limits_can_be_raised() {
    let scratch = with_picture();
    let layers =
        layers![conv2d(16, 3).padding(1).no_bias(), global_avg_pool2d(), flatten(), linear(2)];
    let tensors: [(&str, &[usize]); 3] =
        [("0.weight", &[16, 1, 3, 3]), ("3.weight", &[2, 16]), ("3.bias", &[2])];
    model(&scratch, [2300, 2300], &layers, &tensors);
    let export = ["--weights", "model.safetensors", "--onnx", "model.onnx"];
    scratch.refuses(1, &mut scratch.bobbin("export", &export), &["MiB of memory"]);
    for (value, message) in [("2", None), ("0", Some(())), ("many", Some(())), ("1025", Some(()))] {
        let mut command = scratch.bobbin("export", &export);
        let command = command.env("BOBBIN_LIMITS", value);
        match message {
            None => drop(succeeded(command.output().unwrap())),
            Some(()) => {
                let message = failed(2, &command.output().unwrap());
                let words = format!("BOBBIN_LIMITS={value}: expected how many times");
                assert!(message.contains(&words), "{message}");
            }
        }
    }
}

/// Within the limits, and still more than there is.
#[cfg(target_os = "linux")]
#[test]
fn out_of_memory_is_one_message() {
    let scratch = with_picture();
    let wide = Window::new([140, 140]).padding(139);
    let tensors: [(&str, &[usize]); 3] =
        [("0.weight", &[1, 1, 140, 140]), ("3.weight", &[2, 1]), ("3.bias", &[2])];
    model(&scratch, [140, 140], &one_convolution(wide), &tensors);
    let mut command = scratch.set_up(Command::new("sh"));
    let script = "ulimit -v 1000000; exec \"$@\"";
    command.args(["-c", script, "sh", BOBBIN]).args(PREDICT).arg("--json");
    let output = command.env("BOBBIN_ERROR_FILE", scratch.path("error.json")).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.starts_with("error: out of memory: ") && message.lines().count() == 1,
        "{message}"
    );
    for text in [
        String::from_utf8(output.stdout).unwrap(),
        std::fs::read_to_string(scratch.path("error.json")).unwrap(),
    ] {
        let object: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&object["event"], &object["exit"]), (&"error".into(), &1.into()));
        assert!(object["message"].as_str().unwrap().starts_with("out of memory: "), "{text}");
    }
}
