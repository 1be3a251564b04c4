//! Arrays of NumPy: an archive of images and labels (`.npz`), or two files (`.npy`).
//!
//! The names in an archive say what an array is: `x_train` and `y_train`, `train_images` and `train_labels`,
//! `images` and `labels`, `arr_0` and `arr_1`. Images are `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]` of 1, 3 or
//! 4 channels; of bytes, or of numbers from 0 to 255, or of floats from 0 to 1.

use super::numpy_array::Array;
use super::numpy_header::Element;
use super::{
    Block, Collection, Content, LabelledBlock, Part, numbered_classes, part_named, refused,
};
use crate::decode::MAX_PIXELS;
use crate::{ImportError, Picture, PictureError};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use zip::ZipArchive;

/// An archive with images and labels, perhaps of several parts.
pub(super) fn open_archive(path: &Path, scratch: &Path) -> Result<Collection, ImportError> {
    let io = |cause| ImportError::Io { path: path.into(), action: "open", cause };
    let file = File::open(path).map_err(io)?;
    let mut archive = match ZipArchive::new(BufReader::new(file)) {
        Ok(archive) => archive,
        Err(error) => return refused(path, format!("found no NumPy archive: {error}")),
    };
    let names: Result<Vec<String>, _> =
        archive.file_names().map(|name| name.map(|name| name.into_owned())).collect();
    let names =
        names.or_else(|error| refused(path, format!("found a damaged archive: {error}")))?;
    let mut arrays: Vec<(Role, Option<Part>, Array)> = vec![];
    for name in &names {
        let Some((role, part)) = role(name) else { continue };
        if let Some((.., known)) = arrays.iter().find(|found| (found.0, found.1) == (role, part)) {
            return refused(path, format!("found {} and {name}, expected one of them", known.name));
        }
        let member = archive.by_name(name).map_err(io::Error::from).map_err(io)?;
        let size = member.size();
        arrays.push((role, part, Array::unpack(path, name, (member, size), scratch)?));
    }
    arrays.sort_by_key(|(_, part, _)| *part);
    let mut pairs = vec![];
    let (images, mut labels): (Vec<_>, Vec<_>) =
        arrays.into_iter().partition(|(role, ..)| *role == Role::Images);
    for (_, part, images) in images {
        let Some(at) = labels.iter().position(|(_, other, _)| *other == part) else {
            return refused(path, format!("found no labels beside {}", images.name));
        };
        pairs.push((images, part, labels.remove(at).2));
    }
    if let (Some((.., left)), false) = (labels.first(), pairs.is_empty()) {
        return refused(path, format!("found no images beside {}", left.name));
    }
    if pairs.is_empty() {
        let expected =
            "expected images and labels such as x_train and y_train, or images and labels";
        return refused(path, format!("found the arrays {}, {expected}", names.join(", ")));
    }
    collect(path, pairs)
}

/// An array of images and one of labels, in two files.
pub(super) fn open_arrays(path: &Path, labels: Option<&Path>) -> Result<Collection, ImportError> {
    let Some(labels) = labels else {
        return refused(
            path,
            "found an array without labels, expected --labels with an array of as many",
        );
    };
    collect(path, vec![(Array::open(path)?, None, Array::open(labels)?)])
}

/// What an array is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Images,
    Labels,
}

/// What the name of an array says: `x_train.npy`, `train_images.npy`, `images.npy`.
fn role(name: &str) -> Option<(Role, Option<Part>)> {
    let name = name.strip_suffix(".npy")?.to_lowercase();
    let (mut role, mut part) = (None, None);
    for word in name.split(['_', '-', '.']) {
        match word {
            "arr" => {}
            "x" | "image" | "images" | "img" | "imgs" | "data" | "pixels" | "features" | "0" => {
                role = role.or(Some(Role::Images));
            }
            "y" | "label" | "labels" | "target" | "targets" | "class" | "classes" | "1" => {
                role = Some(Role::Labels);
            }
            word => part = Some(part_named(word)?),
        }
    }
    Some((role?, part))
}

