//! `evaluate`: what a trained network makes of labelled images.

mod cli;
#[path = "cli/data.rs"]
mod data;
#[path = "cli/threads.rs"]
mod threads;
#[path = "cli/weights.rs"]
mod weights;

use clap::{Parser, ValueEnum};
use cli::{Failure, run, say};
use data::DataFlags;
use serde_json::{Value, json};
use std::process::ExitCode;
use threads::ThreadFlags;
use trainer::{Dataset, Predictor, ScoreOptions, Scores, check_fit};
use weights::{Loaded, WeightsFlags};

/// Measures a trained network on labelled images: how often it is right, and what it confuses.
#[derive(Parser)]
#[command(name = "evaluate", version, args_override_self = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    weights: WeightsFlags,
    #[command(flatten)]
    data: DataFlags,
    /// Which images of the data set
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    split: Part,
    /// Mean output for image and mirror image
    #[arg(long, value_name = "HOW")]
    tta: Option<TestTimeAugmentation>,
    /// Mistakes to list, those first that the network was surest of
    #[arg(long, value_name = "N", default_value_t = 5)]
    mistakes: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: ThreadFlags,
}

const AFTER_HELP: &str = "\
Examples:
  evaluate --weights runs/fast-1                      on the bundled test images
  evaluate --weights runs/fast-1 --tta mirror --json
  evaluate --weights runs/own/best.safetensors --data ~/pictures/idx --split train
  evaluate --weights lenet-of-pytorch.safetensors --normalize 0.2860,0.3530

Weights saved from PyTorch (safetensors.torch.save_file(net.state_dict(), FILE)) do not say what they
are for: the network is the preset with the same names and shapes, the classes are those of the data,
and the input is scaled by mean and deviation of the training images unless --normalize says
otherwise.

The JSON object has images, loss, top1 and top5 (fractions), classes (name, precision, recall, f1,
support), confusion (a row per class, a column for what it was taken for), mistakes, and model,
weights, data, split, tta and normalize. What is undefined is null.

Exit codes: 0 evaluated; 1 the data, the weights or a file is wrong; 2 the command is wrong.";

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    Train,
    Test,
}

#[derive(Clone, Copy, ValueEnum)]
enum TestTimeAugmentation {
    Mirror,
}

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => cli::end(evaluate(&arguments)),
        Err(error) => cli::stop(&error),
    }
}

fn evaluate(arguments: &Arguments) -> Result<(), Failure> {
    let workers = arguments.threads.start()?;
    let data = arguments.data.open()?;
    let loaded = arguments.weights.load(|| Ok(&data))?;
    let (model, file) = (&loaded.model, loaded.file.display());
    let misfit = |error| Failure::Run(format!("{error}; the model is {file}"));
    check_fit(&data, model).map_err(misfit)?;
    let split = match arguments.split {
        Part::Train => data.train(),
        Part::Test => data.test(),
    };
    let split = split.map_err(run)?;
    let images: Vec<u32> = (0..split.len() as u32).collect();
    let options = ScoreOptions { mirror: arguments.tta.is_some(), mistakes: arguments.mistakes };
    let predictor = Predictor::new(model, &workers);
    let scores = workers
        .run(|| Scores::new(&predictor, split, &images, options))
        .map_err(|error| Failure::Run(format!("{file}: {error}")))?;
    if arguments.json {
        say(&json(arguments, &loaded, &data, &scores).to_string());
    } else {
        say(&introduction(arguments, &loaded, &data));
        say(&scores.to_string());
    }
    Ok(())
}

fn introduction(arguments: &Arguments, loaded: &Loaded, data: &Dataset) -> String {
    let model = &loaded.model;
    let [channels, rows, columns] = model.network.input();
    let mirrored = if arguments.tta.is_some() { ", each also mirrored" } else { "" };
    format!(
        "weights: {}, {} of {} parameters\n\
         data: {}, {} images of {channels}×{rows}×{columns}{mirrored}\n\
         input: pixels / 255, less {}, by {}, {}\n",
        loaded.file.display(),
        model.preset,
        model.network.parameter_count(),
        data.directory().display(),
        arguments.split.name(),
        listed(&model.mean),
        listed(&model.std),
        loaded.scaling,
    )
}

fn json(arguments: &Arguments, loaded: &Loaded, data: &Dataset, scores: &Scores) -> Value {
    let model = &loaded.model;
    let mut object = json!({
        "weights": loaded.file.display().to_string(),
        "model": model.preset,
        "data": data.directory().display().to_string(),
        "split": arguments.split.name(),
        "tta": arguments.tta.map(|_| "mirror"),
        "normalize": { "mean": model.mean, "std": model.std, "origin": loaded.scaling },
    });
    let scores = serde_json::to_value(scores).expect("numbers and names");
    let (Value::Object(object), Value::Object(scores)) = (&mut object, scores) else {
        unreachable!("both are objects")
    };
    object.extend(scores);
    Value::Object(std::mem::take(object))
}

/// Numbers with four decimals, one or one per channel.
fn listed(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.4}")).collect::<Vec<_>>().join(" ")
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Test => "test",
        }
    }
}
