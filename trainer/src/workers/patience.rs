//! How long to wait awake.

use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

/// So long the next job is likely to come at once: asking again costs the least.
const AWAKE: Duration = Duration::from_micros(20);

/// After this, a sleep costs less than what it saves: waking takes about as long.
const YIELDING: Duration = Duration::from_micros(100);

/// How often to ask again without a pause.
const AT_ONCE: u32 = 200;

/// How often to ask again before the clock is read.
const ROUNDS: u32 = 16;

/// The wait for another thread: awake, then giving the processor to whoever wants it, then no more.
pub(super) struct Patience {
    since: Option<Instant>,
    rounds: u32,
    /// Whether threads have a processor each, so that being awake takes nothing from others.
    eager: bool,
}

impl Patience {
    pub fn new(eager: bool) -> Patience {
        Patience { since: None, rounds: 0, eager }
    }

    /// Waits for a moment; false where waiting awake has lasted long enough.
    #[inline]
    pub fn wait(&mut self) -> bool {
        // Whoever waits for a part may do so for ever; after 2³² rounds it is the first again.
        self.rounds = self.rounds.wrapping_add(1);
        if self.eager && !self.rounds.is_multiple_of(ROUNDS) {
            // The pause leaves the core to its other hardware thread, but may last longer than the wait would:
            // so only after some rounds without.
            if self.rounds > AT_ONCE {
                spin_loop();
            }
            return true;
        }
        let now = Instant::now();
        let waited = now - *self.since.get_or_insert(now);
        if self.eager && waited < AWAKE {
            spin_loop();
        } else {
            thread::yield_now();
        }
        waited < YIELDING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds may be counted to the end: what has waited long goes on giving the processor away.
    #[test]
    fn rounds_begin_anew() {
        let since = Instant::now().checked_sub(2 * YIELDING);
        let mut patience = Patience { since, rounds: u32::MAX - 1, eager: true };
        let asked = (0..2 * ROUNDS).filter(|_| patience.wait()).count() as u32;
        assert_eq!(asked, 2 * ROUNDS - 2, "every sixteenth is the end of waiting");
    }
}
