//! Pictures with several labels each, from a table to predictions.

use crate::scratch::*;
use image::{Rgb, RgbImage};
use std::fs;

/// 96 pictures whose left half is red or not, and right half blue or not, in a table with their labels.
fn pictures(scratch: &Scratch) {
    fs::create_dir(scratch.work("pictures")).unwrap();
    let mut table = "path,labels\n".to_owned();
    for i in 0..96u32 {
        let (red, blue) = (i % 2 == 0, i % 3 == 0);
        let shade = (i * 37 % 50) as u8;
        let half = |x| if x < 8 { (red, Rgb([220, 20, 20])) } else { (blue, Rgb([20, 20, 220])) };
        let pixel = |x, _| match half(x) {
            (true, colour) => colour,
            (false, _) => Rgb([90 + shade; 3]),
        };
        RgbImage::from_fn(16, 16, pixel).save(scratch.work(&format!("pictures/{i}.png"))).unwrap();
        let labels = [red.then_some("red"), blue.then_some("blue")];
        let labels: Vec<&str> = labels.into_iter().flatten().collect();
        table += &format!("pictures/{i}.png,{}\n", labels.join(";"));
    }
    fs::write(scratch.work("table.csv"), table).unwrap();
}

#[test]
fn from_a_table_to_predictions() {
    let scratch = Scratch::empty();
    pictures(&scratch);
    let import = ["table.csv", "--out", "set", "--size", "16"];
    let output = scratch.bobbin("import", &import).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("labels: any number to a picture"), "{said}");
    assert_eq!(fs::read_to_string(scratch.work("set/labels.txt")).unwrap(), "blue\nred\n");
    let sets = fs::read(scratch.work("set/train-labels-idx2-ubyte")).unwrap();
    assert_eq!(sets[..4], [0, 0, 8, 2]);

    // The default for data of one's own takes them as they are.
    let train =
        ["--data", "set", "--epochs", "12", "--out", "run", "--batch-size", "16", "--seed", "3"];
    let output = scratch.bobbin("train", &train).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let recipe = fs::read_to_string(scratch.work("run/recipe.toml")).unwrap();
    assert!(recipe.contains("loss = \"bce\""), "{recipe}");
    let report = fs::read_to_string(scratch.work("run/report.html")).unwrap();
    assert!(report.contains("All labels right") && !report.contains("<h2>Confusion"), "{report}");

    let output = scratch.bobbin("evaluate", &["--weights", "run", "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["auc"].as_f64().unwrap() > 0.9, "{json}");
    assert!(json["top5"].is_null() && json["confusion"].as_array().unwrap().is_empty());
    assert_eq!(json["classes"][1]["name"], "red");
    assert!(json["classes"][1]["auc"].as_f64().unwrap() > 0.9, "{json}");
    let mut top_k = scratch.bobbin("evaluate", &["--weights", "run", "--top-k", "2"]);
    scratch.refuses(2, &mut top_k, &["several labels"]);

    let names = ["pictures/0.png", "pictures/1.png", "pictures/2.png", "pictures/3.png"];
    let predict = |more: &[&str]| {
        let arguments = [&["--weights", "run"], more, &names[..]].concat();
        let output = scratch.bobbin("predict", &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let expected: [&[&str]; 4] = [&["blue", "red"], &[], &["red"], &["blue"]];
    for (line, expected) in predict(&["--json"]).lines().zip(expected) {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        let found = json["predictions"].as_array().unwrap().iter();
        let mut labels: Vec<&str> = found.map(|label| label["class"].as_str().unwrap()).collect();
        labels.sort_unstable();
        assert_eq!(labels, expected, "{line}");
    }
    assert!(predict(&[]).contains("no label"));
    assert_eq!(predict(&["--top", "2", "--csv"]).lines().count(), 1 + 2 * 4);
}
