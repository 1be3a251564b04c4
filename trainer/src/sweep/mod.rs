//! Many runs of one recipe: the product of listed values, or several seeds; and their table.

use crate::log::metrics::{Epoch, Line, read_metrics};
use crate::recipe::{Recipe, RecipeError};
use crate::run_directory::RunDirectory;
use crate::training::Stop;
use model::{FileError, write_file};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use toml::Value;

/// A recipe and the values to try.
///
/// ```toml
/// recipe = "li"
/// [values]
/// "optimizer.lr" = [0.01, 0.001]
/// "data.batch_size" = [100, 1000]
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The recipe that all runs share: shipped, or the path of a TOML file from this one.
    pub recipe: String,
    /// For each field the values that it takes. Fields are in the order of their names, and the last
    /// changes fastest.
    pub values: toml::map::Map<String, Value>,
}

/// One of many runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// A name that is a file's: what it sets, such as `lr=0.01,batch_size=100`.
    pub name: String,
    /// What it sets: fields and values.
    pub settings: Vec<(String, String)>,
    /// Its recipe.
    pub recipe: Recipe,
}

/// What became of the runs; in JSON with `"event": "results"`, as it follows the lines of the runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "event", rename = "results")]
pub struct Results {
    /// A line per run.
    pub runs: Vec<Run>,
    /// Mean and standard deviation over the runs, if these differ in their seed alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Its directory.
    pub directory: PathBuf,
    /// What it sets.
    pub settings: BTreeMap<String, Json>,
    /// Epochs that were done.
    pub epochs: usize,
    /// Mean loss of the training images in the last epoch; like all that follows nothing if the run
    /// diverged.
    pub loss: Option<f64>,
    /// The part of them that was classified correctly.
    pub accuracy: Option<f64>,
    /// Mean loss of the validation images in the end.
    pub validation_loss: Option<f64>,
    /// The part of them that was classified correctly.
    pub top1: Option<f64>,
    /// Training images per second in the last epoch.
    pub images_per_second: Option<f64>,
    /// Why it diverged, and at which step.
    pub error: Option<String>,
}

/// Over several seeds, those that diverged left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Top-1 of the validation images.
    pub top1: Option<Sample>,
    /// Their loss.
    pub validation_loss: Option<Sample>,
    /// The loss of the training images.
    pub loss: Sample,
}

/// What several runs have found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, n − 1 in the denominator; one run has none.
    pub deviation: Option<f64>,
}

impl Sweep {
    /// Reads a sweep: one that is shipped, or a TOML file.
    pub fn load(name: &str) -> Result<Sweep, RecipeError> {
        let text = crate::recipe::read(name, &SHIPPED)?;
        let mut sweep: Sweep =
            toml::from_str(&text).map_err(|error| crate::recipe::malformed(name, &text, &error))?;
        for (field, values) in &sweep.values {
            let list = values.as_array().map_or(&[][..], |list| list);
            let repeated = list.iter().enumerate().any(|(i, value)| list[..i].contains(value));
            if list.is_empty() || repeated {
                let expected = "a list of values to try, each once";
                return Err(RecipeError::value(&format!("values.{field}"), values, expected));
            }
        }
        if sweep.recipe.ends_with(".toml") {
            let beside = Path::new(name).with_file_name(&sweep.recipe);
            sweep.recipe = beside.display().to_string();
        }
        let mut runs = sweep.values.values().filter_map(Value::as_array).map(Vec::len);
        let runs = runs.try_fold(1usize, usize::checked_mul);
        if sweep.values.is_empty() || runs.is_none_or(|runs| runs > MOST) {
            let found = runs.map_or("too many runs".to_owned(), |runs| format!("{runs} runs"));
            let expected = format!("fields with lists of values, whose product is at most {MOST}");
            return Err(RecipeError::value("values", found, expected));
        }
        Ok(sweep)
    }

    /// The sweeps that come with the program: the name of each, and what it is for.
    pub fn shipped() -> impl Iterator<Item = (&'static str, &'static str)> {
        crate::recipe::described(&SHIPPED)
    }

