//! `predict`: what a trained network sees in pictures.

mod format;

use crate::cli::data::DataFlags;
use crate::cli::threads::ThreadFlags;
use crate::cli::weights::{Loaded, WeightsFlags};
use crate::cli::{Failure, Kind, complain, fit_parser, flowing, run, say_all, usage};
use clap::{Parser, ValueEnum};
use dataset::ImageFile;
use format::{Answer, Format};
use pictures::{Fit, Inversion, Picture, Prepared, pictures_in};
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use trainer::scores::{label_probabilities, probabilities};
use trainer::{Predictor, Workers};

/// Pictures that are decoded before they are shown to the network, for each thread.
const AT_ONCE: usize = 16;

/// Says which classes a trained network sees in pictures, and how probable it finds them.
#[derive(Parser)]
#[command(name = "predict", args_override_self = true, after_help = flowing(AFTER_HELP))]
pub struct Arguments {
    /// Pictures (PNG, JPEG, BMP, WebP, TIFF, GIF), or folders of pictures; with --index IDX files; - is a picture from a pipe
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    weights: WeightsFlags,
    /// The files are IDX files: show these images of them
    #[arg(long, value_name = "I,J..K", value_parser = parse_ranges)]
    index: Option<Ranges>,
    /// How many classes to print, the most probable first, or all of them [default: 3; of several labels, those found]
    #[arg(long, value_name = "K|all", value_parser = parse_top)]
    top: Option<Top>,
    /// For a picture of other proportions [default: as in training, else pad]
    #[arg(long, value_name = "HOW", value_parser = fit_parser(), hide_possible_values = true)]
    fit: Option<Fit>,
    /// Whether bright and dark change places
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    invert: Invert,
    /// Print one JSON object per image and line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// In JSON, what the network gives for every class too, before probabilities are made of it
    #[arg(long, requires = "json")]
    logits: bool,
    /// Print comma-separated values, as RFC 4180 has them: a record per image and class
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    threads: ThreadFlags,
    #[command(flatten, next_help_heading = "The data set that weights of PyTorch are for")]
    data: DataFlags,
}

const AFTER_HELP: &str = "\
A picture is turned upright (EXIF), what is transparent shows white, and it is resized to the size
that the network takes. The rest is done as with the pictures that the network was trained on, where
its data set says how (one made by import does; MNIST and Fashion-MNIST do not). Flags decide otherwise:
  --fit pad       in its proportions, with the colour of its border on two sides
  --fit crop      in its proportions, the middle of it
  --fit stretch   in other proportions
  --invert auto   as in training; where that is not known, a guess: a network that was trained on dark
                  grey images (Fashion-MNIST is bright on black) sees a picture that is dark on a
                  bright ground inverted
Images of IDX files are left as they are. What was done is printed with the image.

