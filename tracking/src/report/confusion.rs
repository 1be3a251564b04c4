//! Which classes are taken for which, and how well each is told from the others.

use super::format::{data_url, escape, percent, thousands};
use super::{Scored, class_name, section};
use crate::raster::Raster;
use std::fmt::Write;
use trainer::scores::Scores;

/// Classes of a matrix whose numbers can be read; of more it is a picture.
const READABLE: usize = 30;

/// Confusions that are listed beside a picture.
const LISTED: usize = 20;

/// The matrix: rows are the true classes, columns what they were taken for.
pub(super) fn html(scored: Scored<'_>) -> String {
    let scores = scored.scores;
    let what = format!(
        "<p>{} {}. A row is the true class, a column what the network took it for; the deeper the \
         colour, the larger the part of the row.</p>\n",
        thousands(scores.images),
        escape(scored.of)
    );
    let content = if scores.classes.len() <= READABLE {
        table(scores)
    } else {
        format!("<div class=\"pair\">{}{}</div>\n", picture(scores), largest(scores))
    };
    section("Confusion", &(what + &content))
}

fn table(scores: &Scores) -> String {
    let names: Vec<String> = (0..scores.classes.len()).map(|c| class_name(scores, c)).collect();
    let mut text = String::from("<div class=\"wide\"><table class=\"confusion\">\n<tr><td>");
    for name in &names {
        let _ = write!(text, "<th scope=\"col\"><span>{name}</span>");
    }
    text += "</tr>\n";
    for (label, row) in scores.confusion.iter().enumerate() {
        let _ = write!(text, "<tr><th scope=\"row\">{}", names[label]);
        for (predicted, &count) in row.iter().enumerate() {
            let kind = if label == predicted { "hit" } else { "miss" };
            let share = share(row, count);
            let tooltip = format!(
                "{}: {count} taken for {} ({})",
                escape(&scores.classes[label].name),
                escape(&scores.classes[predicted].name),
                percent(share)
            );
            let deep = if share > 0.5 { " deep" } else { "" };
            let shown = if count == 0 { "·".into() } else { thousands(count) };
            let style = if count == 0 {
                String::new()
            } else {
                // Few are to be seen as well.
                format!(" style=\"--share:{:.2}\"", depth(share))
            };
            let none = if count == 0 { " none" } else { "" };
            let _ =
                write!(text, "<td class=\"{kind}{deep}{none}\"{style} title=\"{tooltip}\">{shown}");
        }
        text += "</tr>\n";
    }
    text + "</table></div>\n"
}

/// The matrix as a picture, a square to a cell.
fn picture(scores: &Scores) -> String {
    let classes = scores.classes.len();
    let mut pixels = Vec::with_capacity(4 * classes * classes);
    for (label, row) in scores.confusion.iter().enumerate() {
        for (predicted, &count) in row.iter().enumerate() {
            let colour = if label == predicted { [46, 115, 206] } else { [214, 90, 24] };
            let depth = if count == 0 { 0.0 } else { depth(share(row, count)) };
            pixels.extend(colour);
            pixels.push((255.0 * depth).round() as u8);
        }
    }
    let png = Raster::new([classes, classes, 4], pixels).png();
    format!(
        "<img class=\"matrix\" alt=\"Confusion of {classes} classes\" src=\"{}\">\n",
        data_url(&png)
    )
}

/// The confusions that happened most often.
fn largest(scores: &Scores) -> String {
    let classes = scores.classes.len();
    let pairs = (0..classes).flat_map(|label| (0..classes).map(move |found| (label, found)));
    let mut pairs: Vec<(usize, usize)> = pairs
        .filter(|&(label, found)| label != found && scores.confusion[label][found] > 0)
        .collect();
    pairs.sort_by_key(|&(label, found)| std::cmp::Reverse(scores.confusion[label][found]));
    if pairs.is_empty() {
        return "<div><p>No image was taken for one of another class.</p></div>\n".into();
    }
    let mut text = String::from(
        "<div><h3>The most frequent</h3>\n<div class=\"wide\"><table class=\"classes\">\n\
         <tr><th>true class<th>taken for<th>images<th>of the class</tr>\n",
    );
    for &(label, found) in pairs.iter().take(LISTED) {
        let (row, count) = (&scores.confusion[label], scores.confusion[label][found]);
        let names = [label, found].map(|class| class_name(scores, class));
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\">{}<td class=\"text\">{}<td>{}<td>{}</tr>",
            names[0],
            names[1],
            thousands(count),
            percent(share(row, count))
        );
    }
    text + "</table></div></div>\n"
}

/// Precision, recall and F1 of each class.
pub(super) fn classes(scored: Scored<'_>) -> String {
    let mut text = String::from(
        "<p>Precision: of what was taken for the class, the part that is of it. Recall: the part of \
         its images that was found. F1: their harmonic mean.</p>\n\
         <div class=\"wide\"><table class=\"classes\">\n\
         <tr><th>class<th>precision<th>recall<th>F1",
    );
    let has_auc = scored.scores.classes.iter().any(|class| class.auc.is_some());
    text += if has_auc { "<th>AUC<th>images</tr>\n" } else { "<th>images</tr>\n" };
    let or_none = |part: Option<f64>| part.map_or_else(|| "–".into(), percent);
    for (class, of) in scored.scores.classes.iter().enumerate() {
        let auc = of.auc.map_or_else(|| "–".to_owned(), |auc| format!("{auc:.4}"));
        let auc = if has_auc { format!("<td>{auc}") } else { String::new() };
        let bar = of.f1.map_or(String::new(), |f1| format!(" style=\"--share:{f1:.4}\""));
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\">{}<td>{}<td>{}<td class=\"bar\"{bar}>{}{auc}<td>{}</tr>",
            class_name(scored.scores, class),
            or_none(of.precision),
            or_none(of.recall),
            or_none(of.f1),
            thousands(of.support)
        );
    }
    section("Classes", &(text + "</table></div>\n"))
}

fn share(row: &[usize], count: usize) -> f64 {
    count as f64 / row.iter().sum::<usize>().max(1) as f64
}

/// Of a colour: by the root, so that a few in a thousand are seen.
fn depth(share: f64) -> f64 {
    0.06 + 0.86 * share.sqrt()
}
