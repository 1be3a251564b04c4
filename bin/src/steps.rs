//! Steps on batches that another program hands over: `Estimator.from_torch` with `backend="mpi"`.
//!
//! Rank 0 reads requests from a pipe and answers each with a line of JSON in another; the other ranks are told what it
//! has read. A request is two lengths (`u64`, little-endian), a JSON object ([`Request`]) and a body: that of a batch is
//! its labels (`u32`; where an image may have several, a byte for each of them, 1 if it has it) and then its images (bytes
//! or `f32`; rows of pixels, the channels of a pixel side by side).

use crate::cli::{Failure, end, run, usage};
use dataset::{Dataset, Pixels, Samples};
use kernels::Isa;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;
use tracking::Checkpoint;
use trainer::ranks::{Communicator, Local, broadcast_bytes, launch, threads_per_rank};
use trainer::{Recipe, Trainer, Workers};

/// How often ranks that wait for a request hear that rank 0 is still there: well within the time after which they give
/// each other up.
const PULSE: Duration = Duration::from_secs(2);

/// Trains on batches that another program hands over.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pipe with what is to be done
    requests: PathBuf,
    /// The pipe for what came of it
    answers: PathBuf,
}

/// What is to be done.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    /// Make the trainer of a recipe, whose data are a batch of images like those to come.
    Begin {
        recipe: String,
        shape: [usize; 3],
        classes: Vec<String>,
        threads: Option<usize>,
        batch: Form,
    },
    /// Take a step on a batch, with this learning rate if there is one.
    Step { lr: Option<f64>, batch: Form },
    /// Take other settings of the optimiser: a recipe with that section.
    Optimizer { recipe: String },
    /// Go on from the checkpoint in the body.
    Load,
    /// Write a checkpoint.
    Save { path: PathBuf },
    /// Nothing yet.
    Wait,
    /// Nothing more.
    End,
}

/// What the body of a batch is.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    images: usize,
    /// Whether values of images are `f32`.
    floats: bool,
    /// How many labels there are to choose from, where an image may have several.
    several: Option<usize>,
}

/// Takes the steps, as one of several ranks or alone; returns the exit code.
pub fn start(arguments: &Arguments) -> u8 {
    #[cfg(feature = "mpi")]
    if launch().is_some() {
        return as_rank(arguments);
    }
    if let Some(launch) = launch().filter(|launch| launch.ranks > 1) {
        let problem = format!("one of {} ranks, but built without MPI", launch.ranks);
        return end(Err(usage(problem + ": cargo build --release --features mpi")));
    }
    end(serve(&Local, arguments))
}

#[cfg(feature = "mpi")]
fn as_rank(arguments: &Arguments) -> u8 {
    use crate::cli::interrupt::Interrupt;
    use crate::cli::{Kind, tell};
    use trainer::ranks::Mpi;

    let lost = |problem: &str| tell(&Failure::new(Kind::RankLost, problem));
    let started = Interrupt::watch()
        .map_err(run)
        .and_then(|interrupt| Mpi::start(interrupt.shared(), lost).map_err(run));
    match started {
        Ok(mut mpi) => {
            match mpi.share_timeout().map_err(usage).and_then(|()| serve(&mpi, arguments)) {
                Ok(()) => {
                    mpi.finish();
                    end(Ok(()))
                }
                Err(failure) => mpi.abort(&failure.message.clone(), |_| tell(&failure)),
            }
        }
        Err(failure) => end(Err(failure)),
    }
}

/// Does what is asked for, to the end.
fn serve(communicator: &dyn Communicator, arguments: &Arguments) -> Result<(), Failure> {
    let mut pipes = Pipes::open(communicator, arguments).map_err(run)?;
    let (request, body) = pipes.next()?;
    let Request::Begin { recipe, shape, classes, threads, batch } = request else {
        return Ok(());
    };
    let recipe = Recipe::parse("recipe", &recipe, &[]).map_err(usage)?;
    let batch = Batch::of(&body, batch);
    let data = Dataset::in_memory(shape, &classes, batch.samples(), None).map_err(run)?;
    let threads = threads.unwrap_or_else(|| threads_per_rank(communicator));
    let workers = Workers::new(Isa::from_env().map_err(usage)?, threads).map_err(usage)?;
    let mut trainer = Trainer::new(&recipe, &data, &workers).map_err(run)?;
    trainer.join_ranks(communicator).map_err(run)?;
    pipes.answer(&json!({ "ranks": communicator.size() })).map_err(run)?;
    loop {
        let (request, body) = pipes.next()?;
        let answer = match request {
            Request::End => return Ok(()),
            Request::Wait => continue,
            Request::Begin { .. } => Err("training has begun".to_owned()),
            Request::Step { lr, batch } => step(&mut trainer, &Batch::of(&body, batch), lr),
            Request::Optimizer { recipe } => Recipe::parse("recipe", &recipe, &[])
                .and_then(|recipe| trainer.set_optimizer(recipe.optimizer))
                .map_or_else(said, done),
            Request::Load => load(&mut trainer, &body, communicator.rank()),
            Request::Save { path } if communicator.rank() == 0 => {
                Checkpoint::write(&path, &trainer.state()).map_or_else(said, done)
            }
            Request::Save { .. } => done(()),
        };
        let answer = answer.unwrap_or_else(|problem| json!({ "error": problem }));
        pipes.answer(&answer).map_err(run)?;
    }
}

