//! The critical path of a step: what it would take on more cores than there are.
//!
//! A team that is not there ([`Imagined`]) has as many members as wanted; the calling thread does its parts
//! one after another, and takes the time of each. An operation on such a team would take as long as its
//! longest part, and handing the parts out. So the parts are those that a team of that size would really
//! have, with what cutting them costs; what is left out is that cores share memory and caches.

use crate::workers::Workers;
use kernels::Team;
use std::fmt;
use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Numbers of cores to predict for.
const CORES: [usize; 6] = [2, 4, 8, 16, 32, 64];

/// More cores than most operations of a shard have parts.
const ANY: usize = 64;

/// What each further member of a team adds to handing out: its exchange of the ticket, by way of the last
/// to have made one.
const EXCHANGE: Duration = Duration::from_nanos(50);

/// How long two threads wait for each other.
const TOGETHER: Duration = Duration::from_micros(50);

/// How long to measure each size of teams, and how often at least.
const MEASURING: Duration = Duration::from_millis(300);
const RUNS: usize = 3;

/// A team of as many as are wanted.
pub(crate) struct Imagined {
    size: usize,
    sums: Mutex<Sums>,
}

/// Of all operations: their parts one after another, and the longest of each alone.
#[derive(Clone, Copy, Default)]
struct Sums {
    parts: Duration,
    longest: Duration,
    handed: usize,
}

impl Imagined {
    pub fn new(size: usize) -> Imagined {
        Imagined { size, sums: Mutex::default() }
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the team would take for what the calling thread does.
    pub fn time(&self, handing: Duration, work: impl FnOnce()) -> Duration {
        *self.sums() = Sums::default();
        let started = Instant::now();
        work();
        let all = started.elapsed();
        let Sums { parts, longest, handed } = *self.sums();
        all.saturating_sub(parts) + longest + handing * handed as u32
    }
}

// SAFETY: each number is called once, and all calls have returned at the end.
unsafe impl Team for Imagined {
    fn size(&self) -> usize {
        self.size
    }

    fn most(&self) -> usize {
        self.size
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        let mut longest = Duration::ZERO;
        let started = Instant::now();
        let mut last = started;
        for i in 0..parts {
            part(i);
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
        }
        let mut sums = self.sums();
        sums.parts += last - started;
        sums.longest += longest;
        sums.handed += 1;
    }
}

/// What handing the parts of an operation to a team of two costs: from the beginning until both know that
/// the other has begun, and the leader that the other has ended. Of many times one of the fast ones: where
/// the system has both threads on one processor for a while, nothing is handed out at all.
fn handing_out() -> Duration {
    const ROUNDS: usize = 20;
    let Ok(pair) = Workers::new(kernels::Isa::detect(), 2) else { return TOGETHER };
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        best = best.min(pair.run(|| fast_time(&pair)));
        if best < TOGETHER {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    best
}

/// The tenth of a hundred times of handing out, from the fastest on.
fn fast_time(pair: &Workers) -> Duration {
    let mut times = [Duration::ZERO; 100];
    for time in &mut times {
        let (started, begun) = (Instant::now(), AtomicUsize::new(0));
        pair.each(2, &|_| {
            begun.fetch_add(1, SeqCst);
            // On one processor the other may not come for long.
            while begun.load(SeqCst) < 2 && started.elapsed() < TOGETHER {
                hint::spin_loop();
            }
        });
        *time = started.elapsed();
    }
    times.sort_unstable();
    times[10]
}

/// A step by what it is made of.
pub(crate) struct Anatomy<'a> {
    pub shards: usize,
    /// How many shards may be under way at a time.
    pub queues: usize,
    /// The gradient of a shard by a team of this many, once.
    pub shard: &'a mut dyn FnMut(&Imagined),
    /// The sum of two gradients by such a team, once.
    pub join: &'a mut dyn FnMut(&Imagined),
    /// The optimiser's time on one core, and how many pieces it has.
    pub update: (Duration, usize),
}

/// The critical path of a step, and what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct CriticalPath {
    /// A step on one core.
    pub work: Duration,
    /// A step on as many cores as it can use: 64 to a shard.
    pub span: Duration,
    /// What handing parts to a second thread costs.
    pub handing: Duration,
    /// Cores, and how many times as fast as one they would be.
    pub speedups: Vec<(usize, f64)>,
}

