//! `predict`.

use crate::model::train;
use crate::scratch::*;
use dataset::{Dataset, Source};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use trainer::scores::probabilities;
use trainer::{Predictor, Workers};

fn picture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
    folder.join(name).to_str().unwrap().to_owned()
}

fn run(scratch: &Scratch, arguments: &[&str]) -> String {
    succeeded(
        scratch.bobbin("predict", &[&["--weights", "run"], arguments].concat()).output().unwrap(),
    )
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Images of an IDX file, beside what the library says of them.
#[test]
fn idx_files() {
    let scratch = Scratch::with_data(1);
    scratch.write("data/labels.txt", b"upper\nleft\nmiddle\n");
    let model = train(&scratch, "lenet");
    let file = format!("../data/{TEST_IMAGES}");
    let found =
        run(&scratch, &[&file, "--index", "0..19,42,7", "--json", "--logits", "--top", "2"]);
    let found = objects(&found);
    let indices: Vec<usize> = (0..20).chain([42, 7]).collect();
    assert_eq!(found.len(), indices.len());

    let data = Dataset::open(&Source::new(scratch.path("data"))).unwrap();
    let workers = Workers::from_env().unwrap();
    for (object, index) in found.iter().zip(indices) {
        let mut logits = [0.0; 3];
        Predictor::new(&model, &workers).unwrap().logits_of(
            data.test().unwrap(),
            &[index as u32],
            &mut logits,
        );
        assert_eq!((&object["image"], &object["index"]), (&(*file).into(), &index.into()));
        assert_eq!((&object["resized_from"], &object["inverted"]), (&Value::Null, &false.into()));
        let said: Vec<f32> = serde_json::from_value(object["logits"].clone()).unwrap();
        assert_eq!(said, logits);
        let predictions = object["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 2);
        for (said, (label, probability)) in predictions.iter().zip(probabilities(&logits)) {
            assert_eq!(
                (&said["label"], &said["class"]),
                (&label.into(), &(*model.classes[label]).into())
            );
            assert!((said["probability"].as_f64().unwrap() - probability).abs() < 1e-15);
        }
    }
    let text = run(&scratch, &[&file, "--index", "3"]);
    assert!(text.starts_with(&format!("{file} image 3\n")) && text.lines().count() == 4, "{text}");

    // Gzipped, and one that is too far among others.
    let (images, _) = patterns(90, 1, 2);
    scratch.pack(TEST_IMAGES, &gzip(&images));
    let packed = format!("{file}.gz");
    assert_eq!(
        run(&scratch, &[&packed, "--index", "3"]).split_once('\n').unwrap().1,
        text.split_once('\n').unwrap().1
    );
    let arguments = ["--weights", "run", &packed, "--index", "89,90..1000000000000", "--json"];
    let output = scratch.bobbin("predict", &arguments).output().unwrap();
    let message = failed(1, &output);
    assert!(message.contains("found no image 90, expected a number from 0 to 89"), "{message}");
    assert!(output.stdout.is_empty());
}

#[test]
fn pictures_of_every_kind() {
    let scratch = Scratch::with_data(1);
    train(&scratch, "lenet");
    let names = ["rgb.png", "grey.png", "rgb.jpg", "rgb.bmp", "alpha.png", "sixteen.png"];
    let paths = names.map(picture);
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let together = run(&scratch, &[&paths[..], &["--json"]].concat());
    for (line, path) in together.lines().zip(&paths) {
        assert_eq!(run(&scratch, &[path, "--json", "--threads", "1"]).trim_end(), line);
    }
    let found = objects(&together);
    assert_eq!(found[0]["resized_from"], serde_json::json!([37, 29]));
    assert_eq!((&found[0]["turned_grey"], &found[1]["turned_grey"]), (&true.into(), &false.into()));
    let text = run(&scratch, &[paths[0], "--invert", "yes", "--top", "1"]);
    assert!(text.contains("rgb.png (resized from 37×29, turned grey, inverted)\n"), "{text}");
    for fit in ["stretch", "crop"] {
        assert_ne!(run(&scratch, &[paths[0], "--fit", fit]), run(&scratch, &[paths[0]]), "{fit}");
    }

    // The same from a pipe.
    let mut command = scratch.bobbin("predict", &["--weights", "run", "-", "--json"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(paths[0]).unwrap()).unwrap();
    let piped = objects(&succeeded(child.wait_with_output().unwrap()));
    assert_eq!(
        (&piped[0]["image"], &piped[0]["predictions"]),
        (&"-".into(), &found[0]["predictions"])
    );

    // And from a pipe with a name, as a shell's `<(…)` is one.
    if cfg!(unix) {
        let script =
            "mkfifo pipe && (cat \"$1\" > pipe &) && exec \"$2\" predict --weights run --json pipe";
        let mut shell = scratch.set_up(std::process::Command::new("sh"));
        let output = shell.args(["-c", script, "sh", paths[0], BOBBIN]).output().unwrap();
        let piped = objects(&succeeded(output));
        assert_eq!(piped[0]["predictions"], found[0]["predictions"]);
    }

    // A network of colour images takes grey ones.
    let scratch = Scratch::with_data(3);
    train(&scratch, "cnn-bn");
    assert_eq!(objects(&run(&scratch, &[&paths[..], &["--json"]].concat())).len(), paths.len());
}

/// Grey pictures on white: inverted for a network that was trained on dark images, not for one that
/// was trained on bright ones.
#[test]
fn inversion_is_for_networks_of_dark_images() {
    let scratch = Scratch::with_data(1);
    let mut model = train(&scratch, "lenet");
    let inside = |i: usize| (4..12).contains(&(i % 16)) && (4..12).contains(&(i / 16));
    let pixels: Vec<u8> = (0..256).map(|i| if inside(i) { 20 } else { 240 }).collect();
    image::GrayImage::from_raw(16, 16, pixels).unwrap().save(scratch.work("a.png")).unwrap();
    for (mean, inverted) in [(0.3, true), (0.5, true), (0.7, false)] {
        model.mean = vec![mean];
        model.save(&scratch.work("run/model.safetensors")).unwrap();
        let found = objects(&run(&scratch, &["a.png", "--json"]));
        assert_eq!(found[0]["inverted"], inverted, "{mean}");
        assert_eq!(found[0]["resized_from"], Value::Null);
    }
    assert_eq!(
        objects(&run(&scratch, &["a.png", "--json", "--invert", "yes"]))[0]["inverted"],
        true
    );
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_answered() {
    let scratch = Scratch::with_data(1);
    let model = train(&scratch, "lenet");
    fs::write(scratch.work("text.png"), "no picture").unwrap();
    let good = picture("rgb.png");
    let arguments = ["--weights", "run", "none.png", &good, "text.png", &good];
    let output = scratch.bobbin("predict", &arguments).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!((output.status.code(), lines.len()), (Some(1), 2), "{message}");
    assert!(lines[0].starts_with("error: none.png: cannot read: "), "{message}");
    assert!(lines[1].starts_with("error: text.png: found something else"), "{message}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.matches("rgb.png (resized").count(), 2, "{printed}");

    let mut broken = model;
    broken.weights[0] = f32::NAN;
    broken.save(&scratch.work("broken")).unwrap();
    let mut command = scratch.bobbin("predict", &["--weights", "broken", &good]);
    scratch.refuses(1, &mut command, &["rgb.png: what the network makes of it is not finite"]);

    let refused = |code: i32, arguments: &[&str], words: &[&str]| {
        scratch.refuses(code, &mut scratch.bobbin("predict", arguments), words);
    };
    let images = format!("../data/{TEST_IMAGES}");
    refused(1, &["--weights", "run", &images], &[TEST_IMAGES, "an IDX file", "--index"]);
    refused(
        1,
        &["--weights", "run", &good, "--index", "0"],
        &["rgb.png: found a PNG picture, expected an IDX file"],
    );
    refused(1, &["--weights", "none", &good], &["none: cannot read"]);
    refused(1, &["--weights", &good, &good], &["rgb.png: a PNG picture: expected weights"]);
    refused(2, &["--weights", "run", &good, "--top", "4"], &["--top: found 4", "at most 3"]);
    refused(2, &["--weights", "run", "-", "-"], &["found - twice"]);
    let cases: [(&[&str], &str); 6] = [
        (&["--weights", "run"], "<IMAGE>..."),
        (&["a.png"], "--weights <FILE>"),
        (&["--weights", "run", "a", "--index", "x"], "0..9,42"),
        (&["--weights", "run", "a", "--index", "9..3"], "0..9,42"),
        (&["--weights", "run", "a", "--top", "0"], "--top <K|all>"),
        (&["--weights", "run", "a", "--fit", "x"], "pad, crop, stretch"),
    ];
    for (arguments, words) in cases {
        let output = scratch.bobbin("predict", arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{message}");
        assert!(message.contains(words), "{words}: {message}");
    }
}

/// Of a folder all pictures, in the order of their names.
#[test]
fn pictures_of_a_folder() {
    let scratch = Scratch::with_data(1);
    train(&scratch, "lenet");
    for (name, from) in [
        ("b.JPG", "grey.jpg"),
        ("a/2.png", "grey.png"),
        ("a/10.bmp", "grey.bmp"),
        (".c.png", "grey.png"),
    ] {
        let path = scratch.work("folder").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(picture(from), path).unwrap();
    }
    fs::write(scratch.work("folder/notes.txt"), "no picture").unwrap();
    let found = objects(&run(&scratch, &["folder", &picture("rgb.png"), "--json"]));
    let names: Vec<&str> = found.iter().map(|object| object["image"].as_str().unwrap()).collect();
    assert_eq!(names, ["folder/a/10.bmp", "folder/a/2.png", "folder/b.JPG", &picture("rgb.png")]);
    fs::create_dir(scratch.work("empty")).unwrap();
    let words = ["empty: no picture in this folder"];
    scratch.refuses(1, &mut scratch.bobbin("predict", &["--weights", "run", "empty"]), &words);
}

/// Comma-separated values say what the JSON objects say.
#[test]
fn comma_separated_values() {
    let scratch = Scratch::with_data(1);
    scratch.write("data/labels.txt", b"upper, or \"top\"\nleft\nmiddle\n");
    train(&scratch, "lenet");
    let file = format!("../data/{TEST_IMAGES}");
    let all = [&file, "--index", "0..2", "--top", "all"];
    let output = scratch.bobbin("predict", &[&["--weights", "run", "--csv"], &all[..]].concat());
    let text = String::from_utf8({ output }.output().unwrap().stdout).unwrap();
    let mut lines = text.split_terminator("\r\n");
    assert_eq!(lines.next(), Some("image,index,rank,class,label,probability"));
    for (image, object) in
        objects(&run(&scratch, &[&all[..], &["--json"]].concat())).iter().enumerate()
    {
        let predictions = object["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 3);
        for (rank, said) in predictions.iter().enumerate() {
            let class = match said["class"].as_str().unwrap() {
                "upper, or \"top\"" => "\"upper, or \"\"top\"\"\"",
                class => class,
            };
            let (label, probability) = (&said["label"], said["probability"].as_f64().unwrap());
            let line = format!("{file},{image},{},{class},{label},{probability}", rank + 1);
            assert_eq!(lines.next(), Some(&*line));
        }
    }
    assert_eq!(lines.next(), None);
    for (top, words) in [("0", "or all"), ("some", "or all"), ("4", "found 4, expected at most 3")]
    {
        let output =
            scratch.bobbin("predict", &["--weights", "run", &file, "--index", "0", "--top", top]);
        let message = String::from_utf8({ output }.output().unwrap().stderr).unwrap();
        assert!(message.contains(words), "{message}");
    }
}