fn collect(
    path: &Path,
    pairs: Vec<(Array, Option<Part>, Array)>,
) -> Result<Collection, ImportError> {
    let mut blocks: Vec<LabelledBlock> = vec![];
    let mut size: Option<[usize; 2]> = None;
    let scale = scale(pairs.iter().map(|(images, ..)| images))?;
    for (images, part, labels) in pairs {
        let of_labels = labels.labels()?;
        let images = Images::new(images, scale)?;
        if of_labels.len() != images.array.header.shape[0] {
            return images.array.refuse(format!(
                "found {} images, and {} labels in {}",
                images.array.header.shape[0],
                of_labels.len(),
                labels.name
            ));
        }
        let [_, rows, columns] = images.shape;
        if *size.get_or_insert([rows, columns]) != [rows, columns] {
            return images.array.refuse("found images of another size than before".to_owned());
        }
        blocks.push((Box::new(images), part, of_labels));
    }
    let labels: Vec<&[u32]> = blocks.iter().map(|(.., labels)| &labels[..]).collect();
    let classes = numbered_classes(path, &labels)?;
    Ok(Collection::of_blocks(classes, size.unwrap_or([1, 1]), blocks))
}

/// An array of images.
struct Images {
    array: Array,
    /// Channels, rows and columns of each.
    shape: [usize; 3],
    /// Whether its channels are planes.
    planes: bool,
    /// What 1 is in bytes.
    scale: f64,
}

impl Images {
    fn new(array: Array, scale: f64) -> Result<Images, ImportError> {
        let (shape, planes) = match array.header.shape[..] {
            [_, rows, columns] => ([1, rows, columns], false),
            [_, rows, columns, channels @ (1 | 3 | 4)] => ([channels, rows, columns], false),
            [_, channels @ (1 | 3 | 4), rows, columns] => ([channels, rows, columns], true),
            ref shape => {
                return array.refuse(format!(
                    "found the shape {shape:?}, expected [N, H, W], [N, H, W, C] or [N, C, H, W] of 1, 3 or 4 channels"
                ));
            }
        };
        let [_, rows, columns] = shape;
        let pixels = rows.checked_mul(columns).filter(|&pixels| pixels as u64 <= MAX_PIXELS);
        if array.header.shape.contains(&0) || pixels.is_none() {
            let shape = &array.header.shape;
            return array.refuse(format!(
                "found the shape {shape:?}, expected images of 1 to {} million pixels",
                MAX_PIXELS / 1_000_000
            ));
        }
        Ok(Images { array, shape, planes, scale })
    }
}

/// What 1 is in bytes in arrays of other numbers than bytes: 255 if all are floats from 0 to 1. Arrays of one
/// data set are scaled alike, whatever the highest value of each.
fn scale<'a>(arrays: impl Iterator<Item = &'a Array>) -> Result<f64, ImportError> {
    let (mut of_all, mut floats) = (0.0f64, true);
    for array in arrays.filter(|array| array.header.element != Element::U8) {
        let (mut lowest, mut highest, mut finite) = (f64::INFINITY, f64::NEG_INFINITY, true);
        array.each_value(|value| {
            (lowest, highest) = (lowest.min(value), highest.max(value));
            finite &= value.is_finite();
        })?;
        if !finite || lowest < 0.0 || highest > 255.0 {
            return array.refuse(format!(
                "found pixels from {lowest} to {highest}{}, expected from 0 to 255, or floats from 0 to 1",
                if finite { "" } else { " and others that are not finite" }
            ));
        }
        of_all = of_all.max(highest);
        floats &= matches!(array.header.element, Element::F32 | Element::F64);
    }
    Ok(if floats && of_all <= 1.0 { 255.0 } else { 1.0 })
}

