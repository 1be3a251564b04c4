//! Which weights a tape computes with.

use std::sync::atomic::{AtomicU64, Ordering};

/// Names the values of all parameters from one change to the next: no two are alike in a process.
///
/// A batch is many tapes on the same weights. Those that are told so by [`Tape::set_generation`](crate::Tape::set_generation)
/// keep in their workspace what they made of the weights, where they would make it again for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

impl Generation {
    /// Another than all before.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Generation {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Generation(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
