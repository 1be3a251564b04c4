//! Sixteen-lane SIMD, written once and compiled for every path.
//!
//! A kernel is a generic function over [`Simd`]. A value of a type that implements it is a *token*:
//! it exists only if the processor has the instructions, so its arithmetic is safe to call. The
//! vector of every path is sixteen `f32` wide (one AVX-512 register, two AVX2 registers, a few
//! baseline ones), hence the same algorithm and, where fused multiply-add exists, the same bits.
//!
//! The one rule to remember: everything that touches a vector is `#[inline(always)]` and runs inside
//! [`Simd::vectorize`]. A function that is not inlined there is compiled without the path's features
//! and turns every intrinsic into a call; `scripts/check-assembly` looks for that. `array::map` and
//! `array::from_fn` are such functions when they grow: kernels use plain loops.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) use bf16::Avx512Bf16;
pub(crate) use bf16::{Arithmetic, Bf16, Floats, Pairs, bf16_bits};
pub(crate) use portable::Portable;

use crate::LANES;

/// The operations that kernels are made of. A method is added with its first caller.
pub(crate) trait Simd: Copy + Sync {
    /// Sixteen `f32`.
    type Vector: Copy;
    /// Sixteen booleans.
    type Mask: Copy;

    /// How many vectors a tile may keep in registers as accumulators.
    const ACCUMULATORS: usize;
    /// The most columns (vectors loaded per step) that a tile should have.
    const COLUMNS: usize;

    /// Runs `f` as its own function, compiled with this path's instructions.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    fn splat(self, x: f32) -> Self::Vector;
    fn load(self, from: &[f32; LANES]) -> Self::Vector;
    fn store(self, to: &mut [f32; LANES], v: Self::Vector);
    /// [`Simd::store`] past the caches, where the path can. Before another thread reads it,
    /// [`Simd::finish_streams`].
    ///
    /// # Safety
    /// `to` must begin on a cache line, 64 bytes.
    #[inline(always)]
    unsafe fn stream(self, to: &mut [f32; LANES], v: Self::Vector) {
        self.store(to, v);
    }
    /// Orders what was streamed before all that is stored after it.
    #[inline(always)]
    fn finish_streams(self) {}
    /// Sixteen bytes as the numbers 0 to 255.
    fn load_u8(self, from: &[u8; LANES]) -> Self::Vector;

    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sqrt(self, a: Self::Vector) -> Self::Vector;
    /// `a · b + c`, rounded once where the path has fused multiply-add.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a · b − product`, exactly, where `product` is `a · b` rounded and neither is beyond 2¹¹⁵ or the error subnormal.
    fn product_error(self, a: Self::Vector, b: Self::Vector, product: Self::Vector)
    -> Self::Vector;
    /// `a` where `a > b`, else `b`: so `b` wherever either is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Nearest integer, ties to even.
    fn round(self, a: Self::Vector) -> Self::Vector;
    /// `x · 2ⁿ` for integral `n` in ±252, rounded once (gradual underflow included).
    fn scale(self, x: Self::Vector, n: Self::Vector) -> Self::Vector;
    /// `(m, e)` with `x = m · 2ᵉ` and `1 ≤ m < 2`, for positive, finite, normal `x`.
    fn split(self, x: Self::Vector) -> (Self::Vector, Self::Vector);

    /// Lanes that are pairs of [bfloat16](crate::bf16): `low` and `high` rounded, lane by lane, `low` in the lower half.
    fn pack_pairs(self, low: Self::Vector, high: Self::Vector) -> Self::Vector;
    /// The same numbers one after the other: neighbours of `first`, then of `second`, become pairs.
    fn pack_neighbours(self, first: Self::Vector, second: Self::Vector) -> Self::Vector;
    /// The lower and the upper numbers of pairs of bfloat16.
    fn unpack_pairs(self, pairs: Self::Vector) -> [Self::Vector; 2];

