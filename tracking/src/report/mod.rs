//! `report.html`: a run on one page that needs nothing beside itself.
//!
//! The page has no script and asks for nothing from elsewhere; its own policy forbids both. Names of
//! classes and the recipe come from others, and are text wherever they stand.

pub(crate) mod chart;
mod confusion;
mod curves;
pub(crate) mod format;
mod pictures;
mod summary;

use crate::metrics::{self, Line};
use dataset::Split;
use format::{escape, name};
use model::Model;
use std::collections::BTreeMap;
use trainer::Best;
use trainer::scores::Scores;

/// The contents of a report.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The lines of `metrics.jsonl`, as [`metrics::read_metrics`] reads them. Without a
    /// [`Line::Start`] the page has no numbers of the data.
    pub metrics: &'a [Line],
    /// The recipe, as TOML.
    pub recipe: &'a str,
    /// The command that gives the same weights again.
    pub repeat: &'a str,
    /// The trained network.
    pub model: &'a Model,
    /// The best validation, by what the recipe monitors, if it was on images that may choose.
    pub best: Option<Best>,
    /// Its scores on images that it was not trained on.
    pub scores: Option<Scored<'a>>,
    /// What the best network makes of the same images, if it is another.
    pub best_scores: Option<&'a Scores>,
}

/// Scores, and of which images.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// The scores; their mistakes are shown as pictures.
    pub scores: &'a Scores,
    /// The images that [`trainer::scores::Mistake::image`] numbers.
    pub split: &'a Split,
    /// What they are, such as `test images`.
    pub of: &'a str,
}

/// The lines of a run as pages need them.
pub(crate) struct History<'a> {
    pub start: Option<&'a metrics::Start>,
    pub end: Option<&'a metrics::End>,
    pub epochs: Vec<&'a metrics::Epoch>,
    pub progress: Vec<&'a metrics::Progress>,
    /// By step, whether they ended an epoch or not.
    pub validations: BTreeMap<usize, Validated>,
}

/// What a validation found.
#[derive(Clone, Copy)]
pub(crate) struct Validated {
    pub loss: f64,
    pub top1: f64,
}

impl Report<'_> {
    /// The page.
    pub fn html(&self) -> String {
        let history = History::new(self.metrics);
        let title = history.start.map_or("run", |start| &start.name);
        let sections = [
            summary::html(self, &history),
            curves::html(&history),
            self.on_images(),
            pictures::filters(self.model),
            curves::table(&history),
            self.repetition(),
        ];
        page(title, &sections.concat())
    }

    /// Confusion, classes and mistakes.
    fn on_images(&self) -> String {
        let Some(scored) = self.scores else {
            let why = "There were no images that the network was not trained on, so there is nothing \
                       to tell of confusions, single classes and mistakes. A test set, or a number \
                       as the recipe's <code>data.validation</code>, would bring them.";
            return section("Confusion", &format!("<p class=\"absent\">{why}</p>"));
        };
        if self.model.multi_label {
            return confusion::classes(scored);
        }
        let [channels, height, width] = self.model.network.input();
        let shape = [height, width, channels];
        format!(
            "<div class=\"pair\">\n{}{}</div>\n{}",
            confusion::html(scored),
            confusion::classes(scored),
            pictures::mistakes(scored, shape)
        )
    }

    fn repetition(&self) -> String {
        let text = format!(
            "<p>This recipe and the data give the same weights again, bit for bit, whatever the number \
             of threads:</p>\n<pre class=\"command\">{}</pre>\n<pre>{}</pre>\n",
            escape(self.repeat),
            escape(self.recipe.trim_end())
        );
        section("Recipe", &text)
    }
}

impl<'a> History<'a> {
    #[must_use]
    pub fn new(lines: &'a [Line]) -> History<'a> {
        let mut history = History {
            start: None,
            end: None,
            epochs: vec![],
            progress: vec![],
            validations: BTreeMap::new(),
        };
        for line in lines {
            match line {
                Line::Start(line) => history.start = Some(line),
                Line::End(line) => history.end = Some(line),
                Line::Epoch(line) => {
                    if let (Some(loss), Some(top1)) = (line.validation_loss, line.top1) {
                        history.validations.insert(line.step, Validated { loss, top1 });
                    }
                    history.epochs.push(line);
                }
                Line::Progress(line) => history.progress.push(line),
                Line::Validation(line) => {
                    let found = Validated { loss: line.validation_loss, top1: line.top1 };
                    history.validations.insert(line.step, found);
                }
                Line::Checkpoint(_) => {}
            }
        }
        history
    }

    /// Where the last line is among the epochs.
    pub fn last(&self) -> f64 {
        let epoch = self.epochs.last().map_or(0, |epoch| epoch.step);
        let progress = self.progress.last().map_or(0, |line| line.step);
        self.place(epoch.max(progress))
    }

    /// Where a step is among the epochs: 1 is the end of the first.
    pub fn place(&self, step: usize) -> f64 {
        let by_start = self.start.map(|start| start.images.div_ceil(start.batch_size.max(1)));
        let by_epoch = || self.epochs.first().map(|epoch| epoch.step / epoch.epoch.max(1));
        let steps = by_start.or_else(by_epoch).unwrap_or(1).max(1);
        step as f64 / steps as f64
    }
}

/// A page that runs nothing and fetches nothing.
pub(crate) fn page(title: &str, content: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} – Bobbin</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{content}</main>\n\
         </body>\n</html>\n",
        escape(title),
        include_str!("report.css"),
    )
}

/// A part of the page.
pub(crate) fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n{content}</section>\n")
}

/// The name of a class; a network may have been given none.
fn class_name(scores: &Scores, class: usize) -> String {
    name(&scores.classes[class].name)
}

#[cfg(test)]
mod tests;
