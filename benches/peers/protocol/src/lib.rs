//! What the contestants written in Rust share: their arguments, the data, and the commands that the
//! driver gives, one JSON object to a line.

use clap::{Parser, ValueEnum};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// What every contestant is told.
#[derive(Clone, Debug, Parser)]
#[command(about = "A contestant: obeys the commands that the driver writes to its input")]
pub struct Arguments {
    /// The network: lenet, cnn-bn, vgg or resnet; for Bobbin any preset
    #[arg(long)]
    pub network: String,
    /// Images per step
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60000))]
    batch: u32,
    /// Threads to compute with
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Directory of unpacked IDX files
    #[arg(long)]
    pub data: PathBuf,
    /// Initial weights, a safetensors file
    #[arg(long, required_unless_present = "write_weights")]
    weights: Option<PathBuf>,
    /// What a step is
    #[arg(long, value_enum, default_value = "train")]
    pub mode: Mode,
    /// What differs within a framework
    #[arg(long)]
    pub setting: Option<String>,
    /// Batch norm normalises each run of this many images by itself
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    norm_chunk: Option<u32>,
    /// Say ready before the first step, not after it
    #[arg(long)]
    fresh: bool,
    /// Bobbin only: f32 or bf16
    #[arg(long, value_parser = ["f32", "bf16"], default_value = "f32")]
    pub precision: String,
    /// Bobbin only: dropout and stochastic depth let everything pass
    #[arg(long)]
    pub without_chance: bool,
    /// Bobbin only: write initial weights and exit
    #[arg(long)]
    pub write_weights: Option<PathBuf>,
}

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Forward, backward, update.
    Train,
    /// Forward in evaluation mode.
    Infer,
}

impl Arguments {
    pub fn batch(&self) -> usize {
        self.batch as usize
    }

    pub fn threads(&self) -> usize {
        self.threads.into()
    }

    /// The file of initial weights; `--write-weights`, which asks for none, is Bobbin's.
    pub fn weights(&self) -> &Path {
        self.weights.as_deref().unwrap_or(Path::new(""))
    }

    pub fn norm_chunk(&self) -> Option<usize> {
        self.norm_chunk.map(|images| images as usize)
    }
}

/// Sets environment variables that hold a number of threads to it. To be called before anything else.
pub fn limit_threads(arguments: &Arguments, variables: &[&str]) {
    for variable in variables {
        // SAFETY: no other thread has been started yet.
        unsafe { std::env::set_var(variable, arguments.threads().to_string()) };
    }
}

/// Training images, bytes as in the file, and their labels.
pub struct Data {
    images: Vec<u8>,
    labels: Vec<u8>,
    batch: usize,
}

/// Rows and columns of an image.
pub const SIZE: usize = 28;
const PIXELS: usize = SIZE * SIZE;

impl Data {
    /// Reads the training images, to be had in batches.
    pub fn open(arguments: &Arguments) -> Result<Data, Box<dyn Error>> {
        let read = |name: &str, header: usize| {
            let path = arguments.data.join(name);
            let mut bytes =
                std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            bytes.drain(..header.min(bytes.len()));
            Ok::<_, String>(bytes)
        };
        let images = read("train-images-idx3-ubyte", 16)?;
        let labels = read("train-labels-idx1-ubyte", 8)?;
        if images.len() != labels.len() * PIXELS {
            return Err("the training images are not of 28×28, one per label".into());
        }
        Ok(Data { images, labels, batch: arguments.batch() })
    }

    /// Whole batches.
    pub fn batches(&self) -> usize {
        self.labels.len() / self.batch
    }

    /// Normalised images, row by row, and labels of a batch.
    pub fn batch(&self, number: usize) -> (Vec<f32>, Vec<i64>) {
        let images = number * self.batch..(number + 1) * self.batch;
        let bytes = &self.images[images.start * PIXELS..images.end * PIXELS];
        let pixels = bytes.iter().map(|byte| (f32::from(*byte) / 255.0 - 0.2860) / 0.3530);
        let labels = self.labels[images].iter().map(|label| i64::from(*label));
        (pixels.collect(), labels.collect())
    }
}

