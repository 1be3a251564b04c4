//! A crew: a leader hands out the parts of a job, and helpers take them.
//!
//! Jobs follow each other by microseconds, so helpers wait awake for the next one, for a bounded time;
//! then they sleep. Nobody is given a part: who is there takes the next one, the leader too, so a
//! helper that the system does not run delays nothing but the part that it has.
//!
//! ```text
//! ticket   number of the job, 40 bits | first part that nobody has taken, 12 bits | end of those, 12 bits
//! ```
//! The leader takes the first, helpers the last: so a thread tends to have the same share of one job after
//! another, whose data are in its caches. Taking a part is one exchange of the ticket against one with a part
//! less. It succeeds only while the job of that number has a part left, and then the leader is still waiting
//! for it: so the job, which lies on the leader's stack, is there. After 2⁴⁰ jobs their numbers begin anew.

use super::patience::Patience;
use super::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard};
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// What one thread writes and others wait for, on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Lines<T>(T);

/// What a leader publishes.
#[derive(Default)]
struct Post {
    ticket: AtomicU64,
    job: AtomicPtr<()>,
}

/// A crew: see the module.
#[derive(Default)]
pub(super) struct Crew {
    /// Whether threads have a processor each.
    eager: bool,
    post: Lines<Post>,
    /// Parts of the job that are not done.
    open: Lines<AtomicUsize>,
    /// Whether a leader has a job.
    busy: AtomicBool,
    /// Those inside [`Crew::help`].
    helpers: AtomicUsize,
    /// Helpers that sleep, or are about to.
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    bell: Condvar,
}

/// What a job is while it is done.
struct Job<'a> {
    part: &'a (dyn Fn(usize) + Sync),
    /// What a helper's part panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Bits of a number of a part.
const BITS: u32 = 12;

/// The most parts that a ticket counts.
const MOST: usize = (1 << BITS) - 1;

/// The number of a ticket's job.
fn number(ticket: u64) -> u64 {
    ticket >> (2 * BITS)
}

/// The parts that nobody has taken.
fn left(ticket: u64) -> Range<usize> {
    let field = |shift: u32| (ticket >> shift) as usize & MOST;
    field(BITS)..field(0)
}

impl Crew {
    /// A crew of threads that have a processor each, or (not `eager`) share some.
    pub fn new(eager: bool) -> Crew {
        Crew { eager, ..Crew::default() }
    }

    /// Those who wait for jobs.
    pub fn helpers(&self) -> usize {
        self.helpers.load(Relaxed)
    }

    /// Calls `part` with each number below `parts` once, on this thread and those of the helpers; returns
    /// when all calls have. Where the crew has a leader already, this thread does all of it.
    ///
    /// # Panics
    /// If a part does.
    pub fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        for first in (0..parts).step_by(MOST) {
            let (parts, part) = (MOST.min(parts - first), |i| part(first + i));
            if parts == 1 || !self.try_run(parts, &part) {
                (0..parts).for_each(part);
            }
        }
    }

    /// [`Crew::run`] of at least one part and at most [`MOST`], unless this thread would have to do all of it:
    /// then nothing is done, and the answer is false.
    pub fn try_run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) -> bool {
        assert!((1..=MOST).contains(&parts), "{parts} parts, of the {MOST} that a ticket counts");
        if self.helpers() == 0 || self.busy.swap(true, Acquire) {
            return false;
        }
        let job = Job { part, panic: Mutex::default() };
        self.open.0.store(parts, Relaxed);
        self.post.0.job.store((&raw const job).cast_mut().cast(), Relaxed);
        let last = number(self.post.0.ticket.load(Relaxed));
        let ticket = (last + 1) << (2 * BITS) | 1 << BITS | parts as u64;
        // From here on helpers may read `job`: whatever panics, they are awaited first.
        let end = End(self);
        // The first part is the leader's, as if taken already.
        let mut next = Some((0, Done(&self.open.0)));
        // Sequentially consistent, as is the look at who sleeps: see `sleep`.
        self.post.0.ticket.store(ticket, SeqCst);
        self.wake();
        while let Some((own, done)) = next {
            part(own);
            drop(done);
            next = self.take(number(ticket));
        }
        drop(end);
        if let Some(panic) = lock(&job.panic).take() {
            resume_unwind(panic);
        }
        true
    }

    /// Takes the first part that nobody has, while this is the number of the job. The part counts as done, also
    /// where it panics, when what comes with it is dropped.
    fn take(&self, of: u64) -> Option<(usize, Done<'_>)> {
        let mut ticket = self.post.0.ticket.load(Acquire);
        while number(ticket) == of && !left(ticket).is_empty() {
            let taken = ticket + (1 << BITS);
            match self.post.0.ticket.compare_exchange_weak(ticket, taken, Acquire, Acquire) {
                Ok(_) => return Some((left(ticket).start, Done(&self.open.0))),
                Err(now) => ticket = now,
            }
        }
        None
    }

    /// Does a part of a job, if one is left.
    fn do_part(&self) -> bool {
        let ticket = self.post.0.ticket.load(Acquire);
        if left(ticket).is_empty() {
            return false;
        }
        let job = self.post.0.job.load(Relaxed);
        if self.post.0.ticket.compare_exchange(ticket, ticket - 1, Acquire, Relaxed).is_err() {
            return true;
        }
        // SAFETY: the exchange took a part of the ticket's job, whose leader therefore waits in `run`, where
        // the job is, until `open` is zero, which it is not before this part is done. `job` is that job: the
        // ticket was read with `Acquire` after the leader had stored it, and the next leader stores another
        // only after this one has returned.
        let job = unsafe { &*job.cast::<Job<'_>>() };
        let done = Done(&self.open.0);
        let part = left(ticket).end - 1;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (job.part)(part))) {
            lock(&job.panic).get_or_insert(panic);
        }
        drop(done);
        true
    }

    /// Does parts of jobs until `over`; whoever makes it so calls [`Crew::wake`].
    pub fn help(&self, over: &dyn Fn() -> bool) {
        self.helpers.fetch_add(1, Relaxed);
        self.help_counted(over);
    }

    /// The same, where there are fewer helpers than `most`; otherwise returns false at once.
    pub fn help_if_below(&self, most: usize, over: &dyn Fn() -> bool) -> bool {
        let joined =
            self.helpers.fetch_update(Relaxed, Relaxed, |n| (n < most).then_some(n + 1)).is_ok();
        if joined {
            self.help_counted(over);
        }
        joined
    }

    fn help_counted(&self, over: &dyn Fn() -> bool) {
        let mut patience = self.patience();
        loop {
            if self.do_part() {
                patience = self.patience();
            } else if over() {
                break;
            } else if !patience.wait() {
                self.sleep(over);
                patience = self.patience();
            }
        }
        self.helpers.fetch_sub(1, Relaxed);
    }

    /// The patience of its threads.
    pub fn patience(&self) -> Patience {
        Patience::new(self.eager)
    }

    /// Sleeps until [`Crew::wake`], unless there is something to do. A leader publishes its job, then
    /// looks for sleepers; who goes to sleep counts itself, then looks for a job: one of them sees the
    /// other.
    fn sleep(&self, over: &dyn Fn() -> bool) {
        self.sleepers.fetch_add(1, SeqCst);
        let bed = lock(&self.bed);
        if left(self.post.0.ticket.load(SeqCst)).is_empty() && !over() {
            drop(self.bell.wait(bed).unwrap_or_else(PoisonError::into_inner));
        }
        self.sleepers.fetch_sub(1, Relaxed);
    }

    /// Wakes those who sleep.
    pub fn wake(&self) {
        if self.sleepers.load(SeqCst) > 0 {
            drop(lock(&self.bed));
            self.bell.notify_all();
        }
    }
}

