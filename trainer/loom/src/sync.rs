//! loom's types. It takes a sequentially consistent access for one that acquires and releases, but knows
//! sequentially consistent fences: so such an access is one between two fences here.

pub use loom::sync::atomic::AtomicPtr;
pub use loom::sync::{Condvar, Mutex, MutexGuard};
use loom::sync::atomic::{self, fence};
use std::sync::atomic::Ordering::{self, SeqCst};

fn fenced<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
    if order != SeqCst {
        return access();
    }
    fence(SeqCst);
    let value = access();
    fence(SeqCst);
    value
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub struct $name(atomic::$name);

        #[allow(dead_code, reason = "each type uses some of these")]
        impl $name {
            pub fn new(value: $value) -> $name {
                $name(atomic::$name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $value {
                fenced(order, || self.0.load(order))
            }

            pub fn store(&self, value: $value, order: Ordering) {
                fenced(order, || self.0.store(value, order));
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                fenced(order, || self.0.swap(value, order))
            }

            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                fenced(success, || self.0.compare_exchange(current, new, success, failure))
            }

            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            pub fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                f: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                fenced(success, || self.0.fetch_update(success, failure, f))
            }
        }
    };
}

macro_rules! counter {
    ($name:ident, $value:ty) => {
        atomic!($name, $value);

        #[allow(dead_code, reason = "each type uses some of these")]
        impl $name {
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                fenced(order, || self.0.fetch_add(value, order))
            }

            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                fenced(order, || self.0.fetch_sub(value, order))
            }
        }
    };
}

atomic!(AtomicBool, bool);
counter!(AtomicU64, u64);
counter!(AtomicUsize, usize);
