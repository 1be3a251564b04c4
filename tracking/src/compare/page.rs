//! A comparison as a page: the table, and the curves of all runs over each other.

use super::{Comparison, Row, State};
use crate::report::chart::{Chart, Line};
use crate::report::format::{escape, name, percent, thousands};
use crate::report::{History, page, section};
use crate::table::cell;
use std::fmt::Write;

/// Colours of the style sheet; of more runs some share one.
const COLOURS: [&str; 8] = ["run-0", "run-1", "run-2", "run-3", "run-4", "run-5", "run-6", "run-7"];

/// What only pages of comparisons have: names within a page are escaped.
const MARK: &str = "<p class=\"eyebrow\">Bobbin comparison</p>";

impl Comparison {
    /// A page that needs nothing beside itself. Names and values come from others, and are text wherever
    /// they stand.
    pub fn html(&self) -> String {
        let title = match self.len() {
            1 => "1 run".to_owned(),
            runs => format!("{runs} runs"),
        };
        let head = format!("<header>\n{MARK}\n<h1>{}</h1>\n</header>\n", escape(&title));
        let mut charts = "<div class=\"charts\">\n".to_owned();
        self.charts().iter().for_each(|chart| charts += &chart.html());
        charts += "</div>\n";
        page(&title, &[head, section("Runs", &self.table()), section("Curves", &charts)].concat())
    }

    /// Whether these bytes are such a page.
    pub fn is_page(bytes: &[u8]) -> bool {
        bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes())
    }

    fn table(&self) -> String {
        let mut text = String::from("<div class=\"wide\"><table class=\"classes\">\n<tr><th>run");
        for field in &self.differing {
            let _ = write!(text, "<th>{}", escape(field));
        }
        text += "<th>epochs<th>best top-1<th>of epoch<th>last top-1<th>validation loss<th>loss\
                 <th>images/s</tr>\n";
        let best = self.best().map(|row| &row.directory);
        for (number, run) in self.runs.iter().enumerate() {
            let row = &run.row;
            let colour = COLOURS[number % COLOURS.len()];
            let mut note = if best == Some(&row.directory) { " (best)" } else { "" }.to_owned();
            if row.state != State::Ended {
                note += &format!(" ({})", row.state.name());
            }
            let _ = write!(
                text,
                "<tr><th scope=\"row\"><span class=\"key {colour}\">{}</span>{note}",
                name(&row.name)
            );
            self.cells(row).iter().for_each(|cell| _ = write!(text, "<td>{cell}"));
            text += "</tr>\n";
        }
        text + "</table></div>\n"
    }

    /// What differs, then what came of it, as HTML.
    fn cells(&self, row: &Row) -> Vec<String> {
        let none = || "–".to_owned();
        let loss = |loss: Option<f64>| loss.map_or_else(none, |loss| format!("{loss:.4}"));
        let set = |field| row.settings.get(field).map_or_else(none, |value| escape(&cell(value)));
        let speed = |speed: f64| thousands(speed.round() as usize);
        let results = [
            row.epochs.to_string(),
            row.best_top1.map_or_else(none, percent),
            row.best_epoch.map_or_else(none, |epoch| epoch.to_string()),
            row.last_top1.map_or_else(none, percent),
            loss(row.validation_loss),
            loss(row.loss),
            row.images_per_second.map_or_else(none, speed),
        ];
        self.differing.iter().map(set).chain(results).collect()
    }

    fn charts(&self) -> Vec<Chart<'_>> {
        let histories: Vec<History<'_>> =
            self.runs.iter().map(|run| History::new(&run.lines)).collect();
        let last = histories.iter().map(History::last).fold(0.0, f64::max);
        let lines = |points: &dyn Fn(&History<'_>) -> Vec<(f64, f64)>| {
            let line = |(number, run)| Line {
                class: COLOURS[number % COLOURS.len()],
                name: run,
                points: points(&histories[number]),
            };
            let names = self.runs.iter().map(|run| run.row.name.as_str());
            names.enumerate().map(line).collect::<Vec<Line<'_>>>()
        };
        let of_validations = |value: fn(&crate::report::Validated) -> f64| {
            move |history: &History<'_>| {
                let found = history.validations.iter();
                found.map(|(&step, found)| (history.place(step), value(found))).collect()
            }
        };
        let of_epochs = |value: fn(&crate::metrics::Epoch) -> f64| {
            move |history: &History<'_>| {
                let epochs = history.epochs.iter();
                epochs.map(|epoch| (history.place(epoch.step), value(epoch))).collect()
            }
        };
        let chart = |title, measure, lines| Chart {
            title,
            measure,
            last,
            from_zero: false,
            logarithmic: false,
            lines,
            notes: vec![],
        };
        let loss = |title, lines| Chart {
            logarithmic: true,
            from_zero: true,
            ..chart(title, "nats", lines)
        };
        vec![
            chart(
                "Validation accuracy",
                "% of images",
                lines(&of_validations(|found| 100.0 * found.top1)),
            ),
            loss("Validation loss", lines(&of_validations(|found| found.loss))),
            chart(
                "Training accuracy",
                "% of images",
                lines(&of_epochs(|epoch| 100.0 * epoch.accuracy)),
            ),
            loss("Training loss", lines(&of_epochs(|epoch| epoch.loss))),
            chart("Learning rate", "", lines(&of_epochs(|epoch| epoch.learning_rate))),
            Chart {
                from_zero: true,
                ..chart(
                    "Throughput",
                    "images/s",
                    lines(&of_epochs(|epoch| epoch.images_per_second)),
                )
            },
        ]
    }
}
