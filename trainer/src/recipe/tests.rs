//! Every setting that a recipe takes, and those that it refuses.

use super::*;

fn settings(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

/// The recipe that its file gives.
fn read_again(recipe: &Recipe) -> Recipe {
    Recipe::parse("recipe.toml", &recipe.to_toml(), &[]).unwrap()
}

#[test]
fn shipped_recipes_are_valid_and_complete() {
    for (name, text) in RECIPES {
        let recipe = Recipe::parse(name, text, &[]).unwrap();
        assert_eq!(read_again(&recipe).to_toml(), recipe.to_toml());
    }
}

#[test]
fn settings_reach_every_field() {
    let list = settings(&[
        ("optimizer.lr", "0.5"),
        ("data.validation", "1000"),
        ("data.prefix", "emnist-letters"),
        ("data.normalize", "auto"),
        ("seed", "7"),
    ]);
    let recipe = Recipe::load("paper", &list).unwrap();
    assert_eq!((recipe.optimizer.lr, recipe.seed), (0.5, 7));
    assert_eq!(recipe.data.validation, Validation::HeldOut(1000));
    assert_eq!(recipe.data.prefix.as_deref(), Some("emnist-letters"));
}

#[test]
fn a_network_that_is_set_takes_the_place_of_the_other() {
    let layers = "[{ kind = 'flatten' }, { kind = 'linear' }]";
    let own = Recipe::load("fast", &settings(&[("model.layers", layers)])).unwrap();
    assert_eq!((own.model.name(), own.model.layers(3).len()), ("custom", 2));
    let both = settings(&[("model.layers", layers), ("model.preset", "vgg")]);
    assert_eq!(Recipe::load("fast", &both).unwrap().model.name(), "vgg");
    let text = format!("[model]\npreset = 'vgg'\nlayers = {layers}");
    let error = Recipe::parse("r.toml", &text, &[]).unwrap_err().to_string();
    assert!(error.contains("expected none, as the recipe has `model.layers`"), "{error}");
}

/// Where the recipe names no network, the file of weights does, for any number of classes.
#[test]
fn weights_bring_their_network() {
    use ::model::{CUSTOM, Init, Model, Network, flatten, layers, linear, relu};
    let directory = tempfile::TempDir::new().unwrap();
    let save = |name: &str, preset: &str, layers: &[::model::Layer]| {
        let network = Network::new([1, 16, 16], layers).unwrap();
        let weights = network.initialise(1, Init::He);
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let (mean, std, preparation) = (vec![0.0], vec![1.0], None);
        let preset = preset.to_owned();
        let path = directory.path().join(name);
        let multi_label = false;
        let model =
            Model { preset, network, weights, classes, multi_label, mean, std, preparation };
        model.save(&path).unwrap();
        path
    };
    let run = directory.path().join("run");
    std::fs::create_dir(&run).unwrap();
    save("run/model.safetensors", "cnn-bn", &::model::preset("cnn-bn", 3).unwrap());
    let own = layers![flatten(), linear(3), relu(), linear(3).named("head")];
    let own = save("own.safetensors", CUSTOM, &own);
    let load = |recipe: &str, weights: &std::path::Path, more: &[(&str, &str)]| {
        let weights = format!("{:?}", weights.to_str().unwrap());
        let list = [&[("model.weights", &*weights)], more].concat();
        Recipe::load(recipe, &settings(&list))
    };
    let recipe = load("fast", &run, &[]).unwrap();
    assert_eq!(recipe.model.name(), "cnn-bn");
    // Recorded, it needs the file no more.
    std::fs::remove_dir_all(&run).unwrap();
    assert_eq!(read_again(&recipe).to_toml(), recipe.to_toml());
    let recipe = load("fast", &own, &[]).unwrap();
    let wider = layers![flatten(), linear(3), relu(), linear(7).named("head")];
    assert_eq!((recipe.model.name(), recipe.model.layers(7)), (CUSTOM, wider));
    assert_eq!(read_again(&recipe).to_toml(), recipe.to_toml());
    // What the recipe or a flag names counts.
    assert_eq!(load("paper", &own, &[]).unwrap().model.name(), "lenet");
    assert_eq!(load("fast", &own, &[("model.preset", "vgg")]).unwrap().model.name(), "vgg");
    // A file that names none, and one that is no file of weights.
    let torch = directory.path().join("torch.safetensors");
    std::fs::write(&torch, ::model::tensors::safetensors_bytes(&[].into(), &[])).unwrap();
    assert_eq!(load("fast", &torch, &[]).unwrap().model.name(), "lenet");
    std::fs::write(&torch, "<!doctype html>").unwrap();
    let error = load("fast", &torch, &[]).unwrap_err();
    assert!(error.to_string().contains("torch.safetensors: a web page (HTML)"), "{error}");
}

/// Recipes that were written before there was a precision are those of `f32`, to the byte.
#[test]
fn f32_is_not_written() {
    let plain = Recipe::load("fast", &[]).unwrap();
    for (word, written) in [("f32", false), ("bf16", true)] {
        let recipe = Recipe::load("fast", &settings(&[("model.precision", word)])).unwrap();
        assert_eq!(recipe.to_toml().contains("precision = \"bf16\""), written);
        assert_eq!(recipe.to_toml() == plain.to_toml(), !written);
        assert_eq!(recipe.model.precision == plain.model.precision, !written);
        assert_eq!(read_again(&recipe), recipe);
        assert_eq!(recipe.model.precision.precision().to_string(), word);
    }
}

#[test]
fn impossible_values_are_named() {
    for (path, value, word) in [
        ("optimizer.lr", "nan", "optimizer.lr"),
        ("optimizer.lr", "-1", "positive"),
        ("optimizer.lr", "1e39", "is 1e39: expected a positive number from 1.2e-38"),
        ("optimizer.lr", "1e-39", "expected a positive number from 1.2e-38 to 3.4e38"),
        ("optimizer.weight_decay", "1e39", "expected a number from 0 to 3.4e38"),
        ("optimizer.momentum", "1", "momentum"),
        ("data.batch_size", "0", "data.batch_size"),
        ("data.batch_size", "-3", "batch_size"),
        ("data.shard", "20", "multiple of 16"),
        ("data.validation", "some", "\"test\""),
        ("model.preset", "alexnet", "lenet"),
        ("model.loss", "hinge", "expected one of `cross-entropy`, `nll`, `bce`"),
        ("model.precision", "fp16", "`model.precision` is fp16: expected `f32` or `bf16`"),
        ("model.precision", "16", "expected"),
        ("model.class_weights", "even", "expected \"balanced\" or a list of numbers"),
        ("model.class_weights", "[1, -2]", "is -2.0: expected a number from 0 to 3.4e38"),
        ("model.class_weights", "[0, 0]", "is [0.0, 0.0]: expected a list of numbers, one of them"),
        ("data.sampling", "some", "expected `shuffled` or `balanced`"),
        ("stop.epochs", "0", "stop.epochs"),
        ("stop.epochs", "many", "epochs"),
        ("stop.epochs", "1.5", "is 1.5: expected a whole number"),
        ("optimizer.lr", "fast", "is fast: expected a number"),
        ("optimizer.lr", "", "is : expected a number"),
        (
            "optimizer.kind",
            "adamax",
            "expected one of `sgd`, `adam`, `adamw`, `rmsprop`, `adagrad`",
        ),
        ("optimizer.betas", "[0.9, 1]", "optimizer.betas` is [0.9, 1.0]: expected two numbers"),
        ("optimizer.betas", "[0.9]", "optimizer.betas"),
        ("optimizer.eps", "0", "optimizer.eps"),
        ("optimizer.clip_norm", "-1", "optimizer.clip_norm"),
        ("optimizer.clip_value", "0", "optimizer.clip_value"),
        ("optimizer.ema", "1", "optimizer.ema"),
        ("optimizer.groups", "[{lr_scale = 2}]", "match"),
        ("optimizer.groups", "[{match = '*', speed = 2}]", "unknown field `speed`"),
        ("optimizer.groups", "[{match = '*', lr_scale = -2}]", "optimizer.groups.lr_scale"),
        ("augment.shift", "5000", "augment.shift"),
        ("augment.flip", "1.5", "augment.flip` is 1.5: expected a number from 0 to 1"),
        ("augment.erase_area", "[0.5, 0.2]", "the smaller one first"),
        ("augment.mixup", "-0.2", "is -0.2: expected 0 for none, or a number from 0.01 to 100"),
        ("augment.mixup", "nan", "is NaN: expected 0 for none, or a number"),
        ("augment.mixup", "101", "is 101: expected 0 for none, or a number"),
        ("augment.mixup", "true", "augment.mixup"),
        ("augment.cutmix", "-1", "is -1: expected 0 for none, or a number from 0.01 to 100"),
        ("augment.cutmix", "nan", "is NaN: expected 0 for none, or a number"),
        ("augment.cutmix", "inf", "is inf: expected 0 for none, or a number"),
        ("augment.cutmix", "1e-9", "expected 0 for none, or a number from 0.01 to 100"),
        ("schedule.kind", "triangle", "expected one of `constant`, `step`, `multi-step`"),
        ("schedule.kind", "multi-step", "schedule.milestones` is []: expected at least one"),
        ("schedule.kind", "plateau", "data.validation"),
        ("schedule.milestones", "[3, 2]", "each later than the one before"),
        ("schedule.warmup", "-1", "schedule.warmup"),
        ("schedule.min_lr", "1", "at most `optimizer.lr`, which is 0.001"),
        ("schedule.factor", "1", "schedule.factor"),
        (
            "stop.patience",
            "3",
            "stop.patience` is 3: expected `data.validation` to hold out training images",
        ),
        ("stop.target_accuracy", "0.9", "the test set must not influence the result"),
        ("stop.target_accuracy", "90", "stop.target_accuracy"),
        ("stop.iterations", "0", "stop.iterations"),
        ("stop.monitor", "f1", "expected one of `loss`, `accuracy`, `balanced-accuracy`"),
        ("events.validate", "{ epochs = 0 }", "events.validate"),
        ("events.checkpoint", "daily", "events.checkpoint"),
        ("optimizer.nesterov", "yes", "expected true or false"),
        ("optimizer", "3", "expected a section of fields"),
        ("optimiser.lr", "1", "unknown field `optimiser`, expected one of `seed`"),
        ("optimizer.speed", "1", "unknown field `speed`, expected one of `kind`, `lr`"),
        ("data.normalize.mode", "1", "\"auto\" or { mean = [..], std = [..] }"),
        ("data.normalize.mean", "[1, 2]", "`data.normalize.std` is [0.5]: expected a list of"),
        ("data.validation", "0", "(at least 1)"),
        ("seed", "-1", "is -1: expected a whole number from 0 to 9223372036854775807"),
        ("seed", "9223372036854775808", "is 9223372036854775808: expected a whole number"),
        ("seed", "1\nmodel.preset = 'vgg'", "expected a whole number"),
        ("seed.high", "1", "there is no such field"),
        ("", "1", "expected a field"),
        ("optimizer..lr", "1", "expected a field"),
        (".lr", "1", "expected a field"),
    ] {
        let list = settings(&[("seed", "3"), (path, value)]);
        let error = Recipe::load("paper", &list).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(word), "{path}={value}: {message}");
        assert!(message.contains(&format!("`{}`", error.field().unwrap())), "{message}");
    }
}

