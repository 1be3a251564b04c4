//! What a first run on data of one's own needs: the recipe `pictures`, a learning rate, a look at the images.

use crate::scratch::*;
use serde_json::Value;
use std::fs;

/// Data of one's own are trained by `pictures`, sized to them; the bundled data keep `fast`, and so does what each rank
/// has a part of.
#[test]
fn data_of_ones_own_have_a_recipe_of_their_own() {
    let scratch = Scratch::with_data(3);
    let output = scratch.command().args(["--data", "../data"]).output().unwrap();
    let printed = succeeded(output);
    assert!(printed.contains("model: custom, "), "{printed}");
    assert!(printed.ends_with("model: runs/pictures-1/model.safetensors\n"), "{printed}");
    assert!(accuracy(&printed) > 95.0, "{printed}");
    let recipe = fs::read_to_string(scratch.work("runs/pictures-1/recipe.toml")).unwrap();
    for words in ["epochs = 150\n", "shift = 1\n", "stratify = true\n", "kind = \"adamw\"\n"] {
        assert!(recipe.contains(words), "{words}: {recipe}");
    }
    // The recipe of the run needs no data to be sized to.
    let again = ["--data", "../data", "--recipe", "runs/pictures-1/recipe.toml", "--out", "again"];
    succeeded(scratch.command().args(again).output().unwrap());
    let bytes = |run: &str| fs::read(scratch.work(run).join("model.safetensors")).unwrap();
    assert!(bytes("again") == bytes("runs/pictures-1"));

    let described = |arguments: &[&str]| {
        let output = scratch.command().args(arguments).arg("--describe").output().unwrap();
        succeeded(output)
    };
    let network = described(&["--data", "../data"]);
    assert!(network.contains("3.body.0") && !network.contains("conv1"), "{network}");
    let by_name = described(&["--set", "data.directory=../data", "--recipe", "pictures"]);
    assert_eq!(by_name, network);
    assert_eq!(described(&["--set", "data.directory=../data"]), network);
    for arguments in [&["--data", "../data", "--partitioned"][..], &[]] {
        assert!(described(arguments).contains("conv1"), "{arguments:?}");
    }
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/data/fashion-mnist");
    assert!(described(&["--data", bundled]).contains("conv1"));
    let words = ["`pictures` is sized to all training images", "--partitioned"];
    scratch.refused(2, &["--data", "../data", "--partitioned", "--recipe", "pictures"], &words);
    // The test set must not select.
    let on_test = ["--data", "../data", "--validation", "test", "--set", "stop.iterations=2"];
    succeeded(scratch.command().args(on_test).args(["--out", "test"]).output().unwrap());
    let recipe = fs::read_to_string(scratch.work("test/recipe.toml")).unwrap();
    assert!(!recipe.contains("patience = 5") && !recipe.contains("stratify"), "{recipe}");
}

/// Runs of a sweep and of seeds are sized as well.
#[test]
fn many_runs_are_sized_to_their_data() {
    let scratch = Scratch::with_data(1);
    scratch
        .write("work/sweep.toml", b"recipe = \"pictures\"\n[values]\n\"optimizer.lr\" = [0.001]\n");
    let once = ["--data", "../data", "--set", "stop.iterations=1", "--quiet"];
    for arguments in [["--sweep", "sweep.toml", "--out", "a"], ["--seeds", "1", "--out", "b"]] {
        succeeded(scratch.command().args(once).args(arguments).output().unwrap());
    }
    for run in ["a/lr=0.001", "b/seed=1"] {
        let recipe = fs::read_to_string(scratch.work(run).join("recipe.toml")).unwrap();
        assert!(recipe.contains("epochs = 150\n"), "{run}: {recipe}");
    }
}

#[test]
fn a_learning_rate_is_found_and_nothing_else_is_written() {
    let scratch = Scratch::with_data(1);
    let search = |more: &[&str]| {
        let output =
            scratch.command().args(["--data", "../data", "--seed", "3"]).args(more).output();
        succeeded(output.unwrap())
    };
    let printed = search(&["--find-lr", "lr.svg"]);
    assert_eq!(entries(&scratch.path("work")), ["lr.svg"]);
    let (_, command) = printed.split_once("; to train with it: ").unwrap();
    let rate = command.trim().rsplit('=').next().unwrap();
    let suggestion: f64 = rate.parse().unwrap();
    assert!((1e-5..1.0).contains(&suggestion), "{printed}");
    assert_eq!(
        command,
        format!("{BOBBIN} train --data ../data --seed 3 --set optimizer.lr={rate}\n")
    );
    let picture = fs::read_to_string(scratch.work("lr.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains("suggestion: "), "{picture}");
    // The same again, on any number of threads, as an object.
    let object: Value =
        serde_json::from_str(&search(&["--find-lr=lr.svg", "--json", "--threads", "3"])).unwrap();
    assert_eq!(object["suggestion"].as_f64(), Some(suggestion));
    assert_eq!(fs::read_to_string(scratch.work("lr.svg")).unwrap(), picture);
    let steps = object["steps"].as_array().unwrap();
    assert_eq!(steps[0]["learning_rate"].as_f64(), Some(1e-6));
    let rates = steps.iter().map(|step| step["learning_rate"].as_f64().unwrap());
    assert!(rates.is_sorted() && steps.len() > 50);
    assert_eq!(search(&["--find-lr", "lr.svg", "--quiet"]), "");
    scratch.refused(2, &["--data", "../data", "--find-lr", "lr.png"], &["lr.png", "in .svg"]);
    let both = ["--data", "../data", "--find-lr", "lr.svg", "--out", "run"];
    let output = scratch.command().args(both).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(entries(&scratch.path("work")), ["lr.svg"]);
}

#[test]
fn a_sheet_shows_what_the_network_sees() {
    let scratch = Scratch::with_data(3);
    scratch.write("data/labels.txt", "über\nlinks\nMitte\n".as_bytes());
    let draw = |more: &[&str]| {
        let arguments = ["--data", "../data", "--recipe", "fast", "--preview", "sheet.png"];
        let printed = succeeded(scratch.command().args(arguments).args(more).output().unwrap());
        (printed, fs::read(scratch.work("sheet.png")).unwrap())
    };
    let (printed, plain) = draw(&[]);
    assert_eq!(printed, "16 training images in 8 epochs: sheet.png\n");
    assert!(plain.starts_with(b"\x89PNG"));
    let (printed, changed) = draw(&["--set", "augment.trivial=true", "--json"]);
    assert!(changed != plain);
    let object: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (object["images"].as_array().unwrap().len(), &object["epochs"]),
        (16, &Value::from(8))
    );
    let (_, again) = draw(&["--set", "augment.trivial=true", "--threads", "3"]);
    assert!(again == changed);
    let (_, mixed) = draw(&["--set", "augment.mixup=1", "--set", "augment.cutmix=1"]);
    assert!(mixed != plain && mixed != changed);
    assert_eq!(entries(&scratch.path("work")), ["sheet.png"]);
    scratch.refused(2, &["--data", "../data", "--preview", "sheet.jpg"], &["sheet.jpg", "in .png"]);
}
