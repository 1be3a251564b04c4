//! Which weights a tape computes with.

use std::sync::atomic::{AtomicU64, Ordering};

/// Names the values of all parameters from one change to the next: no two are alike in a process.
///
/// A batch is many tapes on the same weights. Those that are told so by [`Tape::set_generation`](crate::Tape::set_generation)
/// keep the transformed weights in their workspace instead of computing them again for each tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

impl Generation {
    /// A new one, which equals none before it.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "no two are equal")]
    pub fn new() -> Generation {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Generation(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
