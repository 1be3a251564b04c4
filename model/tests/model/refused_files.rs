//! Files that are no model: each is refused in a line that says why.

use crate::files::{Contents, Entry, example, load, place, saved};
use model::Description;
use model::tensors::TensorFile;
use proptest::prelude::*;
use safetensors::Dtype;
use std::sync::OnceLock;

#[test]
fn files_of_others_are_refused_with_a_reason() {
    let model = example("cnn-bn", [1, 8, 8]);
    load(&Contents::of(&model).bytes()).unwrap();
    let metadata = |key: &str, value: &str| {
        Contents::problem(&model, |file| drop(file.metadata.insert(key.into(), value.into())))
    };
    let refused = |problem: String, words: &[&str]| {
        assert!(words.iter().all(|word| problem.contains(word)), "{words:?}: {problem}");
    };
    refused(Contents::problem(&model, |f| f.metadata.clear()), &["no `", "not a model of Bobbin"]);
    for key in ["model", "input", "classes", "normalize.mean", "normalize.std"] {
        let problem = Contents::problem(&model, |f| drop(f.metadata.remove(key)));
        refused(problem, &[&format!("no `{key}`")]);
    }
    refused(metadata("model", "alexnet"), &["alexnet", "lenet, lenet-li, cnn-bn"]);
    refused(metadata("model", "two\nlines"), &["unknown model"]);
    for input in ["1,8", "1,8,-8", "1,8,8.5", "1,8,inf", "1,8,", "1,8,1e3", "x"] {
        refused(metadata("input", input), &["`input`", input]);
    }
    refused(metadata("input", "1,8,0"), &["nothing to compute"]);
    refused(metadata("input", "1,4294967295,4294967295"), &["too large"]);
    refused(metadata("input", "4000000,8,8"), &["too large"]);
    // Found in the header, before room is made for weights of 400 MB, or for what is computed.
    refused(metadata("input", "1,1000,1000"), &["`9.weight` has shape [3, 128]"]);
    refused(
        metadata("input", "1,4000,4000"),
        &["of memory, expected at most 4096", "BOBBIN_LIMITS"],
    );
    refused(metadata("classes", "{}"), &["`classes`"]);
    refused(metadata("classes", "[]"), &["at least one output"]);
    refused(metadata("classes", r#"["a"]"#), &["`9.weight` has shape [3, 128]", "[1, 128]"]);
    for numbers in ["", "nan", "0.5,", "a"] {
        refused(metadata("normalize.mean", numbers), &["`normalize.mean`", numbers]);
    }
    refused(
        metadata("normalize.mean", "1,2"),
        &["`normalize.mean`", "a number, or one per channel"],
    );
    refused(metadata("normalize.std", "0"), &["`normalize.std`", "positive"]);
    refused(metadata("normalize.std", "-1"), &["`normalize.std`", "positive"]);

    let at = |file: &Contents, name: &str| file.tensors.iter().position(|t| t.0 == name).unwrap();
    let change = |name: &str, change: fn(&mut Entry)| {
        Contents::problem(&model, |file| {
            let at = at(file, name);
            change(&mut file.tensors[at]);
        })
    };
    refused(
        Contents::problem(&model, |f| drop(f.tensors.remove(at(f, "5.running_var")))),
        &["`5.running_var` is missing"],
    );
    refused(change("0.bias", |t| t.0 = "0.bïas\n".into()), &["`0.bias` is missing"]);
    let more = ("more\n".to_owned(), Dtype::F32, vec![1], vec![0; 4]);
    refused(Contents::problem(&model, |f| f.tensors.push(more)), &["not a parameter"]);
    refused(change("0.weight", |t| t.2 = vec![16, 25]), &["[16, 25]", "[16, 1, 5, 5]"]);
    refused(change("0.bias", |t| t.1 = Dtype::I32), &["`0.bias` has type I32", "F32"]);
    refused(
        change("1.num_batches_tracked", |t| (t.1, t.3) = (Dtype::BOOL, vec![0; 1])),
        &["has type BOOL", "an integer type"],
    );
}

/// What is damaged.
static FILES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is done to a file, it is read or refused in one line (see [`load`]).
    #[test]
    fn damage_is_survived(
        small in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        in_header in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
        insert in prop::option::of((any::<prop::sample::Index>(), "[0-9a-z,\\\\\"\\]}]{1,4}")),
    ) {
        let files = FILES.get_or_init(|| {
            [("lenet", [1, 16, 16]), ("cnn-bn", [1, 4, 4])].map(|(p, input)| saved(&example(p, input)))
        });
        let mut bytes = files[usize::from(small)].clone();
        let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        for (at, byte) in changes {
            let at = at.index(if in_header { header } else { bytes.len() });
            bytes[at] = byte;
        }
        if let Some((at, text)) = insert {
            let at = at.index(header);
            bytes.splice(at..at, text.bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(load(&bytes).is_err());
        } else {
            let _ = load(&bytes);
        }
    }

    #[test]
    fn anything_else_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(load(&bytes).is_err());
    }
}

/// What is no safetensors file is said to be none before its gigabytes are read.
#[test]
fn files_of_another_kind() {
    let refused = |bytes: &[u8], words: &str| {
        let problem = load(bytes).unwrap_err();
        assert!(problem.contains(words), "{words:?}: {problem}");
    };
    refused(b"", "the file is empty");
    refused(b"1234567", "not a safetensors file");
    for (bytes, words) in [
        (
            &b"PK\x03\x04\0\0\x08\x08\0\0 and more"[..],
            ["truncated or damaged: its archive cannot be read (", ""],
        ),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", ["not a state_dict", "protocol"]),
        (b"\x80\x04\x95\x01\0\0\0\0\0\0\0.", ["not a state_dict of PyTorch (pickle", "weights"]),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 178466\n",
            ["a Git LFS pointer", "`git lfs pull`"],
        ),
        (b"\n<!DOCTYPE html>\n<html lang=\"en\">", ["a web page (HTML)", "address"]),
        (b"<html><head>", ["a web page (HTML)", "address"]),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", ["compressed by gzip", "gunzip"]),
        (b"\x28\xb5\x2f\xfd\x04\0\0\0\0", ["compressed by zstd", "unzstd"]),
        (b"\xfd7zXZ\0\0\x04", ["compressed by xz", "unxz"]),
        (b"\x89HDF\r\n\x1a\n and more", ["an HDF5 file", "Keras"]),
        (
            &[&b"net.safetensors"[..], &[0; 242], b"ustar\x0000"].concat(),
            ["a tar archive", "tar -xf"],
        ),
    ] {
        words.iter().for_each(|words| refused(bytes, words));
    }
    let npz = [&b"PK\x03\x04"[..], &[0; 22], &[10, 0, 0, 0], b"weight.npy"].concat();
    let keras = [&b"PK\x03\x04"[..], &[0; 22], &[13, 0, 0, 0], b"metadata.json"].concat();
    let expected =
        ": expected weights, such as the model.safetensors of a run, or a state_dict of PyTorch";
    for (bytes, words) in [
        (&b"\x89PNG\r\n\x1a\n and more"[..], "a PNG picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
        (b"\x08\x08\x12\x06bobbin\x1a\x050.1.0", "an ONNX model, as export writes"),
        (b"\x93NUMPY\x01\0v\0{'descr': ", "a NumPy array"),
        (&npz, "a NumPy archive (npz)"),
        (&keras, "a zip archive, as Keras writes"),
        (b"\x1c\0\0\0TFL3\0\0\x12\0", "a TensorFlow Lite model"),
        (b"\0\0\x08\x03\0\0\x27\x10", "an IDX file of images"),
    ] {
        refused(bytes, words);
        refused(bytes, expected);
    }
    refused(b"/annex/objects/SHA256E-s1--2.safetensors\n", "`git annex get` fetches it");
    refused(b"neither of these", "not a safetensors file");
    let whole = saved(&example("cnn-bn", [1, 4, 4]));
    for length in (0..whole.len()).step_by(97) {
        refused(&whole[..length], "a");
    }
    refused(&whole[..whole.len() - 1], "truncated or damaged");
    // Offsets whose sum wraps around to the length of the file.
    let half = (u64::MAX / 2 / 4 - 1) * 4;
    let tensor = |name: &str, start: u64| {
        let (shape, end) = (half / 4, start + half);
        format!(r#""{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[{start},{end}]}}"#)
    };
    let text = format!("{{{},{}}}", tensor("a", 0), tensor("b", half));
    refused(&[&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat(), "safetensors");
    #[cfg(unix)]
    {
        let (_directory, path) = place();
        let target = "../.git/annex/objects/Gx/w1/SHA256E-s1--2/SHA256E-s1--2";
        std::os::unix::fs::symlink(target, &path).unwrap();
        let problem = TensorFile::read(&path).unwrap_err().to_string();
        let words =
            format!("cannot read: a link to {target}, which does not exist; `git annex get`");
        assert!(problem.contains(&words), "{problem}");
    }
    #[cfg(target_os = "linux")]
    assert!(TensorFile::read("/dev/zero".as_ref()).is_err());
}

/// A header of 1152 or 1408 bytes has a length that begins as a pickle does.
#[test]
fn a_header_is_not_taken_for_a_pickle() {
    let whole = saved(&example("lenet", [1, 16, 16]));
    let length = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let (header, values) = whole[8..].split_at(length);
    for longer in [0x0480, 0x0580] {
        let padding = vec![b' '; longer - length];
        load(&[&(longer as u64).to_le_bytes()[..], header, &padding, values].concat()).unwrap();
    }
}

/// The description needs the header alone.
#[test]
fn descriptions_are_read_without_weights() {
    let model = example("resnet", [3, 28, 20]);
    let bytes = saved(&model);
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let (_directory, path) = place();
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Description::read(&path).map_err(|error| error.to_string())
    };
    let description = read(&bytes[..header]).unwrap().unwrap();
    assert_eq!(description.network().unwrap(), model.network);
    assert_eq!((&description.classes, description.input), (&model.classes, [3, 28, 20]));
    assert!(read(&bytes[..header - 1]).unwrap_err().ends_with("its header is not whole"));
    let mut broken = bytes.clone();
    broken[9] = b'{';
    assert!(read(&broken).unwrap_err().contains("not a safetensors file (its header: "));
    assert!(read(b"PK\x03\x04 and more").unwrap().is_none());
}
