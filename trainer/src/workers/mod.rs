//! Threads, and the tree in which they sum.
//!
//! All threads that compute a network are here. Work is cut into shards by the recipe, and the operations of a shard
//! into parts; which thread does what changes nothing, because each shard has room of its own, each part
//! outputs of its own, and results are joined by a tree over the numbers of the shards.

mod crew;
mod patience;
mod pool;
mod sync;
mod teams;
mod tree;

pub(crate) use tree::{Pending, middle, rooms};

use autograd::{OperationTime, Workspace};
use kernels::{Cores, Isa, UnknownIsa};
use model::is_large;
use pool::Pool;
use rayon::ThreadPoolBuildError;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use teams::{Deal, Everyone, run_queues};
use thiserror::Error;
use tree::Tree;

/// A pool of threads, and what they keep.
pub struct Workers {
    isa: Isa,
    pool: Pool,
    /// By queue: a thread that does a shard has the scratch of the shard's queue, as long as it leads it.
    scratches: Vec<Mutex<Scratch>>,
}

/// The buffers that a queue of shards keeps from one to the next, so that a steady-state step allocates
/// nothing. A queue has the same shards at every step, whichever thread does them.
#[derive(Default)]
pub struct Scratch {
    /// The workspace of its tapes.
    pub tape: Workspace,
    /// The labels of a shard.
    pub(crate) labels: Vec<u32>,
    /// The images of a shard before they are put on a tape, one after another.
    pub(crate) pixels: Vec<u8>,
    /// The same with others mixed into them, where batches are mixed.
    pub(crate) mixed: Vec<u8>,
    /// Their targets.
    pub(crate) targets: Vec<f32>,
    /// The logits of an image.
    pub(crate) row: Vec<f32>,
}

/// Why there are no workers.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkersError {
    /// `BOBBIN_ISA` names no SIMD path.
    #[error(transparent)]
    Isa(#[from] UnknownIsa),
    /// The system refused that many threads.
    #[error("cannot start {threads} threads: {error}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        error: ThreadPoolBuildError,
    },
}