/// The end of a job: what nobody has taken is taken back, and what is under way awaited.
struct End<'a>(&'a Crew);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let crew = self.0;
        let number = number(crew.post.0.ticket.load(Relaxed));
        // Only after a panic is there something left.
        while crew.take(number).is_some() {}
        let mut patience = crew.patience();
        while crew.open.0.load(Acquire) > 0 {
            patience.wait();
        }
        crew.busy.store(false, Release);
    }
}

/// A part that somebody has.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Release);
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    /// A leader and helpers, more than there are processors, that fall asleep now and then: every part of
    /// every job is done once, and its leader sees what it has written.
    #[test]
    fn every_part_is_done_once() {
        for eager in [true, false] {
            let (crew, over) = (Crew::new(eager), AtomicBool::new(false));
            thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| crew.help(&|| over.load(SeqCst)));
                }
                for job in 0..10_000 {
                    run_once(&crew, job % 9);
                    if job % 1000 == 0 {
                        thread::sleep(std::time::Duration::from_millis(2));
                    }
                }
                over.store(true, SeqCst);
                crew.wake();
            });
            assert_eq!(crew.helpers(), 0);
        }
    }

    /// The numbers of jobs begin anew. Nobody helps, though somebody is counted: all parts are the leader's.
    #[test]
    fn job_numbers_begin_anew() {
        let crew = Crew::new(true);
        crew.helpers.store(1, Relaxed);
        crew.post.0.ticket.store((u64::MAX >> (2 * BITS) << (2 * BITS)) - 1, Relaxed);
        for job in 0..3 {
            run_once(&crew, 5);
            assert_eq!(number(crew.post.0.ticket.load(Relaxed)), [(1 << 40) - 1, 0, 1][job]);
        }
    }

    /// A job of at most nine parts, each of which must be done once.
    fn run_once(crew: &Crew, parts: usize) {
        let done: [AtomicU32; 9] = Default::default();
        crew.run(parts, &|part| {
            done[part].fetch_add(1, Relaxed);
        });
        for (part, done) in done.iter().enumerate() {
            assert_eq!(done.load(Relaxed), u32::from(part < parts), "part {part} of {parts}");
        }
    }

    /// A panic reaches the leader, after the other parts; the crew goes on.
    #[test]
    fn panics_reach_the_leader() {
        let (crew, over) = (Crew::new(true), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| crew.help(&|| over.load(SeqCst)));
            while crew.helpers() == 0 {
                thread::yield_now();
            }
            for bad in 0..4 {
                let job = || crew.run(4, &|part| assert_ne!(part, bad, "this one"));
                assert!(catch_unwind(AssertUnwindSafe(job)).is_err());
                let sum = AtomicUsize::new(0);
                crew.run(4, &|part| {
                    sum.fetch_add(part, Relaxed);
                });
                assert_eq!(sum.load(Relaxed), 6);
            }
            over.store(true, SeqCst);
            crew.wake();
        });
    }

    /// A part that leads a job of the same crew does it alone.
    #[test]
    fn a_job_inside_a_job_is_done_by_its_thread() {
        let (crew, over) = (Crew::new(true), AtomicBool::new(false));
        let count = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| crew.help(&|| over.load(SeqCst)));
            let inner = |_| {
                count.fetch_add(1, Relaxed);
            };
            crew.run(3, &|_| crew.run(5, &inner));
            over.store(true, SeqCst);
            crew.wake();
        });
        assert_eq!(count.load(Relaxed), 15);
    }
}
