//! Training as one of several ranks: all compute, rank 0 alone reads checkpoints, prints and writes.

use super::job::{Job, out_failure, style};
use super::recipes::recipe_failure;
use super::show::Style;
use super::{Arguments, first_tells};
use crate::cli::interrupt::Interrupt;
use crate::cli::{
    Classified, Failure, Invocation, Kind, command_failure, complain, end, note, print_object,
    record, run, say, tell, usage,
};
use dataset::Dataset;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tracking::{Destination, RunDirectory, RunError};
use trainer::ranks::{
    Communicator, Launch, Mpi, all_gather_texts, broadcast_text, join_partitions, threads_per_rank,
};
use trainer::{Event, Recipe, Stop, Trainer, Workers};

/// Trains with the other ranks of the job.
pub fn train(launch: Launch, arguments: Result<Arguments, clap::Error>, called: Invocation) -> u8 {
    let start = || {
        let interrupt = Interrupt::watch().map_err(run)?;
        let mpi = Mpi::start(interrupt.shared(), lost).map_err(run)?;
        Ok((interrupt, mpi))
    };
    let (interrupt, mut mpi) = match start() {
        Ok(started) => started,
        Err(failure) => {
            first_tells(launch);
            return end(Err(failure));
        }
    };
    let code = train_with(&interrupt, &mut mpi, arguments, called);
    mpi.finish();
    code
}

fn train_with(
    interrupt: &Interrupt,
    mpi: &mut Mpi,
    arguments: Result<Arguments, clap::Error>,
    called: Invocation,
) -> u8 {
    let timeout = mpi.share_timeout().map_err(usage);
    let arguments = match understood(mpi, arguments) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let style = match style(&arguments.output) {
        // Open MPI gives ranks a terminal even if nobody sees it.
        Style::Terminal => Style::Plain,
        style => style,
    };
    let job = Job { arguments: &arguments, called, interrupt, style };
    let rank = Rank { job: &job, mpi };
    match rank.agreed(timeout).and_then(|()| rank.train()) {
        Ok(()) => end(Ok(())),
        Err(Quit { failure, tells: true }) => end(Err(failure)),
        Err(Quit { failure, tells: false }) => {
            record(&failure);
            failure.exit
        }
    }
}

/// Tells, before the process ends, that other ranks have been waited for in vain.
fn lost(problem: &str) {
    tell(&Failure::new(Kind::RankLost, problem));
}

/// The arguments, if every rank has some; else the lowest that has none says why, and all end.
fn understood(mpi: &Mpi, arguments: Result<Arguments, clap::Error>) -> Result<Arguments, u8> {
    let own = match &arguments {
        Ok(_) => String::new(),
        Err(error) => format!("{}{}", u8::from(error.use_stderr()), error.render()),
    };
    let all = all_gather_texts(mpi, &own);
    let Some(first) = all.iter().position(|text| !text.is_empty()) else {
        return arguments.map_err(|_| 2);
    };
    let (kind, text) = all[first].split_at(1);
    let tells = first == mpi.rank();
    if kind == "0" {
        if tells {
            say(text.trim_end());
        }
        return Err(0);
    }
    let failure = command_failure(text);
    record(&failure);
    if tells {
        note(text.trim_end());
        print_object(&failure);
    }
    Err(failure.exit)
}

/// The end of all ranks for a reason that they share.
struct Quit {
    failure: Failure,
    /// Whether this rank is the one that tells of it.
    tells: bool,
}

struct Rank<'a> {
    job: &'a Job<'a>,
    mpi: &'a Mpi,
}

/// Where a run is recorded; rank 0 knows.
enum Place {
    New(Destination),
    Begun(RunDirectory),
}

