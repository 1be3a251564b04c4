//! `import`: pictures with their classes become a data set of IDX files.

use crate::cli::interrupt::Interrupt;
use crate::cli::threads::ThreadFlags;
use crate::cli::{
    Failure, Invocation, Kind, check_name, complain, fit_parser, flowing, note, printable, run,
    say, word,
};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use pictures::{Channels, Event, Fit, Given, Import, ImportError, Imported};
use std::path::PathBuf;

/// The longest side of an imported image.
const LARGEST: usize = 1024;

/// Turns pictures with their classes into a data set to train on.
#[derive(Parser)]
#[command(name = "import", args_override_self = true, after_help = flowing(AFTER_HELP))]
pub struct Arguments {
    /// Folder of class folders, each named as its class, with pictures in it; or one of what is named below
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// Directory of the data set, new or empty
    #[arg(long, value_name = "DATA")]
    out: PathBuf,
    /// Rows and columns of the images: one number, or as 28x32 [default: those of arrays and of CIFAR, else 28]
    #[arg(long, value_name = "N|HxW", value_parser = parse_size)]
    size: Option<[usize; 2]>,
    /// One channel [default: colour if any picture has some, else grey]
    #[arg(long, conflicts_with = "rgb")]
    grey: bool,
    /// Three channels
    #[arg(long)]
    rgb: bool,
    /// For pictures of other proportions
    #[arg(long, value_name = "HOW", default_value = "pad", value_parser = fit_parser())]
    fit: Fit,
    /// Bright and dark change places: black on white becomes white on black
    #[arg(long)]
    invert: bool,
    /// Part of the pictures of each class that is put aside to test on, unless SOURCE says which these are
    #[arg(
        long, value_name = "X", default_value_t = 0.15, allow_negative_numbers = true,
        value_parser = parse_fraction
    )]
    test_fraction: f64,
    /// Decides which pictures these are, and the order of all
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    seed: u64,
    /// Labels of an array of images: LABELS.npy
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Which of several EMNIST sets in SOURCE, such as emnist-letters
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,
    /// Replace the data set that is in --out
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    threads: ThreadFlags,
}

const AFTER_HELP: &str = "\
The folder:                     becomes:
  pictures/Coat/front.jpg         DATA/train-images-idx4-ubyte (idx3 if grey)
  pictures/Coat/old/2.png         DATA/train-labels-idx1-ubyte
  pictures/Shirt/blue.bmp         DATA/t10k-images-idx4-ubyte, DATA/t10k-labels-idx1-ubyte
                                  DATA/labels.txt (Coat, Shirt: sorted)
                                  DATA/train-names.txt, DATA/t10k-names.txt (which was which picture)
                                  DATA/preparation.toml (--fit and --invert)

SOURCE may also be:
  DIR with train, test or val     of class folders: the parts stay as they are
  TABLE.csv, TABLE.tsv            a line for each picture: its path, its class, perhaps its part
  SET.npz                         x_train, y_train, x_test, y_test, or images and labels
  IMAGES.npy                      with --labels LABELS.npy
  SET.parquet, DIR of such files  as on the Hugging Face Hub: pictures (bytes of PNG, JPEG, …) and labels
  DIR of CIFAR-10 or CIFAR-100    the binary version: data_batch_1.bin, …, or train.bin, test.bin
  DIR of EMNIST                   IDX files and mapping.txt: images are turned upright

Pictures are PNG, JPEG, BMP, WebP, TIFF or GIF (its first). What is hidden or of a system (.DS_Store,
__MACOSX, @eaDir, Thumbs.db) is left out. A file that is no picture is named on stderr and left out.
Pictures are turned upright (EXIF), what is transparent becomes white, and they are resized:
  --fit pad       in their proportions, with the colour of their border on two sides
  --fit crop      in their proportions, the middle of each
  --fit stretch   in other proportions
A network that is trained on the data set takes this along: predict does the same. The same pictures
and the same seed give the same files.

Examples:
  bobbin import pictures --out data/shop
  bobbin import pictures --out data/shop --size 32 --grey --test-fraction 0.2 --force
  bobbin train --recipe pictures --data data/shop              then trains on it

Exit codes: 0 imported; 1 the folder or a file is wrong; 2 the command is wrong; 130 Ctrl-C (nothing
is left; again, more than a second later: at once).";

