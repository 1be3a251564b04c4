//! Threads, and the tree in which they sum.
//!
//! All threads of Bobbin are here. Work is cut into shards by the recipe; which thread does a shard
//! changes nothing, because each has room of its own and results are joined by a tree over the
//! numbers of the shards.

use autograd::{Memory, OperationTime};
use kernels::{Isa, UnknownIsa};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};
use thiserror::Error;

/// A pool of threads, each with the memory of its tape.
pub struct Workers {
    isa: Isa,
    pool: ThreadPool,
    memories: Vec<Mutex<Memory>>,
}

/// Why there are no workers.
#[derive(Debug, Error)]
pub enum WorkersError {
    /// `BOBBIN_ISA` names no SIMD path.
    #[error(transparent)]
    Isa(#[from] UnknownIsa),
    /// The system does not give as many threads.
    #[error("cannot start {threads} threads: {error}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        error: String,
    },
}

impl Workers {
    /// A thread per processor on the widest SIMD path that it has and `BOBBIN_ISA` allows.
    pub fn from_env() -> Result<Workers, WorkersError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Workers::new(Isa::from_env()?, threads)
    }

    /// A pool of this many threads, at least one, that compute on this SIMD path.
    pub fn new(isa: Isa, threads: usize) -> Result<Workers, WorkersError> {
        let name = |i| format!("worker-{i}");
        let pool = ThreadPoolBuilder::new().num_threads(threads.max(1)).thread_name(name).build();
        let pool =
            pool.map_err(|error| WorkersError::Threads { threads, error: error.to_string() })?;
        let memories = (0..pool.current_num_threads()).map(|_| Mutex::default()).collect();
        Ok(Workers { isa, pool, memories })
    }

    /// The SIMD path.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.memories.len()
    }

    /// Runs `f` as one of the workers. A loop that runs here hands shards to the others without
    /// passing through a queue.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// From now on the tapes of every thread measure their operations.
    pub(crate) fn start_profile(&self) {
        self.memories.iter().for_each(|memory| lock(memory).start_profile());
    }

    /// What each thread measured; the end of measuring.
    pub(crate) fn finish_profile(&self) -> Vec<Vec<OperationTime>> {
        self.memories.iter().map(|memory| lock(memory).finish_profile()).collect()
    }

    /// `leaf` of every shard of a range, joined by a binary tree over their numbers: a range is split at
    /// the largest power of two below its length.
    ///
    /// # Panics
    /// If there is no shard.
    pub fn sum<T: Send>(
        &self,
        shards: Range<usize>,
        leaf: &(impl Fn(usize, &mut Memory) -> T + Sync),
        join: &(impl Fn(T, T) -> T + Sync),
    ) -> T {
        assert!(!shards.is_empty(), "a tree has leaves");
        // Outside of the pool, threads of another would take shards: this goes in, if need be.
        self.run(|| self.subtree(shards, leaf, join))
    }

    /// [`Workers::sum`] of several ranges at once; each puts its sum into its place of `sums`.
    ///
    /// # Panics
    /// If there are not as many places as ranges, or a range is empty.
    pub(crate) fn sums<T: Send>(
        &self,
        ranges: &[Range<usize>],
        sums: &mut [Option<T>],
        leaf: &(impl Fn(usize, &mut Memory) -> T + Sync),
        join: &(impl Fn(T, T) -> T + Sync),
    ) {
        assert_eq!(ranges.len(), sums.len(), "a place for each range");
        match ranges {
            [] => {}
            [range] => sums[0] = Some(self.sum(range.clone(), leaf, join)),
            _ => self.run(|| {
                let half = ranges.len() / 2;
                let (left, right) = sums.split_at_mut(half);
                rayon::join(
                    || self.sums(&ranges[..half], left, leaf, join),
                    || self.sums(&ranges[half..], right, leaf, join),
                );
            }),
        }
    }

    /// `f` of every piece of a slice, with its number: each is `len` long, but the last may be
    /// shorter. A lone piece is done by the calling thread.
    pub fn pieces<T: Send>(
        &self,
        slice: &mut [T],
        len: usize,
        f: &(impl Fn(usize, &mut [T], &mut Memory) + Sync),
    ) {
        if slice.len() <= len {
            self.subpieces(0, slice, len, f);
        } else {
            self.run(|| self.subpieces(0, slice, len, f));
        }
    }

    fn subpieces<T: Send>(
        &self,
        first: usize,
        slice: &mut [T],
        len: usize,
        f: &(impl Fn(usize, &mut [T], &mut Memory) + Sync),
    ) {
        if slice.len() <= len {
            if !slice.is_empty() {
                f(first, slice, &mut self.memory());
            }
            return;
        }
        let half = slice.len().div_ceil(len) / 2;
        let (left, right) = slice.split_at_mut(half * len);
        rayon::join(
            || self.subpieces(first, left, len, f),
            || self.subpieces(first + half, right, len, f),
        );
    }

    /// The memory of the calling thread, or of the first worker if it is none of them. A leaf never
    /// waits for other work, so it is free soon.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        let worker = self.pool.current_thread_index().unwrap_or(0);
        lock(&self.memories[worker])
    }

    fn subtree<T: Send>(
        &self,
        shards: Range<usize>,
        leaf: &(impl Fn(usize, &mut Memory) -> T + Sync),
        join: &(impl Fn(T, T) -> T + Sync),
    ) -> T {
        if shards.len() == 1 {
            return leaf(shards.start, &mut self.memory());
        }
        let middle = middle(&shards);
        let (left, right) = rayon::join(
            || self.subtree(shards.start..middle, leaf, join),
            || self.subtree(middle..shards.end, leaf, join),
        );
        join(left, right)
    }
}

/// Where the tree splits a range of two shards or more: at the largest power of two below its length.
pub(crate) fn middle(shards: &Range<usize>) -> usize {
    shards.start + shards.len().next_power_of_two() / 2
}

/// A thread that panicked leaves nothing in its memory that the next run would read.
fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(|error| error.into_inner())
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
            assert_eq!(tree(1), "0");
            assert_eq!(tree(3), "((0 1) 2)");
            assert_eq!(tree(6), "(((0 1) (2 3)) (4 5))");
            assert_eq!(tree(8), "(((0 1) (2 3)) ((4 5) (6 7)))");
        }
    }
}