impl Rank<'_> {
    fn train(&self) -> Result<(), Quit> {
        self.check_requests()?;
        let (recipe, place) = match &self.job.arguments.resume {
            None => self.agreed(self.begin())?,
            Some(directory) => self.go_on(directory)?,
        };
        let threads = threads_per_rank(self.mpi);
        let open =
            || Ok((self.job.open(&recipe)?, self.job.arguments.threads.start_with(threads)?));
        let (mut data, workers) = self.agreed(open())?;
        if self.job.arguments.partitioned {
            self.agreed(join_partitions(self.mpi, &mut data).map_err(run))?;
        }
        let trainer = self.trainer(&recipe, place.as_ref(), &data, &workers);
        let mut trainer = self.agreed(trainer)?;
        if self.job.arguments.output.describe {
            if self.is_first() {
                say(&trainer.network().describe());
            }
            return Ok(());
        }
        self.agreed(trainer.join_ranks(self.mpi).map_err(run))?;
        self.mpi.note_step(trainer.progress().step);
        self.warn_of_idle_ranks(&trainer);
        let directory = self.directory(&recipe, place)?;
        self.run(&mut trainer, directory.as_ref())
    }

    fn is_first(&self) -> bool {
        self.mpi.rank() == 0
    }

    /// What this rank is asked for, as far as all must be asked for the same.
    fn request(&self) -> Result<String, Failure> {
        let arguments = self.job.arguments;
        let alone = [
            (arguments.sweep.is_some(), "--sweep"),
            (arguments.seeds.is_some(), "--seeds"),
            (arguments.output.find_lr.is_some(), "--find-lr"),
            (arguments.output.preview.is_some(), "--preview"),
        ];
        if let Some((_, flag)) = alone.iter().find(|(given, _)| *given) {
            let size = self.mpi.size();
            return Err(usage(format!("{flag}: expected one process, not {size} ranks")));
        }
        let mut request = match &arguments.resume {
            Some(directory) => {
                let settings = arguments.fields.settings()?;
                format!("--resume {} {settings:?}", directory.display())
            }
            None if arguments.output.describe => "--describe".to_owned(),
            None => "a new run".to_owned(),
        };
        if arguments.partitioned {
            request += ", --partitioned";
        }
        Ok(request)
    }

    /// Whether all ranks are asked for the same: they go the same way from here on.
    fn check_requests(&self) -> Result<(), Quit> {
        let all = all_gather_texts(self.mpi, &self.agreed(self.request())?);
        let differs = all.iter().position(|other| *other != all[0]);
        self.agreed(differs.map_or(Ok(()), |rank| {
            let (size, here, there) = (all.len(), &all[0], &all[rank]);
            Err(usage(format!(
                "the ranks do not do the same: rank {rank} of {size} is to do {there}, rank 0 {here}"
            )))
        }))
    }

    /// The recipe of a new run, and on rank 0 its place.
    fn begin(&self) -> Result<(Recipe, Option<Place>), Failure> {
        let recipe = self.job.recipe()?;
        let place = match self.is_first() {
            true => Some(Place::New(self.job.destination(&self.job.base_name(), Destination::at)?)),
            false => None,
        };
        Ok((recipe, place))
    }

    /// The recipe of a run that goes on, and its place: rank 0 reads both.
    fn go_on(&self, path: &Path) -> Result<(Recipe, Option<Place>), Quit> {
        let read = || {
            if !self.is_first() {
                return Ok(None);
            }
            let fields = &self.job.arguments.fields;
            let directory = RunDirectory::open(path).map_err(run)?;
            let name = directory.recipe().display().to_string();
            let recipe = directory
                .read_recipe(&fields.settings()?)
                .map_err(|error| recipe_failure(fields, &name, error))?;
            let recipe = self.job.own(recipe)?;
            Ok(Some((recipe, Place::Begun(directory))))
        };
        let (recipe, place) = self.agreed(read())?.unzip();
        let text = recipe.as_ref().map(Recipe::to_toml).unwrap_or_default();
        let text = broadcast_text(self.mpi, &text);
        let recipe = || match recipe {
            Some(recipe) => Ok(recipe),
            None => self.job.own(Recipe::parse("recipe of rank 0", &text, &[]).map_err(usage)?),
        };
        Ok((self.agreed(recipe())?, place))
    }

    /// The state that training begins with is that of rank 0: the others need no file of it.
    fn trainer<'d>(
        &self,
        recipe: &Recipe,
        place: Option<&Place>,
        data: &'d Dataset,
        workers: &'d Workers,
    ) -> Result<Trainer<'d>, Failure> {
        let name = self.job.recipe_name();
        match place {
            None if self.job.arguments.resume.is_some() => {
                Trainer::to_join(recipe, data, workers).map_err(run)
            }
            None => Trainer::to_join(recipe, data, workers)
                .map_err(|error| self.job.no_trainer(recipe, name, error)),
            Some(Place::New(_)) => self.job.trainer(recipe, name, data, workers),
            Some(Place::Begun(directory)) => self.job.restore(recipe, directory, data, workers),
        }
    }

    fn warn_of_idle_ranks(&self, trainer: &Trainer<'_>) {
        let (idle, size) = (trainer.idle_ranks(), self.mpi.size());
        if idle == 0 || !self.is_first() {
            return;
        }
        let (batch, shard) = (trainer.recipe().data.batch_size, trainer.recipe().shard());
        complain(
            "warning",
            &format!(
                "a batch of {batch} images, in shards of {shard}, is too small for {size} ranks: {idle} \
                 of them without work"
            ),
        );
    }

    /// Makes the run directory, on rank 0; all learn how to go on.
    fn directory(
        &self,
        recipe: &Recipe,
        place: Option<Place>,
    ) -> Result<Option<RunDirectory>, Quit> {
        let make = |place| match place {
            Place::New(destination) => destination.make(recipe).map_err(out_failure),
            Place::Begun(directory) => {
                directory.rewrite_recipe(recipe).map_err(run).map(|()| directory)
            }
        };
        let directory = self.agreed(place.map(make).transpose())?;
        let arguments = directory.as_ref().map(|directory| self.job.to_go_on(directory.path()));
        let arguments = broadcast_text(self.mpi, &arguments.unwrap_or_default());
        let train = self.job.called.words("train");
        self.mpi.note_advice(&format!("go on with: {train} {arguments}"));
        Ok(directory)
    }

    /// Trains, and on rank 0 records it.
    fn run(&self, trainer: &mut Trainer<'_>, directory: Option<&RunDirectory>) -> Result<(), Quit> {
        let ended = match directory {
            Some(directory) => self.job.run(trainer, directory).map(|outcome| outcome.stop),
            None => follow(trainer, self.job.interrupt.flag()),
        };
        let stop = match ended {
            Ok(stop) => stop,
            // All have it; rank 0 also says which checkpoint is good.
            Err(error) if error.is_common() => {
                return Err(Quit { failure: run(error), tells: self.is_first() });
            }
            Err(error) => self.fail(&error),
        };
        if stop != Stop::Interrupted {
            return Ok(());
        }
        // One of them may have had the signal alone.
        let signals = all_gather_texts(self.mpi, &self.job.interrupt.signal().to_string());
        let signal = signals.iter().filter_map(|signal| signal.parse().ok()).max().unwrap_or(0);
        let mut text = format!("interrupted after step {}", trainer.progress().step);
        if let Some(directory) = directory {
            let (train, arguments) =
                (self.job.called.words("train"), self.job.to_go_on(directory.path()));
            text += &format!("; go on with: {train} {arguments}");
        }
        let failure = Failure::interrupted(text, signal);
        Err(Quit { failure, tells: self.is_first() })
    }

    /// The end of the job for a reason of this rank alone: the others are waiting for it.
    fn fail(&self, error: &RunError) -> ! {
        let kind = error.kind();
        self.mpi.abort(&error.to_string(), |problem| tell(&Failure::new(kind, problem)))
    }

    /// What all ranks have, if all have it; else the lowest that has a problem tells it.
    fn agreed<T>(&self, result: Result<T, Failure>) -> Result<T, Quit> {
        let (rank, size) = (self.mpi.rank(), self.mpi.size());
        let text = |failure: &Failure| serde_json::to_string(failure).expect("plain values");
        let own = result.as_ref().err().map(text).unwrap_or_default();
        let all = all_gather_texts(self.mpi, &own);
        let Some(first) = all.iter().position(|text| !text.is_empty()) else {
            return result.map_err(|failure| Quit { failure, tells: true });
        };
        let mut failure: Failure = serde_json::from_str(&all[first]).unwrap_or_else(|_| {
            Failure::new(Kind::RanksDiffer, "it is another version of the program")
        });
        if all.iter().any(|text| *text != all[0]) {
            failure.message = format!("rank {first} of {size}: {}", failure.message);
        }
        Err(Quit { failure, tells: first == rank })
    }
}

/// Trains without a word.
fn follow(trainer: &mut Trainer<'_>, interrupt: &AtomicBool) -> Result<Stop, RunError> {
    let stop = trainer.run_observed(&mut |_: &Trainer<'_>, _: Event<'_>| {
        Ok(match interrupt.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    })?;
    Ok(stop)
}
