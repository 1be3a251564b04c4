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
    /// Hashes of weights that initialisations have given.
    initial: BTreeSet<u64>,
    /// That of the first weights that were trained on.
    first: Option<u64>,
    moved: bool,
}

impl Seen {
    /// Whether weights of this hash need no running statistics yet.
    fn is_fresh(&self, hash: u64) -> bool {
        self.initial.contains(&hash) || self.first == Some(hash)
    }
}

impl Witness {
    /// Takes note of initial weights, for any of which training may begin.
    pub(crate) fn note_initial(&self, weights: &[f32]) {
        let hash = hash(weights);
        self.seen().initial.insert(hash);
    }

    /// Whether these weights were noted as initial.
    pub(crate) fn is_initial(&self, weights: &[f32]) -> bool {
        let hash = hash(weights);
        self.seen().initial.contains(&hash)
    }

    /// Takes note of weights that are trained without running statistics so far: right in a first step, wrong
    /// where they are neither the first nor initial ones.
    pub(crate) fn note(&self, weights: &[f32]) {
        if self.seen().moved {
            return;
        }
        let hash = hash(weights);
        let mut seen = self.seen();
        seen.first.get_or_insert(hash);
        seen.moved |= !seen.is_fresh(hash);
    }

    /// Whether weights were trained further without running statistics, and these may be such.
    pub(crate) fn doubts(&self, weights: &[f32]) -> bool {
        self.seen().moved && {
            let hash = hash(weights);
            !self.seen().is_fresh(hash)
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
