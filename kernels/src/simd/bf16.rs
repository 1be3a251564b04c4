//! The steps of chains: a fused multiply-add of `f32`, or of two pairs of bfloat16, by an instruction or without it.

use super::Simd;
#[cfg(target_arch = "x86_64")]
use super::{Avx512, intrinsics, token};
#[cfg(target_arch = "x86_64")]
use crate::LANES;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// The bits of 2⁻⁵⁰ as a bfloat16: what is smaller is flushed.
pub(crate) const LEAST_BITS: u16 = (127 - 50) << 7;

/// The bits of the nearest bfloat16, ties to even; what is below 2⁻⁵⁰ in magnitude when it is rounded becomes +0.
#[inline(always)]
pub(crate) fn bf16_bits(x: f32) -> u16 {
    if x.is_nan() {
        return (f32::NAN.to_bits() >> 16) as u16;
    }
    let bits = x.to_bits();
    let rounded = ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if rounded & 0x7fff < LEAST_BITS { 0 } else { rounded }
}

/// What a step of a chain computes on a path. As with a path's token, who holds one knows that its instructions exist.
pub(crate) trait Arithmetic<S: Simd>: Copy + Send + Sync {
    /// Numbers in a lane of an operand.
    const NUMBERS: usize;
    /// How many vectors a tile may keep in registers as accumulators, and the most columns that it should have.
    const ACCUMULATORS: usize = S::ACCUMULATORS;
    const COLUMNS: usize = S::COLUMNS;

    /// [`Simd::vectorize`] with the instructions of the step besides.
    fn vectorize<R>(self, s: S, f: impl FnOnce() -> R) -> R;

    /// What a chain starts at, where it should start at `c`.
    fn start(self, s: S, c: S::Vector) -> S::Vector;

    /// A step of a chain: `c` and the products of `a` and `b`.
    fn step(self, s: S, a: S::Vector, b: S::Vector, c: S::Vector) -> S::Vector;

    /// Lanes of an operand: `low`, and `high` beside it where there are two numbers to a lane.
    fn pack(self, s: S, low: S::Vector, high: S::Vector) -> S::Vector;
}

/// The arithmetic of pairs of bfloat16, as the processor has it.
pub(crate) trait Bf16<S: Simd>: Arithmetic<S> {
    /// [`Simd::pack_neighbours`].
    fn pack_neighbours(self, s: S, first: S::Vector, second: S::Vector) -> S::Vector;
}

/// One number to a lane: `a · b + c`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floats;

impl<S: Simd> Arithmetic<S> for Floats {
    const NUMBERS: usize = 1;

    #[inline(always)]
    fn vectorize<R>(self, s: S, f: impl FnOnce() -> R) -> R {
        s.vectorize(f)
    }
    #[inline(always)]
    fn start(self, _: S, c: S::Vector) -> S::Vector {
        c
    }
    #[inline(always)]
    fn step(self, s: S, a: S::Vector, b: S::Vector, c: S::Vector) -> S::Vector {
        s.mul_add(a, b, c)
    }
    #[inline(always)]
    fn pack(self, _: S, low: S::Vector, _: S::Vector) -> S::Vector {
        low
    }
}

/// Two numbers of bfloat16 to a lane, `a₀ · b₀ + (a₁ · b₁ + c)`, by two multiply-adds: see [`bf16`](crate::bf16).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairs;

impl<S: Simd> Arithmetic<S> for Pairs {
    const NUMBERS: usize = 2;
    // Beside the pairs of a column are their halves, which is two vectors of sixteen registers' six.
    const ACCUMULATORS: usize = if S::ACCUMULATORS == 6 { 4 } else { S::ACCUMULATORS * 5 / 6 };
    const COLUMNS: usize = if S::COLUMNS > 4 { 4 } else { S::COLUMNS };

    #[inline(always)]
    fn vectorize<R>(self, s: S, f: impl FnOnce() -> R) -> R {
        s.vectorize(f)
    }
    #[inline(always)]
    fn start(self, s: S, c: S::Vector) -> S::Vector {
        s.flush(c, f32::MIN_POSITIVE)
    }
    #[inline(always)]
    fn step(self, s: S, a: S::Vector, b: S::Vector, c: S::Vector) -> S::Vector {
        let ([a0, a1], [b0, b1]) = (s.unpack_pairs(a), s.unpack_pairs(b));
        s.mul_add(a0, b0, s.mul_add(a1, b1, c))
    }
    #[inline(always)]
    fn pack(self, s: S, low: S::Vector, high: S::Vector) -> S::Vector {
        s.pack_pairs(low, high)
    }
}

impl<S: Simd> Bf16<S> for Pairs {
    #[inline(always)]
    fn pack_neighbours(self, s: S, first: S::Vector, second: S::Vector) -> S::Vector {
        s.pack_neighbours(first, second)
    }
}

#[cfg(target_arch = "x86_64")]
token!(
    Avx512Bf16,
    "`VDPBF16PS`, which does the step of [`Pairs`] at once.",
    "avx512bf16",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx2",
    "fma"
);

#[cfg(target_arch = "x86_64")]
impl Arithmetic<Avx512> for Avx512Bf16 {
    const NUMBERS: usize = 2;

