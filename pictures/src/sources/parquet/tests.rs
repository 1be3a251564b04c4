use super::*;
use crate::Fit;
use crate::sources::Item;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parquet").join(name)
}

fn open(path: &Path) -> Result<Collection, ImportError> {
    // What is unpacked has no name, so that the directory may be gone.
    let scratch = TempDir::new().unwrap();
    match path.is_dir() {
        true => open_folder(path, scratch.path()).map(|found| found.expect("Parquet files")),
        false => open_file(path, scratch.path()),
    }
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
fn sets_of_hubs_have_names_and_parts() {
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
    assert!(open_folder(&fixture("hub/..").join("none"), Path::new("")).unwrap().is_none());
}

/// A stray Parquet file does not take the place of the pictures in class folders.
#[test]
fn pictures_beside_are_not_passed_over() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("cat")).unwrap();
    fs::copy(fixture("binary.parquet"), folder.path().join("cat/a.parquet")).unwrap();
    fs::write(folder.path().join("banner.png"), "").unwrap();
    assert_eq!(open(folder.path()).unwrap().items.len(), 40);
    fs::write(folder.path().join("cat/b.jpg"), "").unwrap();
    let message = open(folder.path()).err().unwrap().to_string();
    assert!(
        message.contains("a.parquet: found") && message.contains("b.jpg beside it"),
        "{message}"
    );
}

#[test]
fn what_is_wrong_is_named() {
    let message = |name: &str| open(&fixture(name)).err().unwrap().to_string();
    for (name, expected) in [
        ("zstd.parquet", "column image.bytes: found ZSTD, expected no compression or SNAPPY"),
        ("order", "train.parquet: found other names of classes, or in another order, than "),
        ("repeated.parquet", "found pictures of over 32 times the bytes of the file"),
        ("missing.parquet", "row 1: found no picture"),
        ("unknown.parquet", "row 1: found label -1, expected a whole number from 0 on"),
        ("lists.parquet", "found the columns image.bytes, image.path, label.list.element"),
        ("other.parquet", "found the columns text, label, expected one of pictures (image, img"),
        ("highest.parquet", "found label 2, and 2 classes"),
    ] {
        let message = message(name);
        assert!(message.contains(expected) && message.contains(name), "{message}");
    }
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
