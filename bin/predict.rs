//! `predict`: what a trained network sees in pictures.

mod cli;
#[path = "cli/data.rs"]
mod data;
#[path = "cli/threads.rs"]
mod threads;
#[path = "cli/weights.rs"]
mod weights;

use clap::{Parser, ValueEnum};
use cli::{Failure, complain, printable, say, usage};
use data::DataFlags;
use serde_json::json;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use threads::ThreadFlags;
use trainer::{Fit, ImageFile, Inversion, Picture, Predictor, Prepared, Workers, probabilities};
use weights::WeightsFlags;

/// Pictures that are decoded before they are shown to the network, for each thread.
const AT_ONCE: usize = 16;

/// Says which classes a trained network sees in pictures, and how probable it finds them.
#[derive(Parser)]
#[command(name = "predict", version, args_override_self = true, after_help = AFTER_HELP)]
struct Arguments {
    /// PNG, JPEG or BMP pictures; with --index IDX files; - is a picture from a pipe
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    weights: WeightsFlags,
    /// The files are IDX files: show these images of them
    #[arg(long, value_name = "I,J..K", value_parser = parse_ranges)]
    index: Option<Ranges>,
    /// How many classes to print, the most probable first [default: 3]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top: Option<u16>,
    /// For a picture of other proportions
    #[arg(long, value_name = "HOW", default_value = "pad")]
    fit: Shape,
    /// Whether bright and dark change places
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    invert: Invert,
    /// Print one JSON object per image and line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: ThreadFlags,
    #[command(flatten, next_help_heading = "The data set that weights of PyTorch are for")]
    data: DataFlags,
}

const AFTER_HELP: &str = "\
A picture is turned upright (EXIF), what is transparent shows white, and it is resized to the size
that the network takes:
  --fit pad       in its proportions, with the colour of its border on two sides
  --fit stretch   in other proportions
  --fit crop      in its proportions, the middle of it
  --invert auto   a network that was trained on dark grey images (Fashion-MNIST is bright on black)
                  sees a picture that is dark on a bright ground inverted; images of IDX files are
                  left as they are
What was done is printed with the image.

