//! A place to run programs in, with a small data set.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

pub const BOBBIN: &str = env!("CARGO_BIN_EXE_bobbin");

pub const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
pub const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
pub const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
pub const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// Images of 16×16, the smallest that LeNet takes.
pub const SIZE: usize = 16;

/// Flags of a run that ends within a second.
pub const SHORT: [&str; 10] = [
    "--recipe",
    "fast",
    "--data",
    "../data",
    "--epochs",
    "5",
    "--batch-size",
    "64",
    "--lr",
    "0.02",
];

/// What [`left`] finds in a run directory at the end of a run.
pub const COMPLETE: [&str; 8] = [
    "checkpoints",
    "events",
    "metrics.jsonl",
    "model.safetensors",
    "recipe.toml",
    "report.html",
    "train",
    "validation",
];

/// A directory to run in, with a data set and a cache beside it.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn empty() -> Scratch {
        let scratch = Scratch(TempDir::new().unwrap());
        for name in ["work", "data", "cache"] {
            fs::create_dir(scratch.0.path().join(name)).unwrap();
        }
        scratch
    }

    /// With a set of three classes that are easy to tell apart.
    pub fn with_data(channels: usize) -> Scratch {
        let scratch = Scratch::empty();
        scratch.write_set("", channels);
        scratch
    }

    pub fn write_set(&self, prefix: &str, channels: usize) {
        for (part, count, seed) in [("train", 300, 1), ("t10k", 90, 2)] {
            let (images, labels) = patterns(count, channels, seed);
            let rank = if channels == 1 { 3 } else { 4 };
            self.write(&format!("data/{prefix}{part}-images-idx{rank}-ubyte"), &images);
            self.write(&format!("data/{prefix}{part}-labels-idx1-ubyte"), &labels);
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn work(&self, name: &str) -> PathBuf {
        self.path("work").join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Replaces a file of the set by its gzipped twin with these bytes.
    pub fn pack(&self, name: &str, bytes: &[u8]) {
        fs::remove_file(self.path("data").join(name)).unwrap();
        self.write(&format!("data/{name}.gz"), bytes);
    }

    /// `bobbin train`.
    pub fn command(&self) -> Command {
        self.bobbin("train", &[])
    }

    /// A command of `bobbin`, to be run with these arguments.
    pub fn bobbin(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.set_up(Command::new(BOBBIN));
        command.arg(name).args(arguments);
        command
    }

    pub fn set_up(&self, mut command: Command) -> Command {
        command.current_dir(self.path("work")).env("BOBBIN_CACHE", self.path("cache"));
        command
    }

    /// A run that must succeed without a word on stderr; returns what it printed.
    pub fn train(&self, arguments: &[&str]) -> String {
        succeeded(self.command().args(SHORT).args(arguments).output().unwrap())
    }

    /// A run that must fail with this exit code and one line on stderr that has these words, print
    /// nothing else and leave nothing behind.
    pub fn refused(&self, code: i32, arguments: &[&str], words: &[&str]) {
        self.refuses(code, self.command().args(arguments), words);
    }

    pub fn refuses(&self, code: i32, command: &mut Command, words: &[&str]) {
        let before = self.files();
        let output = command.output().unwrap();
        let message = failed(code, &output);
        for word in words {
            assert!(message.contains(word), "{word:?} is missing in: {message}");
        }
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{message}");
        assert_eq!(self.files(), before, "{message}");
    }

    /// Everything but the cache, which may hold whole entries alone.
    pub fn files(&self) -> Vec<PathBuf> {
        for entry in fs::read_dir(self.path("cache")).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(path.extension().unwrap(), "idx", "{}", path.display());
        }
        let mut files = vec![];
        list(&self.path("work"), &mut files);
        list(&self.path("data"), &mut files);
        files
    }
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            list(&path, files);
        }
        files.push(path);
    }
}

/// The names of all files and directories below a directory.
pub fn names(directory: &Path) -> Vec<String> {
    let mut files = vec![];
    list(directory, &mut files);
    files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// What is in a directory.
pub fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What is in a run directory; its event files, whose names are times, are one.
pub fn left(run: &Path) -> Vec<String> {
    let name = |name: String| match name.starts_with("events.out.tfevents.") {
        true => "events".to_owned(),
        false => name,
    };
    let mut names: Vec<String> = entries(run).into_iter().map(name).collect();
    names.dedup();
    names
}

pub fn succeeded(output: Output) -> String {
    assert_eq!((output.status.code(), &*said(&output)), (Some(0), ""));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(!printed.contains(|c: char| c.is_control() && c != '\n'), "{printed:?}");
    printed
}

/// What is on stderr, as [`heard`] has it.
pub fn said(output: &Output) -> String {
    heard(&String::from_utf8(output.stderr.clone()).unwrap())
}

/// Lines of stderr, but for the advice on a network that takes every image for one class, as after an epoch of a
/// few steps it well may, and the warning that every run on the portable SIMD path begins with.
pub fn heard(message: &str) -> String {
    let expected = [
        "warning: nearly every validation image is taken for ",
        "warning: the portable SIMD path ",
    ];
    let is_expected = |line: &&str| expected.iter().any(|start| line.starts_with(start));
    message.split_inclusive('\n').filter(|line| !is_expected(line)).collect()
}

/// The only line on stderr, besides that.
pub fn failed(code: i32, output: &Output) -> String {
    let message = said(output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.starts_with("error: ") && message.ends_with('\n'), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// The validation accuracy of the last epoch, in percent.
pub fn accuracy(printed: &str) -> f64 {
    let epoch = printed.lines().rfind(|line| line.starts_with("epoch")).unwrap();
    let (_, number) = epoch.split_once("validation accuracy ").unwrap();
    number.split(' ').next().unwrap().parse().unwrap()
}

pub fn header(magic: u32, dims: &[usize]) -> Vec<u8> {
    let words = dims.iter().map(|&dim| dim as u32);
    [magic].into_iter().chain(words).flat_map(u32::to_be_bytes).collect()
}

/// IDX files of noise with a bright upper, left or middle half: classes 0, 1 and 2.
pub fn patterns(count: usize, channels: usize, seed: u32) -> (Vec<u8>, Vec<u8>) {
    let dims = [count, SIZE, SIZE, channels];
    let (magic, rank) = if channels == 1 { (0x803, 3) } else { (0x804, 4) };
    let mut images = header(magic, &dims[..rank]);
    let mut labels = header(0x801, &[count]);
    let mut random = seed;
    for i in 0..count {
        let class = i % 3;
        labels.push(class as u8);
        for pixel in 0..SIZE * SIZE {
            let (y, x) = (pixel / SIZE, pixel % SIZE);
            let inside = |v: usize| (SIZE / 4..3 * SIZE / 4).contains(&v);
            let bright = [y < SIZE / 2, x < SIZE / 2, inside(x) && inside(y)][class];
            for _ in 0..channels {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                images.push((random >> 25) as u8 + if bright { 128 } else { 0 });
            }
        }
    }
    (images, labels)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
