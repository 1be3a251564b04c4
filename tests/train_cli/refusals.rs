//! Commands, data and places that are refused, and training that fails.

use crate::scratch::*;
use std::fs;

#[test]
fn flags_are_checked() {
    let scratch = Scratch::with_data(1);
    let cases: [(&[&str], &[&str]); 33] = [
        (&["--batch-size", "0"], &["--batch-size: `data.batch_size` is 0", "from 1 to 1048576"]),
        (&["--batch-size", "-1"], &["--batch-size", "is -1", "expected a whole number"]),
        (&["--batch-size", "1.5"], &["--batch-size", "is 1.5", "expected a whole number"]),
        (&["--epochs", "0"], &["--epochs: `stop.epochs` is 0", "from 1 to 1048576"]),
        (&["--epochs", "many"], &["--epochs", "is many", "expected a whole number"]),
        (&["--lr", "nan"], &["--lr: `optimizer.lr` is NaN", "expected a positive number"]),
        (&["--lr", "inf"], &["--lr", "is inf", "expected a positive number"]),
        (&["--lr", "-0.1"], &["--lr", "is -0.1", "expected a positive number"]),
        (&["--lr", "0"], &["--lr", "is 0", "expected a positive number"]),
        (&["--lr", "1e39"], &["--lr: `optimizer.lr` is 1e39", "from 1.2e-38 to 3.4e38"]),
        (&["--lr", "fast"], &["--lr", "is fast", "expected a number"]),
        (&["--lr", ""], &["--lr", "expected a number"]),
        (&["--momentum", "1"], &["--momentum: `optimizer.momentum` is 1", "below 1"]),
        (&["--momentum", "nan"], &["--momentum", "is NaN", "below 1"]),
        (&["--seed", "-1"], &["--seed: `seed` is -1", "from 0 to 9223372036854775807"]),
        (&["--seed", "18446744073709551616"], &["--seed", "expected a whole number from 0"]),
        (&["--shard", "24"], &["--shard: `data.shard` is 24", "multiple of 16"]),
        (&["--validation", "some"], &["--validation", "is some", "\"test\", \"none\", a number"]),
        (&["--validation", "0"], &["--validation", "is 0", "\"none\", a number"]),
        (&["--validation", "300"], &["--validation", "is 300", "fewer than the 300 images"]),
        (&["--model", "alexnet"], &["--model", "alexnet", "lenet, lenet-li, cnn-bn, vgg, resnet"]),
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
        (&["--out", "-"], &["--out: found `-`: expected the name of a directory"]),
        (
            &["--recipe", "fast", "--momentum", "0"],
            &["recipe fast: `optimizer.nesterov` is true: expected false"],
        ),
    ];
    for (arguments, words) in cases {
        let data = ["--data", "../data"];
        scratch.refused(2, &[&data[..], arguments].concat(), words);
    }
    let mut command = scratch.command();
    command.args(SHORT).env("BOBBIN_ISA", "sse9");
    scratch.refuses(2, &mut command, &["BOBBIN_ISA=sse9", "expected avx512bf16, avx512, avx2"]);
}

/// Of --data and --set the later one holds, and layers of one's own are the recipe's fault.
#[test]
fn the_command_is_at_fault() {
    let scratch = Scratch::with_data(1);
    let data = ["--data", "../data"];
    let set = ["--set", "data.directory=/no/such"];
    scratch.refused(1, &[&data[..], &set].concat(), &["/no/such: cannot read the data directory"]);
    for (layers, words) in [
        ("[]", "`model.layers` is []: expected at least one layer"),
        ("[{kind='flatten'}]", "it gives 256 outputs for 3 classes"),
        ("[{kind='conv', outputs=1, kernel=99}, {kind='linear'}]", "the window does not fit"),
    ] {
        let layers = format!("model.layers={layers}");
        scratch.refused(2, &[&data[..], &["--set", &layers]].concat(), &[words]);
    }
}

/// What `mpirun` says of its ranks in the environment.
#[cfg(not(feature = "mpi"))]
#[test]
fn ranks_need_the_feature() {
    let scratch = Scratch::with_data(1);
    for (name, ranks) in [("OMPI_COMM_WORLD_SIZE", "2"), ("PMI_SIZE", "16")] {
        let mut command = scratch.command();
        command.args(SHORT).env(name, ranks);
        let words = [&*format!("one of {ranks} ranks"), "cargo build --release --features mpi"];
        scratch.refuses(1, &mut command, &words);
    }
    let mut command = scratch.command();
    command.args(SHORT).env("OMPI_COMM_WORLD_SIZE", "1");
    succeeded(command.output().unwrap());
}