impl CriticalPath {
    pub(crate) fn new(anatomy: Anatomy<'_>) -> CriticalPath {
        let handing = handing_out();
        let mut known: Vec<(usize, [Duration; 2])> = vec![];
        let mut step = |cores: usize| {
            let mut of_team = |size: usize| {
                if let Some((_, times)) = known.iter().find(|(known, _)| *known == size) {
                    return *times;
                }
                let handing = handing + EXCHANGE * size.saturating_sub(2) as u32;
                let shard = measured(size, handing, anatomy.shard);
                let times = [shard, measured(size, handing, anatomy.join)];
                known.push((size, times));
                times
            };
            step_time(cores, anatomy.shards, anatomy.queues, &mut of_team)
                + update_time(cores, anatomy.update, handing)
        };
        let work = step(1);
        let predicted = |cores| (cores, work.as_secs_f64() / step(cores).as_secs_f64());
        let speedups = CORES.map(predicted).to_vec();
        CriticalPath { work, span: step(ANY * anatomy.shards), handing, speedups }
    }
}

/// The best of a few runs, as of a machine that does nothing else.
fn measured(size: usize, handing: Duration, work: &mut dyn FnMut(&Imagined)) -> Duration {
    let team = Imagined::new(size);
    // The first makes room.
    let mut time = || team.time(handing, || work(&team));
    time();
    let started = Instant::now();
    let mut best = Duration::MAX;
    for run in 0.. {
        if run >= RUNS && started.elapsed() > MEASURING {
            break;
        }
        best = best.min(time());
    }
    best
}

/// Rounds of shards by a core each, then those that are left by teams; and their sums.
fn step_time(
    cores: usize,
    shards: usize,
    queues: usize,
    of_team: &mut dyn FnMut(usize) -> [Duration; 2],
) -> Duration {
    let queues = cores.min(queues).min(shards);
    let (rounds, left) = (shards / queues, shards % queues);
    let [shard, join] = of_team((cores / queues).min(ANY));
    let team = cores.checked_div(left);
    let last = team.map_or(Duration::ZERO, |size| of_team(size.min(ANY))[0]);
    let own = shards.div_ceil(queues) - 1;
    let across = queues.next_power_of_two().ilog2();
    shard * rounds as u32 + last + join * (own as u32 + across)
}

fn update_time(cores: usize, (time, pieces): (Duration, usize), handing: Duration) -> Duration {
    match cores {
        1 => time,
        _ => time * pieces.div_ceil(cores) as u32 / pieces.max(1) as u32 + handing,
    }
}

impl fmt::Display for CriticalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        writeln!(
            f,
            "critical path: a step is {:.1} µs of work, of which {:.1} µs follow each other on any number of \
             cores; handing out takes {:.2} µs",
            micros(self.work),
            micros(self.span),
            micros(self.handing)
        )?;
        let words = self.speedups.iter().map(|(cores, times)| format!("{cores}: {times:.2}"));
        writeln!(f, "predicted speed-up, by equal cores: {}", words.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(shards: usize, queues: usize) -> impl FnMut(usize) -> Duration {
        // A shard takes 1000 µs, of which 100 one after another; a join 16 µs.
        let mut of_team = |size: usize| {
            let micros = |all: u64, serial: u64| serial + (all - serial) / size as u64;
            [micros(1000, 100), micros(16, 0)].map(Duration::from_micros)
        };
        move |cores| step_time(cores, shards, queues, &mut of_team)
    }

    #[test]
    fn shards_come_in_rounds_and_then_by_teams() {
        let micros = |time: Duration| time.as_micros();
        let mut eight = path(8, usize::MAX);
        assert_eq!(micros(eight(1)), 8 * 1000 + 7 * 16);
        assert_eq!(micros(eight(2)), 4 * 1000 + 4 * 16);
        assert_eq!(micros(eight(16)), 550 + 3 * 8);
        // A round of two, then one by both.
        assert_eq!(micros(path(3, usize::MAX)(2)), 1000 + 550 + 2 * 16);
        // One at a time, by all.
        assert_eq!(micros(path(2, 1)(4)), 2 * 325 + 4);
    }

    #[test]
    fn a_team_takes_its_longest_part() {
        let team = Imagined::new(4);
        let wait = |micros: u64| {
            let started = Instant::now();
            while started.elapsed() < Duration::from_micros(micros) {}
        };
        let time = || {
            team.time(Duration::from_micros(7), || {
                wait(500);
                team.run(4, &|part| wait([300, 2000, 300, 300][part]));
            })
        };
        // Others may use the processor too: the least of some is what the parts take. The sum of all is 3,407.
        let micros = (0..30).map(|_| time().as_micros()).min().expect("thirty");
        assert!((2507..3300).contains(&micros), "{micros} µs");
    }
}
