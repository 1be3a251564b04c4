//! AVX-512: a vector is one `zmm` register.

use super::bf16::LEAST_BITS;
use super::{Simd, intrinsics, token};
use crate::LANES;
use std::arch::x86_64::*;

token!(
    Avx512,
    "AVX-512 (F, BW, DQ, VL) with FMA.",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx2",
    "fma"
);

impl Simd for Avx512 {
    type Vector = __m512;
    type Mask = __mmask16;

    // 24 of 32 registers, which leaves room for the columns and one weight.
    const ACCUMULATORS: usize = 24;
    const COLUMNS: usize = 6;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        intrinsics! { Self::trampoline(f) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        intrinsics! { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        intrinsics! { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES], v: __m512) {
        intrinsics! { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }
    #[inline(always)]
    unsafe fn stream(self, to: &mut [f32; LANES], v: __m512) {
        intrinsics! { _mm512_stream_ps(to.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn finish_streams(self) {
        intrinsics! { _mm_sfence() }
    }
    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> __m512 {
        intrinsics! { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> __m512 {
        assert!(from.len() <= LANES);
        let mask = ((1u32 << from.len()) - 1) as u16;
        intrinsics! { _mm512_maskz_loadu_ps(mask, from.as_ptr()) }
    }
    #[inline(always)]
    fn store_partial(self, to: &mut [f32], v: __m512) {
        assert!(to.len() <= LANES);
        let mask = ((1u32 << to.len()) - 1) as u16;
        intrinsics! { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, v) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        intrinsics! { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        intrinsics! { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsics! { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        intrinsics! { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        intrinsics! { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsics! { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn product_error(self, a: __m512, b: __m512, product: __m512) -> __m512 {
        intrinsics! { _mm512_fmsub_ps(a, b, product) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        intrinsics! { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        intrinsics! { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn scale(self, x: __m512, n: __m512) -> __m512 {
        intrinsics! { _mm512_scalef_ps(x, n) }
    }
    #[inline(always)]
    fn split(self, x: __m512) -> (__m512, __m512) {
        intrinsics! {
            let mantissa = _mm512_getmant_ps::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_SRC>(x);
            (mantissa, _mm512_getexp_ps(x))
        }
    }

    #[inline(always)]
    fn pack_pairs(self, low: __m512, high: __m512) -> __m512 {
        intrinsics! {
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            let low = _mm512_srli_epi32::<16>(round(low));
            let pairs = _mm512_or_si512(low, _mm512_and_si512(round(high), upper));
            let magnitude = _mm512_and_si512(pairs, _mm512_set1_epi16(0x7fff));
            let kept = _mm512_cmpge_epu16_mask(magnitude, _mm512_set1_epi16(LEAST_BITS as i16));
            _mm512_castsi512_ps(_mm512_maskz_mov_epi16(kept, pairs))
        }
    }
    #[inline(always)]
    fn pack_neighbours(self, first: __m512, second: __m512) -> __m512 {
        intrinsics! {
            let pairs = _mm512_castps_si512(self.pack_pairs(first, second));
            let order = _mm512_loadu_si512(EVEN_THEN_ODD.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, pairs))
        }
    }
    #[inline(always)]
    fn unpack_pairs(self, pairs: __m512) -> [__m512; 2] {
        intrinsics! {
            let bits = _mm512_castps_si512(pairs);
            let upper = _mm512_and_si512(bits, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)), _mm512_castsi512_ps(upper)]
        }
    }

    #[inline(always)]
    fn gt(self, a: __m512, b: __m512) -> __mmask16 {
        intrinsics! { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) }
    }
    #[inline(always)]
    fn eq(self, a: __m512, b: __m512) -> __mmask16 {
        intrinsics! { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) }
    }
    #[inline(always)]
    fn unordered(self, a: __m512, b: __m512) -> __mmask16 {
        intrinsics! { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b) }
    }
    #[inline(always)]
    fn select(self, mask: __mmask16, yes: __m512, no: __m512) -> __m512 {
        intrinsics! { _mm512_mask_blend_ps(mask, no, yes) }
    }
    #[inline(always)]
    fn bits(self, mask: __mmask16) -> u16 {
        mask
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> __mmask16 {
        bits
    }

    #[inline(always)]
    fn transpose(self, r: [__m512; LANES]) -> [__m512; LANES] {
        intrinsics! {
            let mut t = r;
            // 4×4 blocks within each 128-bit quarter …
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            let mut q = t;
            for i in 0..4 {
                q[4 * i] = _mm512_shuffle_ps::<0x44>(t[4 * i], t[4 * i + 2]);
                q[4 * i + 1] = _mm512_shuffle_ps::<0xEE>(t[4 * i], t[4 * i + 2]);
                q[4 * i + 2] = _mm512_shuffle_ps::<0x44>(t[4 * i + 1], t[4 * i + 3]);
                q[4 * i + 3] = _mm512_shuffle_ps::<0xEE>(t[4 * i + 1], t[4 * i + 3]);
            }
            // … then the 4×4 matrix of quarters.
            for i in 0..4 {
                t[i] = _mm512_shuffle_f32x4::<0x88>(q[i], q[i + 4]);
                t[i + 4] = _mm512_shuffle_f32x4::<0xDD>(q[i], q[i + 4]);
                t[i + 8] = _mm512_shuffle_f32x4::<0x88>(q[i + 8], q[i + 12]);
                t[i + 12] = _mm512_shuffle_f32x4::<0xDD>(q[i + 8], q[i + 12]);
            }
            for i in 0..8 {
                q[i] = _mm512_shuffle_f32x4::<0x88>(t[i], t[i + 8]);
                q[i + 8] = _mm512_shuffle_f32x4::<0xDD>(t[i], t[i + 8]);
            }
            q
        }
    }

    #[inline(always)]
    fn sums(self, r: [__m512; LANES]) -> __m512 {
        intrinsics! {
            let zero = _mm512_setzero_ps();
            // Each stage adds two halves of what is left of a row, and packs two rows into one.
            let mut eights = [zero; 8];
            for i in 0..8 {
                let low = _mm512_shuffle_f32x4::<0x44>(r[i], r[i + 8]);
                let high = _mm512_shuffle_f32x4::<0xEE>(r[i], r[i + 8]);
                eights[i] = _mm512_add_ps(low, high);
            }
            let mut fours = [zero; 4];
            for i in 0..4 {
                let low = _mm512_shuffle_f32x4::<0x88>(eights[i], eights[i + 4]);
                let high = _mm512_shuffle_f32x4::<0xDD>(eights[i], eights[i + 4]);
                fours[i] = _mm512_add_ps(low, high);
            }
            let mut twos = [zero; 2];
            for i in 0..2 {
                let low = _mm512_unpacklo_ps(fours[i], fours[i + 2]);
                let high = _mm512_unpackhi_ps(fours[i], fours[i + 2]);
                twos[i] = _mm512_add_ps(low, high);
            }
            let low = _mm512_shuffle_ps::<0x44>(twos[0], twos[1]);
            let high = _mm512_shuffle_ps::<0xEE>(twos[0], twos[1]);
            let order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
            _mm512_permutexvar_ps(order, _mm512_add_ps(low, high))
        }
    }
}

/// The numbers 0, 2, …, 30, then 1, 3, …, 31.
const EVEN_THEN_ODD: [u16; 2 * LANES] = {
    let mut order = [0; 2 * LANES];
    let mut i = 0;
    while i < 2 * LANES {
        order[i] = (2 * (i % LANES) + i / LANES) as u16;
        i += 1;
    }
    order
};

/// The bits of a bfloat16 in the upper half of each lane, with anything in the lower half: rounded to nearest even.
#[inline(always)]
fn round(x: __m512) -> __m512i {
    intrinsics! {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let quiet = _mm512_castps_si512(_mm512_set1_ps(f32::NAN));
        _mm512_mask_mov_epi32(_mm512_add_epi32(bits, half), nan, quiet)
    }
}
