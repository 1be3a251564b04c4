//! Pictures are prepared for a network as those were that it was trained on.

use crate::model::train;
use crate::scratch::*;
use image::{Rgb, RgbImage};
use model::{Fit, Preparation};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// Pictures of two classes, wider than high: something dark on a bright ground and something bright on a
/// dark ground, with a tint that is no colour or one that is.
fn draw(scratch: &Scratch, tint: u8) {
    for (class, ground, thing) in [("hole", 170, 10), ("moon", 10, 170)] {
        fs::create_dir_all(scratch.work(&format!("pictures/{class}"))).unwrap();
        for i in 0..8u32 {
            let picture = RgbImage::from_fn(50, 30, |x, y| {
                let value = if x.abs_diff(9 + 4 * i) < 8 && y.abs_diff(11 + i) < 8 {
                    thing
                } else {
                    ground
                };
                Rgb([value, value + tint, value + (i as u8) % 3])
            });
            picture.save(scratch.work(&format!("pictures/{class}/{i}.png"))).unwrap();
        }
    }
}

/// The data set of a model, imported afresh.
fn import(scratch: &Scratch, arguments: &[&str]) {
    let fixed = ["pictures", "--out", "../data", "--force", "--size", "16"];
    succeeded(scratch.bobbin("import", &[&fixed, arguments].concat()).output().unwrap());
}

/// What the network says of every picture, by its name.
fn of_pictures(scratch: &Scratch, arguments: &[&str]) -> BTreeMap<String, Value> {
    let names: Vec<String> = ["hole", "moon"]
        .iter()
        .flat_map(|class| (0..8).map(move |i| format!("pictures/{class}/{i}.png")))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let flags = ["--weights", "run", "--json"];
    let arguments = [&flags, arguments, &names[..]].concat();
    let printed = succeeded(scratch.bobbin("predict", &arguments).output().unwrap());
    let objects = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects
        .map(|object| {
            let name = object["image"].as_str().unwrap().strip_prefix("pictures/").unwrap();
            (name.to_owned(), object["predictions"].clone())
        })
        .collect()
}

/// What it says of every image of the data set, by the name of its picture.
fn of_images(scratch: &Scratch, part: &str, rank: usize) -> BTreeMap<String, Value> {
    let names = fs::read_to_string(scratch.path(&format!("data/{part}-names.txt"))).unwrap();
    let index = format!("0..{}", names.lines().count() - 1);
    let file = format!("../data/{part}-images-idx{rank}-ubyte");
    let arguments = ["--weights", "run", "--json", "--index", &index, &file];
    let printed = succeeded(scratch.bobbin("predict", &arguments).output().unwrap());
    let objects = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    names
        .lines()
        .map(str::to_owned)
        .zip(objects.map(|object| object["predictions"].clone()))
        .collect()
}

/// The network finds in a picture, to the last bit, what it finds in the image that was made of it.
#[test]
fn a_picture_is_the_image_that_it_was_in_training() {
    let scratch = Scratch::empty();
    for (tint, channels) in [(12, 1), (60, 3)] {
        draw(&scratch, tint);
        for (fit, invert) in [(Fit::Pad, false), (Fit::Crop, true), (Fit::Stretch, false)] {
            let flags: &[&str] = if invert { &["--invert"] } else { &[] };
            import(&scratch, &[&["--fit", fit.word()], flags].concat());
            let model = train(&scratch, if channels == 1 { "lenet" } else { "cnn-bn" });
            assert_eq!(model.network.input(), [channels, 16, 16]);
            assert_eq!(model.preparation, Some(Preparation::new(invert, fit)));

            let rank = if channels == 1 { 3 } else { 4 };
            let mut images = of_images(&scratch, "train", rank);
            images.append(&mut of_images(&scratch, "t10k", rank));
            assert_eq!(images.len(), 16);
            assert_eq!(of_pictures(&scratch, &[]), images, "{fit}, inverted: {invert}");
            // Flags decide otherwise.
            let other = if fit == Fit::Pad { "stretch" } else { "pad" };
            assert_ne!(of_pictures(&scratch, &["--fit", other]), images);
            let other = if invert { "no" } else { "yes" };
            assert_ne!(of_pictures(&scratch, &["--invert", other]), images);
        }
    }
}

/// Of data that do not say how they were made it is guessed, and the model does not say it either.
#[test]
fn what_is_not_known_is_guessed() {
    let scratch = Scratch::empty();
    draw(&scratch, 0);
    import(&scratch, &[]);
    fs::remove_file(scratch.path("data/preparation.toml")).unwrap();
    let model = train(&scratch, "lenet");
    assert_eq!(model.preparation, None);
    assert!(model.mean[0] < 0.5);
    let arguments = ["--weights", "run", "--json", "pictures/hole/0.png", "pictures/moon/0.png"];
    let printed = succeeded(scratch.bobbin("predict", &arguments).output().unwrap());
    let inverted: Vec<bool> = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["inverted"].as_bool().unwrap())
        .collect();
    assert_eq!(inverted, [true, false]);
}

/// Mistakes are told by the names of their pictures, and data that were made otherwise are noticed.
#[test]
fn evaluate_names_pictures_and_notices_another_preparation() {
    let scratch = Scratch::empty();
    draw(&scratch, 0);
    // Two classes of the same pictures: half of the answers are wrong.
    fs::remove_dir_all(scratch.work("pictures/moon")).unwrap();
    fs::create_dir(scratch.work("pictures/moon")).unwrap();
    for i in 0..8 {
        let [from, to] =
            ["hole", "moon"].map(|class| scratch.work(&format!("pictures/{class}/{i}.png")));
        fs::copy(from, to).unwrap();
    }
    import(&scratch, &["--fit", "crop"]);
    train(&scratch, "lenet");
    let evaluate = |data: &str, flags: &[&str]| {
        let fixed = ["--weights", "run", "--split", "train", "--data", data, "--mistakes", "16"];
        scratch.bobbin("evaluate", &[&fixed, flags].concat()).output().unwrap()
    };
    let json = succeeded(evaluate("../data", &["--json"]));
    let scores: Value = serde_json::from_str(&json).unwrap();
    let mistakes = scores["mistakes"].as_array().unwrap();
    // One of eight pictures of each class is a test image.
    assert!((6..=8).contains(&mistakes.len()), "{json}");
    let names = fs::read_to_string(scratch.path("data/train-names.txt")).unwrap();
    let text = succeeded(evaluate("../data", &[]));
    for mistake in mistakes {
        let (image, name) = (mistake["image"].as_u64().unwrap(), mistake["name"].as_str().unwrap());
        assert_eq!(names.lines().nth(image as usize), Some(name));
        let class = ["hole", "moon"][mistake["label"].as_u64().unwrap() as usize];
        assert!(name.starts_with(class), "{name} is of {class}");
        assert!(text.contains(&format!("image {image} ({name}): {class}, taken for")), "{text}");
    }

    let other = ["pictures", "--out", "other", "--size", "16"];
    succeeded(scratch.bobbin("import", &other).output().unwrap());
    let output = evaluate("other", &[]);
    assert_eq!(output.status.code(), Some(0));
    let message = String::from_utf8(output.stderr).unwrap();
    let words = "warning: other: its pictures were prepared by pad and not inverted, those that";
    assert!(message.starts_with(words), "{message}");
    assert!(message.ends_with("was trained on by crop and not inverted\n"), "{message}");
}