Examples:
  bobbin predict --weights runs/fast-1 shirt.jpg boot.png
  bobbin predict --weights runs/fast-1 --json --top 1 photos/*.jpg
  bobbin predict --weights runs/fast-1 --csv --top all photos         every picture in a folder
  curl -s https://example.org/bag.jpg | bobbin predict --weights runs/fast-1 -
  bobbin predict --weights runs/fast-1 t10k-images-idx3-ubyte.gz --index 0..9,42     eleven images

Of a folder the files are shown whose names are those of pictures (.png, .jpg, .webp, …), and those in
folders below; not those that are hidden or of a system.

Where an image may have several labels, those of more than 50 % are printed, each with a probability of its own,
however many they are; --top K prints the K most probable ones.

A JSON object has image, index (null but for IDX files), predictions (class, label, probability),
resized_from (columns and rows, or null), turned_grey and inverted, and with --logits these, for each class.
Comma-separated values have a heading (image, index, rank, class, label, probability) and a record for each of the
--top classes of an image.

Exit codes: 0 all images were shown to the network; 1 one could not be read (the others are still
answered), or the weights are wrong; 2 the command is wrong.";

/// Of each range the first and the last number.
type Ranges = Vec<RangeInclusive<usize>>;

/// How many classes.
#[derive(Clone, Copy, Debug)]
enum Top {
    All,
    Count(u16),
}

#[derive(Clone, Copy, ValueEnum)]
enum Invert {
    Auto,
    Yes,
    No,
}

/// Does it.
pub fn start(arguments: &Arguments) -> u8 {
    match predict(arguments) {
        Ok(false) => {
            crate::cli::end(Ok(()));
            1
        }
        result => crate::cli::end(result.map(drop)),
    }
}

/// Whether all images could be read.
fn predict(arguments: &Arguments) -> Result<bool, Failure> {
    if arguments.images.iter().filter(|path| is_pipe(path)).count() > 1 {
        return Err(usage("IMAGE: found - twice, expected it once: it is one picture from a pipe"));
    }
    let workers = arguments.threads.start()?;
    let Loaded { model, file, .. } =
        arguments.weights.load(|| arguments.data.required(&arguments.weights.file()?))?;
    let classes = model.classes.len();
    if let Some(Top::Count(top)) = arguments.top
        && usize::from(top) > classes
    {
        return Err(usage(format!("--top: found {top}, expected at most {classes}, the classes")));
    }
    let format = match (arguments.json, arguments.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        _ => Format::Text,
    };
    say_all(format.heading().as_bytes());
    let predictor = Predictor::new(&model, &workers)
        .map_err(|error| Failure::new(Kind::File, format!("{}: {error}", file.display())))?;
    let answers = Answers {
        arguments,
        format,
        predictor,
        workers: &workers,
        top: match arguments.top {
            Some(Top::All) => classes,
            Some(Top::Count(count)) => usize::from(count),
            // What is found, however many, where there may be several labels.
            None if model.multi_label => classes,
            None => classes.min(3),
        },
    };
    let mut all = true;
    match &arguments.index {
        None => {
            let images = with_folders(&arguments.images)?;
            let queries: Vec<Query> =
                images.iter().map(|path| Query { path, index: None }).collect();
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
    format: Format,
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
                let picture = Picture::from_idx(&bytes, file.shape());
                Ok(self.prepared(&picture, Inversion::No))
            });
        }
        all
    }

    fn picture(&self, path: &Path) -> Result<Prepared, String> {
        let auto = Inversion::of(self.predictor.model());
        let prepare = |picture: Picture| self.prepared(&picture, auto);
        let prepared = if is_pipe(path) {
            Picture::read(io::stdin().lock(), "-").map(prepare)
        } else if is_named_pipe(path) {
            let pipe = File::open(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
            Picture::read(pipe, &path.display().to_string()).map(prepare)
        } else {
            let [_, rows, columns] = self.predictor.model().network.input();
            Picture::open_then(path, rows.max(columns), prepare)
        };
        prepared.map_err(|error| {
            let hint = if error.may_hold_images { " (images of an IDX file: --index)" } else { "" };
            format!("{error}{hint}")
        })
    }

    fn prepared(&self, picture: &Picture, auto: Inversion) -> Prepared {
        let model = self.predictor.model();
        let trained = model.preparation.map(|preparation| preparation.fit);
        let fit = self.arguments.fit.or(trained).unwrap_or_default();
        let inversion = match self.arguments.invert {
            Invert::Auto => auto,
            Invert::Yes => Inversion::Yes,
            Invert::No => Inversion::No,
        };
        Prepared::new(picture, model.network.input(), fit, inversion)
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
                match answer {
                    Ok(lines) => say_all(lines.as_bytes()),
                    Err(problem) => complain("error", &problem),
                }
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
        let model = self.predictor.model();
        let several = model.multi_label;
        let mut found = if several { label_probabilities(logits) } else { probabilities(logits) };
        found.truncate(self.top);
        if several && self.arguments.top.is_none() {
            found.retain(|(_, probability)| *probability > 0.5);
        }
        Ok(self.format.lines(&Answer {
            name,
            index: query.index,
            prepared,
            classes: &model.classes,
            found: &found,
            logits: self.arguments.logits.then_some(logits),
        }))
    }
}

/// The pictures that are meant: of a folder all that are in it and below, in the order of their names.
fn with_folders(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut images = vec![];
    for path in paths {
        if !path.is_dir() {
            images.push(path.clone());
            continue;
        }
        let found = pictures_in(path).map_err(run)?;
        if found.is_empty() {
            let problem =
                "no picture in this folder: expected files such as 1.png, 2.jpg or 3.webp";
            return Err(Failure::new(Kind::Data, format!("{}: {problem}", path.display())));
        }
        images.extend(found);
    }
    Ok(images)
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

fn parse_top(text: &str) -> Result<Top, String> {
    match text {
        "all" => Ok(Top::All),
        text => match text.parse() {
            Ok(count) if count > 0 => Ok(Top::Count(count)),
            _ => Err("expected a number from 1 to 65535, or all".to_owned()),
        },
    }
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
