//! Non-temporal stores, for outputs that are too large for the caches.
//!
//! A line of memory is read before it is written, unless it is streamed past the caches. Of an output that is larger than
//! they are, nothing is left in them by the time it is read next: streaming costs that reader nothing, and saves a third of
//! the traffic of a pass that reads one tensor and writes another. The bits are the same.

use crate::simd::Simd;
use crate::{LANES, Store};
use std::sync::OnceLock;

/// Whether an output is streamed: if it is large, and begins on a cache line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streaming(bool);

impl Streaming {
    /// Never streamed.
    pub const NEVER: Streaming = Streaming(false);

    /// Of an output of so many floats.
    pub fn new(y: *const f32, len: usize) -> Streaming {
        Streaming(len >= streamed_floats() && y.addr().is_multiple_of(LINE))
    }

    /// Stores a vector. Before another thread reads it, [`Streaming::finish`].
    ///
    /// # Safety
    /// `to` must be one of the vectors that the output is cut into from its beginning.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(self, s: S, to: &mut [f32; LANES], v: S::Vector) {
        if self.0 {
            // SAFETY: the output begins on a cache line (`Streaming::new`), so its vectors do, which are as long.
            unsafe { s.stream(to, v) }
        } else {
            s.store(to, v);
        }
    }

    /// Replaces vectors by `value` of their numbers, or adds it to them; `value` must be `#[inline(always)]`. Before
    /// another thread reads them, [`Streaming::finish`].
    ///
    /// # Safety
    /// As for [`Streaming::store`].
    #[inline(always)]
    pub unsafe fn put<S: Simd>(
        self,
        s: S,
        to: &mut [[f32; LANES]],
        store: Store,
        value: impl Fn(usize) -> S::Vector,
    ) {
        // One loop each: a choice within is one too many for the compiler to take out.
        match store {
            Store::Overwrite if self.0 => {
                for (i, to) in to.iter_mut().enumerate() {
                    // SAFETY: as in `store`.
                    unsafe { s.stream(to, value(i)) };
                }
            }
            Store::Overwrite => {
                for (i, to) in to.iter_mut().enumerate() {
                    s.store(to, value(i));
                }
            }
            Store::Accumulate => {
                for (i, to) in to.iter_mut().enumerate() {
                    s.store(to, s.add(s.load(to), value(i)));
                }
            }
        }
    }

    /// Lets other threads see what was streamed, once they are told that it is there.
    #[inline(always)]
    pub fn finish<S: Simd>(self, s: S) {
        if self.0 {
            s.finish_streams();
        }
    }
}

/// Bytes of a cache line, and of a vector.
const LINE: usize = size_of::<[f32; LANES]>();

/// The length, in floats, from which on an output is streamed: that of half of the last-level cache. What is smaller is
/// often there still when it is read next.
#[must_use]
pub fn streamed_floats() -> usize {
    static FLOATS: OnceLock<usize> = OnceLock::new();
    *FLOATS.get_or_init(|| last_level_bytes().unwrap_or(USUAL) / 2 / size_of::<f32>())
}

/// Bytes of a last-level cache, where the processor does not tell.
const USUAL: usize = 32 << 20;

/// Bytes of the last-level cache that a core shares with others.
#[cfg(target_arch = "x86_64")]
fn last_level_bytes() -> Option<usize> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // "Deterministic cache parameters" (Intel, leaf 4), and AMD's leaf of the same form.
    const INTEL: u32 = 4;
    const AMD: u32 = 0x8000_001d;
    let bytes = |leaf: u32, cache: u32| {
        let found = __cpuid_count(leaf, cache);
        let field = |from: u32, bits: u32| ((found.ebx >> from) & ((1 << bits) - 1)) as usize + 1;
        let is_cache = found.eax & 0x1f != 0;
        is_cache.then(|| field(0, 12) * field(12, 10) * field(22, 10) * (found.ecx as usize + 1))
    };
    let has_amd = __cpuid(0x8000_0000).eax >= AMD;
    let has_intel = __cpuid(0).eax >= INTEL;
    [(AMD, has_amd), (INTEL, has_intel)]
        .into_iter()
        .filter(|(_, has)| *has)
        .find_map(|(leaf, _)| (0..8).map_while(|cache| bytes(leaf, cache)).max())
}

#[cfg(not(target_arch = "x86_64"))]
fn last_level_bytes() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_level_is_of_a_likely_size() {
        let bytes = 2 * size_of::<f32>() * streamed_floats();
        assert!((1 << 20..1 << 31).contains(&bytes), "{bytes} bytes");
    }
}
