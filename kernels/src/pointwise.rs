//! Arithmetic value by value, and the plain sums and copies of tensors.
//!
//! Where no [`Layout`] is given, slices may have any length and a tensor is treated as the slice it
//! is: the unused vectors between its planes and the lanes beyond its images are computed along.

use crate::isa::{Isa, dispatch};
use crate::planes::{plane_sum, planes, planes_mut, valid_lanes};
use crate::simd::Simd;
use crate::streaming::Streaming;
use crate::team::{Cores, Cost};
use crate::{Epilogue, LANES, Layout, Store};

/// `y[i] = epilogue(a[i] + b[i])`.
///
/// # Panics
/// If the lengths differ.
pub fn add(isa: Isa, a: &[f32], b: &[f32], epilogue: Epilogue, y: &mut [f32]) {
    assert_eq!([a.len(), b.len()], [y.len(); 2], "lengths of a and b, and of y");
    let streaming = Streaming::new(y.as_ptr(), y.len());
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let ((a, a_tail), (b, b_tail), (y, y_tail)) =
            (a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), y.as_chunks_mut::<LANES>());
        assert_eq!([a.len(), b.len()], [y.len(); 2], "vectors of one length");
        // SAFETY: the vectors of `y`, from its beginning.
        unsafe {
            streaming.put(
                s,
                y,
                Store::Overwrite,
                #[inline(always)]
                |i| epilogue.apply(s, s.add(s.load(&a[i]), s.load(&b[i]))),
            );
        }
        streaming.finish(s);
        let v = s.add(s.load_partial(a_tail), s.load_partial(b_tail));
        s.store_partial(y_tail, epilogue.apply(s, v));
    }));
}

/// `y[i] += x[i]`.
///
/// # Panics
/// If the lengths differ.
pub fn add_assign(isa: Isa, y: &mut [f32], x: &[f32]) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        map(s, x, y, Store::Accumulate, #[inline(always)] |x| x)
    }));
}

/// `y[i] = a[i] · b[i]`, or `y[i] += a[i] · b[i]` (product and sum rounded separately).
///
/// # Panics
/// If the lengths differ.
pub fn mul(isa: Isa, a: &[f32], b: &[f32], y: &mut [f32], store: Store) {
    assert_eq!([a.len(), b.len()], [y.len(); 2], "lengths of a and b, and of y");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        map2(s, a, b, y, store, #[inline(always)] |a, b| s.mul(a, b))
    }));
}

/// `y[i] = x[i] · factor`, or `y[i] += x[i] · factor` (product and sum rounded separately).
///
/// # Panics
/// If the lengths differ.
pub fn scale(isa: Isa, x: &[f32], factor: f32, y: &mut [f32], store: Store) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let factor = s.splat(factor);
        map(s, x, y, store, #[inline(always)] |x| s.mul(x, factor))
    }));
}

/// `x[i]` becomes the nearest value from `−limit` to `limit`; NaN stays NaN.
pub fn clamp(isa: Isa, x: &mut [f32], limit: f32) {
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let (low, high) = (s.splat(-limit), s.splat(limit));
        let (vectors, tail) = x.as_chunks_mut();
        for x in vectors {
            s.store(x, clamped(s, low, s.load(x), high));
        }
        let x = clamped(s, low, s.load_partial(tail), high);
        s.store_partial(tail, x);
    }));
}

#[inline(always)]
fn clamped<S: Simd>(s: S, low: S::Vector, x: S::Vector, high: S::Vector) -> S::Vector {
    let x = s.select(s.gt(x, high), high, x);
    s.select(s.gt(low, x), low, x)
}

/// `a[i] += factor · (b[i] − a[i])` for a `factor` from 0 to 1, as `torch.lerp` computes it: from
/// the nearer end, so that a factor of 1 gives `b` itself. `factor` and `1 − factor` are rounded
/// once.
///
/// # Panics
/// If the lengths differ.
pub fn lerp(isa: Isa, a: &mut [f32], b: &[f32], factor: f64) {
    assert_eq!(a.len(), b.len(), "lengths of a and b");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let lerp = Lerp::new(s, factor);
        update(s, b, a, #[inline(always)] |b, a| lerp.between(s, a, b));
    }));
}

/// Dropout: `x · factor` in the lanes whose bit is set, `x · 0` in the others (so that a NaN is
/// noticed even where it is dropped), stored in `y` or added to it. Forward and backward alike.
///
/// `masks` holds one mask per vector; bit `i` is lane `i`.
///
/// # Panics
/// If the lengths of `x` and `y` differ or are not sixteen times that of `masks`.
pub fn dropout(isa: Isa, x: &[f32], masks: &[u16], factor: f32, y: &mut [f32], store: Store) {
    let floats = masks.len() * LANES;
    assert_eq!([x.len(), y.len()], [floats; 2], "lengths of x and y, and sixteen per mask");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let factor = s.splat(factor);
        let vectors = x.as_chunks().0.iter().zip(y.as_chunks_mut().0);
        for ((x, y), mask) in vectors.zip(masks) {
            let factor = s.keep(s.mask(*mask), factor);
            put(s, y, s.mul(s.load(x), factor), store);
        }
    }));
}