/// Does it.
pub fn import(arguments: &Arguments, called: Invocation) -> Result<(), Failure> {
    check_name("--out", &arguments.out, "directory")?;
    let options = Import {
        size: arguments.size,
        channels: match (arguments.grey, arguments.rgb) {
            (true, _) => Channels::Grey,
            (_, true) => Channels::Rgb,
            _ => Channels::Auto,
        },
        fit: arguments.fit,
        invert: arguments.invert,
        test_fraction: arguments.test_fraction,
        seed: arguments.seed,
        replace: arguments.force,
    };
    let workers = arguments.threads.start()?;
    let interrupt = Interrupt::watch().map_err(run)?;
    let bar = progress_bar();
    let tell = |event: Event<'_>| match event {
        Event::LeftOut(problem) => bar.suspend(|| complain("left out", &problem.to_string())),
        Event::Decoded { pictures, of } => {
            bar.set_length(of as u64);
            bar.set_position(pictures as u64);
        }
        _ => {}
    };
    let imported = pictures::import(
        &arguments.source,
        Given { labels: arguments.labels.as_deref(), prefix: arguments.prefix.as_deref() },
        &arguments.out,
        &options,
        &workers,
        interrupt.flag(),
        tell,
    );
    bar.finish_and_clear();
    let imported = imported.map_err(|error| match error {
        ImportError::Taken { .. } => {
            let force = if arguments.force { "" } else { ", or replace a data set with --force" };
            Failure::new(Kind::File, format!("{error}; choose another --out{force}"))
        }
        ImportError::Interrupted => Failure::interrupted(error.to_string(), interrupt.signal()),
        error => run(error),
    })?;
    for path in &imported.leftovers {
        let path = printable(&path.display().to_string());
        note(&format!("deleted: {path}, which an import that was killed had left"));
    }
    say(&table(arguments, &imported, called));
    Ok(())
}

/// A bar on stderr, where that is a terminal.
fn progress_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} pictures, {eta} to go");
    ProgressBar::new(0).with_style(style.expect("a template that is well formed"))
}

fn table(arguments: &Arguments, imported: &Imported, called: Invocation) -> String {
    let [channels, rows, columns] = imported.shape;
    let name = |name: &str| printable(name);
    let (classes, empty): (Vec<_>, Vec<_>) =
        imported.classes.iter().partition(|class| class.train + class.test > 0);
    let width = classes.iter().map(|class| name(&class.name).chars().count());
    let width = width.max().unwrap_or(0).max("class".len());
    let mut text = format!("{:width$}  {:>6}  {:>6}", "class", "train", "test");
    for class in &classes {
        text += &format!("\n{:width$}  {:>6}  {:>6}", name(&class.name), class.train, class.test);
    }
    let [train, test]: [usize; 2] = [
        classes.iter().map(|class| class.train).sum(),
        classes.iter().map(|class| class.test).sum(),
    ];
    let [train, test] = imported.multi_label.unwrap_or([train, test]);
    text += &format!("\n{:width$}  {train:>6}  {test:>6}\n", "all");
    if imported.multi_label.is_some() {
        text += "\nlabels: any number to a picture, with ; between them in the table";
    }
    text += &format!(
        "\nimages: {rows}×{columns}, {}",
        match channels {
            1 => "grey",
            _ => "colour (RGB)",
        }
    );
    if !arguments.grey && !arguments.rgb {
        let coloured = imported.coloured;
        text += &format!(": {coloured} of {} pictures have colour", train + test);
    }
    // Numbers that no label has are no news.
    let mut empty = empty.iter().filter(|class| class.name.parse::<u32>().is_err());
    if let Some(first) = empty.next() {
        let first = name(&first.name);
        text += &match 1 + empty.count() {
            1 => format!("\n1 class has no pictures: {first}"),
            count => format!("\n{count} classes have no pictures, such as {first}"),
        };
    }
    if imported.came_split {
        text += "\nparts: as they were";
    }
    if imported.validation > 0 {
        text += &format!(
            "\npictures to validate on: {}, among those to train on (train --validation holds some of these out)",
            imported.validation
        );
    }
    if let Some(first) = &imported.duplicates.first {
        let [test, train] = first.each_ref().map(|name| printable(name));
        text += &format!(
            "\nduplicates: {} of the test pictures are among those to train on as well, such as {test} ({train})",
            imported.duplicates.count
        );
    }
    if imported.unreadable > 0 {
        text += &format!("\nleft out: {}", files(imported.unreadable, "no picture", "no pictures"));
    }
    if imported.outside > 0 {
        let outside = "outside of the class folders";
        text += &format!("\nleft out: {}", files(imported.outside, outside, outside));
    }
    if imported.hidden > 0 {
        let hidden = "hidden or of a system";
        text += &format!("\nleft out: {}", files(imported.hidden, hidden, hidden));
    }
    let out = printable(&arguments.out.display().to_string());
    let directory = word(&arguments.out);
    let train = called.words("train");
    text + &format!("\ndata: {out}; to train on it: {train} --recipe pictures --data {directory}")
}

/// So many files that are so.
fn files(count: usize, one: &str, many: &str) -> String {
    if count == 1 {
        format!("1 file that is {one}")
    } else {
        format!("{count} files that are {many}")
    }
}

fn parse_size(text: &str) -> Result<[usize; 2], String> {
    let wrong = || format!("expected a number from 1 to {LARGEST}, or two such as 28x32");
    let side = |text: &str| {
        let side = text.trim().parse().ok().filter(|side| (1..=LARGEST).contains(side));
        side.ok_or_else(wrong)
    };
    match text.split_once(['x', '×']) {
        None => side(text).map(|side| [side; 2]),
        Some((rows, columns)) => Ok([side(rows)?, side(columns)?]),
    }
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse().ok().filter(|fraction| (0.0..1.0).contains(fraction));
    fraction.ok_or_else(|| "expected a number from 0 to below 1, such as 0.15".to_owned())
}
