//! Runs that succeed: what they print and write.

use crate::scratch::*;
use model::Model;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

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
        "all epochs are done",
        "model: new/run/model.safetensors",
    ];
    let mut lines = printed.lines();
    for start in starts.iter().chain(&ends) {
        assert!(lines.next().unwrap().starts_with(start), "{start}: {printed}");
    }
    assert_eq!(lines.next(), None);
    assert_eq!(left(&scratch.work("new/run")), COMPLETE);
    let steps = [10, 15, 20, 25].map(|step| format!("step-{step:010}.safetensors"));
    assert_eq!(entries(&scratch.work("new/run/checkpoints")), steps[1..]);
    for log in ["train", "validation"] {
        let files = entries(&scratch.work("new/run").join(log));
        assert!(files.len() == 1 && files[0].starts_with("events.out.tfevents."), "{files:?}");
    }

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
    scratch.refused(1, &arguments, &["with the prefix \"letters\"", "found", "mini-letters"]);
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
        assert_eq!(left(&scratch.work(out)), COMPLETE);
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
}

#[test]
fn a_profile_shows_where_the_time_went() {
    let scratch = Scratch::with_data(1);
    scratch.train(&["--out", "plain"]);
    let printed = scratch.train(&["--out", "profiled", "--profile", "--threads", "2"]);
    let model = |out: &str| fs::read(scratch.work(out).join("model.safetensors")).unwrap();
    assert!(model("plain") == model("profiled"));

    let before =
        "\nmodel: profiled/model.safetensors\n\nprofile: 25 steps, 1500 images, 2 threads; ";
    let (_, table) = printed.split_once(before).unwrap();
    let line = |start: &str| {
        let found = table.lines().find(|line| line.trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("{start}: {table}"))
    };
    assert!(line("layer").ends_with("share %  GFLOP/s  % of peak"), "{table}");
    assert!(line("conv1").contains("convolution 5×5 + ReLU + max-pool  6×6×6"), "{table}");
    assert!(line("fc2").contains("linear + ReLU  "), "{table}");
    for part in ["loss", "loading images", "zeroing", "summing", "optimiser", "waiting"] {
        line(part);
    }
    let number =
        |start: &str| -> f64 { line(start).split_whitespace().last().unwrap().parse().unwrap() };
    assert_eq!(number("all"), 100.0);
    assert!(number("conv2") > 0.0 && number("validation") > 0.0, "{table}");
}

/// Of a flag that is given twice the last counts, as in a command that is made longer at its end.
#[test]
fn the_last_of_two_flags_counts() {
    let scratch = Scratch::with_data(1);
    scratch.train(&["--lr", "0.03", "--seed", "1", "--seed", "7", "--epochs", "1"]);
    let recipe = std::fs::read_to_string(scratch.work("runs/fast-1/recipe.toml")).unwrap();
    assert!(recipe.contains("seed = 7\n") && recipe.contains("\nlr = 0.03\n"), "{recipe}");
}

/// Of weights for other classes the last layer is not taken, though it has as many outputs.
#[test]
fn classes_of_weights_are_compared_with_those_of_the_data() {
    let scratch = Scratch::with_data(1);
    let tune = |labels: &str, init: &str| {
        scratch.write("data/labels.txt", labels.as_bytes());
        let printed = scratch.train(&["--init", init, "--out", "tuned", "--force"]);
        let line = printed.lines().find(|line| line.starts_with("weights: ")).unwrap().to_owned();
        let (_, said) = line.split_once("safetensors").unwrap();
        said.to_owned()
    };
    scratch.write("data/labels.txt", b"cat\ndog\nowl\n");
    scratch.train(&["--out", "first"]);
    assert_eq!(tune("cat\ndog\nowl\n", "first"), "");
    assert_eq!(
        tune("cat\nfox\nowl\n", "first"),
        "; fc3.weight, fc3.bias start at random: class 1 is \"dog\" in the file and \"fox\" in the data"
    );
    let order = tune("dog\ncat\nowl\n", "first");
    assert!(order.ends_with("(the same classes in another order)"), "{order}");
    let model = Model::load(&scratch.work("first/model.safetensors")).unwrap();
    let tensors = model.network.entries(&model.weights, "");
    let torch = model::tensors::safetensors_bytes(&Default::default(), &tensors);
    fs::write(scratch.work("torch.safetensors"), torch).unwrap();
    let said = tune("cat\ndog\nowl\n", "torch.safetensors");
    assert!(said.starts_with("; the file does not name its classes"), "{said}");
}

/// A `state_dict` of `torch.save`, however it was saved, is a start: here the last layer alone goes on.
#[test]
fn files_of_torch_save_are_fine_tuned() {
    let scratch = Scratch::with_data(1);
    let layers = "{ kind = 'conv', outputs = 2, kernel = 3, stride = 13 }, { kind = 'batch-norm' }, \
                  { kind = 'relu' }, { kind = 'flatten' }, { kind = 'linear' }";
    let groups = "{ match = '4.*' }, { match = '*', frozen = true }";
    let recipe = format!("[model]\nlayers = [{layers}]\n[optimizer]\ngroups = [{groups}]\n");
    fs::write(scratch.work("own.toml"), recipe).unwrap();
    let models = ["plain", "strided", "nested", "legacy"].map(|name| {
        let file = format!("{}/tests/fixtures/state_dicts/{name}.pth", env!("CARGO_MANIFEST_DIR"));
        let arguments = ["--recipe", "own.toml", "--init", &file, "--out", name];
        let printed = scratch.train(&arguments);
        let said = format!("weights: {file}; the file does not name its classes, which are taken");
        assert!(printed.contains(&said), "{printed}");
        let model = Model::load(&scratch.work(&format!("{name}/model.safetensors"))).unwrap();
        let values = |name: &str| {
            let parameter = model.network.parameters().iter().find(|p| p.name == name).unwrap();
            parameter.place.of(&model.weights)[..2].to_vec()
        };
        // By the formula of make_state_dicts.py.
        assert_eq!(values("0.weight"), [-3.0, -11.0 / 16.0]);
        assert_ne!(values("4.weight"), [29.0 / 16.0, -31.0 / 16.0]);
        model.digest()
    });
    assert!(models.iter().all(|digest| *digest == models[0]));
}
