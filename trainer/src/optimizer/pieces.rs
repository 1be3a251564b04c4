//! Flat buffers cut into pieces that threads do.

use kernels::LANES;

/// Floats of a piece: far above the cost of handing it over.
const PIECE: usize = 1 << 14;

/// What can be cut.
pub(super) trait Cut: Send + Sized {
    /// How many floats there are of each slice.
    fn len(&self) -> usize;
    /// The first `middle` floats, and the rest.
    fn cut(self, middle: usize) -> (Self, Self);
}

/// `f` of every piece, joined by a binary tree over the pieces. How they are cut depends on the
/// length alone.
pub(super) fn each_piece<P: Cut, T: Send>(
    whole: P,
    f: &(impl Fn(P) -> T + Sync),
    join: &(impl Fn(T, T) -> T + Sync),
) -> T {
    if whole.len() <= PIECE {
        return f(whole);
    }
    let middle = (whole.len() / 2).next_multiple_of(LANES);
    let (left, right) = whole.cut(middle);
    let (a, b) = rayon::join(|| each_piece(left, f, join), || each_piece(right, f, join));
    join(a, b)
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
