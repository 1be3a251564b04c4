//! The hand-over of work between threads (`trainer/src/workers/crew.rs`, as it is), in every order in which its
//! threads can meet that `loom` tells apart: with up to three preemptions.
//!
//! A data race, a part that is done twice or never, a result that the leader does not see and a thread that
//! sleeps for ever end it with a trace of the events.

#[path = "../../src/workers/crew.rs"]
#[expect(dead_code, reason = "the pool uses the rest")]
mod crew;
mod patience;
mod sync;

use crew::Crew;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use sync::AtomicBool;

fn main() {
    explore("a leader and a helper, jobs of two and one parts", || jobs(1, &[2, 1]));
    explore("a leader and a helper, a job of three parts", || jobs(1, &[3]));
    explore("a leader and two helpers, a job of three parts", || jobs(2, &[3]));
    explore("a part that panics", panics);
}

fn explore(what: &str, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 100_000;
    builder.check(f);
    println!("{what}: every order is right");
}

/// What a part writes without any synchronisation of its own: loom tells of accesses that are not in order.
#[derive(Default)]
struct Cell(UnsafeCell<usize>);

// SAFETY: each part has a cell of its own, and the leader reads when all parts are done; loom checks just that.
unsafe impl Sync for Cell {}

impl Cell {
    fn add(&self) {
        // SAFETY: as above.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }

    fn get(&self) -> usize {
        // SAFETY: as above.
        self.0.with(|value| unsafe { *value })
    }
}

struct Shared {
    crew: Crew,
    over: AtomicBool,
}

/// Runs `lead` with so many helpers, which are gone when it returns.
fn with_helpers(helpers: usize, lead: impl FnOnce(&Crew)) {
    let shared = Arc::new(Shared { crew: Crew::new(true), over: AtomicBool::new(false) });
    let threads: Vec<_> = (0..helpers)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.crew.help(&|| shared.over.load(SeqCst)))
        })
        .collect();
    lead(&shared.crew);
    shared.over.store(true, SeqCst);
    shared.crew.wake();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(shared.crew.helpers(), 0);
}

/// Every part of every job is done once, and the leader sees it.
fn jobs(helpers: usize, jobs: &[usize]) {
    with_helpers(helpers, |crew| {
        for &parts in jobs {
            let done: [Cell; 3] = Default::default();
            crew.run(parts, &|part| done[part].add());
            for (part, done) in done.iter().enumerate() {
                assert_eq!(done.get(), usize::from(part < parts));
            }
        }
    });
}

/// The panic of any thread's part reaches the leader, and the next job is whole.
fn panics() {
    with_helpers(1, |crew| {
        let job = || crew.run(2, &|part| if part == 1 { std::panic::resume_unwind(Box::new("planned")) });
        assert!(catch_unwind(AssertUnwindSafe(job)).is_err());
        let done: [Cell; 2] = Default::default();
        crew.run(2, &|part| done[part].add());
        assert!(done.iter().all(|done| done.get() == 1));
    });
}
