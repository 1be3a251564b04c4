//! `evaluate`: what a trained network makes of labelled images.

use crate::cli::data::{Chosen, DataFlags, unknown};
use crate::cli::threads::ThreadFlags;
use crate::cli::weights::{Loaded, WeightsFlags};
use crate::cli::{Failure, Kind, complain, flowing, run, say, usage};
use clap::{Parser, ValueEnum};
use dataset::Dataset;
use kernels::Precision;
use serde_json::{Value, json};
use trainer::scores::{ScoreOptions, Scores};
use trainer::{Predictor, check_compatibility};

/// Measures a trained network on labelled images: how often it is right, and what it confuses.
#[derive(Parser)]
#[command(name = "evaluate", args_override_self = true, after_help = flowing(AFTER_HELP))]
pub struct Arguments {
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
    /// Also tell how often the class is among the K most probable ones
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: ThreadFlags,
}

const AFTER_HELP: &str = "\
Examples:
  bobbin evaluate --weights runs/fast-1                      on the test images of its data
  bobbin evaluate --weights runs/fast-1 --tta mirror --json
  bobbin evaluate --weights runs/own/best.safetensors --split train
  bobbin evaluate --weights lenet-of-pytorch.safetensors --data ~/idx --normalize 0.2860,0.3530

Without --data these are the images of the data set that the run was trained on. Of a file that is not in
a run's directory nobody knows it: the bundled Fashion-MNIST is taken if its images and classes are those
that the file names; else --data must say it.

Weights saved from PyTorch (safetensors.torch.save_file(net.state_dict(), FILE), torch.save) do not say what they
are for: the network is the preset with the same names and shapes, the classes are those of the data,
and the input is scaled by mean and deviation of the training images unless --normalize says
otherwise.

The JSON object has images, loss, top1 and top5 (fractions), top_k (k, part; with --top-k),
balanced_accuracy, macro_f1, auc (of two classes), ece (expected calibration error, 15 bins), collapsed
(the number of a class that nearly all images are taken for; of several labels, how many labels nearly
all are given, the same ones), classes (name, precision, recall, f1, support), confusion (a row per
class, a column for what it was taken for), mistakes (image, name of its picture, label, predicted,
probability), and model, precision, weights, data, split, tta and
normalize. What is undefined is null. Where images may have several labels, top1 is the part of which
each label is found and no other, macro_f1 and auc are means over the labels, classes have auc too, and
top5, confusion and mistakes are null or empty.

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

/// Does it.
pub fn evaluate(arguments: &Arguments) -> Result<(), Failure> {
    let workers = arguments.threads.start()?;
    let file = arguments.weights.file()?;
    let chosen = arguments.data.chosen(&file)?;
    let loaded = arguments.weights.load(|| match &chosen {
        Some(chosen) => Ok(&chosen.data),
        None => Err(unknown(&file)),
    })?;
    let Chosen { data, reason } = match chosen {
        Some(chosen) => chosen,
        None => arguments.data.bundled_for(&loaded.model, &file)?,
    };
    let (model, file) = (&loaded.model, loaded.file.display());
    let incompatible = |error| Failure::new(Kind::Data, format!("{error}; the model is {file}"));
    check_compatibility(&data, model).map_err(incompatible)?;
    warn_of_preparation(&data, &loaded);
    if let Some(k) = arguments.top_k.filter(|_| model.multi_label) {
        let problem =
            format!("--top-k: found {k}, expected none, as images may have several labels");
        return Err(usage(problem));
    }
    let split = match arguments.split {
        Part::Train => data.train(),
        Part::Test => data.test(),
    };
    let split = split.map_err(run)?;
    let images: Vec<u32> = (0..split.len() as u32).collect();
    let options = ScoreOptions { mirror: arguments.tta.is_some(), mistakes: arguments.mistakes };
    let predictor = Predictor::new(model, &workers)
        .map_err(|error| Failure::new(Kind::File, format!("{file}: {error}")))?;
    let scores = workers
        .run(|| Scores::new(&predictor, split, &images, options))
        .map_err(|error| Failure::new(Kind::Diverged, format!("{file}: {error}")))?;
    if arguments.json {
        say(&json(arguments, &loaded, &data, &scores).to_string());
    } else {
        say(&introduction(arguments, &loaded, &data, reason));
        say(&scores.to_string());
        if let Some(k) = arguments.top_k {
            say(&format!("\ntop-{k} {:.2} %", 100.0 * scores.top(k as usize)));
        }
    }
    Ok(())
}

/// Says so if the images were made from pictures in another way than those that the model has learnt from.
fn warn_of_preparation(data: &Dataset, loaded: &Loaded) {
    if let (Some(found), Some(expected)) = (data.preparation(), loaded.model.preparation)
        && found != expected
    {
        let (directory, file) = (data.directory().display(), loaded.file.display());
        let problem = format!(
            "{directory}: its pictures were prepared by {found}, those that {file} was trained on by {expected}"
        );
        complain("warning", &problem);
    }
}

fn introduction(arguments: &Arguments, loaded: &Loaded, data: &Dataset, reason: &str) -> String {
    let model = &loaded.model;
    let [channels, rows, columns] = model.network.input();
    let mirrored = if arguments.tta.is_some() { ", each also mirrored" } else { "" };
    format!(
        "weights: {}, {} of {} parameters{}\n\
         data: {}, {reason}: {} images of {channels}×{rows}×{columns}{mirrored}\n\
         input: pixels / 255, minus {}, divided by {}, {}\n",
        loaded.file.display(),
        model.preset,
        model.network.parameter_count(),
        if model.network.precision() == Precision::F32 { "" } else { ", products in bf16" },
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
        "precision": model.network.precision().to_string(),
        "data": data.directory().display().to_string(),
        "split": arguments.split.name(),
        "tta": arguments.tta.map(|_| "mirror"),
        "normalize": { "mean": model.mean, "std": model.std, "origin": loaded.scaling },
    });
    let top = |k| scores.top(k);
    let scores = serde_json::to_value(scores).expect("numbers and names");
    let (Value::Object(object), Value::Object(scores)) = (&mut object, scores) else {
        unreachable!("both are objects")
    };
    object.extend(scores);
    if let Some(k) = arguments.top_k {
        object.insert("top_k".into(), json!({ "k": k, "part": top(k as usize) }));
    }
    Value::Object(std::mem::take(object))
}

/// Numbers with four decimals at most, one or one per channel.
fn listed(values: &[f64]) -> String {
    values.iter().map(|value| decimal(*value)).collect::<Vec<_>>().join(" ")
}

fn decimal(value: f64) -> String {
    format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Test => "test",
        }
    }
}
