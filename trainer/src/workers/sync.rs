//! What a crew waits and tells by. In `trainer/loom` other types of the same names stand here, whose every order
//! of events is tried.

pub(super) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