/// A framework at work on batches in the order of the file.
pub trait Contestant {
    /// What a step gives, perhaps not computed yet: loss or logits.
    type Output;

    /// What it says of itself when ready: framework, version, setting, parameters.
    fn describe(&self) -> Value;

    /// How many batches there are.
    fn batches(&self) -> usize;

    /// Brings a batch into the form that suits steps best. Asked for in order, once each.
    fn prepare(&mut self, batch: usize) -> Result<(), Box<dyn Error>>;

    /// A step on this batch.
    fn step(&mut self, batch: usize) -> Result<Self::Output, Box<dyn Error>>;

    /// Waits until a step and all before it are done; returns its loss, if there is one.
    fn finish(&mut self, output: Self::Output) -> Result<Option<f64>, Box<dyn Error>>;

    /// The answer to a command of its own.
    fn own(&mut self, command: &Value) -> Option<Value> {
        let _ = command;
        None
    }
}

/// Exit code of a contestant: what went wrong is one line.
pub fn exit(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.to_string().replace(char::is_control, " "));
            ExitCode::FAILURE
        }
    }
}

/// Says ready and obeys until told to quit, or the input ends.
pub fn serve<C: Contestant>(
    arguments: &Arguments,
    mut contestant: C,
) -> Result<(), Box<dyn Error>> {
    for batch in 0..contestant.batches() {
        contestant.prepare(batch)?;
    }
    let resident = resident_kb()?;
    let mut steps = 0;
    if !arguments.fresh {
        let output = contestant.step(0)?;
        contestant.finish(output)?;
        steps = 1;
    }
    // One image a call asks for latency, so calls must not overlap.
    let apart = arguments.mode == Mode::Infer && arguments.batch == 1;
    let mut ready = contestant.describe();
    ready["ready"] = json!(true);
    ready["resident_kb"] = json!(resident);
    say(&ready)?;
    for line in stdin().lines() {
        let command: Value = serde_json::from_str(&line?)?;
        let answer = if let Some(count) = command["run"].as_u64() {
            run(&mut contestant, &mut steps, count, apart)?
        } else if let Some(count) = command["losses"].as_u64() {
            let losses: Result<Vec<_>, _> =
                (0..count).map(|_| advance(&mut contestant, &mut steps, 1, apart)).collect();
            json!({ "losses": losses? })
        } else if command["quit"] == true {
            break;
        } else {
            contestant.own(&command).ok_or_else(|| format!("unknown command {command}"))?
        };
        say(&answer)?;
    }
    Ok(())
}

fn say(answer: &Value) -> std::io::Result<()> {
    let mut output = stdout().lock();
    writeln!(output, "{answer}")?;
    output.flush()
}

fn run(
    contestant: &mut impl Contestant,
    steps: &mut usize,
    count: u64,
    apart: bool,
) -> Result<Value, Box<dyn Error>> {
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let loss = advance(contestant, steps, count, apart)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(json!({ "seconds": seconds, "cpu_seconds": cpu_seconds()? - cpu, "loss": loss }))
}

/// The next steps; waits for the last of them, or `apart` for each, and returns the last one's loss.
fn advance<C: Contestant>(
    contestant: &mut C,
    steps: &mut usize,
    count: u64,
    apart: bool,
) -> Result<Option<f64>, Box<dyn Error>> {
    let mut loss = None;
    for left in (0..count).rev() {
        let output = contestant.step(*steps % contestant.batches())?;
        *steps += 1;
        if apart || left == 0 {
            loss = contestant.finish(output)?;
        }
    }
    Ok(loss)
}

/// User and system time of all threads of the process.
fn cpu_seconds() -> nix::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Resident memory of the process.
fn resident_kb() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kb.ok_or_else(|| std::io::Error::other("/proc/self/status has no VmRSS"))
}