fn said<T>(problem: impl Display) -> Result<T, String> {
    Err(problem.to_string())
}

fn done((): ()) -> Result<Value, String> {
    Ok(json!({}))
}

fn step(trainer: &mut Trainer<'_>, batch: &Batch<'_>, lr: Option<f64>) -> Result<Value, String> {
    trainer.set_learning_rate(lr);
    let step = trainer.step_on_next(batch.samples()).or_else(said)?;
    Ok(json!({ "loss": step.loss / step.images as f64, "lr": step.learning_rate }))
}

/// Goes on from a checkpoint, which every rank has to itself.
fn load(trainer: &mut Trainer<'_>, bytes: &[u8], rank: usize) -> Result<Value, String> {
    let path = std::env::temp_dir().join(format!("bobbin-{}-{rank}.safetensors", process::id()));
    let read = || {
        fs::write(&path, bytes).or_else(said)?;
        Checkpoint::read(&path).and_then(|checkpoint| checkpoint.state()).or_else(said)
    };
    let state = read();
    let _ = fs::remove_file(&path);
    trainer.adopt(&state?).map_or_else(said, done)
}

/// A batch in the body of a request.
struct Batch<'b> {
    /// The class of each image, unless there is a matrix.
    classes: Vec<u32>,
    /// Which labels each image has, where it may have several.
    matrix: Option<&'b [u8]>,
    bytes: &'b [u8],
    floats: Option<Vec<f32>>,
}

impl<'b> Batch<'b> {
    fn of(body: &'b [u8], Form { images, floats, several }: Form) -> Batch<'b> {
        let length = several.unwrap_or(size_of::<u32>()).saturating_mul(images);
        let (labels, bytes) = body.split_at(body.len().min(length));
        let matrix = several.map(|_| labels);
        let words = if several.is_some() { &[] } else { labels };
        let classes = words.as_chunks().0.iter().map(|&label| u32::from_le_bytes(label)).collect();
        let value = |&value: &[u8; 4]| f32::from_le_bytes(value);
        let floats = floats.then(|| bytes.as_chunks().0.iter().map(value).collect());
        Batch { classes, matrix, bytes, floats }
    }

    fn samples(&self) -> Samples<'_> {
        let pixels = self.floats.as_deref().map_or(Pixels::Bytes(self.bytes), Pixels::Floats);
        match self.matrix {
            Some(matrix) => Samples::multi_label(pixels, matrix),
            None => Samples::new(pixels, &self.classes),
        }
    }
}

/// The pipes of rank 0, and what the others have instead.
struct Pipes<'c> {
    communicator: &'c dyn Communicator,
    /// What a thread of rank 0 reads, so that the others can be told of the wait for it.
    requests: Option<Receiver<io::Result<[Vec<u8>; 2]>>>,
    answers: Option<File>,
}

impl<'c> Pipes<'c> {
    fn open(communicator: &'c dyn Communicator, arguments: &Arguments) -> io::Result<Pipes<'c>> {
        if communicator.rank() > 0 {
            return Ok(Pipes { communicator, requests: None, answers: None });
        }
        let (sender, receiver) = sync_channel(1);
        let mut pipe = File::open(&arguments.requests)?;
        let answers = File::options().write(true).open(&arguments.answers)?;
        thread::Builder::new().name("requests".into()).spawn(move || {
            loop {
                let read = read(&mut pipe);
                let is_last = read.is_err();
                if sender.send(read).is_err() || is_last {
                    return;
                }
            }
        })?;
        Ok(Pipes { communicator, requests: Some(receiver), answers: Some(answers) })
    }

    /// The next request and its body, the same on all ranks.
    fn next(&mut self) -> Result<(Request, Vec<u8>), Failure> {
        let own = match &self.requests {
            None => [vec![], vec![]],
            Some(requests) => match requests.recv_timeout(PULSE) {
                Ok(Ok(read)) => read,
                Err(RecvTimeoutError::Timeout) => [br#"{"do":"wait"}"#.to_vec(), vec![]],
                // Whoever has asked is gone.
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                    [br#"{"do":"end"}"#.to_vec(), vec![]]
                }
            },
        };
        let [request, body] = own.map(|part| broadcast_bytes(self.communicator, part));
        Ok((serde_json::from_slice(&request).map_err(usage)?, body))
    }

    fn answer(&mut self, answer: &Value) -> io::Result<()> {
        let Some(pipe) = &mut self.answers else { return Ok(()) };
        pipe.write_all(format!("{answer}\n").as_bytes())
    }
}

/// A request and its body.
fn read(pipe: &mut File) -> io::Result<[Vec<u8>; 2]> {
    let mut lengths = [[0; 8]; 2];
    pipe.read_exact(lengths.as_flattened_mut())?;
    let mut part = |length: [u8; 8]| {
        let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
        pipe.read_exact(&mut bytes).map(|()| bytes)
    };
    Ok([part(lengths[0])?, part(lengths[1])?])
}
