//! Where the chains of a tile start, and what becomes of their ends.

use super::{Place, Product, Start};
use crate::LANES;
use crate::prefetch::{Cache, prefetch};
use crate::simd::Simd;

/// Where the chains of a tile start and what becomes of their ends.
pub(super) trait Sink: Copy {
    /// The columns that a tile must have, if the sink cares.
    const WIDTH: Option<usize>;

    /// Requests the lines that `rows` rows of a tile write.
    fn prefetch<const N: usize>(self, product: &Product<'_>, place: &Place<'_, N>, rows: usize);

    /// # Safety
    /// `product` has asserted the lengths behind the sink's pointers, and `place` is inside it.
    unsafe fn start<S: Simd, const M: usize, const N: usize>(
        self,
        s: S,
        product: &Product<'_>,
        place: &Place<'_, N>,
    ) -> [[S::Vector; N]; M];

    /// # Safety
    /// As for [`Sink::start`].
    unsafe fn finish<S: Simd, const M: usize, const N: usize>(
        self,
        s: S,
        product: &Product<'_>,
        place: &Place<'_, N>,
        sums: &[[S::Vector; N]; M],
    );
}

/// Stores every accumulator, after an optional ReLU.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    pub y: *mut f32,
}

impl Plain {
    /// The places of the outputs of the first row of a tile.
    ///
    /// # Safety
    /// As for [`Sink::start`].
    #[inline(always)]
    unsafe fn outputs<const N: usize>(
        self,
        product: &Product<'_>,
        place: &Place<'_, N>,
    ) -> [*mut f32; N] {
        let mut y = [self.y; N];
        for n in 0..N {
            // SAFETY: the caller's promise.
            y[n] = unsafe { y[n].add(place.output(product, n)) };
        }
        y
    }
}

impl Sink for Plain {
    const WIDTH: Option<usize> = None;

    fn prefetch<const N: usize>(self, product: &Product<'_>, place: &Place<'_, N>, rows: usize) {
        for n in 0..N {
            let first = self.y.wrapping_add(place.output(product, n));
            for row in 0..rows {
                prefetch(first.wrapping_add(row * product.y_plane), Cache::First);
            }
        }
    }

    #[inline(always)]
    unsafe fn start<S: Simd, const M: usize, const N: usize>(
        self,
        s: S,
        product: &Product<'_>,
        place: &Place<'_, N>,
    ) -> [[S::Vector; N]; M] {
        let mut sums = [[s.zero(); N]; M];
        match product.operands.start {
            Start::Zero => {}
            Start::Bias(bias) => biases(s, &bias[place.row..place.row + M], &mut sums),
            // SAFETY: the caller's promise.
            Start::Output => unsafe {
                let y = self.outputs(product, place);
                for m in 0..M {
                    for n in 0..N {
                        sums[m][n] = s.load_at(y[n].add(m * product.y_plane));
                    }
                }
            },
        }
        sums
    }

    #[inline(always)]
    unsafe fn finish<S: Simd, const M: usize, const N: usize>(
        self,
        s: S,
        product: &Product<'_>,
        place: &Place<'_, N>,
        sums: &[[S::Vector; N]; M],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let y = self.outputs(product, place);
            for m in 0..M {
                for n in 0..N {
                    let v = product.operands.epilogue.apply(s, sums[m][n]);
                    s.store_at(y[n].add(m * product.y_plane), v);
                }
            }
        }
    }
}

/// Every chain of row `m` starts at `bias[m]`.
#[inline(always)]
fn biases<S: Simd, const M: usize, const N: usize>(
    s: S,
    bias: &[f32],
    sums: &mut [[S::Vector; N]; M],
) {
    for m in 0..M {
        sums[m] = [s.splat(bias[m]); N];
    }
}

/// Reduces the four columns of a tile to their ReLU'd maximum, and remembers whose it was.
#[derive(Clone, Copy)]
pub(super) struct Pooled {
    pub y: *mut f32,
    pub masks: *mut [u16; 4],
    pub pixels: usize,
}

impl Sink for Pooled {
    const WIDTH: Option<usize> = Some(4);

    /// None: four columns make one line of the output, so that there are few.
    fn prefetch<const N: usize>(self, _: &Product<'_>, _: &Place<'_, N>, _: usize) {}

    #[inline(always)]
    unsafe fn start<S: Simd, const M: usize, const N: usize>(
        self,
        s: S,
        product: &Product<'_>,
        place: &Place<'_, N>,
    ) -> [[S::Vector; N]; M] {
        let mut sums = [[s.zero(); N]; M];
        if let Start::Bias(bias) = product.operands.start {
            biases(s, &bias[place.row..place.row + M], &mut sums);
        }
        sums
    }

    #[inline(always)]
    unsafe fn finish<S: Simd, const M: usize, const N: usize>(
        self,
        s: S,
        product: &Product<'_>,
        place: &Place<'_, N>,
        sums: &[[S::Vector; N]; M],
    ) {
        let (block, column) = place.columns[0];
        let channels = product.im2col.target.channels();
        let pixel = column.y as usize / LANES;
        let y = block * product.y_block + place.row * product.y_plane + column.y as usize;
        let mask = (block * channels + place.row) * self.pixels + pixel;
        // SAFETY: the caller's promise; a pooled pixel is a column of the table, below `pixels`.
        let (y, masks) = unsafe { (self.y.add(y), self.masks.add(mask)) };
        for m in 0..M {
            let (max, won) = strongest(s, [sums[m][0], sums[m][1], sums[m][2], sums[m][3]]);
            // SAFETY: the caller's promise.
            unsafe {
                s.store_at(y.add(m * product.y_plane), max);
                *masks.add(m * self.pixels) = won;
            }
        }
    }
}

/// The ReLU of the greatest of four, NaN if one of them is, and for each of the four the lanes in
/// which it is the first to be greatest and above zero; none of them where one is NaN.
#[inline(always)]
fn strongest<S: Simd>(s: S, [a, b, c, d]: [S::Vector; 4]) -> (S::Vector, [u16; 4]) {
    let max = s.max(s.max(a, b), s.max(c, d));
    let nan = s.bits(s.unordered(a, b)) | s.bits(s.unordered(c, d));
    let mut free = s.bits(s.gt(max, s.zero())) & !nan;
    let a_won = s.bits(s.eq(a, max)) & free;
    free &= !a_won;
    let b_won = s.bits(s.eq(b, max)) & free;
    free &= !b_won;
    let c_won = s.bits(s.eq(c, max)) & free;
    free &= !c_won;
    let y = s.select(s.mask(nan), s.splat(f32::NAN), s.max(s.zero(), max));
    (y, [a_won, b_won, c_won, free])
}
