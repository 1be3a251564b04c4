//! What joins several tensors into one, and takes gradients back: sums in place, planes times a value each, and
//! channels side by side.

use crate::isa::{Isa, dispatch};
use crate::output::{relu, relu6};
use crate::planes::{Vector, in_chains, planes, planes_mut};
use crate::pointwise::{put, update};
use crate::simd::Simd;
use crate::{Epilogue, LANES, Layout, Store};

/// `y[i] = epilogue(y[i] + x[i])`.
///
/// # Panics
/// If the lengths differ.
pub fn add_to(isa: Isa, y: &mut [f32], x: &[f32], epilogue: Epilogue) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        match epilogue {
            Epilogue::None => update(s, x, y, #[inline(always)] |x, y| s.add(y, x)),
            Epilogue::Relu => update(s, x, y, #[inline(always)] |x, y| relu(s, s.add(y, x))),
            Epilogue::Relu6 => update(s, x, y, #[inline(always)] |x, y| relu6(s, s.add(y, x))),
        }
    }));
}

/// `y[c][p] = x[c][p] · factors[c]` for every pixel `p` of plane `c`, or `y += ` that (product and sum rounded
/// separately).
///
/// `x` and `y` are of `layout`, `factors` holds the features of its channels. The unused vectors of `y` are left alone.
///
/// # Panics
/// If a length is not that of its layout.
pub fn scale_planes(
    isa: Isa,
    layout: &Layout,
    x: &[f32],
    factors: &[f32],
    y: &mut [f32],
    store: Store,
) {
    let features = Layout::features(layout.blocks(), layout.channels());
    assert_eq!([x.len(), y.len()], [layout.len(); 2], "lengths of x and y, and of their layout");
    assert_eq!(factors.len(), features.len(), "a factor for each plane");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let factors = factors.as_chunks().0;
        for ((x, y), factor) in planes(x, layout).zip(planes_mut(y, layout)).zip(factors) {
            let factor = s.load(factor);
            for (x, y) in x.iter().zip(y) {
                put(s, y, s.mul(s.load(x), factor), store);
            }
        }
    }));
}

/// `y[c]` = Σₚ `a[c][p]` · `b[c][p]` over the pixels of plane `c`, or `y += ` that: the gradient of the factors of
/// [`scale_planes`].
///
/// Each lane by itself: pixel `p` goes to chain `p mod 4` of fused multiply-adds, each chain in order from zero; then
/// (0 + 1) + (2 + 3).
///
/// `a` and `b` are of `layout`, `y` holds the features of its channels.
///
/// # Panics
/// If a length is not that of its layout.
pub fn plane_products(
    isa: Isa,
    layout: &Layout,
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    store: Store,
) {
    let features = Layout::features(layout.blocks(), layout.channels());
    assert_eq!([a.len(), b.len()], [layout.len(); 2], "lengths of a and b, and of their layout");
    assert_eq!(y.len(), features.len(), "a sum for each plane");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let sums = y.as_chunks_mut().0;
        for ((a, b), y) in planes(a, layout).zip(planes(b, layout)).zip(sums) {
            put(s, y, products(s, a, b), store);
        }
    }));
}

#[inline(always)]
fn products<S: Simd>(s: S, a: &[Vector], b: &[Vector]) -> S::Vector {
    let [sum] = in_chains::<S, 1, 4>(
        s,
        a.len(),
        #[inline(always)]
        |i, [sum]| [s.mul_add(s.load(&a[i]), s.load(&b[i]), sum)],
    );
    sum
}

/// Puts the channels of `x`, of `layout`, among those of `y`, of layout `to`, from channel `first` on. Their planes
/// are copied whole, with the unused vectors between them.
///
/// # Panics
/// If the layouts differ in more than channels, `to` has not as many from `first` on, or a length is not that of its
/// layout.
pub fn place_planes(x: &[f32], layout: &Layout, first: usize, to: &Layout, y: &mut [f32]) {
    assert_beside(layout, first, to);
    assert_eq!(x.len(), layout.len(), "length of x, and of its layout");
    assert_eq!(y.len(), to.len(), "length of y, and of its layout");
    let (len, start) = (layout.block_len(), first * to.plane() * LANES);
    for (x, y) in x.chunks_exact(len.max(1)).zip(y.chunks_exact_mut(to.block_len().max(1))) {
        y[start..start + len].copy_from_slice(x);
    }
}

/// The backward of [`place_planes`]: `dx` gets its channels of `dy`, or they are added to it.
///
/// # Panics
/// As [`place_planes`].
pub fn take_planes(
    isa: Isa,
    dy: &[f32],
    to: &Layout,
    first: usize,
    layout: &Layout,
    dx: &mut [f32],
    store: Store,
) {
    assert_beside(layout, first, to);
    assert_eq!(dx.len(), layout.len(), "length of dx, and of its layout");
    assert_eq!(dy.len(), to.len(), "length of dy, and of its layout");
    let (len, start) = (layout.block_len(), first * to.plane() * LANES);
    for (dx, dy) in dx.chunks_exact_mut(len.max(1)).zip(dy.chunks_exact(to.block_len().max(1))) {
        let dy = &dy[start..start + len];
        match store {
            Store::Overwrite => dx.copy_from_slice(dy),
            Store::Accumulate => crate::add_assign(isa, dx, dy),
        }
    }
}

fn assert_beside(layout: &Layout, first: usize, to: &Layout) {
    let alike = (layout.blocks(), layout.size()) == (to.blocks(), to.size());
    assert!(alike, "{layout} beside others in {to}");
    let end = first.checked_add(layout.channels());
    assert!(end.is_some_and(|end| end <= to.channels()), "{layout} from {first} on in {to}");
}