    /// Every run, with these settings on top. A field of the sweep that is set there too is an error.
    pub fn variants(&self, settings: &[(String, String)]) -> Result<Vec<Variant>, RecipeError> {
        let mut products: Vec<Vec<(String, String)>> = vec![vec![]];
        for (field, values) in &self.values {
            if let Some((_, value)) = settings.iter().find(|(set, _)| set == field) {
                let expected = "not set, as the sweep gives it values";
                return Err(RecipeError::value(field, value, expected));
            }
            let values: Vec<String> =
                values.as_array().into_iter().flatten().map(Value::to_string).collect();
            products = products
                .into_iter()
                .flat_map(|begun| {
                    values.iter().map(move |value| {
                        let mut product = begun.clone();
                        product.push((field.clone(), value.clone()));
                        product
                    })
                })
                .collect();
        }
        let variant = |own: Vec<(String, String)>| {
            let all = [settings, &own[..]].concat();
            let recipe = Recipe::load(&self.recipe, &all)?;
            Ok(Variant { name: name(&own), settings: own, recipe })
        };
        let mut variants: Vec<Variant> =
            products.into_iter().map(variant).collect::<Result<_, _>>()?;
        let distinct: BTreeSet<&str> = variants.iter().map(|variant| &*variant.name).collect();
        // Names that were cut, or whose differences files cannot be called.
        if distinct.len() < variants.len() {
            for (number, variant) in variants.iter_mut().enumerate() {
                variant.name = format!("{}-{}", number + 1, variant.name);
            }
        }
        Ok(variants)
    }
}

/// How far one of many runs had come when the command was interrupted or ran before.
#[derive(Clone, Debug)]
pub enum Begun {
    /// There is none of this recipe.
    No,
    /// In this directory there is one that has not ended.
    Partly(RunDirectory),
    /// It has ended so.
    Entirely(Ended),
}

/// How one of many runs has ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// With this epoch.
    Well(Epoch),
    /// It diverged.
    Diverged {
        /// Epochs that were done.
        epochs: usize,
        /// Why, and at which step.
        error: String,
    },
}

impl Begun {
    /// What is in the directory of a run of this recipe.
    pub fn find(path: &Path, recipe: &Recipe) -> Result<Begun, FileError> {
        let Ok(directory) = RunDirectory::open(path) else { return Ok(Begun::No) };
        let name = directory.recipe().display().to_string();
        if Recipe::load(&name, &[]).ok().as_ref() != Some(recipe) {
            return Ok(Begun::No);
        }
        Ok(Ended::find(&directory)?.map_or(Begun::Partly(directory), Begun::Entirely))
    }
}

impl Ended {
    /// How the run in a directory has ended, if it has.
    pub fn find(directory: &RunDirectory) -> Result<Option<Ended>, FileError> {
        let lines = read_metrics(&directory.metrics())?;
        let Some(Line::End(end)) = lines.last() else { return Ok(None) };
        if let (Stop::Diverged, Some(error)) = (end.reason, &end.error) {
            return Ok(Some(Ended::Diverged { epochs: end.epoch, error: error.clone() }));
        }
        // The report is the last that a run writes.
        let whole = directory.model().is_file() && directory.report().is_file();
        let ended = whole && end.reason != Stop::Interrupted;
        let epoch = lines.into_iter().rev().find_map(Line::into_epoch).filter(|_| ended);
        Ok(epoch.map(Ended::Well))
    }
}

/// The sweeps that come with the program.
const SHIPPED: [(&str, &str); 1] = [("sweep-li", include_str!("../../recipes/sweep-li.toml"))];

/// Runs of a sweep.
const MOST: usize = 10_000;

/// As many runs of a recipe with seeds that follow its own.
pub fn seeds(recipe: &Recipe, count: usize) -> Vec<Variant> {
    let variant = |i: usize| {
        let seed = recipe.seed.saturating_add(i as u64);
        let settings = vec![("seed".to_owned(), seed.to_string())];
        Variant { name: name(&settings), settings, recipe: Recipe { seed, ..recipe.clone() } }
    };
    (0..count).map(variant).collect()
}

/// The settings as the name of a directory: without sections, and without what files cannot be called.
fn name(settings: &[(String, String)]) -> String {
    let one = |(field, value): &(String, String)| {
        let key = field.rsplit('.').next().unwrap_or(field);
        let plain = |c: char| if c.is_alphanumeric() || "=._-".contains(c) { c } else { '_' };
        format!("{key}={}", value.trim_matches('"')).chars().map(plain).collect::<String>()
    };
    let mut name = settings.iter().map(one).collect::<Vec<_>>().join(",");
    // Files of 255 bytes are the longest everywhere.
    while name.len() > 120 {
        name.pop();
    }
    name
}

impl Results {
    /// Adds a run.
    pub fn add(&mut self, variant: &Variant, directory: &Path, ended: &Ended) {
        let (epochs, epoch, error) = match ended {
            Ended::Well(epoch) => (epoch.epoch, Some(epoch), None),
            Ended::Diverged { epochs, error } => (*epochs, None, Some(error.clone())),
        };
        let settings = variant.settings.iter();
        self.runs.push(Run {
            directory: directory.into(),
            settings: settings.map(|(field, value)| (field.clone(), json(value))).collect(),
            epochs,
            loss: epoch.map(|epoch| epoch.loss),
            accuracy: epoch.map(|epoch| epoch.accuracy),
            validation_loss: epoch.and_then(|epoch| epoch.validation_loss),
            top1: epoch.and_then(|epoch| epoch.top1),
            images_per_second: epoch.map(|epoch| epoch.images_per_second),
            error,
        });
    }

