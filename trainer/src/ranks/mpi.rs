//! Ranks that MPI connects.
//!
//! Every exchange is a non-blocking collective that is asked for its end again and again, between naps
//! that leave the processor to whoever computes, and given up after a time: a rank that has died is
//! noticed by `mpirun`, one that is cut off from the network by nobody else.

use super::{Communicator, launch};
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::request::{Request, Scope};
use mpi::topology::{Communicator as _, SimpleCommunicator};
use mpi::traits::CommunicatorCollectives;
use mpi::{Count, Threading, request};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};
use std::env;
use std::fmt;
use std::mem::ManuallyDrop;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Where the bound of a wait is set, in seconds; that of rank 0 is everyone's.
const TIMEOUT: &str = "BOBBIN_TIMEOUT";
const TIMEOUT_BY_DEFAULT: Duration = Duration::from_secs(60);

/// The ranks that a launcher such as `mpirun` has started.
pub struct Mpi {
    place: Arc<Place>,
    timeout: Duration,
    lost: Lost,
    counts: Mutex<Counts>,
    /// Kept from being dropped: a process that panics must not wait for the others.
    universe: ManuallyDrop<Universe>,
}

/// Tells that other ranks have been waited for in vain, right before the process ends.
type Lost = fn(&str);

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { rank, size, .. } = &*self.place;
        f.debug_struct("Mpi").field("rank", rank).field("size", size).finish_non_exhaustive()
    }
}

/// Where a rank is: what it says when the job cannot go on.
#[derive(Default)]
struct Place {
    rank: usize,
    size: usize,
    step: AtomicUsize,
    /// How to go on when the job has been ended.
    advice: Mutex<String>,
    /// Whether nothing is left to say.
    is_over: AtomicBool,
}

/// Counts and displacements as MPI wants them, of what is sent and what is received; and when the last
/// exchange was over.
#[derive(Default)]
struct Counts {
    sent: [Vec<Count>; 2],
    received: [Vec<Count>; 2],
    last: Option<Instant>,
}

/// Why a process cannot be a rank.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MpiError {
    /// The bound of a wait is none.
    #[error("{TIMEOUT}: found {0:?}, expected seconds from 1 to 86400")]
    Timeout(String),
    /// The launcher belongs to another MPI library: each process would believe that it is the only one.
    #[error(
        "the launcher has started {launched} ranks, but this MPI library finds {found}: expected the \
             mpirun of the library that the program was built with"
    )]
    Launcher {
        /// By what the launcher says.
        launched: usize,
        /// By what MPI says.
        found: usize,
    },
    /// The library cannot be called from more than one thread.
    #[error("this MPI library does not support threads (MPI_THREAD_SERIALIZED)")]
    Threads,
}

