//! Panics of the crate `parquet`, which it has for some damaged files, as errors.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is expected, and not to be printed.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f`; `None` if it panics, of which nothing is printed then. Other threads' panics are printed as before.
pub(super) fn caught<T>(f: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !EXPECTED.get() {
                before(info);
            }
        }));
    });
    EXPECTED.set(true);
    // What `f` leaves behind is dropped with its panic.
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    EXPECTED.set(false);
    result.ok()
}