    /// The runs that diverged.
    pub fn failed(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.error.is_some())
    }

    /// Mean and standard deviation over the runs.
    pub fn summarise(&mut self) {
        let of = |value: &dyn Fn(&Run) -> Option<f64>| {
            let runs = self.runs.iter().filter(|run| run.error.is_none());
            let values: Option<Vec<f64>> = runs.map(value).collect();
            values.filter(|values| !values.is_empty()).map(|values| Sample::of(&values))
        };
        let Some(loss) = of(&|run| run.loss) else { return };
        let summary = Summary {
            top1: of(&|run| run.top1),
            validation_loss: of(&|run| run.validation_loss),
            loss,
        };
        self.summary = Some(summary);
    }

    /// Writes `NAME.txt`, `NAME.csv` and `NAME.json` into a directory.
    pub fn save(&self, directory: &Path, name: &str) -> Result<(), FileError> {
        let json = self.json() + "\n";
        for (extension, text) in [("txt", self.text()), ("csv", self.csv()), ("json", json)] {
            write_file(&directory.join(format!("{name}.{extension}")), text.as_bytes())?;
        }
        Ok(())
    }

    /// As a JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain values")
    }

    /// A table for people: a line per run, and the summary.
    pub fn text(&self) -> String {
        let mut cells = self.cells(&|value, digits| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "–".to_owned(),
        });
        // Errors are long, and have lines of their own.
        cells.iter_mut().for_each(|row| _ = row.pop());
        let mut text = align(&cells);
        for run in self.failed() {
            let error = run.error.as_deref().unwrap_or_default();
            let _ = writeln!(text, "failed: {}: {error}", run.directory.display());
        }
        if let Some(summary) = &self.summary {
            let runs = self.runs.len() - self.failed().count();
            let seeds = if runs == 1 { "seed" } else { "seeds" };
            let _ = writeln!(text);
            if let Some(top1) = summary.top1 {
                let _ = writeln!(text, "top-1 {} % over {runs} {seeds}", top1.text(100.0, 2));
            }
            if let Some(loss) = summary.validation_loss {
                let _ = writeln!(text, "validation loss {}", loss.text(1.0, 4));
            }
            let _ = writeln!(text, "loss {}", summary.loss.text(1.0, 4));
        }
        text
    }

    /// The table for programs: RFC 4180.
    pub fn csv(&self) -> String {
        let cells =
            self.cells(&|value, _| value.map(|value| value.to_string()).unwrap_or_default());
        let quote = |cell: &String| match cell.contains([',', '"', '\n']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        let line = |row: &Vec<String>| row.iter().map(quote).collect::<Vec<_>>().join(",") + "\r\n";
        cells.iter().map(line).collect()
    }

    fn cells(&self, number: &dyn Fn(Option<f64>, usize) -> String) -> Vec<Vec<String>> {
        let fields: Vec<&String> =
            self.runs.first().map_or(vec![], |r| r.settings.keys().collect());
        let mut header: Vec<String> = fields.iter().map(|field| (*field).clone()).collect();
        let rest = ["epochs", "loss", "accuracy", "validation_loss", "top1", "images_per_second"];
        header.extend(rest.map(str::to_owned));
        header.extend(["directory".to_owned(), "error".to_owned()]);
        let mut rows = vec![header];
        for run in &self.runs {
            let mut row: Vec<String> = fields.iter().map(|f| plain(&run.settings[*f])).collect();
            row.extend([
                run.epochs.to_string(),
                number(run.loss, 4),
                number(run.accuracy, 4),
                number(run.validation_loss, 4),
                number(run.top1, 4),
                number(run.images_per_second, 0),
                run.directory.display().to_string(),
                run.error.clone().unwrap_or_default(),
            ]);
            rows.push(row);
        }
        rows
    }
}

impl Sample {
    fn of(values: &[f64]) -> Sample {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let deviation = (values.len() > 1).then(|| libm::sqrt(squares / (count - 1.0)));
        Sample { mean, deviation }
    }

    /// `mean ± deviation`, both times `unit`.
    fn text(&self, unit: f64, digits: usize) -> String {
        let mean = format!("{:.digits$}", unit * self.mean);
        match self.deviation {
            Some(deviation) => format!("{mean} ± {:.digits$}", unit * deviation),
            None => mean,
        }
    }
}

/// A TOML value as JSON.
fn json(value: &str) -> Json {
    let table = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
    let value = table.and_then(|mut table| serde_json::to_value(table.remove("value")?).ok());
    value.unwrap_or_default()
}

/// A value as the cell of a table.
fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Cells in columns: right-aligned, but the last.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match i + 1 == columns {
                true => writeln!(text, "{cell}"),
                false => write!(text, "{cell:>width$}  "),
            };
        }
    }
    text
}