#[test]
fn the_field_at_fault_is_the_one_that_was_set() {
    let list = settings(&[("optimizer.lr", "0.1"), ("seed", "no"), ("stop.epochs", "no")]);
    assert_eq!(Recipe::load("fast", &list).unwrap_err().field(), Some("seed"));
    let list = settings(&[("data.normalize.mean", "[0]"), ("optimizer.kind", "no")]);
    assert_eq!(Recipe::load("fast", &list).unwrap_err().field(), Some("optimizer.kind"));
}

#[test]
fn unusable_files_are_named() {
    let message = |name: &str| Recipe::load(name, &[]).unwrap_err().to_string();
    for (name, words) in [
        (
            "slow",
            "unknown recipe `slow`: expected fast, paper, li, cnn-bn, vgg, resnet, pictures or the path of a TOML file",
        ),
        ("", "unknown recipe ``"),
        ("no.toml", "no.toml: cannot read the recipe: "),
    ] {
        assert!(message(name).starts_with(words), "{}", message(name));
    }
    for (text, words) in [
        ("seed = 1\n[optimizer]\nlr = = 2\n", "r.toml: line 3: extra `=`"),
        ("seed = 1\n[optimizer\nlr = 2\n", "r.toml: line 2: "),
        ("[optimizer]\nspeed = 2\n", "r.toml: line 2: `optimizer.speed`: unknown field `speed`"),
        (
            "[data]\n\nbatch_size = 1.5",
            "r.toml: line 3: `data.batch_size` is 1.5: expected a whole number from 1 to 1048576",
        ),
        ("seed = 1\nseed = 2", "r.toml: line 2: duplicate key"),
        (
            "[optimizer]\nlr = 'fast'",
            "r.toml: line 2: `optimizer.lr` is \"fast\": expected a number",
        ),
        ("[schedule]\nkind = 'cos'", "r.toml: line 2: `schedule.kind` is \"cos\": expected one of"),
        ("[data]\nnormalize = 3", "r.toml: line 2: `data.normalize` is 3: expected \"auto\" or {"),
        ("[data]\ndirectory = 5", "r.toml: line 2: `data.directory` is 5: expected a path"),
        ("[events]\nvalidate = 3", "r.toml: line 2: `events.validate` is 3: expected { epochs"),
        ("[events]\nvalidate = {}", "r.toml: line 2: `events.validate` is {}: expected { epochs"),
        ("optimizer = 3", "r.toml: line 1: `optimizer` is 3: expected a section"),
    ] {
        let message = Recipe::parse("r.toml", text, &[]).unwrap_err().to_string();
        assert!(message.starts_with(words), "{text}: {message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn shipped_recipes_are_described() {
    for (name, description) in Recipe::shipped() {
        assert!((20..=80).contains(&description.len()), "{name}: {description}");
    }
}

#[test]
fn shards_depend_on_the_batch_alone() {
    let shard = |batch: usize| {
        let list = settings(&[("data.batch_size", &batch.to_string())]);
        Recipe::load("paper", &list).unwrap().shard()
    };
    let batches = [1, 32, 33, 64, 128, 256, 257, 512, 4096];
    assert_eq!(batches.map(shard), [16, 16, 32, 32, 32, 32, 48, 64, 64]);
}

/// The page of recipes, its example and the code of the sections say the same.
#[test]
fn every_field_is_on_the_page() {
    let page = include_str!("../../../docs/recipes.md");
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let own = Recipe::parse("own.toml", example, &[]).unwrap();
    assert_eq!((own.optimizer.groups.len(), own.optimizer.eps), (1, None));
    let all = settings(&[
        ("model.weights", "file"),
        ("model.class_weights", "balanced"),
        ("model.loss", "bce"),
        ("data.sampling", "balanced"),
        ("augment.mixup", "0.2"),
        ("augment.cutmix", "1"),
        ("data.directory", "data"),
        ("data.prefix", "emnist"),
        ("data.shard", "32"),
        ("optimizer.kind", "rmsprop"),
        ("optimizer.momentum", "0.5"),
        ("optimizer.weight_decay", "0.5"),
        ("optimizer.eps", "0.5"),
        ("optimizer.clip_value", "1"),
        ("stop.iterations", "5"),
        ("stop.target_accuracy", "0.5"),
        ("stop.min_loss", "0.5"),
    ]);
    let full = Table::try_from(Recipe::parse("own.toml", example, &all).unwrap()).unwrap();
    let sections = page.split("\n## Layers").next().unwrap();
    for (section, fields) in full.iter().filter_map(|(name, value)| Some((name, value.as_table()?)))
    {
        assert!(sections.contains(&format!("### `[{section}]`")), "{section}");
        for field in fields.keys() {
            assert!(sections.contains(&format!("`{field}`")), "{section}.{field}");
        }
    }
}

/// A rule or curve that is changed takes its own defaults, in whatever order it is set; what holds for
/// any stays.
#[test]
fn another_kind_has_its_own_defaults() {
    let text = "[optimizer]\nlr = 0.3\nmomentum = 0.8\nnesterov = true\nweight_decay = 0.001\nclip_norm = 5.0\n\
                [schedule]\nkind = 'step'\ngamma = 0.5\nwarmup = 1.0";
    let with = |list: &[(&str, &str)]| Recipe::parse("r.toml", text, &settings(list)).unwrap();
    let adamw = with(&[("optimizer.kind", "adamw")]).optimizer;
    assert_eq!((adamw.lr, adamw.weight_decay(), adamw.nesterov), (0.001, 0.01, false));
    assert_eq!((adamw.momentum, adamw.clip_norm), (None, Some(5.0)));
    let given =
        [("optimizer.weight_decay", "0.1"), ("optimizer.lr", "0.02"), ("optimizer.kind", "adamw")];
    let given = with(&given).optimizer;
    assert_eq!((given.lr, given.weight_decay()), (0.02, 0.1));
    let same = with(&[("optimizer.kind", "sgd"), ("schedule.kind", "step")]);
    assert_eq!(same, with(&[]));
    assert_eq!(with(&[("optimizer.kind", "rmsprop")]).optimizer.lr, 0.01);
    let exponential = with(&[("schedule.kind", "exponential")]).schedule;
    assert_eq!((exponential.gamma, exponential.warmup), (0.1, 1.0));
}

#[test]
fn a_fraction_of_the_training_images_is_held_out() {
    let validation = |value: &str| {
        let recipe = Recipe::load("fast", &settings(&[("data.validation", value)])).unwrap();
        assert_eq!(read_again(&recipe).data.validation, recipe.data.validation);
        recipe.data.validation
    };
    for (value, held_out) in [("0.2", 60), ("20%", 60), ("\"0.5 %\"", 2), ("1e-9", 1), ("12", 12)] {
        assert_eq!(validation(value).held_out(300), held_out, "{value}");
        assert!(
            Recipe::load("fast", &settings(&[("data.validation", value)])).unwrap().may_select()
        );
    }
    // As decimals, not as quotients: 33.3 / 100 is 0.33299999999999996.
    for (value, written) in
        [("33.3%", "0.333"), ("7%", "0.07"), ("2.9e1%", "0.29"), ("0.1%", "0.001")]
    {
        let Validation::Fraction(Fraction(fraction)) = validation(value) else { panic!("{value}") };
        assert_eq!(fraction.to_string(), written, "{value}");
    }
    for value in ["1.5", "0.0", "100%", "1.0", "-0.1", "%", "nan", "a fifth"] {
        let error = Recipe::load("fast", &settings(&[("data.validation", value)])).unwrap_err();
        assert!(error.to_string().contains("or a fraction of them"), "{value}: {error}");
    }
}

#[test]
fn names_that_are_nearly_right_are_suggested() {
    let load = |name: &str, list: &[(&str, &str)]| {
        Recipe::load(name, &settings(list)).unwrap_err().to_string()
    };
    for (field, value, meant) in [
        ("optimizer.momentun", "0.9", "momentum"),
        ("optimiser.lr", "1", "optimizer"),
        ("model.preset", "resnet81", "resnet18"),
        ("schedule.kind", "cosin", "cosine"),
        ("optimizer.kind", "adamW", "adamw"),
    ] {
        let error = load("fast", &[(field, value)]);
        assert!(error.ends_with(&format!("; did you mean `{meant}`?")), "{error}");
    }
    assert!(load("papr", &[]).ends_with("; did you mean `paper`?"));
    assert!(!load("qqq", &[]).contains("did you mean"));
    let error = Recipe::parse("r.toml", "\n[data]\nbatchsize = 3", &[]).unwrap_err().to_string();
    assert!(error.starts_with("r.toml: line 3: "), "{error}");
    assert!(error.ends_with("; did you mean `batch_size`?"), "{error}");
}
