//! `--seeds` and `--sweep`: tables, and what is left of an interruption.

use crate::scratch::*;
use serde_json::Value;
use std::fs;

const SWEEP: &str = "recipe = 'base.toml'\n[values]\n'optimizer.lr' = [0.02, 0.01]\n\
    'data.batch_size' = [50, 100]\n";

/// With a sweep of four runs beside its recipe.
fn with_sweep() -> Scratch {
    let scratch = Scratch::with_data(1);
    fs::create_dir(scratch.work("own")).unwrap();
    fs::write(scratch.work("own/base.toml"), "seed = 1\n[stop]\nepochs = 1\n").unwrap();
    fs::write(scratch.work("own/grid.toml"), SWEEP).unwrap();
    scratch
}

/// In the order of the runs.
const RUNS: [&str; 4] = [
    "batch_size=50,lr=0.02",
    "batch_size=50,lr=0.01",
    "batch_size=100,lr=0.02",
    "batch_size=100,lr=0.01",
];

const ARGUMENTS: [&str; 6] = ["--data", "../data", "--sweep", "own/grid.toml", "--out", "all"];

/// Records of RFC 4180, which end with CRLF.
fn records(text: &str) -> Vec<Vec<String>> {
    assert!(text.ends_with("\r\n"), "{text:?}");
    let record = |line: &str| {
        let mut fields = vec![String::new()];
        let mut quoted = false;
        for character in line.chars() {
            match character {
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                character => fields.last_mut().unwrap().push(character),
            }
        }
        fields
    };
    text.strip_suffix("\r\n").unwrap().split("\r\n").map(record).collect()
}

#[test]
fn a_sweep_runs_every_combination() {
    let scratch = with_sweep();
    let printed = succeeded(scratch.command().args(ARGUMENTS).output().unwrap());
    for run in RUNS {
        assert_eq!(left(&scratch.work("all").join(run)), COMPLETE, "{run}");
    }
    let read = |name: &str| fs::read_to_string(scratch.work("all").join(name)).unwrap();
    let text = read("sweep.txt");
    assert!(printed.ends_with(&format!("\n\n{text}")), "{printed}");
    // Columns end where their headings end; the last, which is the directory, begins where it begins.
    let lines: Vec<&str> = text.lines().collect();
    let ends = |line: &str| -> Vec<usize> {
        let characters: Vec<char> = line.chars().collect();
        let ends = (1..characters.len()).filter(|&i| {
            characters[i] == ' ' && characters[i - 1] != ' ' && characters[i + 1] == ' '
        });
        ends.collect()
    };
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| ends(line).last() == ends(lines[0]).last()), "{text}");

    let csv = records(&read("sweep.csv"));
    let heading = "data.batch_size,optimizer.lr,epochs,loss,accuracy,validation_loss,top1,\
                   images_per_second,directory,error";
    assert_eq!(csv[0], heading.split(',').collect::<Vec<_>>());
    let json: Value = serde_json::from_str(&read("sweep.json")).unwrap();
    assert_eq!(json["event"], "results");
    for run in RUNS {
        let directory = format!("all/{run}");
        let i = csv.iter().position(|row| row[8] == directory).unwrap() - 1;
        let (row, object) = (&csv[i + 1], &json["runs"][i]);
        assert_eq!((&*row[8], &object["directory"]), (&*directory, &directory.clone().into()));
        assert_eq!(row[0], object["settings"]["data.batch_size"].as_u64().unwrap().to_string());
        assert_eq!((&*row[9], &object["error"]), ("", &Value::Null));
        let metrics = read(&format!("{run}/metrics.jsonl"));
        let end: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        for (column, key) in [(3, "loss"), (5, "validation_loss"), (6, "top1")] {
            let value = end[key].as_f64().unwrap();
            assert_eq!(row[column].parse(), Ok(value), "{key}");
            assert_eq!(object[key], value, "{key}");
        }
        let cells: Vec<&str> = lines[i + 1].split_whitespace().collect();
        let loss = format!("{:.4}", end["loss"].as_f64().unwrap());
        assert_eq!((cells[0], cells[1], cells[2], cells[3]), (&*row[0], &*row[1], "1", &*loss));
        assert_eq!(cells[8], directory);
    }
    assert!(json.get("summary").is_none(), "{json}");
    // The best first, and marked.
    let top1: Vec<f64> = csv[1..].iter().map(|row| row[6].parse().unwrap()).collect();
    assert!(top1.is_sorted_by(|a, b| a >= b), "{top1:?}");
    assert!(lines[1].ends_with(&format!("{} (best)", csv[1][8])), "{text}");
    assert_eq!((&json["best"], text.matches("(best)").count()), (&csv[1][8].clone().into(), 1));
}