/// The sum over the first `images` images of every channel and pixel.
///
/// Each plane is added in the order of [`channel_sums`], its lanes by halving, in `f32`; the planes
/// in order, in `f64`.
///
/// # Panics
/// If the length of `x` is not `layout`'s, or it has less room than `images`.
#[must_use]
pub fn sum(isa: Isa, x: &[f32], layout: &Layout, images: usize) -> f64 {
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert!(images <= layout.blocks() * LANES, "{images} images in {} blocks", layout.blocks());
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let mut total = 0.0;
        for (place, plane) in planes(x, layout).enumerate() {
            let valid = s.mask(valid_lanes(images, place / layout.channels()));
            let lanes = plane_sum(s, plane, layout.size()[1]);
            total += f64::from(s.sum(s.keep(valid, lanes)));
        }
        total
    }))
}

/// The bias gradient: `db[c] +=` the sum over blocks, pixels and lanes of `dy`.
///
/// For each block in order: the pixels of the even rows in order, those of the odd rows in order,
/// the two added; then the lanes by halving; then the sum is added to `db[c]`. Lanes beyond the
/// images count too: gradients are zero there.
///
/// # Panics
/// If the length of `dy` is not `layout`'s, or that of `db` not its channels.
pub fn channel_sums<'t>(cores: impl Into<Cores<'t>>, dy: &[f32], layout: &Layout, db: &mut [f32]) {
    assert_eq!(dy.len(), layout.len(), "length of dy, and of its layout");
    assert_eq!(db.len(), layout.channels(), "length of db, and channels");
    sum_channels(cores.into(), dy, layout, db);
}

/// A part has some channels.
fn sum_channels(cores: Cores<'_>, dy: &[f32], layout: &Layout, db: &mut [f32]) {
    let plane = layout.plane() * LANES;
    cores.each_piece(db, 4, Cost::floats(dy.len()), |channel, db| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for block in dy.chunks_exact(layout.block_len().max(1)) {
                let mut planes = planes(&block[channel * plane..], layout);
                // Sixteen channels share the shuffles that add their lanes.
                for db in db.chunks_mut(LANES) {
                    let mut sums = [s.zero(); LANES];
                    for (sum, plane) in sums[..db.len()].iter_mut().zip(&mut planes) {
                        *sum = plane_sum(s, plane, layout.size()[1]);
                    }
                    s.store_partial(db, s.add(s.load_partial(db), s.sums(sums)));
                }
            }
        }));
    });
}

/// From `layout` to vectors of its `channels · rows · columns` features: the unused vectors between
/// the planes are left out.
///
/// # Panics
/// If the length of `x` is not `layout`'s, or that of `y` not that of the features.
pub fn flatten(isa: Isa, x: &[f32], layout: &Layout, y: &mut [f32]) {
    let features = layout.channels() * layout.pixels();
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(y.len(), layout.blocks() * features * LANES, "length of y, and of the features");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        for (x, y) in planes(x, layout).zip(y.chunks_exact_mut(layout.pixels().max(1) * LANES)) {
            map(s, x.as_flattened(), y, Store::Overwrite, #[inline(always)] |x| x);
        }
    }));
}

/// The backward of [`flatten`]: `dx` gets `dy` or is added to, at its place in `layout`. The unused
/// vectors of `dx` are left alone.
///
/// # Panics
/// If the length of `dx` is not `layout`'s, or that of `dy` not that of the features.
pub fn unflatten(isa: Isa, dy: &[f32], layout: &Layout, dx: &mut [f32], store: Store) {
    let features = layout.channels() * layout.pixels();
    assert_eq!(dy.len(), layout.blocks() * features * LANES, "length of dy, and of the features");
    assert_eq!(dx.len(), layout.len(), "length of dx, and of its layout");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let from = dy.chunks_exact(layout.pixels().max(1) * LANES);
        for (dx, dy) in planes_mut(dx, layout).zip(from) {
            map(s, dy, dx.as_flattened_mut(), store, #[inline(always)] |dy| dy);
        }
    }));
}

/// Whether every value is finite.
#[must_use]
pub fn all_finite(isa: Isa, x: &[f32]) -> bool {
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        // x − x is 0, or NaN where x is not finite. In chains, as a sum waits for the one before it.
        let (vectors, tail) = x.as_chunks::<LANES>();
        let (groups, rest) = vectors.as_chunks::<4>();
        let mut sums = [s.zero(); 4];
        for group in groups {
            for (sum, x) in sums.iter_mut().zip(group) {
                let x = s.load(x);
                *sum = s.add(*sum, s.sub(x, x));
            }
        }
        let x = s.load_partial(tail);
        let mut sum = s.sub(x, x);
        for x in rest {
            let x = s.load(x);
            sum = s.add(sum, s.sub(x, x));
        }
        for chain in sums {
            sum = s.add(sum, chain);
        }
        s.bits(s.unordered(sum, sum)) == 0
    }))
}

