//! The head of the page: what was trained, and what came of it.

use super::format::{duration, escape, name, percent, thousands};
use super::{History, Report};
use crate::advice_on_collapse;
use model::Precision;
use trainer::{Best, Stop};

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
         <dl class=\"tiles\">\n{}</dl>\n{}</header>\n",
        name(title),
        tiles.iter().map(tile).collect::<String>(),
        warning(history)
    )
}

/// What a reader must know before the numbers.
fn warning(history: &History<'_>) -> String {
    let collapsed = history.end.and_then(|end| end.collapsed.as_ref()).map(advice_on_collapse);
    // Of every time that a run goes on, the last has found what those before have.
    let missing = history.start.and_then(|start| start.missing.as_ref());
    let missing = missing.map(|missing| format!("The logs were damaged: {missing} are missing"));
    let warning = |text: String| format!("<p class=\"warning\">{}.</p>\n", escape(&text));
    collapsed.into_iter().chain(missing).map(warning).collect()
}

/// What is measured, its value, and a remark; all of them HTML.
type Tile = (&'static str, String, String);

fn results(report: &Report<'_>, history: &History<'_>) -> Vec<Tile> {
    let Some(scored) = report.scores else { return training_results(report, history) };
    let scores = scored.scores;
    let of = format!("{} {}", thousands(scores.images), escape(scored.of));
    let interval = |top1: f64| {
        let [least, most] = wilson_interval(top1, scores.images as f64);
        format!("{:.2} to {} at 95\u{a0}% confidence", 100.0 * least, percent(most))
    };
    let mut tiles = vec![];
    let last = match (report.best, report.best_scores) {
        (Some(best), Some(_)) => {
            let ended = history.epochs.last().map_or(best.epoch, |epoch| epoch.epoch);
            format!(": model.safetensors, after epoch {ended}")
        }
        (Some(_), None) => ": model.safetensors, which is also the best".to_owned(),
        (None, _) => String::new(),
    };
    let note = format!("{of}, {}{last}", interval(scores.top1));
    let several = report.model.multi_label;
    let found = if several { "All labels right" } else { "Top-1 accuracy" };
    tiles.push((found, percent(scores.top1), note));
    // Of five classes or fewer it is always 1.
    if let Some(top5) = scores.top5.filter(|_| scores.classes.len() > 5) {
        let note = "the class is among the five most probable";
        tiles.push(("Top-5 accuracy", percent(top5), note.into()));
    }
    tiles.push(("Loss", format!("{:.4}", scores.loss), "cross-entropy, nats".into()));
    let metrics = scores.metrics;
    let recall = if several {
        "of yes and no, the mean of the labels"
    } else {
        "the mean recall of the classes"
    };
    tiles.push(("Balanced accuracy", percent(metrics.balanced_accuracy), recall.into()));
    let f1 = if several { "the mean of the labels" } else { "the mean of the classes" };
    tiles.push(("Macro F1", format!("{:.4}", metrics.macro_f1), f1.into()));
    if let Some(auc) = metrics.auc {
        let note = match several {
            true => "the mean of the labels".to_owned(),
            false => format!("of class {}", name(&scores.classes[1].name)),
        };
        tiles.push(("Area under the ROC curve", format!("{auc:.4}"), note));
    }
    let bins = "confidence beside accuracy, in 15 bins".into();
    tiles.push(("Calibration error", format!("{:.4}", metrics.ece), bins));
    if let (Some(best), Some(found)) = (report.best, report.best_scores) {
        let (top1, loss, epoch) = (found.top1, found.loss, best.epoch);
        let interval = interval(top1);
        let note = format!(
            "the same images, {interval}, loss {loss:.4}: best.safetensors, of epoch {epoch}; what follows \
             is of model.safetensors"
        );
        tiles.push(("Top-1 of the best", percent(top1), note));
    }
    tiles.extend(best_epoch(report, history));
    tiles
}

/// The limits between which a probability is with 95 % confidence, of which this share was found in so many
/// trials: Wilson's interval, which has a width where none or all succeeded too.
fn wilson_interval(share: f64, trials: f64) -> [f64; 2] {
    let z = 1.959_964f64;
    let scale = 1.0 + z * z / trials;
    let centre = (share + z * z / (2.0 * trials)) / scale;
    let variance = share * (1.0 - share) / trials + z * z / (4.0 * trials * trials);
    let half = z * variance.sqrt() / scale;
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// Where there are no images but those that were trained on.
fn training_results(report: &Report<'_>, history: &History<'_>) -> Vec<Tile> {
    let mut tiles = vec![];
    if let Some(epoch) = history.epochs.last() {
        let note = || "of training images, in the last epoch".into();
        tiles.push(("Training accuracy", percent(epoch.accuracy), note()));
        tiles.push(("Training loss", format!("{:.4}", epoch.loss), note()));
    }
    tiles.extend(best_epoch(report, history));
    tiles
}

/// The best validation.
fn best_epoch(report: &Report<'_>, history: &History<'_>) -> Option<Tile> {
    let Best { step, evaluation: found, .. } = report.best?;
    let place = history.place(step);
    let digits = usize::from(place.fract() > 1e-9);
    let (loss, top1) = (found.loss, percent(found.accuracy));
    let note = format!("held-out images: loss {loss:.4}, top-1 {top1}");
    Some(("Best epoch", format!("{place:.digits$}"), note))
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
    let products = match network.precision() {
        Precision::F32 => "",
        Precision::Bf16 => ", products in bf16",
    };
    let parameters = format!("{} parameters{products}", thousands(network.parameter_count()));
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

#[cfg(test)]
mod tests {
    use super::wilson_interval;

    #[test]
    fn intervals_are_those_of_wilson() {
        for (share, trials, expected) in [
            (0.9, 30.0, [0.743789, 0.965400]),
            (0.0, 30.0, [0.0, 0.113513]),
            (1.0, 30.0, [0.886487, 1.0]),
        ] {
            let found = wilson_interval(share, trials);
            let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6;
            assert!(found.iter().zip(&expected).all(near), "{found:?}: {expected:?}");
        }
    }
}
