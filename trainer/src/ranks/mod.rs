//! Several processes that train one network: the ranks.
//!
//! Each rank computes a partition of every batch, and all end the step with the same weights as one
//! process would: see `all_reduce.rs` for how. [`Communicator`] is the only seam to what connects them;
//! [`Local`] is one process, `Mpi` those that `mpirun` has started.

mod agree;
mod all_reduce;
mod join_data;
mod launch;
#[cfg(feature = "mpi")]
mod mpi;
mod partition;

pub(crate) use agree::{Identity, broadcast};
pub use agree::{all_gather_texts, broadcast_bytes, broadcast_text, threads_per_rank};
pub(crate) use all_reduce::Ranks;
pub use join_data::{PartitionError, join_partitions};
pub use launch::{Launch, launch};
#[cfg(feature = "mpi")]
pub use mpi::{Mpi, MpiError, end_with_launcher};
pub(crate) use partition::shards_of;

/// What connects the ranks of a job. Calls are collective: every rank makes the same ones in the same
/// order, from one thread at a time.
///
/// A call returns when its exchange is complete. Where it cannot be completed the job is over: the
/// communicator says so and ends the process, as other ranks may still write into the buffers.
pub trait Communicator: Send + Sync {
    /// The number of this rank, below [`Communicator::size`].
    fn rank(&self) -> usize;

    /// How many ranks there are, at least one.
    fn size(&self) -> usize;

    /// Every rank gives `own`, and has in `all` what each gave, in order of the ranks: `counts[r]`
    /// bytes of rank `r`.
    fn all_gather(&self, own: &[u8], counts: &[usize], all: &mut [u8]);

    /// Every rank gives each other a part of `own`, `sent[r]` bytes to rank `r`, one part after
    /// another; and has in `all` what each gave to it, `received[r]` bytes of rank `r`.
    fn all_to_all(&self, own: &[u8], sent: &[usize], all: &mut [u8], received: &[usize]);

    /// Bytes that a rank may give or have in one call, at most.
    fn largest(&self) -> usize {
        usize::MAX
    }

    /// Notes the step that is under way, from one, for the message of a wait in vain.
    fn note_step(&self, step: usize) {
        let _ = step;
    }

    /// Notes how to go on when the job has been ended, for the same message.
    fn note_advice(&self, advice: &str) {
        let _ = advice;
    }
}

/// The communicator of a job of one rank.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl Communicator for Local {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_gather(&self, own: &[u8], _counts: &[usize], all: &mut [u8]) {
        all.copy_from_slice(own);
    }

    fn all_to_all(&self, own: &[u8], _sent: &[usize], all: &mut [u8], _received: &[usize]) {
        all.copy_from_slice(own);
    }
}