/// What the parser of arguments finds itself: it may add a hint on lines of its own.
#[test]
fn the_command_line_is_checked() {
    let scratch = Scratch::with_data(1);
    let cases: [(&[&str], &[&str]); 8] = [
        (&["--threads", "0"], &["--threads <N>", "from 1 to 1024"]),
        (&["--threads", "1025"], &["--threads <N>", "from 1 to 1024"]),
        (&["--threads", "two"], &["--threads <N>", "two"]),
        (&["--epoch", "3"], &["--epoch", "--epochs"]),
        (&["fast"], &["'fast'"]),
        (&["--lr"], &["--lr <X>", "a value is required"]),
        (&["--out", ""], &["--out <DIR>", "a value is required"]),
        (&["--force"], &["--out <DIR>"]),
    ];
    for (arguments, words) in cases {
        let before = scratch.files();
        let output = scratch.command().args(arguments).output().unwrap();
        let message = said(&output);
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
        (
            "[optimizer]\nspeed = 2\n",
            &["own.toml: line 2: `optimizer.speed`: unknown field `speed`", "`lr`"],
        ),
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
        (&plain("labels.txt", b"cat\n\ndog\n"), &["labels.txt", "empty line 2", "1 to 4096"]),
        (&packed(TRAIN_IMAGES, b"<html>"), &["train-images-idx3-ubyte.gz", "an HTML page"]),
        (&packed(TRAIN_IMAGES, &cut), &["train-images-idx3-ubyte.gz", "damaged gzip"]),
        (&packed(TRAIN_IMAGES, &flipped), &["train-images-idx3-ubyte.gz", "damaged gzip"]),
        (&packed(TRAIN_IMAGES, &gzip(&long)), &[".gz: unpacks to more", "76816 bytes"]),
        (
            &|scratch| {
                scratch.write(&format!("data/{TRAIN_IMAGES}"), &small);
                scratch.write(&format!("data/{TEST_IMAGES}"), &small_test);
            },
            &[
                "../data: the network does not fit its images",
                "conv2 (convolution 5×5)",
                "input is 6×2×2",
            ],
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

/// What `--init` does not begin with.
#[test]
fn weights_are_checked() {
    let scratch = Scratch::with_data(1);
    scratch.train(&["--model", "cnn-bn"]);
    let file = scratch.work("runs/fast-1/model.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(scratch.work("cut.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(scratch.work("text.safetensors"), "no weights").unwrap();
    fs::write(scratch.work("empty.safetensors"), "").unwrap();
    fs::create_dir(scratch.work("folder.safetensors")).unwrap();
    let mut huge = bytes.clone();
    huge[..8].fill(0xff);
    fs::write(scratch.work("huge.safetensors"), huge).unwrap();
    for name in ["cut", "text", "empty", "folder", "huge", "none"] {
        let init = format!("{name}.safetensors");
        let arguments = [&SHORT[..], &["--model", "cnn-bn", "--init", &init]].concat();
        scratch.refused(1, &arguments, &[&format!("work/{init}: ")]);
    }
    // A run that has ended is as good as its model.
    scratch.train(&["--model", "cnn-bn", "--init", "runs/fast-1", "--out", "tuned"]);
    let recipe = fs::read_to_string(scratch.work("tuned/recipe.toml")).unwrap();
    assert!(recipe.contains("/work/runs/fast-1/model.safetensors\"\n"), "{recipe}");
    // They bring their network, unless another is named.
    let init = "runs/fast-1/model.safetensors";
    scratch.train(&["--init", init, "--out", "again"]);
    let recipe = fs::read_to_string(scratch.work("again/recipe.toml")).unwrap();
    assert!(recipe.contains("preset = \"cnn-bn\"\n"), "{recipe}");
    scratch.refused(
        1,
        &[&SHORT[..], &["--init", "text.safetensors"]].concat(),
        &["text.safetensors: "],
    );
    let arguments = [&SHORT[..], &["--init", init, "--model", "lenet"]].concat();
    scratch.refused(1, &arguments, &[init, "conv1.weight"]);
    // Those of PyTorch do not say which network they are for.
    fs::write(scratch.work("torch.safetensors"), without_metadata(&bytes)).unwrap();
    let torch = [&SHORT[..], &["--init", "torch.safetensors"]].concat();
    let words = ["torch.safetensors: ", "; its weights are those of cnn-bn: --model cnn-bn\n"];
    scratch.refused(1, &torch, &words);
    scratch.train(&["--init", "torch.safetensors", "--model", "cnn-bn", "--out", "torch"]);
}

/// A folder of pictures: the command that makes a data set of it is printed.
#[test]
fn pictures_are_to_be_imported() {
    let scratch = Scratch::empty();
    fs::create_dir_all(scratch.work("my pics/coat")).unwrap();
    fs::write(scratch.work("my pics/coat/1.png"), "").unwrap();
    let words = [&*format!("{BOBBIN} import '"), "/work/my pics' --out DATA\n"];
    scratch.refused(1, &["--data", "my pics"], &words);
    let output = scratch.command().args(["--threads", "0"]).output().unwrap();
    assert!(said(&output).contains("expected a whole number from 1 to 1024"), "{output:?}");
}

/// A safetensors file with its tensors alone.
fn without_metadata(bytes: &[u8]) -> Vec<u8> {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
    header.as_object_mut().unwrap().remove("__metadata__").unwrap();
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()
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
    let arguments = [&SHORT[..], &["--out", "hdfs://host/run"]].concat();
    scratch.refused(
        1,
        &arguments,
        &["hdfs://host/run: ", "found an address, expected a local path"],
    );
    assert!(!scratch.work("hdfs:").exists());
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
    scratch.refused(1, &arguments, &["file: cannot write to the cache directory", "BOBBIN_CACHE"]);

    // A run that goes on where it cannot write any more.
    scratch.train(&["--out", "run", "--cache", "../cache"]);
    fs::remove_file(scratch.work("run/metrics.jsonl")).unwrap();
    fs::create_dir(scratch.work("run/metrics.jsonl")).unwrap();
    let output = scratch.command().args(["--resume", "run"]).output().unwrap();
    let message = failed(1, &output);
    assert!(message.starts_with("error: run/metrics.jsonl: cannot "), "{message}");

    fs::write(scratch.work("runs"), "").unwrap();
    let words = ["runs: cannot make the run directory: ", "choose another place with --out"];
    scratch.refused(1, &SHORT, &words);
}

/// The last good checkpoint is one that a run goes on from, and a model too.
#[test]
fn training_that_fails_saves_no_model() {
    let scratch = Scratch::with_data(1);
    let iterations = "events.checkpoint={ iterations = 1 }";
    let decay = "optimizer.weight_decay=1e30";
    let cases: [(&[&str], &[&str], &[usize]); 4] = [
        (&["--lr", "1e30"], &["the loss is ", "at step 2 (epoch 1)", "layer conv"], &[0]),
        // The weights of step 1 are finite, but what they give is not.
        (
            &["--lr", "1e30", "--set", iterations, "--keep", "1"],
            &["the loss is ", "at step 2 (epoch 1)", "layer conv"],
            &[0],
        ),
        // They are not even finite.
        (
            &["--lr", "1e30", "--set", iterations, "--set", decay],
            &["`conv1.weight` is not finite after step 1 (epoch 1)"],
            &[0],
        ),
        // The only step is the last: no loss ever shows it.
        (
            &[
                &["--lr", "1e30", "--set", decay, "--batch-size", "300", "--epochs", "1"][..],
                &["--validation", "none"],
            ]
            .concat(),
            &["`conv1.weight` is not finite after step 1 (epoch 1)"],
            &[0],
        ),
    ];
    for (i, (arguments, words, steps)) in cases.into_iter().enumerate() {
        let out = format!("run-{i}");
        let mut command = scratch.command();
        command.args(["--recipe", "fast", "--data", "../data", "--out", &out]);
        command.args(["--schedule", "constant"]);
        let message = failed(1, &command.args(arguments).output().unwrap());
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
        let files: Vec<_> = steps.iter().map(|n| format!("step-{n:010}.safetensors")).collect();
        let last = format!("{out}/checkpoints/{}", files.last().unwrap());
        assert!(message.ends_with(&format!("; the last good checkpoint is {last}\n")), "{message}");
        assert_eq!(entries(&scratch.work(&out).join("checkpoints")), files);
        let left = entries(&scratch.work(&out));
        assert!(!left.contains(&"model.safetensors".to_owned()), "{left:?}");
        model::Model::load(&scratch.work(&last)).unwrap();
        let again = scratch.command().args(["--resume", &out]).output().unwrap();
        assert_eq!(failed(1, &again), message);
    }
}

/// A disk that fails is no mistake of the command: reading the memory of a process at zero gives EIO.
#[cfg(target_os = "linux")]
#[test]
fn a_recipe_that_cannot_be_read() {
    let scratch = Scratch::empty();
    std::os::unix::fs::symlink("/proc/self/mem", scratch.work("own.toml")).unwrap();
    scratch.refused(1, &["--recipe", "own.toml"], &["own.toml: ", "Input/output error"]);
}
