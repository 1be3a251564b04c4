//! The program `train` from outside: what it prints, what it writes, how it ends.

use flate2::Compression;
use flate2::write::GzEncoder;
use model::Model;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// Images of 16×16, the smallest that LeNet takes.
const SIZE: usize = 16;

/// Flags of a run that ends within a second.
const SHORT: [&str; 8] =
    ["--data", "../data", "--epochs", "5", "--batch-size", "64", "--lr", "0.02"];

/// A directory to run in, with a data set and a cache beside it.
struct Scratch(TempDir);

impl Scratch {
    fn empty() -> Scratch {
        let scratch = Scratch(TempDir::new().unwrap());
        for name in ["work", "data", "cache"] {
            fs::create_dir(scratch.0.path().join(name)).unwrap();
        }
        scratch
    }

    /// With a set of three classes that are easy to tell apart.
    fn with_data(channels: usize) -> Scratch {
        let scratch = Scratch::empty();
        scratch.write_set("", channels);
        scratch
    }

    fn write_set(&self, prefix: &str, channels: usize) {
        for (part, count, seed) in [("train", 300, 1), ("t10k", 90, 2)] {
            let (images, labels) = patterns(count, channels, seed);
            let rank = if channels == 1 { 3 } else { 4 };
            self.write(&format!("data/{prefix}{part}-images-idx{rank}-ubyte"), &images);
            self.write(&format!("data/{prefix}{part}-labels-idx1-ubyte"), &labels);
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn work(&self, name: &str) -> PathBuf {
        self.path("work").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Replaces a file of the set by its gzipped twin with these bytes.
    fn pack(&self, name: &str, bytes: &[u8]) {
        fs::remove_file(self.path("data").join(name)).unwrap();
        self.write(&format!("data/{name}.gz"), bytes);
    }

    fn command(&self) -> Command {
        self.set_up(Command::new(env!("CARGO_BIN_EXE_train")))
    }

    fn set_up(&self, mut command: Command) -> Command {
        command.current_dir(self.path("work")).env("BOBBIN_CACHE", self.path("cache"));
        command
    }

    /// A run that must succeed without a word on stderr; returns what it printed.
    fn train(&self, arguments: &[&str]) -> String {
        succeeded(self.command().args(SHORT).args(arguments).output().unwrap())
    }

    /// A run that must fail with this exit code and one line on stderr that has these words, print
    /// nothing else and leave nothing behind.
    fn refused(&self, code: i32, arguments: &[&str], words: &[&str]) {
        self.refuses(code, self.command().args(arguments), words);
    }

    fn refuses(&self, code: i32, command: &mut Command, words: &[&str]) {
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
    fn files(&self) -> Vec<PathBuf> {
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

fn names(directory: &Path) -> Vec<String> {
    let mut files = vec![];
    list(directory, &mut files);
    files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

fn succeeded(output: Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*message), (Some(0), ""));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(!printed.contains(|c: char| c.is_control() && c != '\n'), "{printed:?}");
    printed
}

/// The only line on stderr.
fn failed(code: i32, output: &Output) -> String {
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.starts_with("error: ") && message.ends_with('\n'), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// The validation accuracy of the last epoch, in percent.
fn accuracy(printed: &str) -> f64 {
    let epoch = printed.lines().rfind(|line| line.starts_with("epoch")).unwrap();
    let (_, number) = epoch.split_once("validation accuracy ").unwrap();
    number.split(' ').next().unwrap().parse().unwrap()
}

fn header(magic: u32, dims: &[usize]) -> Vec<u8> {
    let words = dims.iter().map(|&dim| dim as u32);
    [magic].into_iter().chain(words).flat_map(u32::to_be_bytes).collect()
}

/// IDX files of noise with a bright upper, left or middle half: classes 0, 1 and 2.
fn patterns(count: usize, channels: usize, seed: u32) -> (Vec<u8>, Vec<u8>) {
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_run_writes_a_model_and_its_recipe() {
    let scratch = Scratch::with_data(1);
    let printed = scratch.train(&["--out", "new/run"]);
    assert!(accuracy(&printed) > 95.0, "{printed}");
    let starts = ["data: ", "model: lenet, ", "training: ", "run directory: new/run"];
    let ends = [
        "epoch 1/5",
        "epoch 2/5",
        "epoch 3/5",
        "epoch 4/5",
        "epoch 5/5",
        "model: new/run/model.safetensors",
    ];
    let mut lines = printed.lines();
    for start in starts.iter().chain(&ends) {
        assert!(lines.next().unwrap().starts_with(start), "{start}: {printed}");
    }
    assert_eq!(lines.next(), None);
    assert_eq!(names(&scratch.work("new/run")), ["model.safetensors", "recipe.toml"]);

    let model = Model::load(&scratch.work("new/run/model.safetensors")).unwrap();
    assert_eq!((&*model.preset, model.network.input()), ("lenet", [1, SIZE, SIZE]));
    assert_eq!(model.classes, ["0", "1", "2"]);
    assert_eq!(model.network.parameters()[0].name, "conv1.weight");
    assert!((0.2..0.6).contains(&model.mean[0]) && (0.1..0.5).contains(&model.std[0]));
}

#[test]
fn channels_come_from_the_data() {
    for channels in [3, 4] {
        let scratch = Scratch::with_data(channels);
        let printed = scratch.train(&["--model", "cnn-bn"]);
        assert!(accuracy(&printed) > 95.0, "{printed}");
        let model = Model::load(&scratch.work("runs/fast-1/model.safetensors")).unwrap();
        assert_eq!(model.network.input(), [channels, SIZE, SIZE]);
        assert_eq!((model.mean.len(), model.std.len()), (channels, channels));
    }
}

#[test]
fn the_model_depends_on_data_and_recipe_alone() {
    for preset in ["lenet", "cnn-bn"] {
        let scratch = Scratch::with_data(1);
        let model = |out: &str| fs::read(scratch.work(out).join("model.safetensors")).unwrap();
        scratch.train(&["--model", preset, "--seed", "3", "--out", "first"]);
        let first = model("first");

        let again = ["--data", "../data", "--recipe", "first/recipe.toml"];
        for (out, more) in [
            ("again", &[][..]),
            ("one", &["--threads", "1"]),
            ("three", &["--threads", "3"]),
            ("silent", &["--validation", "none"]),
        ] {
            let mut command = scratch.command();
            succeeded(command.args(again).args(more).args(["--out", out]).output().unwrap());
            assert!(model(out) == first, "{preset}: {out}");
        }
        let same = ["again", "one", "three"].map(|out| scratch.work(out).join("recipe.toml"));
        let recipe = fs::read(scratch.work("first/recipe.toml")).unwrap();
        assert!(same.iter().all(|path| fs::read(path).unwrap() == recipe));

        // The two wide paths agree to the bit; where one is missing both fall to the same.
        for isa in ["avx512", "avx2"] {
            let mut command = scratch.command();
            command.args(again).args(["--out", isa]).env("BOBBIN_ISA", isa);
            succeeded(command.output().unwrap());
        }
        assert!(model("avx512") == model("avx2"), "{preset}");

        scratch.train(&["--model", preset, "--seed", "4", "--out", "other"]);
        assert!(model("other") != first, "{preset}");
    }
}

#[test]
fn validation_is_on_the_test_set_or_held_out_images_or_nothing() {
    let scratch = Scratch::with_data(1);
    let printed = scratch.train(&["--validation", "none"]);
    assert!(printed.contains("epoch 5/5") && !printed.contains("validation"), "{printed}");
    let printed = scratch.train(&["--validation", "60"]);
    assert!(accuracy(&printed) > 90.0, "{printed}");

    // Without a test set these two remain.
    for name in [TEST_IMAGES, TEST_LABELS] {
        fs::remove_file(scratch.path("data").join(name)).unwrap();
    }
    scratch.train(&["--validation", "none"]);
    scratch.train(&["--validation", "60"]);
    let words = ["data: found no test set; expected t10k-images", "`data.validation`"];
    scratch.refused(1, &SHORT, &words);
}

#[test]
fn run_directories_are_numbered_and_named_by_the_recipe() {
    let scratch = Scratch::with_data(1);
    scratch.train(&[]);
    scratch.train(&["--recipe", "paper"]);
    fs::write(scratch.work("own.toml"), "seed = 5\n[stop]\nepochs = 1\n").unwrap();
    scratch.train(&["--recipe", "own.toml"]);
    let printed = scratch.train(&[]);
    assert!(printed.ends_with("model: runs/fast-2/model.safetensors\n"), "{printed}");
    let runs = fs::read_dir(scratch.work("runs")).unwrap();
    let mut runs: Vec<_> = runs.map(|run| run.unwrap().file_name()).collect();
    runs.sort();
    assert_eq!(runs, ["fast-1", "fast-2", "own-1", "paper-1"]);
    let recipe = fs::read_to_string(scratch.work("runs/own-1/recipe.toml")).unwrap();
    assert!(recipe.contains("seed = 5") && recipe.contains("epochs = 5"), "{recipe}");
}

#[test]
fn an_older_run_is_replaced_only_with_force() {
    let scratch = Scratch::with_data(1);
    let arguments = [&SHORT[..], &["--out", "run"]].concat();
    scratch.train(&arguments[8..]);
    let model = scratch.work("run/model.safetensors");
    let older = fs::read(&model).unwrap();
    let words = ["error: run: exists and is not empty", "new or empty directory", "--force"];
    scratch.refused(1, &arguments, &words);
    assert!(fs::read(&model).unwrap() == older);

    // An older run outlives a command that is refused, and nothing but that.
    scratch.refused(2, &[&arguments[..], &["--force", "--seed", "x"]].concat(), &["--seed"]);
    scratch.refused(1, &["--data", "../none", "--out", "run", "--force"], &["../none"]);
    assert!(fs::read(&model).unwrap() == older);
    scratch.train(&["--out", "run", "--force", "--seed", "8"]);
    assert!(fs::read(&model).unwrap() != older);

    // An empty directory is as good as none.
    fs::create_dir(scratch.work("empty")).unwrap();
    scratch.train(&["--out", "empty"]);
}

#[test]
fn of_several_sets_one_is_chosen() {
    let scratch = Scratch::with_data(1);
    scratch.write_set("mini-letters-", 1);
    let words = ["several data sets: one without a prefix, mini-letters", "--set data.prefix="];
    scratch.refused(1, &SHORT, &words);
    scratch.train(&["--set", "data.prefix=mini-letters"]);
    scratch.train(&["--set", "data.prefix="]);
    let arguments = [&SHORT[..], &["--set", "data.prefix=letters"]].concat();
    scratch.refused(1, &arguments, &["data.prefix=\"letters\"", "found", "mini-letters"]);
}

#[test]
fn the_bundled_set_is_learnt_in_an_epoch() {
    let scratch = Scratch::empty();
    let mut command = scratch.command();
    // Unpacked once for all runs of the tests.
    command.env("BOBBIN_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command.args(["--recipe", "paper", "--epochs", "1"]);
    let printed = succeeded(command.output().unwrap());
    assert!(accuracy(&printed) > 70.0, "{printed}");
    let model = Model::load(&scratch.work("runs/paper-1/model.safetensors")).unwrap();
    assert_eq!((&*model.classes[9], model.network.parameter_count()), ("Ankle boot", 44_426));
    assert_eq!((&model.mean[..], &model.std[..]), (&[0.5][..], &[0.5][..]));
}

#[test]
fn flags_are_checked() {
    let scratch = Scratch::with_data(1);
    let cases: [(&[&str], &[&str]); 31] = [
        (&["--batch-size", "0"], &["--batch-size: `data.batch_size` is 0", "from 1 to 1048576"]),
        (&["--batch-size", "-1"], &["--batch-size", "is -1", "expected a whole number"]),
        (&["--batch-size", "1.5"], &["--batch-size", "is 1.5", "expected a whole number"]),
        (&["--epochs", "0"], &["--epochs: `stop.epochs` is 0", "from 1 to 1048576"]),
        (&["--epochs", "many"], &["--epochs", "is many", "expected a whole number"]),
        (&["--lr", "nan"], &["--lr: `optimizer.lr` is NaN", "expected a positive number"]),
        (&["--lr", "inf"], &["--lr", "is inf", "expected a positive number"]),
        (&["--lr", "-0.1"], &["--lr", "is -0.1", "expected a positive number"]),
        (&["--lr", "0"], &["--lr", "is 0", "expected a positive number"]),
        (&["--lr", "fast"], &["--lr", "is fast", "expected a number"]),
        (&["--lr", ""], &["--lr", "expected a number"]),
        (&["--momentum", "1"], &["--momentum: `optimizer.momentum` is 1", "below 1"]),
        (&["--momentum", "nan"], &["--momentum", "is NaN", "below 1"]),
        (&["--seed", "-1"], &["--seed: `seed` is -1", "from 0 to 9223372036854775807"]),
        (&["--seed", "18446744073709551616"], &["--seed", "expected a whole number from 0"]),
        (&["--shard", "24"], &["--shard: `data.shard` is 24", "multiple of 16"]),
        (&["--validation", "some"], &["--validation", "is some", "\"test\", \"none\" or"]),
        (&["--validation", "0"], &["--validation", "is 0", "\"none\" or a number"]),
        (&["--validation", "300"], &["--validation", "is 300", "fewer than the 300 images"]),
        (&["--model", "alexnet"], &["--model", "alexnet", "lenet, cnn-bn, vgg, resnet"]),
        (&["--recipe", "slow"], &["unknown recipe `slow`", "fast, paper", "TOML file"]),
        (&["--recipe", "no.toml"], &["no.toml: cannot read the recipe"]),
        (&["--recipe", "a\nb\u{1b}"], &["unknown recipe `a\\nb\\u{1b}`"]),
        (&["--set", "optimizer.lr"], &["--set: found `optimizer.lr`", "SECTION.KEY=VALUE"]),
        (&["--set", "=1"], &["--set: ``", "expected a field such as optimizer.lr"]),
        (&["--set", "optimizer.speed=1"], &["--set: `optimizer.speed`", "unknown field", "`lr`"]),
        (&["--set", "speed=1"], &["--set: `speed`: unknown field", "`optimizer`"]),
        (&["--set", "optimizer.lr=nan"], &["--set: `optimizer.lr` is NaN", "positive number"]),
        (&["--set", "data.normalize=x"], &["--set: `data.normalize` is x", "\"auto\" or {"]),
        (
            &["--set", "data.normalize={mean=[0,0],std=[1,1]}"],
            &["data.normalize.mean", "is [0.0, 0.0]", "expected 1 number"],
        ),
        // A field that a flag makes impossible for the recipe.
        (&["--momentum", "0"], &["recipe fast: `optimizer.nesterov` is true: expected false"]),
    ];
    for (arguments, words) in cases {
        let data = ["--data", "../data"];
        scratch.refused(2, &[&data[..], arguments].concat(), words);
    }
    let mut command = scratch.command();
    command.args(SHORT).env("BOBBIN_ISA", "sse9");
    scratch.refuses(2, &mut command, &["BOBBIN_ISA=sse9", "expected avx512, avx2 or portable"]);
}

/// What the parser of arguments finds itself: it may add a hint on lines of its own.
#[test]
fn the_command_line_is_checked() {
    let scratch = Scratch::with_data(1);
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--threads", "0"], &["--threads <N>", "1..=1024"]),
        (&["--threads", "1025"], &["--threads <N>", "1..=1024"]),
        (&["--threads", "two"], &["--threads <N>", "two"]),
        (&["--epoch", "3"], &["--epoch", "--epochs"]),
        (&["fast"], &["'fast'"]),
        (&["--lr"], &["--lr <X>", "a value is required"]),
        (&["--lr", "1", "--lr", "2"], &["--lr <X>", "multiple times"]),
        (&["--out", ""], &["--out <DIR>", "a value is required"]),
        (&["--force"], &["--out <DIR>"]),
    ];
    for (arguments, words) in cases {
        let before = scratch.files();
        let output = scratch.command().args(arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{message}");
        assert!(message.starts_with("error: "), "{message}");
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
        assert_eq!(scratch.files(), before);
    }
}

#[test]
fn recipe_files_are_checked() {
    let scratch = Scratch::with_data(1);
    let cases: [(&str, &[&str]); 5] = [
        ("seed = 1\n[optimizer]\nlr = = 2\n", &["own.toml: line 3: extra `=`"]),
        ("[optimizer]\nspeed = 2\n", &["own.toml: line 2: unknown field `speed`", "`lr`"]),
        ("[data]\nbatch_size = 'x'\n", &["own.toml: line 2: ", "expected a whole number"]),
        ("[optimizer]\nlr = nan\n", &["recipe own.toml: `optimizer.lr` is NaN", "positive"]),
        ("[model]\npreset = 'none'\n", &["recipe own.toml: `model.preset` is \"none\"", "vgg"]),
    ];
    for (text, words) in cases {
        fs::write(scratch.work("own.toml"), text).unwrap();
        scratch.refused(2, &["--data", "../data", "--recipe", "own.toml"], words);
    }
    fs::write(scratch.work("own.toml"), b"\xff\xfe").unwrap();
    scratch.refused(2, &["--recipe", "own.toml"], &["own.toml: cannot read", "UTF-8"]);
    fs::create_dir(scratch.work("folder.toml")).unwrap();
    scratch.refused(2, &["--recipe", "folder.toml"], &["folder.toml: cannot read"]);
}

#[test]
fn data_is_checked() {
    let (images, labels) = patterns(300, 1, 1);
    let long = [&images[..], &[0]].concat();
    let mut float = images.clone();
    float[2] = 0x0d;
    let mut cut = gzip(&images);
    cut.truncate(cut.len() / 2);
    let mut flipped = gzip(&images);
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;

    type Damage<'a> = &'a dyn Fn(&Scratch);
    let plain = |name: &'static str, bytes: &[u8]| {
        let bytes = bytes.to_vec();
        move |scratch: &Scratch| scratch.write(&format!("data/{name}"), &bytes)
    };
    let packed = |name: &'static str, bytes: &[u8]| {
        let bytes = bytes.to_vec();
        move |scratch: &Scratch| scratch.pack(name, &bytes)
    };
    let removed = |names: &'static [&'static str]| {
        move |scratch: &Scratch| {
            names.iter().for_each(|n| fs::remove_file(scratch.path("data").join(n)).unwrap());
        }
    };
    let all = &[TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS];
    let small = [&header(0x803, &[300, 8, 8]), &vec![0; 300 * 64][..]].concat();
    let small_test = [&header(0x803, &[90, 8, 8]), &vec![0; 90 * 64][..]].concat();

    let cases: [(Damage, &[&str]); 18] = [
        (&removed(all), &["data: no IDX files found; expected train-images-idx3-ubyte"]),
        (&removed(&all[2..]), &["no test set", TEST_IMAGES, "`data.validation`"]),
        (&removed(&all[..2]), &["no training set", TRAIN_IMAGES]),
        (&removed(&all[1..2]), &[TRAIN_IMAGES, "no labels beside it", TRAIN_LABELS]),
        (&plain(TRAIN_IMAGES, b""), &[TRAIN_IMAGES, "0 bytes", "too short"]),
        (&plain(TRAIN_IMAGES, &float), &[TRAIN_IMAGES, "0x00000d03", "expected 0x00000803"]),
        (&plain(TRAIN_LABELS, &images), &[TRAIN_LABELS, "0x00000803", "expected 0x00000801"]),
        (&plain(TRAIN_IMAGES, &images[..999]), &[TRAIN_IMAGES, "found 999", "expected 76816"]),
        (&plain(TRAIN_IMAGES, &long), &[TRAIN_IMAGES, "found 76817", "expected 76816"]),
        (&plain(TRAIN_LABELS, &patterns(299, 1, 1).1), &[TRAIN_LABELS, "299", "expected 300"]),
        (&plain(TEST_IMAGES, &small_test), &[TEST_IMAGES, "1 × 8 × 8", "expected 1 × 16 × 16"]),
        (&plain("labels.txt", b"cat\ndog\n"), &[TRAIN_LABELS, "label 2 at index 2", "below 2"]),
        (&plain("labels.txt", b"cat\n\ndog\n"), &["labels.txt", "empty line 2", "1 to 256"]),
        (&packed(TRAIN_IMAGES, &images), &["train-images-idx3-ubyte.gz", "damaged gzip"]),
        (&packed(TRAIN_IMAGES, &cut), &["train-images-idx3-ubyte.gz", "damaged gzip"]),
        (&packed(TRAIN_IMAGES, &flipped), &["train-images-idx3-ubyte.gz", "damaged gzip"]),
        (&packed(TRAIN_IMAGES, &gzip(&long)), &[".gz: unpacks to more", "76816 bytes"]),
        (
            &|scratch| {
                scratch.write(&format!("data/{TRAIN_IMAGES}"), &small);
                scratch.write(&format!("data/{TEST_IMAGES}"), &small_test);
            },
            &["../data: the images do not fit", "conv2 (convolution 5×5)", "input is 6×2×2"],
        ),
    ];
    assert_eq!(labels.len(), 8 + 300);
    for (damage, words) in cases {
        let scratch = Scratch::with_data(1);
        damage(&scratch);
        scratch.refused(1, &SHORT, words);
    }

    let scratch = Scratch::with_data(1);
    let words = ["../none: cannot read the data directory", "expected a directory with train-"];
    scratch.refused(1, &["--data", "../none"], &words);
    let file = format!("../data/{TRAIN_IMAGES}");
    scratch.refused(1, &["--data", &file], &[&file, "cannot read the data directory"]);
}

/// Tests may run as the superuser, who may write anywhere but below a file.
#[test]
fn places_that_cannot_be_written() {
    let scratch = Scratch::with_data(1);
    fs::write(scratch.work("file"), "").unwrap();
    for out in ["file", "file/below"] {
        let arguments = [&SHORT[..], &["--out", out]].concat();
        let words = [&format!("{out}: cannot make the run directory: "), "--out"];
        scratch.refused(1, &arguments, &words);
    }
    if cfg!(target_os = "linux") {
        let arguments = [&SHORT[..], &["--out", "/proc/run"]].concat();
        scratch.refused(1, &arguments, &["/proc/run: cannot make the run directory: "]);
    }

    // What is in the way of a file.
    fs::create_dir_all(scratch.work("out/recipe.toml")).unwrap();
    let arguments = [&SHORT[..], &["--out", "out", "--force"]].concat();
    scratch.refused(1, &arguments, &["out/recipe.toml: cannot write: "]);

    let (images, _) = patterns(300, 1, 1);
    scratch.pack(TRAIN_IMAGES, &gzip(&images));
    let arguments = [&SHORT[..], &["--cache", "file"]].concat();
    scratch.refused(1, &arguments, &["file: cannot write to the cache directory", "--cache DIR"]);

    fs::write(scratch.work("runs"), "").unwrap();
    let words = ["runs: cannot make the run directory: ", "choose another place with --out"];
    scratch.refused(1, &SHORT, &words);
}

/// A limit on the size of files stands for a full disk: the recipe fits, the model does not.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_part_of_a_model() {
    let scratch = Scratch::with_data(1);
    let mut command = scratch.set_up(Command::new("sh"));
    command.args(["-c", "ulimit -f 40; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_train")]);
    let output = command.args(SHORT).args(["--out", "full"]).output().unwrap();
    let message = failed(1, &output);
    assert!(message.starts_with("error: full/model.safetensors: cannot write: "), "{message}");
    assert_eq!(names(&scratch.work("full")), ["recipe.toml"]);
}

#[test]
fn training_that_fails_saves_no_model() {
    let scratch = Scratch::with_data(1);
    let constant = ["--set", "schedule.kind=constant"];
    let cases: [(&[&str], &[&str]); 2] = [
        (&["--lr", "1e30"], &["loss is ", "step 2 (epoch 1)", "layer conv"]),
        // The only step is the last: no loss ever shows it.
        (
            &["--lr", "1e39", "--batch-size", "300", "--epochs", "1", "--validation", "none"],
            &["`conv1.weight` is not finite after epoch 1"],
        ),
    ];
    for (i, (arguments, words)) in cases.into_iter().enumerate() {
        let out = format!("run-{i}");
        let mut command = scratch.command();
        command.args(["--data", "../data", "--out", &out]).args(constant).args(arguments);
        let message = failed(1, &command.output().unwrap());
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
        assert_eq!(names(&scratch.work(&out)), ["recipe.toml"]);
    }
}

/// `train | head -1` trains to the end: the model is what counts.
#[test]
fn nobody_needs_to_listen() {
    let scratch = Scratch::with_data(1);
    for (out, lines) in [("none", 0), ("one", 1)] {
        let mut command = scratch.command();
        command.args(SHORT).args(["--out", out]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        assert_eq!(stdout.lines().take(lines).count(), lines);
        succeeded(child.wait_with_output().unwrap());
        assert_eq!(names(&scratch.work(out)), ["model.safetensors", "recipe.toml"]);
    }
    #[cfg(target_os = "linux")]
    {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = scratch.command();
        command.args(SHORT).args(["--out", "full"]).stdout(full);
        succeeded(command.output().unwrap());
        assert_eq!(names(&scratch.work("full")), ["model.safetensors", "recipe.toml"]);
    }
    // Nor to a message.
    let mut command = scratch.command();
    let mut child = command.args(["--lr", "nan"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn help_lists_recipes_and_models() {
    let scratch = Scratch::empty();
    let printed = succeeded(scratch.command().arg("--help").output().unwrap());
    let lists = ["\nRecipes:\n  fast ", "\n  paper ", "\nModels:\n  lenet ", "\n  resnet "];
    for words in lists.iter().chain(&["\nExit codes: ", "--set <SECTION.KEY=VALUE>"]) {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    assert!(printed.lines().all(|line| line.chars().count() <= 120), "{printed}");
    assert_eq!(printed, succeeded(scratch.command().arg("-h").output().unwrap()));
    let version = succeeded(scratch.command().arg("--version").output().unwrap());
    assert_eq!(version, concat!("train ", env!("CARGO_PKG_VERSION"), "\n"));
}
