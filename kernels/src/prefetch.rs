//! Requests for cache lines ahead of their use.
//!
//! A tile of a product reads or writes a few neighbouring lines of each of many planes. The processor foresees lines that
//! follow each other, not the step from plane to plane, and waits for memory unless it is told. The bits are the same.

/// Floats of a block of x and one of y, above which their lines are asked for: more than a second-level cache holds. Of
/// smaller ones most lines are there, and to ask for them costs more than is saved.
const LARGE: usize = (1 << 20) / size_of::<f32>();

/// Whether lines of blocks of so many floats are worth a request.
pub(crate) fn worthwhile(floats: usize) -> bool {
    floats > LARGE
}

/// The cache that a line is asked into.
#[derive(Clone, Copy)]
pub(crate) enum Cache {
    First,
    Second,
}

/// Requests the line of an address, which need not be valid.
#[inline(always)]
pub(crate) fn prefetch(at: *const f32, cache: Cache) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        // SAFETY: a request has no effect but on the caches, whatever the address.
        unsafe {
            match cache {
                Cache::First => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
                Cache::Second => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, cache);
}
