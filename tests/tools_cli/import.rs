//! `import`, and the whole path from pictures to predictions.

use crate::scratch::*;
use dataset::{Dataset, Source};
use image::{GrayImage, Luma, Rgb, RgbImage};
use std::fs;
use std::path::Path;
use std::process::Command;
#[cfg(unix)]
use std::process::Stdio;

#[allow(dead_code, reason = "the example has a main function")]
#[path = "../../examples/shop_pictures.rs"]
mod shop_pictures;

/// Two classes of flat pictures, ten red and five blue, in folders and below.
pub fn flat(scratch: &Scratch) {
    fs::create_dir_all(scratch.work("pictures/red/deep/er")).unwrap();
    fs::create_dir_all(scratch.work("pictures/Blue things")).unwrap();
    for i in 0..10u32 {
        let place = if i % 2 == 0 { "red" } else { "red/deep/er" };
        let picture = RgbImage::from_pixel(20 + 7 * i, 40, Rgb([200, i as u8, 0]));
        picture.save(scratch.work(&format!("pictures/{place}/{i}.png"))).unwrap();
    }
    for i in 0..5u32 {
        let picture = RgbImage::from_pixel(9, 9 + i, Rgb([0, 10, 250]));
        picture.save(scratch.work(&format!("pictures/Blue things/{i}.bmp"))).unwrap();
    }
}

fn import(scratch: &Scratch, arguments: &[&str]) -> Command {
    scratch.bobbin("import", &[&["pictures", "--out", "set"], arguments].concat())
}

fn open(scratch: &Scratch, name: &str) -> Dataset {
    Dataset::open(&Source::new(scratch.work(name))).unwrap()
}

pub fn bytes(folder: &Path) -> Vec<(String, Vec<u8>)> {
    names(folder)
        .into_iter()
        .map(|name| (name.clone(), fs::read(folder.join(name)).unwrap()))
        .collect()
}

