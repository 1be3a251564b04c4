//! Flat buffers cut into pieces that threads do.

use crate::workers::Workers;
use kernels::LANES;
use std::sync::{Mutex, PoisonError};

/// Floats of a piece: far above the cost of handing it over.
const PIECE: usize = 1 << 14;

/// The most parts that pieces are dealt to.
const PARTS: usize = 64;

/// Pieces that wait while one is cut: the halves of halves of what can be counted.
const DEPTH: usize = 64;

/// What can be cut.
pub(super) trait Cut: Send + Sized {
    /// How many floats there are of each slice.
    fn len(&self) -> usize;
    /// The first `middle` floats, and the rest.
    fn cut(self, middle: usize) -> (Self, Self);
}

/// Where a whole of this length is cut, if it is: halves of halves, by the length alone.
fn middle(len: usize) -> Option<usize> {
    (len > PIECE).then(|| (len / 2).next_multiple_of(LANES))
}

/// How many pieces a whole of this length has.
pub(crate) fn count(len: usize) -> usize {
    middle(len).map_or(1, |middle| count(middle) + count(len - middle))
}

/// The lengths of the pieces, in order.
struct Lengths {
    /// What is still to be cut, the next on top.
    stack: [usize; DEPTH],
    height: usize,
}

impl Lengths {
    fn of(len: usize) -> Lengths {
        let mut stack = [0; DEPTH];
        stack[0] = len;
        Lengths { stack, height: 1 }
    }
}

impl Iterator for Lengths {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.height = self.height.checked_sub(1)?;
        let mut len = self.stack[self.height];
        while let Some(middle) = middle(len) {
            self.stack[self.height] = len - middle;
            self.height += 1;
            len = middle;
        }
        Some(len)
    }
}

/// `f` of every piece, by all threads.
pub(super) fn each_piece<P: Cut>(workers: &Workers, whole: P, f: &(impl Fn(P) + Sync)) {
    numbered(workers, whole, &|_, piece| f(piece));
}

/// Each part has pieces that follow each other, the same at every step: they stay in its caches.
fn numbered<P: Cut>(workers: &Workers, whole: P, f: &(impl Fn(usize, P) + Sync)) {
    let (len, pieces) = (whole.len(), count(whole.len()));
    let parts = pieces.min(workers.threads()).min(PARTS);
    let first = |part: usize| pieces * part / parts;
    let shares: [Mutex<Option<P>>; PARTS] = [const { Mutex::new(None) }; PARTS];
    let (mut rest, mut lengths) = (whole, Lengths::of(len));
    for (part, share) in shares.iter().enumerate().take(parts) {
        let count = first(part + 1) - first(part);
        let (own, others) = rest.cut(lengths.by_ref().take(count).sum());
        *share.lock().unwrap_or_else(PoisonError::into_inner) = Some(own);
        rest = others;
    }
    workers.each(parts, &|part| {
        let share = shares[part].lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut rest = share.expect("each part is done once");
        let lengths = Lengths::of(len).enumerate().skip(first(part));
        for (number, len) in lengths.take(first(part + 1) - first(part)) {
            let (piece, others) = rest.cut(len);
            f(number, piece);
            rest = others;
        }
    });
}

/// The sum of `f` of every piece, added by the tree of the cuts: it depends on the length alone. `room` is
/// kept from one to the next.
pub(super) fn sum_of_pieces(
    workers: &Workers,
    whole: &[f32],
    room: &mut Vec<f64>,
    f: &(impl Fn(&[f32]) -> f64 + Sync),
) -> f64 {
    room.clear();
    room.resize(count(whole.len()), 0.0);
    let sums = Mutex::new(&mut *room);
    numbered(workers, whole, &|number, piece: &[f32]| {
        let sum = f(piece);
        sums.lock().unwrap_or_else(PoisonError::into_inner)[number] = sum;
    });
    tree(whole.len(), &mut room.iter().copied())
}

fn tree(len: usize, sums: &mut impl Iterator<Item = f64>) -> f64 {
    match middle(len) {
        None => sums.next().expect("a sum for each piece"),
        Some(middle) => {
            let first = tree(middle, sums);
            first + tree(len - middle, sums)
        }
    }
}

/// A part of the weights with its gradient and its state; state that there is not is empty.
pub(super) struct Piece<'a> {
    pub weights: &'a mut [f32],
    pub gradients: &'a [f32],
    pub state: [&'a mut [f32]; 3],
}

impl Cut for Piece<'_> {
    fn len(&self) -> usize {
        self.weights.len()
    }

    fn cut(self, middle: usize) -> (Self, Self) {
        let weights = self.weights.split_at_mut(middle);
        let gradients = self.gradients.split_at(middle);
        let [a, b, c] = self.state.map(|state| state.split_at_mut(middle.min(state.len())));
        let left = Piece { weights: weights.0, gradients: gradients.0, state: [a.0, b.0, c.0] };
        let right = Piece { weights: weights.1, gradients: gradients.1, state: [a.1, b.1, c.1] };
        (left, right)
    }
}

impl Cut for &[f32] {
    fn len(&self) -> usize {
        <[f32]>::len(self)
    }

    fn cut(self, middle: usize) -> (Self, Self) {
        self.split_at(middle)
    }
}

impl Cut for &mut [f32] {
    fn len(&self) -> usize {
        <[f32]>::len(self)
    }

    fn cut(self, middle: usize) -> (Self, Self) {
        self.split_at_mut(middle)
    }
}

/// Of two slices of one length.
impl<A: Cut, B: Cut> Cut for (A, B) {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn cut(self, middle: usize) -> (Self, Self) {
        let (a, b) = (self.0.cut(middle), self.1.cut(middle));
        ((a.0, b.0), (a.1, b.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::Isa;

    /// Also where the caller has not entered.
    #[test]
    fn workers_do_every_piece() {
        let workers = Workers::new(Isa::detect(), 3).unwrap();
        let mut values = vec![0.0; 8 * PIECE + 16];
        let lengths = Mutex::new(vec![]);
        each_piece(&workers, &mut values[..], &|piece: &mut [f32]| {
            piece.iter_mut().for_each(|value| *value += 1.0);
            lengths.lock().unwrap().push(piece.len());
        });
        assert!(values.iter().all(|value| *value == 1.0));
        let mut lengths = lengths.into_inner().unwrap();
        lengths.sort_unstable();
        let expected = [8192, 8208].into_iter().chain([PIECE; 7]);
        assert_eq!(lengths, expected.collect::<Vec<_>>(), "cut by length alone");
    }

    /// The sums are those of the tree of the cuts, whichever thread is first.
    #[test]
    fn sums_are_those_of_the_tree() {
        let values = vec![0.0; 4 * PIECE + 16];
        let mut room = vec![];
        for threads in [1, 2, 5] {
            let workers = Workers::new(Isa::detect(), threads).unwrap();
            let f = |piece: &[f32]| (piece.len() as f64).recip() * 1e10;
            let sum = sum_of_pieces(&workers, &values, &mut room, &f);
            let [a, b, whole] = [8192.0_f64, 8208.0, PIECE as f64].map(|len| len.recip() * 1e10);
            // 32784 and 32768; the first again 16400 and 16384.
            assert_eq!(sum, ((b + a) + whole) + (whole + whole), "{threads} threads");
        }
    }
}
