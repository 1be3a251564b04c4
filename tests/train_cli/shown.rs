//! What a run prints as JSON, and in a terminal.

use crate::scratch::*;
use serde_json::Value;
use std::collections::BTreeMap;

/// Each kind of line with its keys.
const KEYS: [(&str, &str); 6] = [
    (
        "start",
        "epoch step name model parameters precision data fingerprint image_shape classes images validation_images \
         batch_size shard epochs threads isa directory missing",
    ),
    ("progress", "epoch step loss images_per_second learning_rate seconds"),
    (
        "validation",
        "epoch step validation_loss top1 top5 balanced_accuracy macro_f1 auc ece collapsed seconds",
    ),
    (
        "epoch",
        "epoch step loss accuracy validation_loss top1 top5 images_per_second learning_rate seconds",
    ),
    ("checkpoint", "epoch step file"),
    ("end", "epoch step reason loss validation_loss top1 top5 collapsed seconds model error"),
];

#[test]
fn json_lines_have_stable_keys() {
    let scratch = Scratch::with_data(1);
    let printed = scratch.train(&["--json", "--out", "run"]);
    let written = std::fs::read_to_string(scratch.work("run/metrics.jsonl")).unwrap();
    assert_eq!(printed, written);
    let documented = include_str!("../../docs/metrics.md");
    for (event, keys) in KEYS {
        let row = documented.lines().find(|line| line.starts_with(&format!("| `{event}` |")));
        let row = row.unwrap_or_else(|| panic!("{event}"));
        assert!(keys.split_whitespace().all(|key| row.contains(&format!("`{key}`"))), "{row}");
    }
    let mut seen = BTreeMap::new();
    for line in printed.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        let object = object.as_object().unwrap();
        let event = object["event"].as_str().unwrap().to_owned();
        let (_, keys) = KEYS.iter().find(|(name, _)| *name == event).unwrap();
        let mut keys: Vec<&str> = keys.split_whitespace().chain(["event"]).collect();
        keys.sort();
        let mut found: Vec<&str> = object.keys().map(String::as_str).collect();
        found.sort();
        assert_eq!(found, keys);
        *seen.entry(event).or_insert(0) += 1;
    }
    let expected = [
        ("checkpoint", 6),
        ("end", 1),
        ("epoch", 5),
        ("progress", 25),
        ("start", 1),
        ("validation", 5),
    ];
    assert_eq!(seen, expected.map(|(event, count)| (event.to_owned(), count)).into());
}

#[test]
fn a_quiet_run_says_nothing() {
    let scratch = Scratch::with_data(1);
    assert_eq!(scratch.train(&["--quiet", "--out", "run"]), "");
    assert_eq!(left(&scratch.work("run")), COMPLETE);
    assert_eq!(scratch.train(&["--quiet", "--seeds", "2", "--out", "runs"]), "");
    scratch.refused(2, &["--quiet", "--lr", "0"], &["--lr"]);
    let json = scratch.train(&["--quiet", "--json", "--out", "json"]);
    assert!(json.lines().count() == 1 && json.starts_with("{\"event\":\"end\","), "{json}");
    let json = scratch.train(&["--json", "--quiet", "--seeds", "2", "--out", "json-runs"]);
    let last = json.lines().last().unwrap();
    assert!(json.lines().count() == 3 && last.starts_with("{\"event\":\"results\","), "{json}");
}

#[test]
fn layers_are_described() {
    let scratch = Scratch::with_data(1);
    let before = scratch.files();
    let printed = scratch.train(&["--describe"]);
    let lines: Vec<&str> = printed.lines().collect();
    let heading: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(heading, ["layer", "kind", "output", "parameters", "MFLOP/image"]);
    assert!(lines.iter().any(|line| line.starts_with("conv1  convolution 5×5")), "{printed}");
    let width = lines[0].chars().count();
    assert!(lines.iter().all(|line| line.chars().count() <= width), "{printed}");
    assert_eq!(scratch.files(), before);
}

/// In a terminal of this many columns: what was sent to it, and what is on its screen in the end.
#[cfg(target_os = "linux")]
fn in_terminal(scratch: &Scratch, columns: usize, arguments: &[&str]) -> (String, Vec<String>) {
    let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
    let script =
        format!("stty rows 50 cols {columns} -onlcr; exec '{BOBBIN}' train {}", words.join(" "));
    let mut command = scratch.set_up(std::process::Command::new("script"));
    command.args(["-qec", &script, "/dev/null"]).stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let sent = String::from_utf8(output.stdout).unwrap();
    let screen = screen(&sent, columns);
    (sent, screen)
}