    #[inline(always)]
    fn vectorize<R>(self, _: Avx512, f: impl FnOnce() -> R) -> R {
        intrinsics! { Self::trampoline(f) }
    }
    #[inline(always)]
    fn start(self, s: Avx512, c: __m512) -> __m512 {
        Pairs.start(s, c)
    }
    #[inline(always)]
    fn step(self, _: Avx512, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsics! {
            // The same 512 bits under the type that the intrinsic asks for.
            let a = std::mem::transmute::<__m512, __m512bh>(a);
            let b = std::mem::transmute::<__m512, __m512bh>(b);
            _mm512_dpbf16_ps(c, a, b)
        }
    }
    #[inline(always)]
    fn pack(self, s: Avx512, low: __m512, high: __m512) -> __m512 {
        intrinsics! {
            let numbers = _mm512_castps_si512(self.pack_neighbours(s, low, high));
            let order = _mm512_loadu_si512(ALTERNATING.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, numbers))
        }
    }
}

/// The numbers 0, 16, 1, 17, …, 15, 31.
#[cfg(target_arch = "x86_64")]
const ALTERNATING: [u16; 2 * LANES] = {
    let mut order = [0; 2 * LANES];
    let mut i = 0;
    while i < 2 * LANES {
        order[i] = (i / 2 + i % 2 * LANES) as u16;
        i += 1;
    }
    order
};

#[cfg(target_arch = "x86_64")]
impl Bf16<Avx512> for Avx512Bf16 {
    /// `VCVTNE2PS2BF16` rounds as [`round_to_bf16`](crate::round_to_bf16) does, and takes subnormal numbers for zeros,
    /// which are flushed in any case.
    #[inline(always)]
    fn pack_neighbours(self, _: Avx512, first: __m512, second: __m512) -> __m512 {
        intrinsics! {
            let numbers = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
            let magnitude = _mm512_and_si512(numbers, _mm512_set1_epi16(0x7fff));
            let kept = _mm512_cmpge_epu16_mask(magnitude, _mm512_set1_epi16(LEAST_BITS as i16));
            _mm512_castsi512_ps(_mm512_maskz_mov_epi16(kept, numbers))
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx512Bf16 {
    /// The token, if the processor has the instructions and they compute what [`Pairs`] does.
    pub(crate) fn agreeing(s: Avx512) -> Option<Self> {
        let agrees = |own: &Self, seed| {
            own.differs(s, seed).is_none() && own.rounds_differently(s, seed).is_none()
        };
        Self::detect().filter(|own| (0..64).all(|seed| agrees(own, seed)))
    }

    /// A lane where random numbers of any size are rounded to others than by [`Pairs`], or to a NaN by one alone.
    pub(crate) fn rounds_differently(self, s: Avx512, seed: u32) -> Option<usize> {
        let mut next = random(seed);
        // Every fourth is halfway between two.
        let mut number = || match next() {
            bits if bits & 3 == 0 => f32::from_bits(bits & 0xffff_0000 | 0x8000),
            bits => f32::from_bits(bits),
        };
        let [low, high] = [(); 2].map(|()| [(); LANES].map(|()| number()));
        let mut packed = [[0.0; LANES]; 2];
        self.vectorize(
            s,
            #[inline(always)]
            || {
                let (low, high) = (s.load(&low), s.load(&high));
                s.store(&mut packed[0], self.pack(s, low, high));
                s.store(&mut packed[1], Pairs.pack(s, low, high));
            },
        );
        let halves =
            |i: usize, shift: u32| packed.map(|p| f32::from_bits(p[i].to_bits() >> shift << 16));
        let same = |[a, b]: [f32; 2]| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        (0..LANES).find(|&i| !same(halves(i, 0)) || !same(halves(i, 16)))
    }

    /// A lane of a chain of random steps where the instruction and its replacement differ. Exponents are from a narrow
    /// range, so that the order of the additions and each rounding shows.
    pub(crate) fn differs(self, s: Avx512, seed: u32) -> Option<usize> {
        const STEPS: usize = 8;
        let mut next = random(seed);
        // Sign and seven bits at random, exponents from −8 to 7.
        let mut number = || {
            let bits = next();
            (bits & 0x8000_0000 | (119 + (bits >> 16 & 15)) << 23 | (bits & 0x7f) << 16) as u64
        };
        let mut pairs = || [(); LANES].map(|()| f32::from_bits((number() | number() >> 16) as u32));
        let operands = [(); STEPS].map(|()| [pairs(), pairs()]);
        let (mut by_instruction, mut without) = ([0.0; LANES], [0.0; LANES]);
        self.vectorize(
            s,
            #[inline(always)]
            || {
                let mut sums = [s.zero(); 2];
                for [a, b] in &operands {
                    let (a, b) = (s.load(a), s.load(b));
                    sums = [self.step(s, a, b, sums[0]), Pairs.step(s, a, b, sums[1])];
                }
                s.store(&mut by_instruction, sums[0]);
                s.store(&mut without, sums[1]);
            },
        );
        (0..LANES).find(|&i| by_instruction[i].to_bits() != without[i].to_bits())
    }
}

/// Random bits, the same for each seed (Marsaglia's xorshift).
#[cfg(target_arch = "x86_64")]
fn random(seed: u32) -> impl FnMut() -> u32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    }
}