Examples:
  predict --weights runs/fast-1 shirt.jpg boot.png
  predict --weights runs/fast-1 --json --top 1 photos/*.jpg
  curl -s https://example.org/bag.jpg | predict --weights runs/fast-1 -
  predict --weights runs/fast-1 t10k-images-idx3-ubyte.gz --index 0..9,42     eleven images

A JSON object has image, index (null but for IDX files), predictions (class, label, probability),
resized_from (columns and rows, or null), turned_grey and inverted.

Exit codes: 0 all images were shown to the network; 1 one could not be read (the others are still
answered), or the weights are wrong; 2 the command is wrong.";

/// Of each range the first and the last number.
type Ranges = Vec<RangeInclusive<usize>>;

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    Pad,
    Stretch,
    Crop,
}

#[derive(Clone, Copy, ValueEnum)]
enum Invert {
    Auto,
    Yes,
    No,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::stop(&error),
    };
    match predict(&arguments) {
        Ok(false) => {
            cli::end(Ok(()));
            ExitCode::FAILURE
        }
        result => cli::end(result.map(drop)),
    }
}

/// Whether all images could be read.
fn predict(arguments: &Arguments) -> Result<bool, Failure> {
    if arguments.images.iter().filter(|path| is_pipe(path)).count() > 1 {
        return Err(usage("IMAGE: found - twice, expected it once: it is one picture from a pipe"));
    }
    let workers = arguments.threads.start()?;
    let model = arguments.weights.load(|| arguments.data.open())?.model;
    let classes = model.classes.len();
    if let Some(top) = arguments.top.filter(|&top| usize::from(top) > classes) {
        return Err(usage(format!("--top: found {top}, expected at most {classes}, the classes")));
    }
    let answers = Answers {
        arguments,
        predictor: Predictor::new(&model, &workers),
        workers: &workers,
        top: arguments.top.map_or(3, usize::from).min(classes),
    };
    let mut all = true;
    match &arguments.index {
        None => {
            let queries: Vec<Query> =
                arguments.images.iter().map(|path| Query { path, index: None }).collect();
            all &= answers.give(&queries, |query| answers.picture(query.path));
        }
        Some(ranges) => {
            for path in &arguments.images {
                all &= answers.idx_file(path, ranges);
            }
        }
    }
    Ok(all)
}

/// An image that is asked about.
#[derive(Clone, Copy)]
struct Query<'a> {
    path: &'a Path,
    index: Option<usize>,
}

/// Everything that an answer depends on.
struct Answers<'a> {
    arguments: &'a Arguments,
    predictor: Predictor<'a>,
    workers: &'a Workers,
    top: usize,
}

impl Answers<'_> {
    /// Whether there are images with all of these numbers; else none is answered.
    fn idx_file(&self, path: &Path, ranges: &Ranges) -> bool {
        let file = match ImageFile::open(path, self.arguments.data.cache.as_deref()) {
            Ok(file) => file,
            Err(error) => {
                complain("error", &error.to_string());
                return false;
            }
        };
        let beyond = ranges.iter().find(|range| *range.end() >= file.images());
        if let Some(range) = beyond
            && let Err(error) = file.image(file.images().max(*range.start()))
        {
            complain("error", &error.to_string());
            return false;
        }
        let mut all = true;
        for range in ranges {
            let queries: Vec<Query> =
                range.clone().map(|index| Query { path, index: Some(index) }).collect();
            all &= self.give(&queries, |query| {
                let bytes = file.image(query.index.unwrap_or(0)).map_err(|e| e.to_string())?;
                let picture = Picture::from_idx(bytes, file.shape());
                Ok(self.prepared(&picture, Inversion::No))
            });
        }
        all
    }

    fn picture(&self, path: &Path) -> Result<Prepared, String> {
        let picture = if is_pipe(path) {
            Picture::read(io::stdin().lock(), "-")
        } else if is_named_pipe(path) {
            let pipe = File::open(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
            Picture::read(pipe, &path.display().to_string())
        } else {
            Picture::open(path)
        };
        let auto = Inversion::of(self.predictor.model());
        picture.map(|picture| self.prepared(&picture, auto)).map_err(|e| e.to_string())
    }

    fn prepared(&self, picture: &Picture, auto: Inversion) -> Prepared {
        let fit = match self.arguments.fit {
            Shape::Pad => Fit::Pad,
            Shape::Stretch => Fit::Stretch,
            Shape::Crop => Fit::Crop,
        };
        let inversion = match self.arguments.invert {
            Invert::Auto => auto,
            Invert::Yes => Inversion::Yes,
            Invert::No => Inversion::No,
        };
        Prepared::new(picture, self.predictor.model().network.input(), fit, inversion)
    }

    /// Prints what the network says of each image, or why there is none; whether all is well.
    fn give(
        &self,
        queries: &[Query<'_>],
        prepare: impl Fn(&Query<'_>) -> Result<Prepared, String> + Sync,
    ) -> bool {
        let classes = self.predictor.model().classes.len();
        let mut all = true;
        for queries in queries.chunks(AT_ONCE * self.workers.threads()) {
            let mut slots: Vec<_> = queries.iter().map(|_| Err(String::new())).collect();
            let fill = |i: usize, slot: &mut [_], _: &mut _| slot[0] = prepare(&queries[i]);
            self.workers.pieces(&mut slots, 1, &fill);
            let images: Vec<&Prepared> = slots.iter().flatten().collect();
            let mut logits = vec![0.0; images.len() * classes];
            self.predictor.logits(|i| &images[i].image, &mut logits);
            let mut rows = logits.chunks_exact(classes);
            for (query, slot) in queries.iter().zip(&slots) {
                let answer = slot.as_ref().map_err(String::clone).and_then(|prepared| {
                    let logits = rows.next().expect("a row for each image");
                    self.answer(query, prepared, logits)
                });
                all &= answer.is_ok();
                answer.map_or_else(|problem| complain("error", &problem), |answer| say(&answer));
            }
        }
        all
    }

    fn answer(
        &self,
        query: &Query<'_>,
        prepared: &Prepared,
        logits: &[f32],
    ) -> Result<String, String> {
        let name = query.path.display().to_string();
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(format!("{name}: what the network makes of it is not finite"));
        }
        let found = probabilities(logits);
        let found = found.iter().take(self.top);
        let classes = &self.predictor.model().classes;
        if self.arguments.json {
            let predictions: Vec<_> = found
                .map(|&(label, probability)| {
                    json!({ "class": classes[label], "label": label, "probability": probability })
                })
                .collect();
            let object = json!({
                "image": name,
                "index": query.index,
                "predictions": predictions,
                "resized_from": prepared.resized_from,
                "turned_grey": prepared.turned_grey,
                "inverted": prepared.inverted,
            });
            return Ok(object.to_string());
        }
        let mut text = printable(&name);
        text += &query.index.map_or(String::new(), |index| format!(" image {index}"));
        let steps = prepared.steps();
        if !steps.is_empty() {
            text += &format!(" ({})", steps.join(", "));
        }
        for &(label, probability) in found {
            text += &format!("\n{:8.2} %  {}", 100.0 * probability, printable(&classes[label]));
        }
        Ok(text)
    }
}

fn is_pipe(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether it is a pipe with a name, such as a shell's `<(…)`.
fn is_named_pipe(path: &Path) -> bool {
    #[cfg(unix)]
    if let Ok(metadata) = path.metadata() {
        return std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type());
    }
    // Other systems have none with names.
    let _ = path;
    false
}

/// `0..9,42`: numbers and ranges of numbers, both ends included.
fn parse_ranges(text: &str) -> Result<Ranges, String> {
    let wrong = || "expected numbers such as 3, or 0..9,42 for eleven images".to_owned();
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
    text.split(',')
        .map(|part| match part.split_once("..") {
            None => number(part).map(|index| index..=index),
            Some((first, last)) => match (number(first)?, number(last)?) {
                (first, last) if first > last => Err(wrong()),
                (first, last) => Ok(first..=last),
            },
        })
        .collect()
}