    /// `a > b`, false where either is NaN.
    fn gt(self, a: Self::Vector, b: Self::Vector) -> Self::Mask;
    /// `a = b`, false where either is NaN.
    fn eq(self, a: Self::Vector, b: Self::Vector) -> Self::Mask;
    /// Whether `a` or `b` is NaN.
    fn unordered(self, a: Self::Vector, b: Self::Vector) -> Self::Mask;
    /// `yes` where the mask is set, else `no`.
    fn select(self, mask: Self::Mask, yes: Self::Vector, no: Self::Vector) -> Self::Vector;
    /// Bit `i` is lane `i`.
    fn bits(self, mask: Self::Mask) -> u16;
    /// The inverse of [`Simd::bits`].
    fn mask(self, bits: u16) -> Self::Mask;

    /// Rows become columns: lane `j` of vector `i` goes to lane `i` of vector `j`.
    fn transpose(self, rows: [Self::Vector; LANES]) -> [Self::Vector; LANES];
    /// Lane `i` of the result is the sum of the lanes of `rows[i]`, in the order of
    /// [`Simd::sum`].
    fn sums(self, rows: [Self::Vector; LANES]) -> Self::Vector;

    /// The sum of the lanes by halving: lane `i` plus lane `i + 8`, then `+ 4`, `+ 2`, `+ 1`. Every
    /// path adds in this order, so every path gets the same bits.
    #[inline(always)]
    fn sum(self, v: Self::Vector) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes, v);
        for width in [8, 4, 2, 1] {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        lanes[0]
    }

    /// `x`, but zero where it is below `least` in magnitude; NaN stays NaN.
    #[inline(always)]
    fn flush(self, x: Self::Vector, least: f32) -> Self::Vector {
        let magnitude = self.max(x, self.sub(self.zero(), x));
        self.select(self.gt(self.splat(least), magnitude), self.zero(), x)
    }

    #[inline(always)]
    fn zero(self) -> Self::Vector {
        self.splat(0.0)
    }

    /// `a` where the mask is set, else zero.
    #[inline(always)]
    fn keep(self, mask: Self::Mask, a: Self::Vector) -> Self::Vector {
        self.select(mask, a, self.zero())
    }

    /// The first `from.len() ≤ 16` lanes, the rest zero.
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> Self::Vector {
        let mut lanes = [0.0; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Stores the first `to.len() ≤ 16` lanes.
    #[inline(always)]
    fn store_partial(self, to: &mut [f32], v: Self::Vector) {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes, v);
        to.copy_from_slice(&lanes[..to.len()]);
    }

    /// [`Simd::load`] through a pointer.
    ///
    /// # Safety
    /// Sixteen `f32` must be readable at `from`.
    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> Self::Vector {
        // SAFETY: the caller's promise; `[f32; 16]` has the alignment of `f32`.
        self.load(unsafe { &*from.cast() })
    }

    /// [`Simd::store`] through a pointer.
    ///
    /// # Safety
    /// Sixteen `f32` must be writable at `to`, with no other reference to them.
    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32, v: Self::Vector) {
        // SAFETY: the caller's promise; `[f32; 16]` has the alignment of `f32`.
        self.store(unsafe { &mut *to.cast() }, v)
    }
}

/// A token type for an x86 path: detection and the `vectorize` trampoline from one feature list.
#[cfg(target_arch = "x86_64")]
macro_rules! token {
    ($name:ident, $doc:literal, $($feature:tt),+) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name(());

        impl $name {
            /// The token, if this processor has every feature of the path.
            pub(crate) fn detect() -> Option<Self> {
                ($(is_x86_feature_detected!($feature))&&+).then_some(Self(()))
            }

            /// Compiled with the path's features; `f` and all it calls must be inlined into it.
            #[inline(never)]
            $(#[target_feature(enable = $feature)])+
            fn trampoline<R>(f: impl FnOnce() -> R) -> R {
                f()
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(crate) use token;

/// A block of intrinsics of a token's path. For methods of the token, and functions that only they
/// call.
#[cfg(target_arch = "x86_64")]
macro_rules! intrinsics {
    ($($body:tt)*) => {
        // SAFETY: a token exists only where its `detect` has found every feature of the path, and
        // loads and stores go through references to sixteen values, or a length that is asserted;
        // those of `stream` begin on a cache line by its caller's promise.
        unsafe { $($body)* }
    };
}
#[cfg(target_arch = "x86_64")]
use intrinsics;

#[cfg(test)]
mod tests;
