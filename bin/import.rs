//! `import`: a folder of pictures becomes a data set of IDX files.

mod cli;
#[path = "cli/interrupt.rs"]
mod interrupt;
#[path = "cli/threads.rs"]
mod threads;

use clap::{Parser, ValueEnum};
use cli::{Failure, complain, printable, run, say};
use interrupt::Interrupt;
use std::path::PathBuf;
use std::process::ExitCode;
use threads::ThreadFlags;
use trainer::{Channels, Fit, Import, ImportError, Imported, import};

/// The longest side of an imported image.
const LARGEST: usize = 1024;

/// Makes a data set to train on of a folder that has a folder of pictures for each class.
#[derive(Parser)]
#[command(name = "import", version, args_override_self = true, after_help = AFTER_HELP)]
struct Arguments {
    /// Folder of class folders, each named as its class, with PNG, JPEG or BMP pictures in it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Directory of the data set, new or empty
    #[arg(long, value_name = "DATA")]
    out: PathBuf,
    /// Rows and columns of the images: one number, or as 28x32
    #[arg(long, value_name = "N|HxW", default_value = "28", value_parser = parse_size)]
    size: [usize; 2],
    /// One channel [default: colour if any picture has some, else grey]
    #[arg(long, conflicts_with = "rgb")]
    grey: bool,
    /// Three channels
    #[arg(long)]
    rgb: bool,
    /// For pictures of other proportions
    #[arg(long, value_name = "HOW", default_value = "pad")]
    fit: Shape,
    /// Part of the pictures of each class that is put aside to test on
    #[arg(
        long, value_name = "X", default_value_t = 0.15, allow_negative_numbers = true,
        value_parser = parse_fraction
    )]
    test_fraction: f64,
    /// Decides which pictures these are, and the order of all
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    seed: u64,
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
                                  DATA/labels.txt (Coat, Shirt: sorted, 2 to 256 classes)

Hidden files are left out. A file that is no picture is named on stderr and left out. Pictures are
turned upright (EXIF), what is transparent becomes white, and they are resized:
  --fit pad       in their proportions, with the colour of their border on two sides
  --fit stretch   in other proportions
  --fit crop      in their proportions, the middle of each
The same pictures and the same seed give the same files.

Examples:
  import pictures --out data/shop
  import pictures --out data/shop --size 32 --grey --test-fraction 0.2 --force
  train --data data/shop --model cnn-bn                 then trains on it

Exit codes: 0 imported; 1 the folder or a file is wrong; 2 the command is wrong; 130 Ctrl-C (nothing
is left; again, more than a second later: at once).";

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    Pad,
    Stretch,
    Crop,
}

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => cli::end(run_import(&arguments)),
        Err(error) => cli::stop(&error),
    }
}

fn run_import(arguments: &Arguments) -> Result<(), Failure> {
    let options = Import {
        size: arguments.size,
        channels: match (arguments.grey, arguments.rgb) {
            (true, _) => Channels::Grey,
            (_, true) => Channels::Rgb,
            _ => Channels::Auto,
        },
        fit: match arguments.fit {
            Shape::Pad => Fit::Pad,
            Shape::Stretch => Fit::Stretch,
            Shape::Crop => Fit::Crop,
        },
        test_fraction: arguments.test_fraction,
        seed: arguments.seed,
        replace: arguments.force,
    };
    let workers = arguments.threads.start()?;
    let interrupt = Interrupt::watch().map_err(run)?;
    let skip = |problem: &trainer::PictureError| complain("left out", &problem.to_string());
    let imported =
        import(&arguments.folder, &arguments.out, &options, &workers, interrupt.flag(), skip);
    let imported = imported.map_err(|error| match error {
        ImportError::Taken { .. } if !arguments.force => Failure::Run(format!(
            "{error}; choose another --out, or replace a data set with --force"
        )),
        ImportError::Taken { .. } => Failure::Run(format!("{error}; choose another --out")),
        ImportError::Interrupted => Failure::Interrupted(error.to_string(), interrupt.signal()),
        error => run(error),
    })?;
    say(&table(arguments, &imported));
    Ok(())
}

fn table(arguments: &Arguments, imported: &Imported) -> String {
    let [channels, rows, columns] = imported.shape;
    let name = |name: &str| printable(name);
    let classes = &imported.classes;
    let width = classes.iter().map(|class| name(&class.name).chars().count());
    let width = width.max().unwrap_or(0).max("class".len());
    let mut text = format!("{:width$}  {:>6}  {:>6}", "class", "train", "test");
    for class in classes {
        text += &format!("\n{:width$}  {:>6}  {:>6}", name(&class.name), class.train, class.test);
    }
    let [train, test]: [usize; 2] = [
        classes.iter().map(|class| class.train).sum(),
        classes.iter().map(|class| class.test).sum(),
    ];
    text += &format!("\n{:width$}  {train:>6}  {test:>6}\n", "all");
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
    if imported.unreadable > 0 {
        text += &format!("\nleft out: {}", files(imported.unreadable, "no picture", "no pictures"));
    }
    if imported.outside > 0 {
        let outside = "outside of the class folders";
        text += &format!("\nleft out: {}", files(imported.outside, outside, outside));
    }
    let out = printable(&arguments.out.display().to_string());
    let quoted = if out.contains(' ') { format!("'{out}'") } else { out.clone() };
    // Training validates on the test images unless it is told otherwise.
    let validation = if test == 0 { " --validation none" } else { "" };
    text + &format!("\ndata: {out}; to train on it: train --data {quoted}{validation}")
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
