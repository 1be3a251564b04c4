use super::*;
use crate::Fit;
use crate::sources::Item;
use std::fs;
use tempfile::TempDir;

mod hostile;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parquet").join(name)
}

fn open(path: &Path) -> Result<Collection, ImportError> {
    open_until(path, &AtomicBool::new(false)).map(|found| found.expect("Parquet files"))
}

fn open_until(path: &Path, stop: &AtomicBool) -> Result<Option<Collection>, ImportError> {
    // What is unpacked has no name, so that the directory may be gone.
    let scratch = TempDir::new().unwrap();
    match path.is_dir() {
        true => open_folder(path, scratch.path(), stop),
        false => open_file(path, scratch.path(), stop).map(Some),
    }
}

/// A folder with these files: Parquet files are copies of one, others are empty.
fn folder(files: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match file.ends_with(".parquet") {
            true => drop(fs::copy(fixture("binary.parquet"), path).unwrap()),
            false => fs::write(path, "").unwrap(),
        }
    }
    folder
}

/// Why these files are refused.
fn refusal(files: &[&str]) -> String {
    open(folder(files).path()).err().expect("refused").to_string()
}

/// Name, class, part and first byte of each picture: byte `i` is that of picture `i` of its script.
fn items(found: &Collection) -> Vec<(String, &str, Option<Part>, u8)> {
    let item = |item: &Item| {
        let shown = found.picture_then(item, 5, |picture| picture.fit([3, 4, 5], Fit::Pad));
        let shown = shown.unwrap();
        assert_eq!(shown[3 * 19 + 1..], [8, 9], "the last pixel");
        (found.name(item), &*found.classes[item.class as usize], item.part, shown[0])
    };
    found.items.iter().map(item).collect()
}

#[test]
fn names_and_parts() {
    let found = open(&fixture("hub")).unwrap();
    assert_eq!((&*found.classes, found.size), (&["cat".to_owned(), "dog".to_owned()][..], None));
    let of = |name: &str, class, part, i| (name.to_owned(), class, Some(part), i);
    let [train, test] = ["train", "test"].map(|part| format!("{part}-00000-of-00001.parquet"));
    let expected = [
        of("7.png", "dog", Part::Test, 7),
        of(&format!("{test}/1"), "cat", Part::Test, 8),
        of(&format!("{train}/0"), "cat", Part::Train, 0),
        of("1.png", "dog", Part::Train, 1),
        of(&format!("{train}/2"), "dog", Part::Train, 2),
        of("3.png", "cat", Part::Train, 3),
        of(&format!("{train}/4"), "dog", Part::Train, 4),
        of("5.png", "cat", Part::Train, 5),
        of(&format!("{train}/6"), "cat", Part::Train, 6),
    ];
    assert_eq!(items(&found), expected);
}

#[test]
fn bytes_alone_and_texts() {
    let found = open(&fixture("binary.parquet")).unwrap();
    let items = items(&found);
    assert_eq!((found.classes.join(" "), items.len()), ("bee owl".into(), 40));
    for (i, item) in items.iter().enumerate() {
        let class = if i % 3 == 0 { "bee" } else { "owl" };
        assert_eq!(*item, (format!("binary.parquet/{i}"), class, None, i as u8));
    }
}

#[test]
fn folders_are_parts() {
    let found = open(&fixture("split")).unwrap();
    let parts: Vec<_> = items(&found).into_iter().map(|(.., part, i)| (part, i)).collect();
    let [train, test] = [Part::Train, Part::Test].map(Some);
    assert_eq!(parts, [(test, 2), (test, 3), (train, 0), (train, 1)]);
    // A part may be any word of a name.
    let found = open(&fixture("words")).unwrap();
    assert_eq!(
        found.items.iter().map(|item| item.part).collect::<Vec<_>>(),
        [test, test, train, train]
    );
}

