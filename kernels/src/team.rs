//! The parts of an operation, and who computes them.
//!
//! Every operation can be cut by its outputs: each part writes outputs of its own and computes each of
//! them as the whole would, so neither the number of parts nor their order changes a bit. A kernel has
//! no threads: it hands its parts to a [`Team`], which the caller brings, or does them one after another
//! where there is none. How many parts there are is decided here alone, from what an operation costs and
//! how many the team has.

use crate::Isa;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

/// Those who can do the parts of an operation side by side.
///
/// # Safety
/// [`Team::run`] must call `part` at most once with each number, with numbers below `parts` alone, and no
/// call may be running when it has returned or unwound. Parts write to memory that they do not share on
/// this promise.
pub unsafe trait Team: Sync {
    /// How many parts can be done at the same time, as things are now.
    fn size(&self) -> usize;

    /// The most that [`Team::size`] may be: room is made for so many parts, once.
    fn most(&self) -> usize;

    /// Calls `part` with each number below `parts`, in any order and on any thread, and returns when all
    /// calls have.
    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync));
}

/// What kernels compute on: the SIMD path, and the team that their parts are done by. Made of an [`Isa`]
/// alone, it does one part after another.
#[derive(Clone, Copy)]
pub struct Cores<'t> {
    pub(crate) isa: Isa,
    team: Option<&'t dyn Team>,
}

impl From<Isa> for Cores<'_> {
    fn from(isa: Isa) -> Self {
        Cores { isa, team: None }
    }
}

impl fmt::Debug for Cores<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cores").field("isa", &self.isa).field("size", &self.size()).finish()
    }
}

/// Nanoseconds of work that are worth handing to another: several times what that costs.
const WORTH: usize = 2_000;

impl<'t> Cores<'t> {
    /// A team that computes on this path.
    pub fn new(isa: Isa, team: &'t dyn Team) -> Cores<'t> {
        Cores { isa, team: Some(team) }
    }

    /// The SIMD path.
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// How many parts can be done at the same time.
    pub fn size(self) -> usize {
        self.team.map_or(1, |team| team.size().clamp(1, team.most().max(1)))
    }

    /// The most parts that an operation may have: what each of them needs room of its own for.
    pub fn most(self) -> usize {
        self.team.map_or(1, |team| team.most().max(1))
    }

    /// How many parts an operation of this cost should have that can be cut into as many units.
    pub(crate) fn parts(self, units: usize, cost: Cost) -> usize {
        match self.team {
            None => 1,
            Some(_) => self.size().min(units).min(cost.0 / WORTH).max(1),
        }
    }

    /// Calls `part` with each number below `parts`, by the team: in any order, and side by side.
    pub fn run(self, parts: usize, part: impl Fn(usize) + Sync) {
        match self.team {
            Some(team) if parts > 1 => team.run(parts, &part),
            _ => (0..parts).for_each(part),
        }
    }

    /// `f` of ranges that make up `0..units`, in as many parts as the cost is worth; `f` is not called
    /// if there are none.
    pub fn each_range(self, units: usize, cost: Cost, f: impl Fn(Range<usize>) + Sync) {
        let parts = self.parts(units, cost);
        if units > 0 {
            self.run(parts, |part| f(share(units, part, parts)));
        }
    }

    /// `f` of pieces of a slice, each whole units of `unit` elements but for the last, with the place of
    /// its first element.
    pub fn each_piece<T: Send>(
        self,
        slice: &mut [T],
        unit: usize,
        cost: Cost,
        f: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let (len, shared) = (slice.len(), Shared::new(slice));
        self.each_range(len.div_ceil(unit.max(1)), cost, |units| {
            let range = units.start * unit..len.min(units.end * unit);
            // SAFETY: ranges of different parts do not overlap.
            f(range.start, unsafe { shared.slice(range) });
        });
    }
}

/// Estimated nanoseconds of an operation on one core: rough, as it only decides whether handing out pays.
#[derive(Clone, Copy, Debug)]
pub struct Cost(usize);

impl Cost {
    /// Multiply-adds of vectors of sixteen.
    pub fn products(vectors: usize) -> Cost {
        Cost(vectors / 5)
    }

    /// Vectors of sixteen that are read or written.
    pub fn vectors(count: usize) -> Cost {
        Cost(count.saturating_mul(3) / 2)
    }

    /// Floats that are read or written.
    pub fn floats(count: usize) -> Cost {
        Cost::vectors(count / 16)
    }

    /// A time that is known.
    pub fn nanoseconds(count: usize) -> Cost {
        Cost(count)
    }
}

/// The units of a part: level, and in order.
pub(crate) fn share(units: usize, part: usize, parts: usize) -> Range<usize> {
    let bound = |part: usize| units / parts * part + (units % parts) * part / parts;
    bound(part)..bound(part + 1)
}

/// A slice that parts write side by side, each its own elements.
pub(crate) struct Shared<'a, T> {
    first: *mut T,
    len: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: it gives access to elements only by `slice`, whose callers promise that nothing else uses them, and by
// what is read or written through `pointer`, which is for the `unsafe` of whoever does it; it stands for a
// `&mut [T]`, which may go to another thread where `T` may.
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<'_, T> {}

impl<'a, T> Clone for Shared<'a, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, T> Copy for Shared<'a, T> {}

impl<'a, T> Shared<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Shared { first: slice.as_mut_ptr(), len: slice.len(), of: PhantomData }
    }

    /// These elements.
    ///
    /// # Safety
    /// While what it returns is used, nothing else may use these elements.
    ///
    /// # Panics
    /// If they are beyond the end.
    #[inline(always)]
    pub unsafe fn slice(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part beyond the end");
        // SAFETY: asserted to lie inside the slice that `new` was given, which is borrowed for 'a; the
        // caller promises that nothing else uses it.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(range.start), range.len()) }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Those from an element on.
    ///
    /// # Panics
    /// If it is beyond the end.
    pub fn from(&self, start: usize) -> Shared<'a, T> {
        assert!(start <= self.len, "a part beyond the end");
        // SAFETY: asserted to lie inside the slice, or at its end.
        Shared { first: unsafe { self.first.add(start) }, len: self.len - start, of: PhantomData }
    }

    /// The first element, for kernels that write by pointer, in `unsafe` of their own: to the outputs of their part
    /// alone.
    #[inline(always)]
    pub fn pointer(&self) -> *mut T {
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_level_and_complete() {
        for units in 0..60 {
            for parts in 1..20 {
                let mut next = 0;
                for part in 0..parts {
                    let range = share(units, part, parts);
                    assert_eq!(range.start, next);
                    assert!(range.len() >= units / parts && range.len() <= units.div_ceil(parts));
                    next = range.end;
                }
                assert_eq!(next, units);
            }
        }
    }
}