#[test]
fn flat_pictures_keep_their_colour() {
    let scratch = Scratch::empty();
    flat(&scratch);
    fs::write(scratch.work("pictures/red/.hidden"), "").unwrap();
    fs::write(scratch.work("pictures/red/notes.txt"), "no picture").unwrap();
    fs::write(scratch.work("pictures/red/cut.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    fs::write(scratch.work("pictures/index.html"), "").unwrap();
    for system in ["pictures/__MACOSX/red", "pictures/red/@eaDir"] {
        fs::create_dir_all(scratch.work(system)).unwrap();
        fs::write(scratch.work(system).join("1.png"), "").unwrap();
    }
    let output = import(&scratch, &["--size", "12x8", "--test-fraction", "0.2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let message = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert!(lines[0].starts_with("left out: pictures/red/cut.png: damaged PNG"), "{message}");
    assert!(lines[1].starts_with("left out: pictures/red/notes.txt: found something"), "{message}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let expected = format!(
        "class         train    test\n\
         Blue things       4       1\n\
         red               8       2\n\
         all              12       3\n\
         \n\
         images: 12×8, colour (RGB): 15 of 15 pictures have colour\n\
         duplicates: 1 of the test pictures are among those to train on as well, such as Blue things/3.bmp \
         (Blue things/0.bmp)\n\
         left out: 2 files that are no pictures\n\
         left out: 1 file that is outside of the class folders\n\
         left out: 3 files that are hidden or of a system\n\
         data: set; to train on it: {BOBBIN} train --recipe pictures --data set\n"
    );
    assert_eq!(printed, expected);
    let files = [
        "labels.txt",
        "preparation.toml",
        "t10k-images-idx4-ubyte",
        "t10k-labels-idx1-ubyte",
        "t10k-names.txt",
        "train-images-idx4-ubyte",
        "train-labels-idx1-ubyte",
        "train-names.txt",
    ];
    assert_eq!(names(&scratch.work("set")), files);
    assert_eq!(names(&scratch.work("")).iter().filter(|name| name.starts_with('.')).count(), 1);

    let data = open(&scratch, "set");
    assert_eq!(
        (data.class_names(), data.image_shape()),
        (&["Blue things", "red"].map(String::from)[..], [3, 12, 8])
    );
    let mut reds = vec![];
    for split in [data.train().unwrap(), data.test().unwrap()] {
        for i in 0..split.len() {
            let image = split.image(i);
            let pixels = image.as_chunks::<3>().0;
            assert!(pixels.iter().all(|pixel| *pixel == pixels[0]), "not flat");
            if split.label(i) == 1 {
                assert_eq!((pixels[0][0], pixels[0][2]), (200, 0));
                reds.push(pixels[0][1]);
                let below = if pixels[0][1] % 2 == 0 { "" } else { "deep/er/" };
                let name = format!("red/{below}{}.png", pixels[0][1]);
                assert_eq!(split.name(i), Some(&*name));
            } else {
                assert_eq!(pixels[0], [0, 10, 250]);
            }
        }
    }
    reds.sort_unstable();
    assert_eq!(reds, (0..10).collect::<Vec<u8>>(), "each picture once");
}

/// The bytes depend on pictures, names and seed, not on threads or the order of directories.
#[test]
fn the_same_pictures_give_the_same_bytes() {
    let scratch = Scratch::empty();
    flat(&scratch);
    succeeded(import(&scratch, &["--threads", "1"]).output().unwrap());
    let first = bytes(&scratch.work("set"));
    // Copied in another order, directories list otherwise.
    fs::rename(scratch.work("pictures"), scratch.work("older")).unwrap();
    for (class, below) in [("red", "deep/er/"), ("red", ""), ("Blue things", "")] {
        fs::create_dir_all(scratch.work("pictures").join(class).join(below)).unwrap();
        for i in (0..10).rev() {
            for ending in ["bmp", "png"] {
                let path = format!("{class}/{below}{i}.{ending}");
                let _ = fs::copy(
                    scratch.work("older").join(&path),
                    scratch.work("pictures").join(&path),
                );
            }
        }
    }
    succeeded(import(&scratch, &["--threads", "3", "--force"]).output().unwrap());
    assert!(bytes(&scratch.work("set")) == first);
    succeeded(import(&scratch, &["--force", "--seed", "2"]).output().unwrap());
    assert!(bytes(&scratch.work("set")) != first);

    // All to train on; grey.
    let arguments = ["--force", "--test-fraction", "0", "--grey"];
    let printed = succeeded(import(&scratch, &arguments).output().unwrap());
    assert!(printed.ends_with("train --recipe pictures --data set\n"), "{printed}");
    let files = [
        "labels.txt",
        "preparation.toml",
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "train-names.txt",
    ];
    assert_eq!(names(&scratch.work("set")), files);
    let data = open(&scratch, "set");
    let blue = (0.7152 * 10.0 + 0.0722 * 250.0f64).round() as u8;
    let train = data.train().unwrap();
    let i = train.labels().iter().position(|&label| label == 0).unwrap();
    assert_eq!((train.len(), train.image(i)), (15, vec![blue; 784]));
}

#[test]
fn grey_pictures_make_a_grey_set() {
    let scratch = Scratch::empty();
    for (class, value) in [("a", 40), ("b", 90)] {
        fs::create_dir_all(scratch.work("pictures").join(class)).unwrap();
        for i in 0..2 {
            let path = scratch.work("pictures").join(class).join(format!("{i}.png"));
            GrayImage::from_pixel(8, 8 + i, Luma([value])).save(path).unwrap();
        }
    }
    // A tint that no one would call colour.
    let tinted = RgbImage::from_pixel(8, 8, Rgb([40, 44, 40]));
    tinted.save(scratch.work("pictures/a/tinted.png")).unwrap();
    let printed = succeeded(import(&scratch, &[]).output().unwrap());
    assert!(printed.contains("images: 28×28, grey: 0 of 5 pictures have colour"), "{printed}");
    let data = open(&scratch, "set");
    assert_eq!((data.image_shape(), data.test().unwrap().len()), ([1, 28, 28], 2));
    let test = data.test().unwrap();
    let b = test.labels().iter().position(|&label| label == 1).unwrap();
    assert_eq!(test.image(b), [90; 784]);
    succeeded(import(&scratch, &["--rgb", "--force"]).output().unwrap());
    assert_eq!(open(&scratch, "set").image_shape(), [3, 28, 28]);
}

#[test]
fn what_cannot_be_imported_is_refused() {
    let scratch = Scratch::empty();
    flat(&scratch);
    let refused = |arguments: &[&str], words: &[&str]| {
        scratch.refuses(1, &mut scratch.bobbin("import", arguments), words);
    };
    let import = |arguments: &[&str], words: &[&str]| {
        refused(&[&["pictures", "--out"], arguments].concat(), words);
    };
    refused(&["none", "--out", "set"], &["none: cannot read: "]);
    refused(
        &["pictures/red", "--out", "set"],
        &["pictures/red: found 1 folders in it, expected 2"],
    );
    refused(
        &["pictures/red/2.png", "--out", "set"],
        &["2.png: found a PNG picture, expected a folder"],
    );
    import(
        &["set", "--labels", "y.npy"],
        &["pictures: is no array of images (.npy), for which --labels is"],
    );
    import(
        &["set", "--prefix", "emnist"],
        &["pictures: is no directory of EMNIST, for which --prefix is"],
    );
    import(&["pictures/set"], &["pictures/set: lies in the folder of pictures"]);
    import(&["pictures/red/../new/set"], &["lies in the folder of pictures"]);
    import(&["pictures"], &["lies in the folder of pictures"]);
    fs::write(scratch.work("file"), "").unwrap();
    import(&["file"], &["file: cannot make the data set: "]);
    import(&["file/below"], &["file/below: cannot make the data set: "]);
    import(&["s3://bucket/set"], &["s3://bucket/set: found an address, expected a local path"]);
    if cfg!(target_os = "linux") {
        import(&["/proc/none/set"], &["/proc/none/set: cannot make the data set: "]);
    }

    refused(&["../work/pictures", "--out", ".."], &["..: expected the name of a directory"]);

    // Parts of a data set are no classes.
    fs::create_dir_all(scratch.work("parts/train/cat")).unwrap();
    fs::create_dir_all(scratch.work("parts/test/cat")).unwrap();
    fs::create_dir_all(scratch.work("parts/more")).unwrap();
    let words =
        ["parts: found test and train, with folders in them (test/cat)", "more, which is not"];
    refused(&["parts", "--out", "set"], &words);

    // A place that is taken; what is not of an import is never deleted.
    fs::create_dir(scratch.work("set")).unwrap();
    fs::write(scratch.work("set/labels.txt"), "older\n").unwrap();
    import(&["set"], &["set: exists and is not empty", "--force"]);
    fs::write(scratch.work("set/precious"), "").unwrap();
    import(&["set", "--force"], &["set/precious: is not of an imported data set"]);
    assert_eq!(fs::read(scratch.work("set/labels.txt")).unwrap(), b"older\n");

    // A class without a picture, and names that cannot be a line of labels.txt.
    fs::create_dir(scratch.work("pictures/empty")).unwrap();
    import(&["other"], &["pictures: class empty: found no picture that can be read"]);
    fs::remove_dir(scratch.work("pictures/empty")).unwrap();
    for name in ["a\nb", " a", "a\u{1b}[1m"] {
        fs::create_dir(scratch.work("pictures").join(name)).unwrap();
        import(&["other"], &["expected a name for a class"]);
        fs::remove_dir(scratch.work("pictures").join(name)).unwrap();
    }
}

#[test]
fn the_command_line_is_checked() {
    let scratch = Scratch::empty();
    flat(&scratch);
    let cases: [(&[&str], &str); 9] = [
        (&["--size", "0"], "a number from 1 to 1024"),
        (&["--size", "28x"], "a number from 1 to 1024"),
        (&["--size", "2000"], "a number from 1 to 1024"),
        (&["--test-fraction", "1"], "0 to below 1"),
        (&["--test-fraction", "-0.1"], "0 to below 1"),
        (&["--test-fraction", "nan"], "0 to below 1"),
        (&["--grey", "--rgb"], "cannot be used with"),
        (&["--seed", "-1"], "--seed"),
        (&["--fit", "x"], "pad, crop, stretch"),
    ];
    for (arguments, words) in cases {
        let before = scratch.files();
        let output = import(&scratch, arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{message}");
        assert!(message.starts_with("error: ") && message.contains(words), "{words}: {message}");
        assert_eq!(scratch.files(), before);
    }
}

/// What a link points to is replaced, not the link; and what a killed import left is deleted.
#[cfg(unix)]
#[test]
fn an_older_set_is_replaced_where_it_is() {
    let scratch = Scratch::empty();
    flat(&scratch);
    fs::create_dir(scratch.work("disk")).unwrap();
    fs::create_dir_all(scratch.work("disk/.importing-abc123")).unwrap();
    fs::write(scratch.work("disk/.importing-abc123/pixels"), "half").unwrap();
    std::os::unix::fs::symlink("disk/real", scratch.work("set")).unwrap();
    let words = ["set: a link to disk/real, which does not exist: expected a directory"];
    scratch.refuses(1, &mut import(&scratch, &[]), &words);
    scratch.refuses(1, &mut import(&scratch, &["--force"]), &words);
    let words = ["--out: found `-`: expected the name of a directory", "./-"];
    scratch.refuses(2, &mut import(&scratch, &["--out", "-"]), &words);
    fs::create_dir(scratch.work("disk/real")).unwrap();
    let output = import(&scratch, &[]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(message.starts_with("deleted: ") && message.contains(".importing-abc123"), "{message}");
    let first = bytes(&scratch.work("disk/real"));
    succeeded(import(&scratch, &["--force", "--grey"]).output().unwrap());
    assert!(scratch.work("set").is_symlink());
    assert!(bytes(&scratch.work("disk/real")) != first);
    assert_eq!(entries(&scratch.work("disk")), ["real"]);
}

/// Ctrl-C while pictures are decoded.
#[cfg(unix)]
#[test]
fn an_interrupted_import_leaves_nothing() {
    let scratch = Scratch::empty();
    flat(&scratch);
    let large = RgbImage::from_pixel(3000, 3000, Rgb([1, 2, 3]));
    large.save(scratch.work("pictures/red/0000.bmp")).unwrap();
    for i in 0..300 {
        let copy = scratch.work(&format!("pictures/red/{i:04}.bmp"));
        let _ = fs::hard_link(scratch.work("pictures/red/0000.bmp"), copy);
    }
    let before = scratch.files();
    let mut command = import(&scratch, &["--threads", "1"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It has begun once its directory is there.
    while scratch.files() == before {}
    let kill = format!("kill -INT {}", child.id());
    Command::new("sh").args(["-c", &kill]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &*message),
        (Some(130), "interrupted: nothing was imported\n")
    );
    assert_eq!(scratch.files(), before);
}

/// A limit on the size of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing() {
    let scratch = Scratch::empty();
    flat(&scratch);
    let mut command = scratch.set_up(Command::new("sh"));
    command.args([
        "-c",
        "ulimit -f 8; exec \"$@\"",
        "sh",
        BOBBIN,
        "import",
        "pictures",
        "--out",
        "new/set",
    ]);
    scratch.refuses(1, &mut command, &["new/set: cannot write", "File too large"]);
}

/// Pictures, data set, network, predictions: as the README shows it.
#[test]
fn from_pictures_to_predictions() {
    let scratch = Scratch::empty();
    shop_pictures::draw(&scratch.work("pictures")).unwrap();
    fs::rename(scratch.work("pictures/Shirt/00.png"), scratch.work("unseen.png")).unwrap();
    succeeded(import(&scratch, &[]).output().unwrap());
    let data = open(&scratch, "set");
    let names = shop_pictures::GARMENTS.map(|(name, _)| name.to_owned());
    assert_eq!((data.class_names(), data.image_shape()), (&names[..], [3, 28, 28]));
    assert_eq!(data.train().unwrap().len() + data.test().unwrap().len(), 239);

    fs::remove_dir(scratch.path("data")).unwrap();
    fs::rename(scratch.work("set"), scratch.path("data")).unwrap();
    crate::model::train(&scratch, "cnn-bn");
    let evaluate = ["--weights", "run", "--data", "../data", "--json"];
    let mut command = scratch.bobbin("evaluate", &evaluate);
    let json = succeeded(command.output().unwrap());
    let scores: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(scores["top1"].as_f64().unwrap() > 0.8, "{json}");
    let predict = ["--weights", "run", "unseen.png", "--top", "1"];
    let mut command = scratch.bobbin("predict", &predict);
    let printed = succeeded(command.output().unwrap());
    assert!(printed.trim_end().ends_with(" %  Shirt"), "{printed}");
}
