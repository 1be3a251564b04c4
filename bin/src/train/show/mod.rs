//! What `train` shows while it trains: rows and a bar in a terminal, plain lines elsewhere, JSON, or
//! nothing.

mod terminal;

use crate::cli::{complain, say};
use terminal::Terminal;
use tracking::RunDisplay;
use tracking::metrics::{Epoch, Line, Start, Validation};
use trainer::{Step, Trainer};

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A row per epoch, and a bar for the one under way.
    Terminal,
    /// A line per epoch, without control characters.
    Plain,
    /// The lines of `metrics.jsonl`.
    Json,
    /// The last of these lines.
    JsonEnd,
    /// Not at all.
    Quiet,
}

/// What shows a run in this style.
pub fn show(style: Style) -> Box<dyn RunDisplay> {
    let display: Box<dyn RunDisplay> = match style {
        Style::Terminal => Box::new(Terminal::default()),
        Style::Plain => Box::new(Plain::default()),
        Style::Json => Box::new(Json { only_the_end: false }),
        Style::JsonEnd => Box::new(Json { only_the_end: true }),
        Style::Quiet => Box::new(Quiet),
    };
    Box::new(Warned(display))
}

/// In every style, a hole in the logs is told.
struct Warned(Box<dyn RunDisplay>);

impl RunDisplay for Warned {
    fn line(&mut self, line: &Line) {
        if let Line::Start(Start { missing: Some(missing), directory, .. }) = line {
            complain("warning", &format!("{directory}: the logs were damaged: missing: {missing}"));
        }
        self.0.line(line);
    }

    fn step(&mut self, trainer: &Trainer<'_>, step: &Step) {
        self.0.step(trainer, step);
    }
}

struct Quiet;

impl RunDisplay for Quiet {
    fn line(&mut self, _: &Line) {}
}

struct Json {
    only_the_end: bool,
}

impl RunDisplay for Json {
    fn line(&mut self, line: &Line) {
        if !self.only_the_end || matches!(line, Line::End(_)) {
            say(&line.to_json());
        }
    }
}

/// Lines of words and numbers.
#[derive(Default)]
struct Plain {
    epochs: usize,
    /// Not shown by itself if it is that of an epoch's end.
    validation: Option<Validation>,
}

impl RunDisplay for Plain {
    fn line(&mut self, line: &Line) {
        let pending = self.validation.take();
        let of_this_epoch =
            |found: &Validation| matches!(line, Line::Epoch(epoch) if epoch.step == found.step);
        if let Some(found) = pending.filter(|found| !of_this_epoch(found)) {
            say(&validation(&found));
        }
        match line {
            Line::Start(start) => {
                self.epochs = start.epochs;
                say(&introduction(start));
            }
            Line::Validation(found) => self.validation = Some(found.clone()),
            Line::Epoch(line) => say(&epoch(line, self.epochs)),
            Line::End(end) => {
                if let Some(model) = &end.model {
                    say(&format!("{}\nmodel: {model}", end.reason));
                }
            }
            _ => {}
        }
    }
}

/// What is about to happen.
fn introduction(start: &Start) -> String {
    let [channels, height, width] = start.image_shape;
    let threads = shards_on_threads(start.threads, start.batch_size.div_ceil(start.shard));
    let mut text = format!(
        "data: {}, images of {channels}×{height}×{width}, {} classes\n\
         model: {}, {} parameters{}\n\
         training: batches of {} in shards of {}: {}, {}\n\
         run directory: {}",
        start.data,
        start.classes,
        start.model,
        start.parameters,
        if start.precision == "f32" { "" } else { ", products in bf16" },
        start.batch_size,
        start.shard,
        threads,
        start.isa,
        start.directory,
    );
    if start.step > 0 {
        let (step, done, epochs) = (start.step, start.epoch, start.epochs);
        text += &format!("\ngoing on after step {step}; {done} of {epochs} epochs are complete");
    }
    text
}

/// How many shards a step has, and how many threads work on them.
fn shards_on_threads(threads: usize, shards: usize) -> String {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    format!("{} on {}", counted(shards, "shard"), counted(threads, "thread"))
}

fn epoch(epoch: &Epoch, epochs: usize) -> String {
    let mut line = format!(
        "epoch {}/{epochs}  loss {:.4}  accuracy {:.2} %",
        epoch.epoch,
        epoch.loss,
        100.0 * epoch.accuracy
    );
    if let (Some(loss), Some(top1)) = (epoch.validation_loss, epoch.top1) {
        let accuracy = 100.0 * top1;
        line += &format!("  validation loss {loss:.4}  validation accuracy {accuracy:.2} %");
    }
    line + &format!("  {:.0} images/s  {:.2} s", epoch.images_per_second, epoch.seconds)
}

fn validation(found: &Validation) -> String {
    let accuracy = 100.0 * found.top1;
    let loss = found.validation_loss;
    format!("step {}  validation loss {loss:.4}  validation accuracy {accuracy:.2} %", found.step)
}
