//! Runs side by side.

use crate::{data, trained};
use serde_json::Value;
use std::fs;
use tempfile::TempDir;
use tracking::Comparison;
use trainer::Recipe;

fn recipe(lr: &str, epochs: &str) -> Recipe {
    data::recipe(&[("optimizer.lr", lr), ("stop.epochs", epochs), ("data.batch_size", "16")])
}

/// Two runs in one directory, the second much better, and what is no run beside them.
fn two_runs() -> TempDir {
    let (_guard, data) = data::random(64, [1, 16, 16], 3);
    let scratch = TempDir::new().unwrap();
    trained(&recipe("1e-9", "2"), &data, &scratch.path().join("a <slow>"));
    trained(&recipe("0.1", "3"), &data, &scratch.path().join("b"));
    fs::create_dir(scratch.path().join("notes")).unwrap();
    scratch
}

#[test]
fn runs_are_compared_best_first() {
    let scratch = two_runs();
    let comparison = Comparison::open(&[scratch.path()]).unwrap();
    assert_eq!(comparison.len(), 2);
    let json: Value = serde_json::from_str(&comparison.json()).unwrap();
    let runs = json["runs"].as_array().unwrap();
    assert_eq!(
        (&json["best"], &runs[0]["name"], &runs[1]["name"]),
        (&"b".into(), &"b".into(), &"a <slow>".into())
    );
    assert_eq!(runs[0]["settings"], serde_json::json!({ "optimizer.lr": 0.1, "stop.epochs": 3 }));

    // As the lines of the run have it.
    let lines = fs::read_to_string(scratch.path().join("b/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let validations: Vec<&Value> = lines.iter().filter(|l| l["event"] == "validation").collect();
    let best = validations.iter().map(|line| line["top1"].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!(runs[0]["best_top1"], best);
    assert_eq!(runs[0]["last_top1"], validations.last().unwrap()["top1"]);
    assert_eq!(runs[0]["validation_loss"], validations.last().unwrap()["validation_loss"]);
    assert_eq!((&runs[0]["epochs"], &runs[0]["state"]), (&3.into(), &"ended".into()));

    let text = comparison.text();
    let rows: Vec<&str> = text.lines().collect();
    assert!(rows[0].contains("optimizer.lr  stop.epochs  epochs  best top-1"), "{text}");
    assert!(rows[1].ends_with("  b  (best)") && rows[2].ends_with("  a <slow>"), "{text}");
    assert!(!rows[0].contains("seed") && !rows[0].contains("data"), "{text}");

    let csv = comparison.csv();
    let heading = "optimizer.lr,stop.epochs,epochs,state,best_top1,best_epoch,last_top1,\
                   validation_loss,loss,images_per_second,name,directory\r\n";
    assert!(csv.starts_with(&format!("{heading}0.1,3,3,ended,{best},")), "{csv}");

    let html = comparison.html();
    assert!(html.contains("a &lt;slow&gt;") && !html.contains("<slow>"));
    assert!(!html.contains("<script") && html.contains("default-src 'none'"));
    assert_eq!(html.matches("<figure class=\"chart\">").count(), 6);
    // A line of each run in each chart.
    for run in ["run-0", "run-1"] {
        assert_eq!(html.matches(&format!("class=\"line {run}\"")).count(), 6, "{run}");
    }
}

/// Named one by one, in any state.
#[test]
fn unfinished_runs_are_shown_as_far_as_they_came() {
    let scratch = two_runs();
    let [slow, fast] = ["a <slow>", "b"].map(|name| scratch.path().join(name));
    let metrics = fs::read_to_string(fast.join("metrics.jsonl")).unwrap();
    let first_epoch = metrics.find("\"event\":\"epoch\"").unwrap();
    fs::write(fast.join("metrics.jsonl"), &metrics[..first_epoch]).unwrap();
    fs::remove_file(slow.join("metrics.jsonl")).unwrap();
    let comparison = Comparison::open(&[&fast, &slow, &fast]).unwrap();
    assert_eq!(comparison.len(), 2, "a run named twice is one");
    let text = comparison.text();
    assert!(text.contains("(unfinished)") && text.contains('–'), "{text}");
    assert!(comparison.html().contains("Nothing was measured."));
}

/// The same recipe on data that are not the same.
#[test]
fn other_data_are_a_difference() {
    let scratch = TempDir::new().unwrap();
    for (name, classes) in [("a", 2), ("b", 3)] {
        let (_guard, data) = data::random(64, [1, 16, 16], classes);
        trained(&recipe("0.1", "1"), &data, &scratch.path().join(name));
    }
    let text = Comparison::open(&[scratch.path()]).unwrap().text();
    assert!(text.lines().next().unwrap().trim_start().starts_with("data "), "{text}");
}

#[test]
fn what_is_no_run_is_said() {
    let scratch = TempDir::new().unwrap();
    let error =
        |name: &str| Comparison::open(&[scratch.path().join(name)]).unwrap_err().to_string();
    assert!(error("none").contains("none: cannot read: "), "{}", error("none"));
    fs::create_dir(scratch.path().join("empty")).unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    for name in ["empty", "file"] {
        let message = error(name);
        assert!(
            message.ends_with(
                ": no run in it: expected a run directory, or a directory of run directories"
            ),
            "{message}"
        );
    }
    fs::create_dir(scratch.path().join("odd")).unwrap();
    fs::write(scratch.path().join("odd/recipe.toml"), "seed = = 1").unwrap();
    assert!(error("odd").contains("odd/recipe.toml: not a recipe: "), "{}", error("odd"));
}