impl Workers {
    /// A thread per processor on the widest SIMD path that it has and `BOBBIN_ISA` allows.
    pub fn from_env() -> Result<Workers, WorkersError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Workers::new(Isa::from_env()?, threads)
    }

    /// A pool of this many threads, at least one, that compute on this SIMD path. The first is whichever
    /// thread enters.
    pub fn new(isa: Isa, threads: usize) -> Result<Workers, WorkersError> {
        let threads = threads.max(1);
        let pool = Pool::new(threads).map_err(|error| WorkersError::Threads { threads, error })?;
        let scratches = (0..threads).map(|_| Mutex::default()).collect();
        Ok(Workers { isa, pool, scratches })
    }

    /// The SIMD path.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// How many shards of images of this shape (channels, rows, columns) should be under way at a time:
    /// one for each thread, but one alone where images are large, as their operations are long and their
    /// values fill the memory.
    pub(crate) fn shards_at_a_time(&self, shape: [usize; 3]) -> usize {
        self.queues_at_most(shape).min(self.threads())
    }

    /// The same on any number of threads.
    pub(crate) fn queues_at_most(&self, shape: [usize; 3]) -> usize {
        if is_large(shape) { 1 } else { usize::MAX }
    }

    /// The scratch of the first queue, while none is led.
    pub(crate) fn with_first<R>(&self, f: impl FnOnce(&mut Scratch) -> R) -> R {
        f(&mut lock(&self.scratches[0]))
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.scratches.len()
    }

    /// Runs `f` as one of the workers, which no other thread then is. A loop that runs here enters once
    /// and not at every step. Work that [`Workers::sum`] or [`Workers::pieces`] hands out must not call it.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.enter(f)
    }

    /// `f` with a team of all threads. Outside of [`Workers::run`] the calling thread does it alone.
    pub(crate) fn with_all<R>(&self, f: impl FnOnce(Cores<'_>) -> R) -> R {
        let everyone = Everyone { crew: &self.pool.shared.everyone, threads: self.threads() };
        match self.pool.is_inside() {
            true => f(Cores::new(self.isa, &everyone)),
            false => f(self.isa.into()),
        }
    }

    /// `part` with each number below `parts`, by all threads. Outside of [`Workers::run`] it enters.
    pub(crate) fn each(&self, parts: usize, part: &(impl Fn(usize) + Sync)) {
        match parts {
            0 | 1 => (0..parts).for_each(part),
            _ => self.run(|| self.pool.shared.everyone.run(parts, part)),
        }
    }

    /// From now on the tapes of every queue measure their operations.
    pub(crate) fn start_profile(&self) {
        self.scratches.iter().for_each(|scratch| lock(scratch).tape.start_profile());
    }

    /// What each queue measured; the end of measuring.
    pub(crate) fn finish_profile(&self) -> Vec<Vec<OperationTime>> {
        self.scratches.iter().map(|scratch| lock(scratch).tape.finish_profile()).collect()
    }

    /// `leaf` of every shard of a range, joined by a binary tree over their numbers: a range is split at
    /// the largest power of two below its length. Not to be called by a leaf or a join: it would wait for itself.
    ///
    /// # Panics
    /// If there is no shard.
    pub fn sum<T: Send>(
        &self,
        shards: Range<usize>,
        leaf: &(impl Fn(usize, &mut Scratch) -> T + Sync),
        join: &(impl Fn(T, T) -> T + Sync),
    ) -> T {
        assert!(!shards.is_empty(), "a tree has leaves");
        let mut sum = [None];
        let leaf = |i, scratch: &mut Scratch, _: Cores<'_>| leaf(i, scratch);
        let (join, mut pending) = (|_: Cores<'_>, a, b| join(a, b), Pending::default());
        self.sums(&[shards], &mut sum, (&mut pending, usize::MAX), &leaf, &join);
        sum[0].take().expect("the tree has a root")
    }

    /// [`Workers::sum`] of several ranges at once; each puts its sum into its place of `sums`. `pending` is
    /// where sums wait for the others of their join. Both functions have a team. At most so many `queues` of
    /// shards are under way at a time.
    ///
    /// # Panics
    /// If there are not as many places as ranges, or a range is empty.
    pub(crate) fn sums<T: Send>(
        &self,
        ranges: &[Range<usize>],
        sums: &mut [Option<T>],
        (pending, queues): (&mut Pending<T>, usize),
        leaf: &(impl Fn(usize, &mut Scratch, Cores<'_>) -> T + Sync),
        join: &(impl Fn(Cores<'_>, T, T) -> T + Sync),
    ) {
        assert_eq!(ranges.len(), sums.len(), "a place for each range");
        let tree = Tree::new(ranges, sums, pending);
        self.queues((tree.shards(), queues), &|shards, scratch, cores| {
            for number in shards {
                let (range, shard) = tree.shard(number);
                let value = leaf(shard, scratch, cores);
                tree.put(range, shard, value, &|a, b| join(cores, a, b));
            }
        });
    }

    /// `f` of every piece of a slice, with its number: each is `len` long, but the last may be
    /// shorter. A lone piece is done by the calling thread. `f` must not call it: it would wait for itself.
    pub fn pieces<T: Send>(
        &self,
        slice: &mut [T],
        len: usize,
        f: &(impl Fn(usize, &mut [T], &mut Scratch) + Sync),
    ) {
        self.pieces_by_teams(slice, len, &|i, piece, scratch, _| f(i, piece, scratch));
    }

    /// [`Workers::pieces`], each with a team; a lone piece has one only inside of [`Workers::run`].
    pub(crate) fn pieces_by_teams<T: Send>(
        &self,
        slice: &mut [T],
        len: usize,
        f: &(impl Fn(usize, &mut [T], &mut Scratch, Cores<'_>) + Sync),
    ) {
        if slice.is_empty() {
            return;
        }
        if slice.len() <= len {
            return self.with_all(|cores| f(0, slice, &mut lock(&self.scratches[0]), cores));
        }
        let count = slice.len().div_ceil(len);
        let pieces = Mutex::new(slice.chunks_mut(len).enumerate());
        self.queues((count, usize::MAX), &|jobs, scratch, cores| {
            // As many as the queue has, but whichever are next.
            for _ in jobs {
                let next = lock(&pieces).next();
                if let Some((i, piece)) = next {
                    f(i, piece, scratch, cores);
                }
            }
        });
    }

    /// `lead` of every queue of as many jobs, on at most so many queues, with the queue's scratch and team.
    fn queues(
        &self,
        (jobs, most): (usize, usize),
        lead: &(impl Fn(Range<usize>, &mut Scratch, Cores<'_>) + Sync),
    ) {
        let (deal, pool) = (Deal::new(jobs, self.threads(), most), &self.pool.shared);
        let lead = |queue: usize, cores: Cores<'_>| {
            lead(deal.of_queue(queue), &mut lock(&self.scratches[queue]), cores);
        };
        self.run(|| run_queues(self.isa, &pool.everyone, &pool.queues, deal, &lead));
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Workers");
        debug.field("isa", &self.isa).field("threads", &self.threads()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// A thread that panicked leaves nothing in a scratch that the next run would read.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_that_of_the_shards() {
        for threads in [1, 2, 5] {
            let workers = Workers::new(Isa::detect(), threads).unwrap();
            let tree = |shards| {
                workers.run(|| {
                    workers.sum(0..shards, &|i, _| i.to_string(), &|a, b| format!("({a} {b})"))
                })
            };
            for _ in 0..100 {
                assert_eq!(tree(1), "0");
                assert_eq!(tree(3), "((0 1) 2)");
                assert_eq!(tree(6), "(((0 1) (2 3)) (4 5))");
                assert_eq!(tree(8), "(((0 1) (2 3)) ((4 5) (6 7)))");
            }
        }
    }

    /// Several roots, as a rank has them.
    #[test]
    fn each_range_has_its_tree() {
        let workers = Workers::new(Isa::detect(), 3).unwrap();
        let (ranges, mut pending) = ([2..3, 3..7, 8..10], Pending::default());
        for _ in 0..100 {
            let mut sums = [const { None }; 3];
            let leaf = |i: usize, _: &mut Scratch, _: Cores<'_>| i.to_string();
            let join = |_: Cores<'_>, a: String, b: String| format!("({a} {b})");
            workers.sums(&ranges, &mut sums, (&mut pending, usize::MAX), &leaf, &join);
            assert_eq!(sums.map(Option::unwrap), ["2", "((3 4) (5 6))", "(8 9)"]);
        }
    }

    #[test]
    fn each_piece_is_done_once() {
        for threads in [1, 2, 7] {
            let workers = Workers::new(Isa::detect(), threads).unwrap();
            for len in [0, 1, 5, 6, 60] {
                let mut values = vec![0; len];
                workers.pieces(&mut values, 5, &|i, piece, _| {
                    piece.iter_mut().for_each(|value| *value += i + 1);
                });
                let expected: Vec<_> = (0..len).map(|i| i / 5 + 1).collect();
                assert_eq!(values, expected);
            }
        }
    }

    /// Threads of the user's that enter at the same time wait for each other.
    #[test]
    fn any_thread_may_enter() {
        let workers = Workers::new(Isa::detect(), 3).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let sum = workers.sum(0..9, &|i, _| i, &|a, b| a + b);
                        assert_eq!(sum, 36);
                    }
                });
            }
        });
    }
}
