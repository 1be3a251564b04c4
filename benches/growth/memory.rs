//! Memory against the batch: each point is a process of its own, so that none counts what another has
//! left behind.

use crate::measure::steps::{Steps, trainer_of};
use crate::plot::{Axis, Line, Plot};
use crate::{bundled, cores, points, workers};
use model::PRESETS;
use serde_json::{Map, Value, json};
use std::process::Command;

/// The first argument of such a process; the network and the batch follow.
pub const CHILD: &str = "--memory-of";

/// What a process says: bytes of its own, before there is a trainer and after the first step, and the
/// most it ever had with what it maps.
const WORDS: [&str; 3] = ["before", "after", "peak"];

/// Memory after the first step of every preset, on all threads.
pub fn sweep() -> (Value, Plot) {
    const BATCHES: [usize; 5] = [256, 512, 1024, 2048, 4096];
    const MB: f64 = 1e6;
    println!("\nMemory after the first step, {} threads", cores());
    println!("  {:10}{:>8}{:>14}{:>14}{:>14}", "", "batch", "before, MB", "after, MB", "peak, MB");
    let (mut results, mut lines) = (Map::new(), vec![]);
    for (preset, _) in points(&PRESETS) {
        let (mut rows, mut line) = (vec![], vec![]);
        for batch in points(&BATCHES) {
            let Some([before, after, peak]) = spawn(preset, *batch) else { continue };
            let mega = [before, after, peak].map(|bytes| bytes as f64 / MB);
            println!("  {preset:10}{batch:8}{:14.1}{:14.1}{:14.1}", mega[0], mega[1], mega[2]);
            rows.push(json!({ "batch": batch, "before": before, "after": after, "peak": peak }));
            line.push((*batch as f64, mega[1]));
        }
        results.insert((*preset).into(), rows.into());
        lines.push(Line::solid(preset, line));
    }
    let title = "Training: memory against the size of the batch";
    (
        results.into(),
        Plot::new(title, Axis::log("images in the batch", 2.0), Axis::log("MB", 10.0), lines),
    )
}

/// Bytes, as a process of its own finds them.
fn spawn(preset: &str, batch: usize) -> Option<[u64; 3]> {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program).args([CHILD, preset, &batch.to_string()]).output();
    let output = output.expect("this program can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Option<Value> = serde_json::from_str(&text).ok();
    let bytes = found.and_then(|found| {
        let [before, after, peak] = WORDS.map(|word| found[word].as_u64());
        Some([before?, after?, peak?])
    });
    if bytes.is_none() {
        println!(
            "  {preset:10}{batch:8}  not measured: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    bytes
}

/// Trains for a step and says what memory there was.
pub fn child(mut arguments: impl Iterator<Item = String>) {
    let preset = arguments.next().expect("a network");
    let batch = arguments.next().and_then(|batch| batch.parse().ok()).expect("a size of batches");
    let (data, workers) = (bundled(), workers(cores()));
    let before = status("RssAnon");
    let mut steps = Steps::new(trainer_of(&preset, batch, &data, &workers), 60_000, &workers, 1);
    steps.call();
    let [before, after, peak] = [before, status("RssAnon"), status("VmHWM")];
    println!("{}", json!({ WORDS[0]: before, WORDS[1]: after, WORDS[2]: peak }));
}

/// Bytes of an entry of what Linux says of this process; nothing elsewhere.
fn status(entry: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(entry)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
