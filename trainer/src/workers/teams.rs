//! The threads of a pool in teams: queues of work, each led by one thread, and who helps whom.
//!
//! Work is a row of jobs (shards, say). They are dealt to *queues*, as many as there are threads, or jobs if
//! those are fewer; one thread leads a queue through its jobs, one after another. A thread that leads none,
//! or has led its own to the end, helps another queue with the parts of its operations. A leader that waits
//! for a part does nothing else meanwhile, so memory that a job needs belongs to its queue.

use super::crew::Crew;
use super::patience::Patience;
use kernels::{Cores, Isa, Team};
use std::ops::Range;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::SeqCst;

/// A queue while its jobs are done.
pub(super) struct Queue {
    crew: Crew,
    /// [`WAITING`] for its leader, [`BEGUN`] or [`OVER`].
    state: AtomicU8,
}

impl Queue {
    /// A queue of threads that have a processor each, or (not `eager`) share some.
    pub fn new(eager: bool) -> Queue {
        Queue { crew: Crew::new(eager), state: AtomicU8::new(WAITING) }
    }
}

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const OVER: u8 = 2;

/// How jobs are dealt to queues: level, each queue's one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deal {
    pub jobs: usize,
    pub queues: usize,
    pub threads: usize,
}

impl Deal {
    /// On at most so many queues.
    pub fn new(jobs: usize, threads: usize, queues: usize) -> Deal {
        Deal { jobs, queues: jobs.min(threads).min(queues.max(1)), threads }
    }

    /// The jobs of a queue.
    pub fn of_queue(&self, queue: usize) -> Range<usize> {
        self.jobs * queue / self.queues..self.jobs * (queue + 1) / self.queues
    }

    /// The most threads that may work on a queue at a time: its share of those that there are when it ends,
    /// and one that has come early. It decides how much room a queue has.
    pub fn most(&self, queue: usize) -> usize {
        let (jobs, longest) = (self.of_queue(queue).len(), self.jobs.div_ceil(self.queues));
        let last = match self.jobs % self.queues {
            0 => self.queues,
            longer => longer,
        };
        let among = if jobs == longest { last } else { self.queues };
        self.threads.div_ceil(among).max(2).min(self.threads)
    }
}

/// The team of a queue.
struct QueueTeam<'a> {
    crew: &'a Crew,
    most: usize,
}

// SAFETY: `Crew::run` calls with each number once, and returns when all calls have.
unsafe impl Team for QueueTeam<'_> {
    fn size(&self) -> usize {
        (1 + self.crew.helpers()).min(self.most)
    }

    fn most(&self) -> usize {
        self.most
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        self.crew.run(parts, part);
    }
}

/// The team of all threads.
pub(super) struct Everyone<'a> {
    pub crew: &'a Crew,
    pub threads: usize,
}

// SAFETY: as above.
unsafe impl Team for Everyone<'_> {
    fn size(&self) -> usize {
        1 + self.crew.helpers()
    }

    fn most(&self) -> usize {
        self.threads
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        self.crew.run(parts, part);
    }
}

/// `lead` of every queue by a thread of `everyone`, with the team of the queue; threads that lead none help. It
/// is not to be called inside itself.
///
/// A thread tends to lead the same queue at every call, so that the queue's memory stays in its caches.
pub(super) fn run_queues(
    isa: Isa,
    everyone: &Crew,
    queues: &[Queue],
    deal: Deal,
    lead: &(dyn Fn(usize, Cores<'_>) + Sync),
) {
    if deal.queues == 1 {
        return lead(0, Cores::new(isa, &Everyone { crew: everyone, threads: deal.threads }));
    }
    let queues = &queues[..deal.queues];
    queues.iter().for_each(|queue| queue.state.store(WAITING, SeqCst));
    let thread = |part: usize| {
        // Whoever has entered takes the first part, the others the last ones first: so these are queues too.
        let number = if part == 0 { 0 } else { deal.threads - part };
        if let Some(queue) = queues.get(number) {
            queue.state.store(BEGUN, SeqCst);
            let end = End(queue);
            let team = QueueTeam { crew: &queue.crew, most: deal.most(number) };
            lead(number, Cores::new(isa, &team));
            drop(end);
        }
        help(queues, &deal, everyone.patience());
    };
    // Alone it waits for nobody.
    if !everyone.try_run(deal.threads, &thread) {
        (0..deal.queues).for_each(|queue| lead(queue, isa.into()));
    }
}

/// Helps queues until all are over, or none of them can use another helper.
fn help(queues: &[Queue], deal: &Deal, mut patience: Patience) {
    let is = |queue: &Queue, state| queue.state.load(SeqCst) == state;
    loop {
        if queues.iter().any(|queue| is(queue, WAITING)) {
            // There is a thread for it, which is about to begin.
            patience.wait();
            continue;
        }
        let begun = queues.iter().enumerate().filter(|(_, queue)| is(queue, BEGUN));
        let room = begun.filter(|(i, queue)| 1 + queue.crew.helpers() < deal.most(*i));
        let Some((i, queue)) = room.min_by_key(|(_, queue)| queue.crew.helpers()) else { return };
        queue.crew.help_if_below(deal.most(i) - 1, &|| is(queue, OVER));
    }
}

/// The end of a queue, also where its leader panics.
struct End<'a>(&'a Queue);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.state.store(OVER, SeqCst);
        self.0.crew.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_have_all_jobs_and_threads() {
        for (jobs, threads) in [(1, 1), (1, 7), (2, 16), (3, 2), (8, 2), (8, 16), (17, 16)] {
            let deal = Deal::new(jobs, threads, threads);
            let queues: Vec<_> = (0..deal.queues).map(|queue| deal.of_queue(queue)).collect();
            assert_eq!(queues.iter().flat_map(Clone::clone).collect::<Vec<_>>(), {
                (0..jobs).collect::<Vec<_>>()
            });
            let most: Vec<_> = (0..deal.queues).map(|queue| deal.most(queue)).collect();
            assert!(most.iter().all(|most| (1..=threads).contains(most)), "{most:?}");
            assert!(most.iter().sum::<usize>() >= threads.min(2 * jobs), "{most:?}");
        }
        assert_eq!(Deal::new(2, 16, 16).most(0), 8);
        assert_eq!(Deal::new(2, 16, 1).most(0), 16);
        assert_eq!([0, 15].map(|queue| Deal::new(17, 16, 16).most(queue)), [2, 16]);
    }
}