#[test]
fn a_sweep_goes_on_with_what_is_not_done() {
    let scratch = with_sweep();
    succeeded(scratch.command().args(ARGUMENTS).output().unwrap());
    let read = |name: &str| fs::read(scratch.work("all").join(name)).unwrap();
    let csv = read("sweep.csv");
    let model = |run: &str| read(&format!("{run}/model.safetensors"));
    let models = RUNS.map(model);
    // As if it had been killed in its third run, before the end, and in the fourth at once.
    for name in ["sweep.txt", "sweep.csv", "sweep.json"] {
        fs::remove_file(scratch.work("all").join(name)).unwrap();
    }
    let third = scratch.work("all").join(RUNS[2]);
    for file in ["model.safetensors", "report.html", "checkpoints/step-0000000003.safetensors"] {
        fs::remove_file(third.join(file)).unwrap();
    }
    fs::remove_dir_all(scratch.work("all").join(RUNS[3]).join("checkpoints")).unwrap();
    fs::remove_file(scratch.work("all").join(RUNS[3]).join("report.html")).unwrap();
    let first = scratch.work("all").join(RUNS[0]).join("model.safetensors");
    let age = fs::metadata(&first).unwrap().modified().unwrap();

    let printed = succeeded(scratch.command().args(ARGUMENTS).output().unwrap());
    assert!(printed.starts_with(&format!("\nrun 1 of 4: {}, which is done\n", RUNS[0])));
    assert!(printed.contains(&format!("\nrun 3 of 4: {}\n", RUNS[2])), "{printed}");
    assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), age);
    assert!(RUNS.map(model) == models);
    let columns = |csv: &[u8]| -> Vec<Vec<String>> {
        let rows = records(std::str::from_utf8(csv).unwrap());
        rows.into_iter().map(|row| [&row[..7], &row[8..]].concat()).collect()
    };
    assert_eq!(columns(&read("sweep.csv")), columns(&csv));

    // Another sweep in its place is refused, and replaces it if told to.
    let other = [&ARGUMENTS[..], &["--seed", "2"]].concat();
    scratch.refused(
        1,
        &other,
        &[
            "all/batch_size=50,lr=0.02: a run of another recipe is in it: `seed` is 1, not 2",
            "--force",
        ],
    );
    succeeded(scratch.command().args(other).arg("--force").output().unwrap());
    assert!(RUNS.map(model).iter().zip(&models).all(|(a, b)| a != b));
}