impl Block for Images {
    fn content(&self, index: usize) -> Result<Content<'_>, PictureError> {
        let [channels, rows, columns] = self.shape;
        let element = self.array.header.element;
        let mut bytes = vec![0; channels * rows * columns * element.len()];
        let read = self.array.read((index * bytes.len()) as u64, &mut bytes);
        read.map_err(|cause| PictureError::of_system(&self.name(index), &cause))?;
        let pixels: Vec<u8> = match element {
            Element::U8 => bytes,
            element => {
                let values = bytes.chunks_exact(element.len()).map(|bytes| element.value(bytes));
                values.map(|value| (value * self.scale).round() as u8).collect()
            }
        };
        let pixels = match self.planes {
            false => pixels,
            true => {
                let plane = rows * columns;
                (0..pixels.len()).map(|i| pixels[i % channels * plane + i / channels]).collect()
            }
        };
        Ok(Content::Pixels(Picture::from_idx(&pixels, self.shape)))
    }

    fn name(&self, index: usize) -> String {
        format!("{}/{index}", self.array.name.trim_end_matches(".npy"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::numpy_header::tests::npy;
    use super::*;
    use crate::Fit;
    use std::fs;
    use std::io::{Cursor, Write};
    use tempfile::TempDir;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(vec![]));
        for (name, bytes) in arrays {
            writer.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn archive(arrays: &[(&str, Vec<u8>)]) -> Result<Collection, String> {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("set.npz");
        fs::write(&path, npz(arrays)).unwrap();
        open_archive(&path, directory.path()).map_err(|error| error.to_string())
    }

    fn pixels(found: &Collection, i: usize, shape: [usize; 3]) -> Vec<u8> {
        found.picture(&found.items[i]).unwrap().fit(shape, Fit::Pad)
    }

    #[test]
    fn names_say_what_arrays_are() {
        let train = Some(Part::Train);
        for (name, expected) in [
            ("x_train", Some((Role::Images, train))),
            ("train_labels", Some((Role::Labels, train))),
            ("val_images", Some((Role::Images, Some(Part::Validation)))),
            ("Y-test", Some((Role::Labels, Some(Part::Test)))),
            ("images", Some((Role::Images, None))),
            ("arr_1", Some((Role::Labels, None))),
            ("x_weights", None),
            ("mean", None),
        ] {
            assert_eq!(role(&format!("{name}.npy")), expected, "{name}");
        }
        assert_eq!(role("x_train.txt"), None);
    }

    #[test]
    fn archives_are_read() {
        let found = archive(&[
            ("y_test", npy("<i8", "(1,)", &2i64.to_le_bytes())),
            ("x_test", npy("|u1", "(1, 1, 2)", &[7, 8])),
            ("x_train", npy("|u1", "(2, 1, 2)", &[1, 2, 3, 4])),
            ("y_train", npy("|u1", "(2, 1)", &[0, 1])),
            ("mean", npy("<f4", "()", &[0; 4])),
        ])
        .unwrap();
        assert_eq!((found.classes.join(" "), found.size), ("0 1 2".into(), Some([1, 2])));
        let items: Vec<_> = found.items.iter().map(|item| (item.class, item.part)).collect();
        let (train, test) = (Some(Part::Train), Some(Part::Test));
        assert_eq!(items, [(0, train), (1, train), (2, test)]);
        assert_eq!(pixels(&found, 1, [1, 1, 2]), [3, 4]);
        assert_eq!(found.name(&found.items[2]), "x_test/0");
    }

    #[test]
    fn floats_and_planes_are_bytes() {
        let floats: Vec<u8> = [0.0f32, 0.5, 1.0, 0.2, 0.4, 0.6]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let labels = || npy("|u1", "(2,)", &[0, 1]);
        let two = [&floats[..], &floats[..]].concat();
        let found = archive(&[("x", npy("<f4", "(2, 3, 1, 2)", &two)), ("y", labels())]).unwrap();
        assert_eq!(pixels(&found, 1, [3, 1, 2]), [0, 255, 102, 128, 51, 153]);
        let wide: Vec<u8> = [0i16, 255].iter().flat_map(|value| value.to_le_bytes()).collect();
        let found = archive(&[("x", npy("<i2", "(2, 1, 1)", &wide)), ("y", labels())]).unwrap();
        assert_eq!(pixels(&found, 1, [1, 1, 1]), [255]);
    }

    /// One part's highest value does not decide how it is read.
    #[test]
    fn parts_are_scaled_alike() {
        let floats = |values: [f32; 2]| values.map(f32::to_le_bytes).concat();
        let labels = || npy("|u1", "(2,)", &[0, 1]);
        let found = archive(&[
            ("x_train", npy("<f4", "(2, 1, 1)", &floats([3.0, 255.0]))),
            ("y_train", labels()),
            ("x_test", npy("<f4", "(2, 1, 1)", &floats([0.0, 1.0]))),
            ("y_test", labels()),
        ])
        .unwrap();
        assert_eq!([0, 1, 2, 3].map(|i| pixels(&found, i, [1, 1, 1])[0]), [3, 255, 0, 1]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let x = || ("x", npy("|u1", "(2, 1, 1)", &[1, 2]));
        let y = |labels: &[u8]| ("y", npy("|u1", &format!("({},)", labels.len()), labels));
        let message = |arrays: &[(&str, Vec<u8>)]| {
            let message = archive(arrays).err().unwrap();
            assert!(message.contains("set.npz"), "{message}");
            message
        };
        assert!(message(&[x()]).contains("found no labels beside x"));
        assert!(message(&[x(), y(&[0, 1, 1])]).contains("found 2 images, and 3 labels in y"));
        assert!(message(&[x(), y(&[3, 3])]).contains("found 1 different labels"));
        assert!(message(&[y(&[0, 1])]).contains("found the arrays y.npy, expected"));
        assert!(
            message(&[x(), ("images", x().1), y(&[0, 1])]).contains("found x.npy and images.npy")
        );
        let test = ("y_test", npy("|u1", "(2,)", &[0, 1]));
        assert!(message(&[x(), y(&[0, 1]), test]).contains("found no images beside y_test"));
        let huge = ("x", npy("|u1", "(2, 65536, 65536)", &[1]));
        assert!(message(&[huge, y(&[0, 1])]).contains("found 1 bytes of elements"));
        let cut = ("x", npy("|u1", "(2, 1, 1)", &[1]));
        assert!(message(&[cut, y(&[0, 1])]).contains("found 1 bytes of elements, expected 2"));
        let long = ("x", npy("|u1", "(2, 1, 1)", &[1; 9]));
        assert!(message(&[long, y(&[0, 1])]).contains("found 9 bytes of elements, expected 2"));
        let flat = ("x", npy("|u1", "(2, 4)", &[1; 8]));
        assert!(message(&[flat, y(&[0, 1])]).contains("found the shape [2, 4]"));
        let signed = ("x", npy("|i1", "(2, 1, 1)", &[255, 1]));
        assert!(message(&[signed, y(&[0, 1])]).contains("found pixels from -1 to 1"));
        let half = ("y", npy("<f4", "(2,)", &[0.5f32.to_le_bytes(), [0; 4]].concat()));
        assert!(message(&[x(), half]).contains("found label 0.5 of image 0"));
    }

    #[test]
    fn two_files_are_read() {
        let directory = TempDir::new().unwrap();
        let [images, labels] = ["a.npy", "b.npy"].map(|name| directory.path().join(name));
        fs::write(&images, npy("|u1", "(2, 1, 1)", &[1, 2])).unwrap();
        fs::write(&labels, npy("<i4", "(2,)", &[0, 0, 0, 0, 1, 0, 0, 0])).unwrap();
        let found = open_arrays(&images, Some(&labels)).unwrap();
        assert_eq!((pixels(&found, 1, [1, 1, 1]), found.items[1].part), (vec![2], None));
        let message = open_arrays(&images, None).err().unwrap().to_string();
        assert!(message.contains("a.npy: found an array without labels"), "{message}");
        fs::write(&images, "no array, but a text").unwrap();
        let message = open_arrays(&images, Some(&labels)).err().unwrap().to_string();
        assert!(message.contains("a.npy: found no NumPy array"), "{message}");
    }
}
