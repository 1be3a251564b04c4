//! An operation in parts, each with its piece of what they write.

use kernels::Cores;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Parts of an operation at most.
pub(super) const MOST_PARTS: usize = 64;

/// Runs `part` with its number and its piece of each of two slices. `places` are the pieces, in order and apart
/// from each other.
pub(super) fn run_pieces(
    cores: Cores<'_>,
    count: usize,
    slices: [&mut [f32]; 2],
    places: impl Fn(usize) -> [Range<usize>; 2],
    part: &(impl Fn(usize, [&mut [f32]; 2]) + Sync),
) {
    assert!(count <= MOST_PARTS, "{count} parts of an operation");
    let mut rest = slices;
    let mut from = [0, 0];
    if count == 1 {
        let places = places(0);
        let mut pieces = rest.into_iter().zip(places).map(|(slice, place)| &mut slice[place]);
        let mut next = || pieces.next().expect("two pieces");
        return part(0, [next(), next()]);
    }
    let mut pieces = [const { Mutex::new(None) }; MOST_PARTS];
    for (i, piece) in pieces[..count].iter_mut().enumerate() {
        let mut cut = |which: usize, place: &Range<usize>| {
            let slice = std::mem::take(&mut rest[which]);
            let (_, slice) = slice.split_at_mut(place.start - from[which]);
            let (piece, slice) = slice.split_at_mut(place.len());
            (rest[which], from[which]) = (slice, place.end);
            piece
        };
        let [first, second] = places(i);
        *piece.get_mut().unwrap_or_else(PoisonError::into_inner) =
            Some([cut(0, &first), cut(1, &second)]);
    }
    cores.run(count, |i| {
        let piece = pieces[i].lock().unwrap_or_else(PoisonError::into_inner).take();
        part(i, piece.expect("a part is run once"));
    });
}
