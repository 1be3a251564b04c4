//! What `import` takes beside a folder of class folders.

use crate::scratch::*;
use dataset::{Dataset, Source};
use image::{GrayImage, Luma, Rgb, RgbImage};
use std::fs;
use std::process::Command;

fn import(scratch: &Scratch, arguments: &[&str]) -> Command {
    scratch.bobbin("import", &[&["pictures", "--out", "set"], arguments].concat())
}

fn open(scratch: &Scratch, name: &str) -> Dataset {
    Dataset::open(&Source::new(scratch.work(name))).unwrap()
}

/// Labels wider than a byte.
#[test]
fn there_may_be_hundreds_of_classes() {
    let scratch = Scratch::empty();
    for class in 0..300 {
        let folder = scratch.work(&format!("pictures/{class:03}"));
        fs::create_dir_all(&folder).unwrap();
        for i in 0..2u32 {
            RgbImage::from_pixel(6, 6, Rgb([class as u8, i as u8, 9]))
                .save(folder.join(format!("{i}.png")))
                .unwrap();
        }
    }
    succeeded(import(&scratch, &["--size", "6", "--grey"]).output().unwrap());
    let data = open(&scratch, "set");
    assert_eq!(
        (data.classes(), data.train().unwrap().len(), data.test().unwrap().len()),
        (300, 300, 300)
    );
    for part in [data.train().unwrap(), data.test().unwrap()] {
        let mut labels = part.labels().to_vec();
        labels.sort_unstable();
        assert!(labels.into_iter().eq(0..300));
        let i = (0..300).find(|&i| part.label(i) == 299).unwrap();
        assert!(part.name(i).unwrap().starts_with("299/"));
    }
    let arguments = [
        "--data",
        "set",
        "--out",
        "run",
        "--set",
        "stop.iterations=2",
        "--quiet",
        "--set",
        "model.layers=[{kind='flatten'},{kind='linear',outputs=300}]",
    ];
    succeeded(scratch.bobbin("train", &arguments).output().unwrap());
}

/// A tree that is split already stays so; what is in both parts is told.
#[test]
fn parts_stay_parts() {
    let scratch = Scratch::empty();
    let mut colour = 0;
    for (part, count) in [("train", 5), ("val", 2), ("test", 3)] {
        for class in ["a", "b"] {
            let folder = scratch.work(&format!("pictures/{part}/{class}"));
            fs::create_dir_all(&folder).unwrap();
            for i in 0..count {
                colour += 1;
                let picture = GrayImage::from_pixel(8, 8, Luma([colour]));
                picture.save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    fs::copy(scratch.work("pictures/train/b/4.png"), scratch.work("pictures/test/a/copy.png"))
        .unwrap();
    let printed = succeeded(import(&scratch, &["--size", "8"]).output().unwrap());
    for words in [
        "parts: as they were",
        "pictures to validate on: 4, among those to train on",
        "duplicates: 1 of the test pictures are among those to train on as well, such as test/a/copy.png (train/b/4.png)",
    ] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let data = open(&scratch, "set");
    let (train, test) = (data.train().unwrap(), data.test().unwrap());
    assert_eq!(
        (train.len(), test.len(), data.class_names()),
        (14, 7, &["a".into(), "b".into()][..])
    );
    assert!((0..7).all(|i| test.name(i).unwrap().starts_with("test/")));
}

/// Classes that a Parquet file names and has no picture of are told; so is that there are no pictures at all.
#[test]
fn classes_without_a_picture_are_told() {
    let scratch = Scratch::empty();
    let import = |name: &str| {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/parquet/");
        let file = format!("{fixtures}{name}.parquet");
        scratch.bobbin("import", &[&file, "--out", name]).output().unwrap()
    };
    let printed = succeeded(import("unused"));
    assert!(printed.contains("\n1 class has no pictures: eel\n"), "{printed}");
    assert_eq!(fs::read_to_string(scratch.work("unused/labels.txt")).unwrap(), "cat\ndog\neel\n");
    let refused = import("rowless");
    let problem = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(problem.contains("rowless.parquet: found no picture that can be read"), "{problem}");
}