#[test]
fn seeds_have_a_mean_and_a_deviation() {
    let scratch = Scratch::with_data(1);
    let printed = scratch.train(&["--seeds", "3", "--seed", "5", "--out", "all"]);
    let json = fs::read_to_string(scratch.work("all/seeds.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let runs = json["runs"].as_array().unwrap();
    let seeds: Vec<&Value> = runs.iter().map(|run| &run["settings"]["seed"]).collect();
    assert_eq!(seeds, [5, 6, 7]);
    for key in ["top1", "validation_loss", "loss"] {
        let values: Vec<f64> = runs.iter().map(|run| run[key].as_f64().unwrap()).collect();
        let [a, b, c] = values[..] else { panic!("{values:?}") };
        let mean = (a + b + c) / 3.0;
        let squares = (a - mean).powi(2) + (b - mean).powi(2) + (c - mean).powi(2);
        let summary =
            ["mean", "deviation"].map(|part| json["summary"][key][part].as_f64().unwrap());
        assert!((summary[0] - mean).abs() < 1e-12, "{key}: {summary:?}");
        assert!((summary[1] - (squares / 2.0).sqrt()).abs() < 1e-12, "{key}: {summary:?}");
        let words = match key {
            "top1" => format!(
                "\ntop-1 {:.2} ± {:.2} % over 3 seeds\n",
                100.0 * summary[0],
                100.0 * summary[1]
            ),
            key => {
                let name = key.replace('_', " ");
                format!("\n{name} {:.4} ± {:.4}\n", summary[0], summary[1])
            }
        };
        assert!(printed.contains(&words), "{words}: {printed}");
    }
    // A seed's run is that of the recipe with this seed.
    scratch.train(&["--seed", "6", "--out", "alone"]);
    let model = |run: &str| fs::read(scratch.work(run).join("model.safetensors")).unwrap();
    assert!(model("all/seed=6") == model("alone"));
    // More of them join those that are done.
    scratch.train(&["--seeds", "4", "--seed", "5", "--out", "all"]);
    assert!(entries(&scratch.work("all")).contains(&"seed=8".to_owned()));
}

/// Whatever is wrong with a run is found before the first.
#[test]
fn sweeps_are_checked() {
    let scratch = with_sweep();
    let cases: [(&str, i32, &[&str]); 10] = [
        (
            "'optimizer.betas' = [[0.9, 0.999]]",
            2,
            &["sweep own/grid.toml: `optimizer.betas` would have no effect: `sgd` does not use it"],
        ),
        (
            "'optimizer.lr' = [0.1, 0, 0.2]",
            2,
            &["`optimizer.lr` is 0", "expected a positive number"],
        ),
        ("'optimizer.lr' = [0.1, 'x']", 2, &["`optimizer.lr` is \"x\"", "expected a number"]),
        ("'optimizer.speed' = [1]", 2, &["`optimizer.speed`: unknown field", "`lr`"]),
        ("'optimizer.lr' = 0.1", 2, &["`values.optimizer.lr` is 0.1: expected a list of values"]),
        ("'optimizer.lr' = []", 2, &["`values.optimizer.lr` is []: expected a list of values"]),
        ("'optimizer.lr' = [0.1, 0.2, 0.1]", 2, &["`values.optimizer.lr` is", "each once"]),
        ("", 2, &["sweep own/grid.toml: `values` is empty: expected fields with lists of values"]),
        ("'model.preset' = ['lenet', 'none']", 2, &["`model.preset` is \"none\"", "vgg"]),
        ("'data.validation' = [10, 300]", 2, &["`data.validation` is 300", "fewer than the 300"]),
    ];
    for (values, code, words) in cases {
        let text = format!("recipe = 'base.toml'\n[values]\n{values}\n");
        fs::write(scratch.work("own/grid.toml"), text).unwrap();
        scratch.refused(code, &ARGUMENTS, words);
    }
    fs::write(scratch.work("own/grid.toml"), SWEEP).unwrap();
    let twice = [&ARGUMENTS[..], &["--lr", "0.1"]].concat();
    scratch.refused(2, &twice, &["--lr: `optimizer.lr`: cannot be set here: the sweep varies it"]);
    fs::write(scratch.work("own/grid.toml"), SWEEP.replace("base", "none")).unwrap();
    scratch.refused(2, &ARGUMENTS, &["own/none.toml: cannot read the recipe"]);
    scratch.refused(2, &["--sweep", "fast"], &["unknown sweep `fast`", "sweep-li", "TOML file"]);
    fs::write(scratch.work("file"), "").unwrap();
    let out = [&SHORT[..], &["--seeds", "2", "--out", "file"]].concat();
    scratch.refused(1, &out, &["file: cannot make the run directory: "]);
}

/// Values that differ in what files cannot be called by.
#[test]
fn runs_of_a_sweep_have_names_of_their_own() {
    let scratch = with_sweep();
    let groups = "[[{ match = 'conv*.*' }], [{ match = 'conv?.*' }]]";
    let text = format!("recipe = 'base.toml'\n[values]\n'optimizer.groups' = {groups}\n");
    fs::write(scratch.work("own/grid.toml"), text).unwrap();
    succeeded(scratch.command().args(ARGUMENTS).output().unwrap());
    let names = entries(&scratch.work("all"));
    assert!(names[0].starts_with("1-groups=") && names[1].starts_with("2-groups="), "{names:?}");
    assert_eq!(names[2..], ["sweep.csv", "sweep.json", "sweep.txt"]);
}

/// A run that diverges is a row like the others, and is not done again.
#[test]
fn a_sweep_goes_on_after_a_run_that_diverges() {
    let scratch = with_sweep();
    let values = "'optimizer.lr' = [1e30, 0.02]\n'model.preset' = ['lenet']";
    let text = format!("recipe = 'base.toml'\n[values]\n{values}\n");
    fs::write(scratch.work("own/grid.toml"), text).unwrap();
    let runs = diverging_sweep(&scratch, "");
    assert!(runs[0].starts_with("lr=1e30,") || runs[0].contains(",lr=1e30"), "{runs:?}");
    let reason = "the loss is ";
    let text = fs::read_to_string(scratch.work("all/sweep.txt")).unwrap();
    assert!(text.contains(&format!("\nfailed: all/{}: {reason}", runs[0])), "{text}");
    assert!(text.contains(" lenet ") && !text.contains('"'), "{text}");
    // It is the last, whatever came of the other.
    let csv = records(&fs::read_to_string(scratch.work("all/sweep.csv")).unwrap());
    assert_eq!((&*csv[2][0], &*csv[2][3], &*csv[1][9]), ("lenet", "", ""));
    assert!(csv[2][9].starts_with(reason), "{csv:?}");
    let json = fs::read_to_string(scratch.work("all/sweep.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let settings = &json["runs"][1]["settings"];
    assert_eq!(
        (&settings["optimizer.lr"], &settings["model.preset"]),
        (&1e30.into(), &"lenet".into())
    );
    let error = json["runs"][1]["error"].as_str().unwrap();
    assert!(error.starts_with(reason) && error.contains(" at step 2 (epoch 1)"), "{error}");
    assert_eq!((&json["runs"][1]["loss"], &json["runs"][0]["error"]), (&Value::Null, &Value::Null));
    assert!(json["runs"][0]["loss"].is_f64(), "{json}");
    let metrics = scratch.work("all").join(&runs[0]).join("metrics.jsonl");
    let end = fs::read_to_string(metrics).unwrap();
    let end: Value = serde_json::from_str(end.lines().last().unwrap()).unwrap();
    assert_eq!((&end["event"], &end["reason"]), (&"end".into(), &"diverged".into()));
    assert_eq!((&end["step"], &end["error"]), (&1.into(), &error.into()));
    assert_eq!(diverging_sweep(&scratch, ", which is done"), runs);
}

/// A sweep of two runs whose first diverges; the names of both.
fn diverging_sweep(scratch: &Scratch, note: &str) -> [String; 2] {
    let output = scratch.command().args(ARGUMENTS).output().unwrap();
    let message = failed(1, &output);
    let start = "error: 1 of 2 runs failed: all/";
    assert!(message.starts_with(start) && message.contains(": the loss is "), "{message}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let name = |number: usize| {
        let start = format!("run {number} of 2: ");
        let line = printed.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
        line.strip_suffix(note).unwrap().to_owned()
    };
    let names = [name(1), name(2)];
    assert_eq!(left(&scratch.work("all").join(&names[1])), COMPLETE);
    names
}

/// One seed has a mean.
#[test]
fn one_seed_has_no_deviation() {
    let scratch = Scratch::with_data(1);
    let printed = scratch.train(&["--seeds", "1", "--threads", "1", "--out", "all"]);
    assert!(printed.contains(" % over 1 seed\n") && !printed.contains('±'), "{printed}");
    assert!(printed.contains(": 2 shards on 1 thread, "), "{printed}");
    let json = fs::read_to_string(scratch.work("all/seeds.json")).unwrap();
    assert!(json.contains(r#","deviation":null}"#), "{json}");
}

/// Two sets of other numbers of classes in one directory: each run has its own.
#[test]
fn each_run_of_a_sweep_opens_its_own_data() {
    let scratch = Scratch::with_data(1);
    scratch.write_set("a-", 1);
    scratch.write_set("b-", 1);
    // One class fewer, by other labels.
    for part in ["train", "t10k"] {
        let path = scratch.path(&format!("data/b-{part}-labels-idx1-ubyte"));
        let mut labels = fs::read(&path).unwrap();
        labels[8..].iter_mut().for_each(|label| *label = (*label).min(1));
        fs::write(&path, labels).unwrap();
    }
    fs::write(
        scratch.work("prefixes.toml"),
        "recipe = 'fast'\n[values]\n'data.prefix' = ['a', 'b']\n",
    )
    .unwrap();
    let model = |run: &str| fs::read(scratch.work(run).join("model.safetensors")).unwrap();
    let sweep = ["--sweep", "prefixes.toml", "--out", "all"];
    let flags = [&SHORT[2..], &sweep].concat();
    let printed = succeeded(scratch.command().args(flags).output().unwrap());
    assert!(printed.contains(" 3 classes") && printed.contains(" 2 classes"), "{printed}");
    for prefix in ["a", "b"] {
        let alone = format!("alone-{prefix}");
        scratch.train(&["--set", &format!("data.prefix={prefix}"), "--out", &alone]);
        assert!(model(&format!("all/prefix={prefix}")) == model(&alone), "{prefix}");
    }
    // By directory, each with a set of its own.
    let scratch = Scratch::with_data(1);
    fs::write(
        scratch.work("directories.toml"),
        "recipe = 'fast'\n[values]\n'data.directory' = ['../data', '../other']\n",
    )
    .unwrap();
    let directories = ["--data", "../data", "--sweep", "directories.toml"];
    scratch.refused(2, &directories, &["--data: ", "the sweep varies `data.directory`"]);
    scratch.refused(1, &directories[2..], &["../other: cannot read the data directory"]);
}

/// A finished run stays, but only as what it is: a run on the data that it had.
#[test]
fn a_run_on_other_data_is_not_taken_over() {
    let scratch = Scratch::with_data(1);
    let seeds = ["--seeds", "1", "--seed", "5", "--out", "all"];
    scratch.train(&seeds);
    let model = fs::read(scratch.work("all/seed=5/model.safetensors")).unwrap();
    assert!(scratch.train(&seeds).contains("seed=5, which is done"));
    let labels = scratch.path("data").join(TRAIN_LABELS);
    let mut bytes = fs::read(&labels).unwrap();
    bytes[8] = (bytes[8] + 1) % 3;
    fs::write(&labels, bytes).unwrap();
    let again = [&SHORT[..], &seeds].concat();
    scratch.refused(1, &again, &["all/seed=5: a run on other data is in it", "--out", "--force"]);
    assert!(fs::read(scratch.work("all/seed=5/model.safetensors")).unwrap() == model);
    scratch.train(&[&seeds[..], &["--force"]].concat());
    assert!(fs::read(scratch.work("all/seed=5/model.safetensors")).unwrap() != model);
}

/// Wherever the command was killed, it is given again.
#[test]
fn a_sweep_that_was_killed_at_its_start_goes_on() {
    let scratch = with_sweep();
    type Leave = fn(&std::path::Path);
    let leave: [Leave; 4] = [
        |_| {},
        |all| fs::write(all.join("writing-x"), "half a table").unwrap(),
        |all| fs::create_dir(all.join(RUNS[0])).unwrap(),
        |all| {
            fs::create_dir(all.join(RUNS[0])).unwrap();
            fs::write(all.join(RUNS[0]).join("writing-x"), "half a recipe").unwrap();
        },
    ];
    for leave in leave {
        let all = scratch.work("all");
        let _ = fs::remove_dir_all(&all);
        fs::create_dir(&all).unwrap();
        leave(&all);
        succeeded(scratch.command().args(ARGUMENTS).output().unwrap());
        assert_eq!(left(&all.join(RUNS[0])), COMPLETE);
        assert!(!all.join("writing-x").exists());
    }
}
