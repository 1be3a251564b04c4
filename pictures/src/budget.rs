//! One budget of memory for everything that is decoded at a time, on however many threads.
//!
//! A thread borrows twice, always in this order: for the bytes of a file, and once these have said how large the
//! picture is, for what its decoder will need. Who has both never waits, so somebody always goes on.

use files::Limits;
use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes that may be in use at one time. Who wants more than are left waits until others give theirs back.
#[derive(Debug)]
pub(crate) struct Budget {
    all: u64,
    used: Mutex<u64>,
    returned: Condvar,
}

/// Bytes of a budget, until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub const fn new(all: u64) -> Budget {
        Budget { all, used: Mutex::new(0), returned: Condvar::new() }
    }

    /// All that it has.
    pub fn all(&self) -> u64 {
        self.all
    }

    /// So many bytes, as soon as they are free; `None` if there never were so many.
    pub fn take(&self, bytes: u64) -> Option<Lease<'_>> {
        if bytes > self.all {
            return None;
        }
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |used: &mut u64| *used + bytes > self.all;
        let used = self.returned.wait_while(used, full);
        *used.unwrap_or_else(PoisonError::into_inner) += bytes;
        Some(Lease { budget: self, bytes })
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        *self.budget.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.returned.notify_all();
    }
}

/// The budgets of this process: a quarter of [`Limits::picture_bytes`] for files, the rest for decoders.
#[derive(Debug)]
pub(crate) struct Budgets {
    pub files: Budget,
    pub decoders: Budget,
}

impl Budgets {
    pub const fn new(bytes: u64) -> Budgets {
        Budgets { files: Budget::new(bytes / 4), decoders: Budget::new(bytes / 4 * 3) }
    }

    pub fn of_process() -> &'static Budgets {
        static BUDGETS: std::sync::LazyLock<Budgets> =
            std::sync::LazyLock::new(|| Budgets::new(Limits::in_force().picture_bytes));
        &BUDGETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::thread;

    #[test]
    fn never_more_than_there_are() {
        let (budget, used, most) = (Budget::new(10), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for bytes in [1, 3, 4, 7, 9, 10] {
                let (budget, used, most) = (&budget, &used, &most);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let lease = budget.take(bytes).unwrap();
                        most.fetch_max(used.fetch_add(bytes, SeqCst) + bytes, SeqCst);
                        thread::yield_now();
                        used.fetch_sub(bytes, SeqCst);
                        drop(lease);
                    }
                });
            }
        });
        assert!(most.load(SeqCst) <= 10 && most.load(SeqCst) >= 9, "{most:?}");
        assert!(budget.take(11).is_none());
    }
}
