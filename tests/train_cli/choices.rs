//! What flags choose beside each other: that it is said, and that what is confused is told apart.

use crate::scratch::*;
use std::fs;

/// A rule that is not the recipe's has its own defaults, and a line says so.
#[test]
fn another_optimiser_has_its_own_defaults() {
    let scratch = Scratch::with_data(1);
    let flags = ["--recipe", "fast", "--data", "../data", "--epochs", "1", "--batch-size", "64"];
    let run = |out: &str, more: &[&str]| {
        let arguments = [&flags[..], more, &["--out", out]].concat();
        // A single epoch may leave a network that tells no classes apart, of which stderr warns.
        let output = scratch.command().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        (printed, fs::read_to_string(scratch.work(out).join("recipe.toml")).unwrap())
    };
    let (printed, recipe) = run("adamw", &["--optimizer", "adamw"]);
    let words = "optimizer: adamw with its own defaults: those of the recipe are for sgd; learning rate 0.001, weight decay 0.01\n";
    assert!(printed.starts_with(words), "{printed}");
    assert!(recipe.contains("kind = \"adamw\"\nlr = 0.001\n"), "{recipe}");
    assert!(recipe.contains("\nweight_decay = 0.01\n"), "{recipe}");
    let (printed, recipe) = run("given", &["--lr", "0.002", "--optimizer", "adam", "--quiet"]);
    assert_eq!(printed, "");
    assert!(recipe.contains("kind = \"adam\"\nlr = 0.002\n"), "{recipe}");
    let (printed, recipe) = run("same", &["--optimizer", "sgd"]);
    assert!(printed.starts_with("data: "), "{printed}");
    assert!(recipe.contains("lr = 0.1\n") && recipe.contains("weight_decay = 0.001"), "{recipe}");
    let (printed, _) = run("cosine", &["--schedule", "cosine"]);
    assert!(
        printed.starts_with(
            "schedule: cosine with its own defaults: those of the recipe are for one-cycle\n"
        ),
        "{printed}"
    );
}

/// What another rule or curve would use is named with what would use it.
#[test]
fn fields_of_another_kind_are_refused() {
    let scratch = Scratch::with_data(1);
    let momentum = "--momentum: `optimizer.momentum` would have no effect: `adamw` does not use it, only `sgd` and \
                    `rmsprop` do";
    let gamma = "--set: `schedule.gamma` would have no effect: `one-cycle` does not use it, only";
    let milestones = "--set: `schedule.milestones` would have no effect: `step` does not use it, only \
                      `multi-step` does";
    for (arguments, words) in [
        (&["--optimizer", "adamw", "--momentum", "0.5"][..], momentum),
        (&["--momentum", "0.9", "--optimizer", "adamw"], momentum),
        (
            &["--set", "optimizer.betas=[0.8, 0.9]"],
            "`sgd` does not use it, only `adam` and `adamw` do",
        ),
        (&["--optimizer", "adam", "--set", "optimizer.nesterov=false"], "only `sgd` does"),
        (&["--schedule", "one-cycle", "--set", "schedule.gamma=0.1"], gamma),
        (&["--schedule", "step", "--set", "schedule.milestones=[1]"], milestones),
        (&["--set", "augment.erase_area=[0.1, 0.2]"], "no effect: `augment.erase` is 0"),
        (&["--set", "model.layers=[{ kind = 'covn' }]"], "; did you mean `conv`?"),
    ] {
        let fast = ["--recipe", "fast", "--data", "../data"];
        scratch.refused(2, &[&fast[..], arguments].concat(), &[words]);
    }
    let own = "[optimizer]\nkind = 'adam'\nmomentum = 0.5\n";
    fs::write(scratch.work("own.toml"), own).unwrap();
    let words =
        ["recipe own.toml: `optimizer.momentum` would have no effect: `adam` does not use it"];
    scratch.refused(2, &["--data", "../data", "--recipe", "own.toml"], &words);
    // As programs before this one wrote it.
    fs::write(scratch.work("own.toml"), own.replace("0.5", "0.9")).unwrap();
    let once = ["--recipe", "own.toml", "--set", "stop.iterations=1", "--validation", "33.3%"];
    let output = scratch.command().args(once).args(["--data", "../data", "--out", "run"]).output();
    assert_eq!(output.unwrap().status.code(), Some(0));
    let recipe = fs::read_to_string(scratch.work("run/recipe.toml")).unwrap();
    assert!(recipe.contains("\nvalidation = 0.333\n"), "{recipe}");
}

