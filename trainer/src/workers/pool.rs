//! The threads themselves.

use super::crew::Crew;
use super::teams::Queue;
use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::cell::Cell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Threads that help whoever has entered. They are those of a pool of rayon, each of which has one task, to help,
/// from the first to the last moment: rayon's own queues cost more than the operations of a small network take.
pub(super) struct Pool {
    pub shared: Arc<Shared>,
    /// Held by the thread that has entered.
    entrance: Mutex<()>,
    /// None if whoever enters is the only one.
    helpers: Option<ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads share.
pub(super) struct Shared {
    /// All threads, led by the one that has entered.
    pub everyone: Crew,
    pub queues: Vec<Queue>,
    over: AtomicBool,
}

thread_local! {
    /// The pool that this thread works in.
    static INSIDE: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
}

impl Pool {
    /// So many threads, one of which is whoever enters.
    pub fn new(threads: usize) -> Result<Pool, ThreadPoolBuildError> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let eager = threads <= processors;
        let shared = Arc::new(Shared {
            everyone: Crew::new(eager),
            queues: (0..threads).map(|_| Queue::new(eager)).collect(),
            over: AtomicBool::new(false),
        });
        let mut handles = vec![];
        let start = || {
            let builder = ThreadPoolBuilder::new().num_threads(threads - 1);
            let spawn = |thread: ThreadBuilder| {
                let name = format!("worker-{}", thread.index() + 1);
                handles.push(thread::Builder::new().name(name).spawn(|| thread.run())?);
                Ok(())
            };
            builder.spawn_handler(spawn).build()
        };
        let helpers = (threads > 1).then(start).transpose()?;
        if let Some(helpers) = &helpers {
            let shared = Arc::clone(&shared);
            helpers.spawn_broadcast(move |_| {
                INSIDE.set(Arc::as_ptr(&shared));
                shared.everyone.help(&|| shared.over.load(SeqCst));
            });
        }
        let pool = Pool { shared, entrance: Mutex::default(), helpers, threads: handles };
        // From now on every job finds all of them.
        while pool.shared.everyone.helpers() + 1 < threads {
            thread::yield_now();
        }
        Ok(pool)
    }

    /// Whether the calling thread has entered, or is one of the threads.
    pub fn is_inside(&self) -> bool {
        INSIDE.get() == Arc::as_ptr(&self.shared)
    }

    /// `f` by the calling thread as one of the pool; another that has entered is waited for.
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        if self.is_inside() {
            return f();
        }
        let _entrance = self.entrance.lock().unwrap_or_else(PoisonError::into_inner);
        let _outside = Outside(INSIDE.replace(Arc::as_ptr(&self.shared)));
        f()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        self.shared.everyone.wake();
        // It ends its threads when they have nothing to do, and does not wait for that.
        drop(self.helpers.take());
        for thread in self.threads.drain(..) {
            // It has nothing to report: parts that panic are reported to their leaders.
            let _ = thread.join();
        }
    }
}

/// What the thread was inside before.
struct Outside(*const Shared);

impl Drop for Outside {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}
