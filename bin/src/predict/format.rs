//! An answer as it is printed.

use crate::cli::printable;
use pictures::Prepared;
use serde_json::json;
use tracking::csv;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The image, and a line for each class.
    Text,
    /// A JSON object on a line.
    Json,
    /// A record of comma-separated values for each class.
    Csv,
}

/// The first record of comma-separated values.
const HEADING: [&str; 6] = ["image", "index", "rank", "class", "label", "probability"];

/// What a network sees in an image.
pub struct Answer<'a> {
    /// The name of the image's file, and its number there.
    pub name: String,
    pub index: Option<usize>,
    pub prepared: &'a Prepared,
    /// The names of all classes.
    pub classes: &'a [String],
    /// Classes and their probabilities, the most probable first.
    pub found: &'a [(usize, f64)],
    /// What the network gives for each class, where it is asked for.
    pub logits: Option<&'a [f32]>,
}

impl Format {
    /// What comes before the first answer.
    pub fn heading(self) -> String {
        match self {
            Format::Csv => csv(&[HEADING.map(str::to_owned).to_vec()]),
            Format::Text | Format::Json => String::new(),
        }
    }

    /// The lines of an answer.
    pub fn lines(self, answer: &Answer<'_>) -> String {
        match self {
            Format::Text => answer.text() + "\n",
            Format::Json => answer.json() + "\n",
            Format::Csv => csv(&answer.records()),
        }
    }
}

impl Answer<'_> {
    fn text(&self) -> String {
        let mut text = printable(&self.name);
        text += &self.index.map_or(String::new(), |index| format!(" image {index}"));
        let steps = self.prepared.steps();
        if !steps.is_empty() {
            text += &format!(" ({})", steps.join(", "));
        }
        if self.found.is_empty() {
            text += "\n            no label";
        }
        for &(label, probability) in self.found {
            text +=
                &format!("\n{:8.2} %  {}", 100.0 * probability, printable(&self.classes[label]));
        }
        text
    }

    fn json(&self) -> String {
        let prediction = |&(label, probability): &(usize, f64)| {
            let class = &self.classes[label];
            json!({ "class": class, "label": label, "probability": probability })
        };
        let predictions: Vec<_> = self.found.iter().map(prediction).collect();
        let mut object = json!({
            "image": self.name,
            "index": self.index,
            "predictions": predictions,
            "resized_from": self.prepared.resized_from,
            "turned_grey": self.prepared.turned_grey,
            "inverted": self.prepared.inverted,
        });
        if let Some(logits) = self.logits {
            object["logits"] = json!(logits);
        }
        object.to_string()
    }

    fn records(&self) -> Vec<Vec<String>> {
        let index = self.index.map_or(String::new(), |index| index.to_string());
        let record = |(rank, &(label, probability)): (usize, &(usize, f64))| {
            let [rank, number, probability] =
                [(rank + 1).to_string(), label.to_string(), probability.to_string()];
            let class = self.classes[label].clone();
            vec![self.name.clone(), index.clone(), rank, class, number, probability]
        };
        self.found.iter().enumerate().map(record).collect()
    }
}