impl Mpi {
    /// Joins the job. `interrupt` is what a signal sets: the launcher may end the job soon then, and it is
    /// said how to go on. `lost` is given the message when other ranks have been waited for in vain, right
    /// before the process ends with exit code 1. From now on the process ends with its parent.
    pub fn start(interrupt: Arc<AtomicBool>, lost: fn(&str)) -> Result<Mpi, MpiError> {
        end_with_launcher();
        let timeout = timeout().unwrap_or(TIMEOUT_BY_DEFAULT);
        let start = || mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) =
            bounded(timeout, "the start of MPI", lost, start).ok_or(MpiError::Threads)?;
        let universe = ManuallyDrop::new(universe);
        if threading < Threading::Serialized {
            return Err(MpiError::Threads);
        }
        let world = SimpleCommunicator::world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        let launched = launch().map_or(1, |launch| launch.ranks);
        if launched != size {
            return Err(MpiError::Launcher { launched, found: size });
        }
        let place = Arc::new(Place { rank, size, ..Place::default() });
        watch(Arc::clone(&place), interrupt);
        Ok(Mpi { place, timeout, lost, counts: Mutex::default(), universe })
    }

    /// Makes the bound of rank 0 everyone's. An error if this rank's is none; all ranks must call this,
    /// even so.
    pub fn share_timeout(&mut self) -> Result<(), MpiError> {
        let own = timeout();
        let mut all = vec![[0; 8]; self.size()];
        let seconds = own.as_ref().unwrap_or(&TIMEOUT_BY_DEFAULT).as_secs().to_le_bytes();
        self.all_gather(&seconds, &vec![8; self.size()], all.as_flattened_mut());
        self.timeout = Duration::from_secs(u64::from_le_bytes(all[0]));
        own.map(drop)
    }

    /// Ends the process as one of the job, when all ranks do.
    pub fn finish(self) {
        self.place.is_over.store(true, Relaxed);
        // The last of rank 0, such as the report, is done by it alone.
        let universe = ManuallyDrop::into_inner(self.universe);
        bounded(10 * self.timeout, "the end of the other ranks", self.lost, || drop(universe));
    }

    /// Waits until `done` says so, but not for ever. `own` is how long this rank has computed since the
    /// last exchange: others may need some times as much.
    fn wait(&self, own: Duration, mut done: impl FnMut() -> bool) {
        // As long as the first, one yields: ranks of about the same speed are soon there.
        const BRIEF: Duration = Duration::from_micros(200);
        const NAPS: [Duration; 2] = [Duration::from_micros(50), Duration::from_millis(5)];
        // What takes longer than a nap was no waiting: the whole job stood still, as after Ctrl-Z.
        const LONGEST: Duration = Duration::from_millis(100);
        let bound = self.timeout + 4 * own;
        let (mut waited, mut last) = (Duration::ZERO, Instant::now());
        while !done() {
            let now = Instant::now();
            waited += now.duration_since(last).min(LONGEST);
            last = now;
            if waited < BRIEF {
                thread::yield_now();
                continue;
            }
            // Naps grow with the wait, so that none of them adds more than a twentieth to it.
            thread::sleep((waited / 20).clamp(NAPS[0], NAPS[1]));
            if waited > bound {
                self.give_up(waited);
            }
        }
    }

    fn give_up(&self, waited: Duration) -> ! {
        let seconds = waited.as_secs();
        let problem = format!(
            "waited {seconds} s for the other ranks: one is dead, cut off, or slower than {TIMEOUT} says"
        );
        self.abort(&problem, self.lost)
    }

    /// Ends the job, with exit code 1, because this rank cannot go on: `tell` is given the problem with
    /// the rank, the step and how to go on.
    pub fn abort(&self, problem: &str, tell: impl FnOnce(&str)) -> ! {
        self.place.is_over.store(true, Relaxed);
        end_within(Duration::from_secs(3));
        tell(&self.place.found(problem));
        SimpleCommunicator::world().abort(1)
    }
}

impl Place {
    /// What this rank has to say, when, and how to go on.
    fn found(&self, text: &str) -> String {
        let step = self.step.load(Relaxed);
        let when = match step {
            0 => "before the first step".to_owned(),
            step => format!("at step {step}"),
        };
        let advice = self.advice.lock().unwrap_or_else(PoisonError::into_inner);
        // The first checkpoint is written before the first step.
        let advice = match step > 0 && !advice.is_empty() {
            true => format!("; {advice}"),
            false => String::new(),
        };
        format!("rank {} of {}, {when}: {text}{advice}", self.rank, self.size)
    }
}

/// Says how to go on when a signal has come and the job is not over soon: the launcher is about to end
/// it. Rank 0 says so; rank 1, in case that one is dead. By a thread, as a step may take longer than the
/// launcher waits.
fn watch(place: Arc<Place>, interrupt: Arc<AtomicBool>) {
    const OFTEN: Duration = Duration::from_millis(50);
    const GRACE: Duration = Duration::from_millis(250);
    if place.rank > 1 {
        return;
    }
    thread::spawn(move || {
        while !interrupt.load(Relaxed) {
            thread::sleep(OFTEN);
        }
        thread::sleep(GRACE * (1 + place.rank as u32));
        if !place.is_over.load(Relaxed) {
            eprintln!("{}", place.found("asked to end, but not there yet"));
        }
    });
}