/// Weights of images that were prepared otherwise are taken over, with a warning that says how.
#[test]
fn fine_tuning_on_images_prepared_otherwise_is_warned_of() {
    let scratch = Scratch::with_data(1);
    let common = [
        "--recipe",
        "fast",
        "--data",
        "../data",
        "--model",
        "lenet",
        "--set",
        "stop.iterations=1",
        "--quiet",
    ];
    let tell = |out: &str, more: &[&str]| {
        let output =
            scratch.command().args(common).args(more).args(["--out", out]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let half = ["--set", "data.normalize={mean=[0.5],std=[0.5]}"];
    tell("first", &half);
    let again = tell("again", &[&half[..], &["--init", "first"]].concat());
    assert!(!again.contains("prepared otherwise"), "{again}");
    let other = tell("other", &["--init", "first"]);
    let words = "first/model.safetensors: its network was trained on images that were prepared otherwise: pixels \
                 scaled by mean [0.5000] and deviation [0.5000] there, by mean [";
    assert!(other.contains(words), "{other}");
}

#[test]
fn models_recipes_and_sweeps_are_told_apart() {
    let scratch = Scratch::with_data(1);
    for (arguments, words) in [
        (["--model", "fast"], "; `fast` is a recipe: --recipe fast"),
        (["--recipe", "lenet"], "; `lenet` is a model: --model lenet"),
        (["--recipe", "sweep-li"], "; `sweep-li` is a sweep: --sweep sweep-li"),
        (["--model", "resnet81"], "; did you mean `resnet18`?"),
        (["--recipe", "papre"], "; did you mean `paper`?"),
        (["--schedule", "cosin"], "; did you mean `cosine`?"),
        (["--set", "optimizer.weight-decay=1"], "; did you mean `weight_decay`?"),
        (["--set", "lr=0.1"], "--set: `lr`: there is no such field; did you mean `optimizer.lr`?"),
        (["--set", "epochs=3"], "; did you mean `stop.epochs`?"),
        (["--sweep", "sweepli"], "; did you mean `sweep-li`?"),
    ] {
        scratch.refused(2, &[&["--data", "../data"], &arguments[..]].concat(), &[words]);
    }
    // No network is like this one.
    let output = scratch.command().args(["--model", "transformer"]).output().unwrap();
    let message = failed(2, &output);
    assert!(message.contains("transformer") && !message.contains("did you mean"), "{message}");
    let printed = scratch.train(&["--model", "cnn-bn", "--set", "stop.iterations=1"]);
    let note = "model: cnn-bn, with the settings of the recipe fast; --recipe cnn-bn has settings made for it\n";
    assert!(printed.contains(note), "{printed}");
}

#[test]
fn a_part_of_the_training_images_is_held_out() {
    let scratch = Scratch::with_data(1);
    for (validation, out) in [("60", "count"), ("0.2", "part"), ("20%", "percent")] {
        scratch.train(&["--validation", validation, "--out", out, "--quiet"]);
    }
    let model = |out: &str| fs::read(scratch.work(out).join("model.safetensors")).unwrap();
    assert!(model("count") == model("part") && model("count") == model("percent"));
    let again = scratch.command().args(["--resume", "percent", "--validation", "0.2"]).output();
    assert!(again.unwrap().status.success());
    scratch.refused(2, &["--data", "../data", "--validation", "120%"], &["above 0 and below 1"]);
}

#[test]
fn the_start_says_how_many_shards_and_threads_there_are() {
    let scratch = Scratch::with_data(1);
    for (threads, words) in [
        ("1", "batches of 64 in shards of 32: 2 shards on 1 thread, "),
        ("2", "batches of 64 in shards of 32: 2 shards on 2 threads, "),
        ("5", "batches of 64 in shards of 32: 2 shards on 5 threads, "),
    ] {
        let printed = scratch.train(&["--threads", threads, "--set", "stop.iterations=1"]);
        assert!(printed.contains(words), "{words}: {printed}");
    }
}
