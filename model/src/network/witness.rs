//! What a network remembers of its training, to find that a loop of one's own leaves running statistics out.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether weights have moved while running statistics stayed where they began. Copies of a network share it; it
/// is no part of what a network is.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Hashes of weights that need no running statistics yet: those of initialisations, and the first that
    /// were trained.
    fresh: BTreeSet<u64>,
    trained: bool,
    moved: bool,
}

impl Witness {
    /// Takes note of initial weights, for any of which training may begin.
    pub(crate) fn note_initial(&self, weights: &[f32]) {
        let hash = hash(weights);
        self.seen().fresh.insert(hash);
    }

    /// Takes note of weights that are trained without running statistics so far: right in a first step, wrong
    /// where they are neither the first nor initial ones.
    pub(crate) fn note(&self, weights: &[f32]) {
        if self.seen().moved {
            return;
        }
        let hash = hash(weights);
        let mut seen = self.seen();
        if !seen.trained {
            seen.fresh.insert(hash);
        }
        seen.trained = true;
        seen.moved |= !seen.fresh.contains(&hash);
    }

    /// Whether weights were trained further without running statistics, and these may be such.
    pub(crate) fn doubts(&self, weights: &[f32]) -> bool {
        self.seen().moved && {
            let hash = hash(weights);
            !self.seen().fresh.contains(&hash)
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// FNV-1a over the bits of the values.
fn hash(values: &[f32]) -> u64 {
    let step =
        |hash: u64, value: &f32| (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3);
    values.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

impl PartialEq for Witness {
    fn eq(&self, _: &Witness) -> bool {
        true
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Witness {{ moved: {} }}", self.seen().moved)
    }
}