/// From now on the process ends with its parent: without this, ranks would outlive a launcher that is
/// killed.
pub fn end_with_launcher() {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.place.rank
    }

    fn size(&self) -> usize {
        self.place.size
    }

    fn largest(&self) -> usize {
        Count::MAX as usize
    }

    fn all_gather(&self, own: &[u8], counts: &[usize], all: &mut [u8]) {
        let mut state = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { received, last, .. } = &mut *state;
        set(received, counts);
        let [counts, starts] = received.each_ref().map(Vec::as_slice);
        let (own, mut nothing) = (placed(own), [0]);
        let mut all = PartitionMut::new(placed_mut(all, &mut nothing), counts, starts);
        request::scope(|scope| {
            let world = SimpleCommunicator::world();
            let request = world.immediate_all_gather_varcount_into(scope, own, &mut all);
            self.complete(request, last);
        });
    }

    fn all_to_all(&self, own: &[u8], sent: &[usize], all: &mut [u8], received: &[usize]) {
        let mut state = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { sent: to, received: from, last } = &mut *state;
        set(to, sent);
        set(from, received);
        let [counts, starts] = to.each_ref().map(Vec::as_slice);
        let own = Partition::new(placed(own), counts, starts);
        let [counts, starts] = from.each_ref().map(Vec::as_slice);
        let mut nothing = [0];
        let mut all = PartitionMut::new(placed_mut(all, &mut nothing), counts, starts);
        request::scope(|scope| {
            let world = SimpleCommunicator::world();
            let request = world.immediate_all_to_all_varcount_into(scope, &own, &mut all);
            self.complete(request, last);
        });
    }

    fn note_step(&self, step: usize) {
        self.place.step.store(step, Relaxed);
    }

    fn note_advice(&self, advice: &str) {
        advice.clone_into(&mut self.place.advice.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Mpi {
    fn complete<'a, D: ?Sized, S: Scope<'a>>(
        &self,
        request: Request<'a, D, S>,
        last: &mut Option<Instant>,
    ) {
        let own = last.map_or(Duration::ZERO, |last| last.elapsed());
        let mut open = Some(request);
        self.wait(own, || {
            open = open.take().and_then(|request| request.test().err());
            open.is_none()
        });
        *last = Some(Instant::now());
    }
}

/// Counts, and where each begins.
fn set([counts, starts]: &mut [Vec<Count>; 2], bytes: &[usize]) {
    counts.clear();
    starts.clear();
    let mut start = 0;
    for &bytes in bytes {
        let as_count = |bytes| Count::try_from(bytes).expect("at most `Communicator::largest`");
        counts.push(as_count(bytes));
        starts.push(as_count(start));
        start += bytes;
    }
}

/// The slice; an empty one at the address of something. That of Rust's empty slices is 1, which Open MPI
/// takes for `MPI_IN_PLACE`.
fn placed(slice: &[u8]) -> &[u8] {
    static NOTHING: [u8; 1] = [0];
    if slice.is_empty() { &NOTHING[..0] } else { slice }
}

/// [`placed`], of what is written.
fn placed_mut<'s>(slice: &'s mut [u8], nothing: &'s mut [u8; 1]) -> &'s mut [u8] {
    if slice.is_empty() { &mut nothing[..0] } else { slice }
}

/// Does what may wait for other processes in its own way, and ends the process if that takes too long.
fn bounded<T>(bound: Duration, what: &'static str, lost: Lost, f: impl FnOnce() -> T) -> T {
    let (done, end) = channel::<()>();
    thread::spawn(move || {
        if end.recv_timeout(bound) == Err(RecvTimeoutError::Timeout) {
            end_within(Duration::from_secs(3));
            let seconds = bound.as_secs();
            lost(&format!("waited {seconds} s for {what}: a process is dead or cut off"));
            process::exit(1);
        }
    });
    let result = f();
    drop(done);
    result
}

/// Ends the process even if its orderly end waits for others.
fn end_within(time: Duration) {
    thread::spawn(move || {
        thread::sleep(time);
        let _ = kill_process(getpid(), Signal::KILL);
    });
}

fn timeout() -> Result<Duration, MpiError> {
    let Some(text) = env::var_os(TIMEOUT) else { return Ok(TIMEOUT_BY_DEFAULT) };
    let text = text.to_string_lossy().into_owned();
    match text.parse() {
        Ok(seconds @ 1..=86400) => Ok(Duration::from_secs(seconds)),
        _ => Err(MpiError::Timeout(text)),
    }
}