/// The sum of the squares of a slice.
///
/// In `f64`, where the square of an `f32` is exact, so every path gets the same bits. Element `i` goes
/// to chain `i mod 32`, each chain from first to last; then chain `i` and `i + 16` are added, then
/// `i + 8`, `+ 4`, `+ 2`, `+ 1`.
#[must_use]
pub fn sum_of_squares(isa: Isa, x: &[f32]) -> f64 {
    const CHAINS: usize = 2 * LANES;
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let mut sums = [0.0; CHAINS];
        let (groups, tail) = x.as_chunks::<CHAINS>();
        for group in groups {
            for i in 0..CHAINS {
                sums[i] += f64::from(group[i]) * f64::from(group[i]);
            }
        }
        for (sum, x) in sums.iter_mut().zip(tail) {
            *sum += f64::from(*x) * f64::from(*x);
        }
        for width in [16, 8, 4, 2, 1] {
            for i in 0..width {
                sums[i] += sums[i + width];
            }
        }
        sums[0]
    }))
}

/// What [`lerp`] does to sixteen values.
pub(crate) struct Lerp<S: Simd> {
    /// From the end that is chosen.
    factor: S::Vector,
    from_a: bool,
}

impl<S: Simd> Lerp<S> {
    #[inline(always)]
    pub(crate) fn new(s: S, factor: f64) -> Lerp<S> {
        let from_a = factor < 0.5;
        let factor = if from_a { factor } else { factor - 1.0 };
        Lerp { factor: s.splat(factor as f32), from_a }
    }

    #[inline(always)]
    pub(crate) fn between(&self, s: S, a: S::Vector, b: S::Vector) -> S::Vector {
        s.mul_add(self.factor, s.sub(b, a), if self.from_a { a } else { b })
    }
}

/// Stores a value or adds it to what is there.
#[inline(always)]
pub(crate) fn put<S: Simd>(s: S, to: &mut [f32; LANES], v: S::Vector, store: Store) {
    match store {
        Store::Overwrite => s.store(to, v),
        Store::Accumulate => s.store(to, s.add(s.load(to), v)),
    }
}

/// `y = f(x)` or `y += f(x)` for slices of one length. `f` must be `#[inline(always)]`.
#[inline(always)]
pub(crate) fn map<S: Simd>(
    s: S,
    x: &[f32],
    y: &mut [f32],
    store: Store,
    f: impl Fn(S::Vector) -> S::Vector,
) {
    match store {
        Store::Overwrite => update(
            s,
            x,
            y,
            #[inline(always)]
            |x, _| f(x),
        ),
        Store::Accumulate => update(
            s,
            x,
            y,
            #[inline(always)]
            |x, y| s.add(y, f(x)),
        ),
    }
}

/// `y = f(a, b)` or `y += f(a, b)` for slices of one length. `f` must be `#[inline(always)]`.
#[inline(always)]
pub(crate) fn map2<S: Simd>(
    s: S,
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    store: Store,
    f: impl Fn(S::Vector, S::Vector) -> S::Vector,
) {
    let ((a, a_tail), (b, b_tail), (y, y_tail)) =
        (a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), y.as_chunks_mut::<LANES>());
    for ((a, b), y) in a.iter().zip(b).zip(y) {
        put(s, y, f(s.load(a), s.load(b)), store);
    }
    if !y_tail.is_empty() {
        let v = f(s.load_partial(a_tail), s.load_partial(b_tail));
        let v = match store {
            Store::Overwrite => v,
            Store::Accumulate => s.add(s.load_partial(y_tail), v),
        };
        s.store_partial(y_tail, v);
    }
}

/// `y = f(x, y)` for slices of one length. `f` must be `#[inline(always)]`.
#[inline(always)]
pub(crate) fn update<S: Simd>(
    s: S,
    x: &[f32],
    y: &mut [f32],
    f: impl Fn(S::Vector, S::Vector) -> S::Vector,
) {
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<LANES>(), y.as_chunks_mut::<LANES>());
    for (x, y) in x.iter().zip(y) {
        s.store(y, f(s.load(x), s.load(y)));
    }
    if !y_tail.is_empty() {
        let v = f(s.load_partial(x_tail), s.load_partial(y_tail));
        s.store_partial(y_tail, v);
    }
}

/// `y = f(y)`, vector by vector.
#[inline(always)]
pub(crate) fn apply<S: Simd>(s: S, y: &mut [f32], f: impl Fn(S::Vector) -> S::Vector) {
    let (y, tail) = y.as_chunks_mut::<LANES>();
    for y in y {
        s.store(y, f(s.load(y)));
    }
    if !tail.is_empty() {
        let v = f(s.load_partial(tail));
        s.store_partial(tail, v);
    }
}
