//! Memory between pages that may not be touched.

use crate::chance::Chance;
use std::cell::Cell;
use std::ptr;

/// Slices at one time.
const SLICES: usize = 12;

/// Bytes of each at most.
const ROOM: usize = 1 << 23;

/// Which end of a slice lies at a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    Start,
    End,
}

/// Mappings with a guard before and one behind, for a slice each.
pub struct Buffers {
    rooms: Vec<*mut u8>,
    taken: Cell<usize>,
    flush: Flush,
}

impl Buffers {
    pub fn new() -> Buffers {
        Buffers {
            rooms: (0..SLICES).map(|_| room()).collect(),
            taken: Cell::new(0),
            flush: Flush::End,
        }
    }

    /// Takes all slices back.
    pub fn rewind(&mut self, flush: Flush) {
        self.taken.set(0);
        self.flush = flush;
    }

    /// A slice with this value in it.
    #[expect(clippy::mut_from_ref, reason = "no two are of one mapping until all are taken back")]
    pub fn filled<T: Copy>(&self, len: usize, value: T) -> &mut [T] {
        let taken = self.taken.replace(self.taken.get() + 1);
        let bytes = len.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= ROOM);
        let bytes = bytes.expect("a slice that is tried");
        let at = match self.flush {
            Flush::Start => 0,
            Flush::End => ROOM - bytes,
        };
        assert!(size_of::<T>().is_power_of_two() && size_of::<T>() <= 8, "alignment");
        // SAFETY: `bytes` from `at` on lie in the mapping, which lives as long as the process; both ends are multiples
        // of the size of a `T`, and every slice has a mapping of its own until `rewind`, which needs them all back.
        unsafe {
            let start = self.rooms[taken].add(at).cast::<T>();
            (0..len).for_each(|i| start.add(i).write(value));
            std::slice::from_raw_parts_mut(start, len)
        }
    }

    /// Values by chance: most from −1 to 1, some of any kind.
    pub fn floats(&self, chance: &mut Chance, len: usize) -> &mut [f32] {
        let slice = self.filled(chance.near(len), 0.0f32);
        let odd = chance.once_in(6);
        for value in &mut *slice {
            let bits = chance.next() as u32;
            *value =
                if odd { f32::from_bits(bits) } else { bits as f32 / u32::MAX as f32 * 2.0 - 1.0 };
        }
        slice
    }
}

/// A mapping; never given back.
fn room() -> *mut u8 {
    // SAFETY: `sysconf` only answers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(page).expect("a page has a size");
    let all = ROOM + 2 * page;
    // SAFETY: a new mapping, of which the middle is then made writable.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let map = libc::mmap(ptr::null_mut(), all, libc::PROT_NONE, flags, -1, 0);
        assert_ne!(map, libc::MAP_FAILED, "a mapping");
        let middle = map.cast::<u8>().add(page);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        assert_eq!(libc::mprotect(middle.cast(), ROOM, protection), 0, "a mapping to write to");
        middle
    }
}