/// One set in several sizes would be several times the same pictures.
#[test]
fn one_of_several_subsets_is_asked_for() {
    let message = refusal(&["160px/train/0000.parquet", "320px/train/0000.parquet"]);
    assert!(message.contains("320px/train/0000.parquet: found it and "), "{message}");
    assert!(message.contains("160px/train/0000.parquet of two subsets, expected one"), "{message}");
    let one = folder(&["default/partial-train/0.parquet", "default/partial-test/0.parquet"]);
    assert_eq!(open(one.path()).unwrap().items.len(), 80);
    let message = refusal(&["a/train.parquet", "a/more.parquet"]);
    assert!(message.contains("more.parquet: found no part of the data set"), "{message}");
}

/// Wherever the reading is, it ends soon.
#[test]
fn unpacking_can_be_interrupted() {
    let stopped = open_until(&fixture("binary.parquet"), &AtomicBool::new(true));
    assert!(matches!(stopped, Err(ImportError::Interrupted)));
}

/// A stray Parquet file does not take the place of the pictures in class folders.
#[test]
fn pictures_beside_are_not_passed_over() {
    let banner = folder(&["cat/a.parquet", "banner.png"]);
    assert_eq!(open(banner.path()).unwrap().items.len(), 40);
    for (files, [file, picture]) in [
        (&["cat/a.parquet", "cat/b.jpg"][..], ["a.parquet: found", "b.jpg beside it"]),
        (&["cat/1.jpg", "dog/1.jpg", "a.parquet"][..], ["a.parquet: found", "cat/1.jpg beside it"]),
        (&["train/cat/1.jpg", "train.parquet"][..], ["train.parquet", "train/cat/1.jpg beside it"]),
    ] {
        let message = refusal(files);
        assert!(message.contains(file) && message.contains(picture), "{message}");
    }
    // What describes pictures is no set of its own.
    for place in ["metadata.parquet", "train/metadata.parquet"] {
        let pictures = folder(&["train/cat/1.jpg", "train/dog/1.jpg", place]);
        let found = open_until(pictures.path(), &AtomicBool::new(false));
        assert!(found.unwrap().is_none(), "{place}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let message = |name: &str| open(&fixture(name)).err().unwrap().to_string();
    for (name, expected) in [
        ("zstd.parquet", "column image.bytes: found ZSTD, expected no compression or SNAPPY"),
        ("order", "train.parquet: found other names of classes, or in another order, than "),
        ("missing.parquet", "row 1: found no picture"),
        ("unknown.parquet", "row 1: found label -1, expected a whole number from 0 on"),
        ("lists.parquet", "found the columns image.bytes, image.path, label.list.element"),
        ("other.parquet", "found the columns text, label, expected one of pictures (image, img"),
        ("highest.parquet", "found label 2, and 2 classes, expected labels below 2"),
    ] {
        let message = message(name);
        assert!(message.contains(expected) && message.contains(name), "{message}");
    }
    let mixed = folder(&["texts.parquet"]);
    fs::copy(fixture("unused.parquet"), mixed.path().join("numbers.parquet")).unwrap();
    let message = open(mixed.path()).err().unwrap().to_string();
    assert!(
        message.contains("texts.parquet: found labels that are texts, and numbers in "),
        "{message}"
    );
    assert!(message.contains("numbers.parquet, expected one of both"), "{message}");
}

/// A set may have few pictures many times.
#[test]
fn repeated_pictures() {
    let found = open(&fixture("repeated.parquet")).unwrap();
    assert_eq!((found.items.len(), found.classes.join(" ")), (1000, "0 1".into()));
    let picture = found.picture(&found.items[999]).unwrap();
    assert_eq!(picture.size(), [5, 4]);
}

/// Whatever is cut off or changed, there is an error in one line or pictures.
#[test]
fn damaged_files() {
    let bytes = fs::read(fixture("hub/data/train-00000-of-00001.parquet")).unwrap();
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("a.parquet");
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        if let Err(error) = open(&path) {
            let message = error.to_string();
            assert!(!message.contains('\n') && message.len() < 2000, "{message}");
        }
    };
    for len in (0..bytes.len()).step_by(7) {
        check(&bytes[..len]);
    }
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            check(&damaged);
        }
    }
}
