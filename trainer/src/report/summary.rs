//! The head of the page: what was trained, and what came of it.

use super::format::{duration, escape, name, percent, thousands};
use super::{History, Report};
use crate::training::{Best, Stop};

pub(super) fn html(report: &Report<'_>, history: &History<'_>) -> String {
    let title = history.start.map_or("run", |start| &start.name);
    let mut tiles = results(report, history);
    tiles.extend(effort(history));
    tiles.extend(subject(report, history));
    let tile = |(label, value, note): &Tile| {
        format!("<div><dt>{label}</dt><dd>{value}<small>{note}</small></dd></div>\n")
    };
    format!(
        "<header>\n<p class=\"eyebrow\">Bobbin training report</p>\n<h1>{}</h1>\n\
         <dl class=\"tiles\">\n{}</dl>\n</header>\n",
        name(title),
        tiles.iter().map(tile).collect::<String>()
    )
}

/// What is measured, its value, and a remark; all of them HTML.
type Tile = (&'static str, String, String);

fn results(report: &Report<'_>, history: &History<'_>) -> Vec<Tile> {
    let mut tiles = vec![];
    if let Some(scored) = report.scores {
        let scores = scored.scores;
        let of = format!("{} {}", thousands(scores.images), escape(scored.of));
        // Of a binomial distribution, by its normal approximation.
        let error = (scores.top1 * (1.0 - scores.top1) / scores.images as f64).sqrt();
        let error = format!("±\u{a0}{:.2} at 95\u{a0}% confidence", 196.0 * error);
        tiles.push(("Top-1 accuracy", percent(scores.top1), format!("{of}, {error}")));
        let note = "the class is among the five most probable";
        tiles.push(("Top-5 accuracy", percent(scores.top5), note.into()));
        tiles.push(("Loss", format!("{:.4}", scores.loss), "cross-entropy, nats".into()));
    } else if let Some(epoch) = history.epochs.last() {
        let note = || "of training images, in the last epoch".into();
        tiles.push(("Training accuracy", percent(epoch.accuracy), note()));
        tiles.push(("Training loss", format!("{:.4}", epoch.loss), note()));
    }
    if let Some(Best { step, evaluation: found, .. }) = report.best {
        let place = history.place(step);
        let digits = usize::from(place.fract() > 1e-9);
        let (loss, top1) = (found.loss, percent(found.accuracy));
        let note = format!("held-out images: loss {loss:.4}, top-1 {top1}");
        tiles.push(("Best epoch", format!("{place:.digits$}"), note));
    }
    tiles
}

fn effort(history: &History<'_>) -> Vec<Tile> {
    let Some(last) = history.epochs.last() else { return vec![] };
    let mut speeds: Vec<f64> = history.epochs.iter().map(|e| e.images_per_second).collect();
    speeds.sort_by(f64::total_cmp);
    let speed = thousands(speeds[speeds.len() / 2].round() as usize);
    let seconds: f64 = history.epochs.iter().map(|epoch| epoch.seconds).sum();
    let on = history.start.map_or(String::new(), |start| {
        let plural = if start.threads == 1 { "" } else { "s" };
        format!(", {} thread{plural}, {}", start.threads, escape(&start.isa))
    });
    let epochs = history.start.map_or(last.epoch, |start| start.epochs.max(last.epoch));
    let of = if last.epoch == epochs { String::new() } else { format!(" of {epochs}") };
    let plural = if last.epoch == 1 && of.is_empty() { "" } else { "s" };
    let reason = history.end.map_or("", |end| why(end.reason));
    let steps = format!("{} epoch{plural}{of}, {} steps{reason}", last.epoch, thousands(last.step));
    vec![
        ("Images per second", speed, format!("median{on}")),
        ("Training time", duration(seconds), steps),
    ]
}

/// Why training ended before its last epoch.
fn why(reason: Stop) -> &'static str {
    match reason {
        Stop::Epochs => "",
        Stop::Iterations => ", as many as the recipe allows",
        Stop::TargetAccuracy => ", until the target accuracy was reached",
        Stop::MinLoss => ", until the loss was low enough",
        Stop::Patience => ", until it improved no more",
        Stop::Interrupted => ", then it was interrupted",
        Stop::Diverged => ", then it diverged",
    }
}

fn subject(report: &Report<'_>, history: &History<'_>) -> Vec<Tile> {
    let network = &report.model.network;
    let parameters = format!("{} parameters", thousands(network.parameter_count()));
    let flops = 2.0 * network.multiply_adds() as f64 / 1e6;
    let title = history.start.map_or("custom", |start| &start.model);
    let mut tiles =
        vec![("Network", name(title), format!("{parameters}, {flops:.2} MFLOP per image"))];
    if let Some(start) = history.start {
        let [channels, height, width] = start.image_shape;
        let colour = match channels {
            1 => " grey".into(),
            3 => " RGB".into(),
            _ => format!(", {channels} channels"),
        };
        let shape = format!("{height}×{width}{colour}, {} classes", start.classes);
        let images = format!("{} images", thousands(start.images));
        let data = start.data.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        tiles.push(("Data", name(data), format!("{images}, {shape}")));
    }
    tiles
}