/// The lines on a terminal of this many columns, which does with these characters what xterm does.
#[cfg(target_os = "linux")]
fn screen(sent: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![vec![]];
    let (mut row, mut column) = (0usize, 0);
    let mut characters = sent.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => column = 0,
            '\n' => (row, column) = (row + 1, 0),
            '\u{1b}' => {
                assert_eq!(characters.next(), Some('['));
                let mut number = String::new();
                while let Some(digit) = characters.next_if(|c| c.is_ascii_digit() || *c == '?') {
                    number.push(digit);
                }
                let count: usize = number.parse().unwrap_or(1);
                match (characters.next().unwrap(), &*number) {
                    ('A', _) => row = row.saturating_sub(count),
                    ('B', _) => row += count,
                    ('K', "2") => lines[row].clear(),
                    ('K', "" | "0") => lines[row].truncate(column),
                    ('h' | 'l', "?25") => {}
                    other => panic!("{other:?}"),
                }
            }
            character => {
                assert!(!character.is_control(), "{character:?}");
                if column == columns {
                    (row, column) = (row + 1, 0);
                }
                lines.resize(lines.len().max(row + 1), vec![]);
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = character;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), vec![]);
    }
    lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect()
}

/// A bar for each epoch, which is gone when its row is there. The network is one that takes a while.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_a_bar_and_a_row_per_epoch() {
    let scratch = Scratch::with_data(1);
    let recipe = [
        "--recipe",
        "fast",
        "--data",
        "../data",
        "--epochs",
        "2",
        "--batch-size",
        "4",
        "--model",
        "vgg",
    ];
    for columns in [120, 80, 50, 40] {
        let out = format!("run-{columns}");
        let (sent, screen) =
            in_terminal(&scratch, columns, &[&recipe[..], &["--out", &out]].concat());
        for epoch in ["  1/2  ", "  2/2  "] {
            let bar = sent
                .split(['\r', '\n'])
                .find(|part| part.contains(epoch) && part.contains(" %  loss "));
            let bar = bar.unwrap_or_else(|| panic!("{columns}, {epoch}: {sent:?}"));
            let speed = bar.contains(" images/s  ");
            assert!(bar.contains(" left") && speed == (columns >= 80), "{columns}: {bar:?}");
            let width = bar.trim_end_matches(|c: char| c != 't').chars().count();
            assert!(width <= columns, "{columns}: {bar:?}");
        }
        let shown = screen.join("\n");
        assert!(!shown.contains('█') && !shown.contains(" left"), "{shown}");
        let heading = screen.iter().position(|line| line.starts_with("  epoch  train loss"));
        let table = &screen[heading.unwrap_or_else(|| panic!("{shown}"))..];
        let rows: Vec<&str> = table.iter().map(String::as_str).take(3).collect();
        assert!(rows[1].starts_with("    1/2  ") && rows[2].starts_with("    2/2  "), "{shown}");
        assert!(rows.iter().all(|row| row.chars().count() == rows[0].chars().count()), "{shown}");
        assert!(rows[0].chars().count() <= columns, "{shown}");
        assert_eq!(table[3], "all epochs are done", "{shown}");
        assert!(shown.ends_with(&format!("model: {out}/model.safetensors\n")), "{shown}");
    }
}

/// Where an epoch ends without a validation, its row says so.
#[cfg(target_os = "linux")]
#[test]
fn rows_of_a_terminal_are_aligned() {
    let scratch = Scratch::with_data(1);
    let events = "events.validate={ epochs = 2 }";
    let recipe = [&SHORT[..], &["--set", events, "--out", "run"]].concat();
    let (_, screen) = in_terminal(&scratch, 80, &recipe);
    let heading = screen.iter().position(|line| line.starts_with("  epoch  train loss")).unwrap();
    let rows = &screen[heading..heading + 6];
    let width = rows[0].chars().count();
    assert!(rows.iter().all(|row| row.chars().count() == width), "{}", rows.join("\n"));
    assert_eq!(rows.iter().filter(|row| row.contains('–')).count(), 2);
    let (_, screen) = in_terminal(&scratch, 80, &["--resume", "run"]);
    let last: Vec<&str> = screen.iter().rev().map(String::as_str).take(3).collect();
    assert_eq!(last, ["", "model: run/model.safetensors", "all epochs are done"]);
}
