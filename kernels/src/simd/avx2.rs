//! AVX2 with FMA: a vector is two `ymm` registers, lanes 0–7 and 8–15.

use super::bf16::LEAST_BITS;
use super::{Simd, intrinsics, token};
use crate::LANES;
use std::arch::x86_64::*;

token!(Avx2, "AVX2 with FMA.", "avx2", "fma");

type Half = __m256;

impl Simd for Avx2 {
    type Vector = [Half; 2];
    type Mask = [Half; 2];

    // Six vectors are 12 of 16 registers; two hold the column, one the weight.
    const ACCUMULATORS: usize = 6;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        intrinsics! { Self::trampoline(f) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [Half; 2] {
        intrinsics! { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [Half; 2] {
        intrinsics! { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from[8..].as_ptr())] }
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES], v: [Half; 2]) {
        intrinsics! {
            _mm256_storeu_ps(to.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(to[8..].as_mut_ptr(), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn stream(self, to: &mut [f32; LANES], v: [Half; 2]) {
        intrinsics! {
            _mm256_stream_ps(to.as_mut_ptr(), v[0]);
            _mm256_stream_ps(to[8..].as_mut_ptr(), v[1]);
        }
    }
    #[inline(always)]
    fn finish_streams(self) {
        intrinsics! { _mm_sfence() }
    }
    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> [Half; 2] {
        intrinsics! {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            let low = _mm256_cvtepu8_epi32(bytes);
            let high = _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes));
            [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
        }
    }

    #[inline(always)]
    fn add(self, a: [Half; 2], b: [Half; 2]) -> [Half; 2] {
        intrinsics! { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn sub(self, a: [Half; 2], b: [Half; 2]) -> [Half; 2] {
        intrinsics! { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn mul(self, a: [Half; 2], b: [Half; 2]) -> [Half; 2] {
        intrinsics! { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn div(self, a: [Half; 2], b: [Half; 2]) -> [Half; 2] {
        intrinsics! { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn sqrt(self, a: [Half; 2]) -> [Half; 2] {
        intrinsics! { [_mm256_sqrt_ps(a[0]), _mm256_sqrt_ps(a[1])] }
    }
    #[inline(always)]
    fn mul_add(self, a: [Half; 2], b: [Half; 2], c: [Half; 2]) -> [Half; 2] {
        intrinsics! { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn product_error(self, a: [Half; 2], b: [Half; 2], product: [Half; 2]) -> [Half; 2] {
        intrinsics! {
            [_mm256_fmsub_ps(a[0], b[0], product[0]), _mm256_fmsub_ps(a[1], b[1], product[1])]
        }
    }
    #[inline(always)]
    fn max(self, a: [Half; 2], b: [Half; 2]) -> [Half; 2] {
        intrinsics! { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn round(self, a: [Half; 2]) -> [Half; 2] {
        const MODE: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        intrinsics! { [_mm256_round_ps::<MODE>(a[0]), _mm256_round_ps::<MODE>(a[1])] }
    }
    #[inline(always)]
    fn scale(self, x: [Half; 2], n: [Half; 2]) -> [Half; 2] {
        [scale(x[0], n[0]), scale(x[1], n[1])]
    }
    #[inline(always)]
    fn split(self, x: [Half; 2]) -> ([Half; 2], [Half; 2]) {
        let (low, high) = (split(x[0]), split(x[1]));
        ([low.0, high.0], [low.1, high.1])
    }

    #[inline(always)]
    fn pack_pairs(self, low: [Half; 2], high: [Half; 2]) -> [Half; 2] {
        [pack_pairs(low[0], high[0]), pack_pairs(low[1], high[1])]
    }
    #[inline(always)]
    fn pack_neighbours(self, first: [Half; 2], second: [Half; 2]) -> [Half; 2] {
        [pack_neighbours(first), pack_neighbours(second)]
    }
    #[inline(always)]
    fn unpack_pairs(self, pairs: [Half; 2]) -> [[Half; 2]; 2] {
        intrinsics! {
            let upper = _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32));
            let odd = [_mm256_and_ps(pairs[0], upper), _mm256_and_ps(pairs[1], upper)];
            [[raise(pairs[0]), raise(pairs[1])], odd]
        }
    }

    #[inline(always)]
    fn gt(self, a: [Half; 2], b: [Half; 2]) -> [Half; 2] {
        intrinsics! {
            [_mm256_cmp_ps::<_CMP_GT_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_GT_OQ>(a[1], b[1])]
        }
    }
    #[inline(always)]
    fn eq(self, a: [Half; 2], b: [Half; 2]) -> [Half; 2] {
        intrinsics! {
            [_mm256_cmp_ps::<_CMP_EQ_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_EQ_OQ>(a[1], b[1])]
        }
    }
    #[inline(always)]
    fn unordered(self, a: [Half; 2], b: [Half; 2]) -> [Half; 2] {
        intrinsics! {
            [_mm256_cmp_ps::<_CMP_UNORD_Q>(a[0], b[0]), _mm256_cmp_ps::<_CMP_UNORD_Q>(a[1], b[1])]
        }
    }
    #[inline(always)]
    fn select(self, mask: [Half; 2], yes: [Half; 2], no: [Half; 2]) -> [Half; 2] {
        intrinsics! {
            [_mm256_blendv_ps(no[0], yes[0], mask[0]), _mm256_blendv_ps(no[1], yes[1], mask[1])]
        }
    }
    #[inline(always)]
    fn bits(self, mask: [Half; 2]) -> u16 {
        intrinsics! { (_mm256_movemask_ps(mask[0]) | _mm256_movemask_ps(mask[1]) << 8) as u16 }
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> [Half; 2] {
        intrinsics! {
            let bits = _mm256_set1_epi32(i32::from(bits));
            let low = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let high = _mm256_slli_epi32::<8>(low);
            let low = _mm256_cmpeq_epi32(_mm256_and_si256(bits, low), low);
            let high = _mm256_cmpeq_epi32(_mm256_and_si256(bits, high), high);
            [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
        }
    }

    #[inline(always)]
    fn transpose(self, r: [[Half; 2]; LANES]) -> [[Half; 2]; LANES] {
        // Four 8×8 blocks: the off-diagonal ones change places.
        let mut t = r;
        for half in 0..2 {
            let (mut low, mut high) = ([r[0][0]; 8], [r[0][0]; 8]);
            for i in 0..8 {
                low[i] = r[i][half];
                high[i] = r[i + 8][half];
            }
            let (low, high) = (transpose8(low), transpose8(high));
            for i in 0..8 {
                t[i + 8 * half] = [low[i], high[i]];
            }
        }
        t
    }

    #[inline(always)]
    fn sums(self, r: [[Half; 2]; LANES]) -> [Half; 2] {
        let (mut low, mut high) = ([r[0]; 8], [r[0]; 8]);
        low.copy_from_slice(&r[..8]);
        high.copy_from_slice(&r[8..]);
        [sums8(low), sums8(high)]
    }
}

/// The bits of a bfloat16 in the upper half of each lane, with anything in the lower half: rounded to nearest even.
#[inline(always)]
fn round(x: Half) -> __m256i {
    intrinsics! {
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
        let rounded = _mm256_castsi256_ps(_mm256_add_epi32(bits, half));
        let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x);
        _mm256_castps_si256(_mm256_blendv_ps(rounded, _mm256_set1_ps(f32::NAN), nan))
    }
}

/// The lower number of each pair.
#[inline(always)]
fn raise(pairs: Half) -> Half {
    intrinsics! { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(pairs))) }
}

/// Numbers of bfloat16 that are not too small to be kept.
#[inline(always)]
fn flush(numbers: __m256i) -> Half {
    intrinsics! {
        let magnitude = _mm256_and_si256(numbers, _mm256_set1_epi16(0x7fff));
        let kept = _mm256_cmpgt_epi16(magnitude, _mm256_set1_epi16(LEAST_BITS as i16 - 1));
        _mm256_castsi256_ps(_mm256_and_si256(numbers, kept))
    }
}

#[inline(always)]
fn pack_pairs(low: Half, high: Half) -> Half {
    intrinsics! {
        let low = _mm256_srli_epi32::<16>(round(low));
        flush(_mm256_blend_epi16::<0b1010_1010>(low, round(high)))
    }
}

#[inline(always)]
fn pack_neighbours(x: [Half; 2]) -> Half {
    intrinsics! {
        let [low, high] = [
            _mm256_srli_epi32::<16>(round(x[0])),
            _mm256_srli_epi32::<16>(round(x[1])),
        ];
        // By halves of 128 bits, so the quarters are to be put in order.
        flush(_mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high)))
    }
}

/// `x · 2ⁿ` in two factors, the first of them exact, so that the result is rounded once.
#[inline(always)]
fn scale(x: Half, n: Half) -> Half {
    intrinsics! {
        let power = |n: __m256i| {
            let biased = _mm256_add_epi32(n, _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        };
        let n = _mm256_cvtps_epi32(n);
        let half = _mm256_srai_epi32::<1>(n);
        _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(_mm256_sub_epi32(n, half)))
    }
}

/// Mantissa and exponent of positive normal numbers.
#[inline(always)]
fn split(x: Half) -> (Half, Half) {
    intrinsics! {
        let bits = _mm256_castps_si256(x);
        let one = _mm256_set1_epi32(0x3f80_0000);
        let mantissa = _mm256_or_si256(_mm256_and_si256(bits, _mm256_set1_epi32(0x7f_ffff)), one);
        let exponent = _mm256_sub_epi32(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(127));
        (_mm256_castsi256_ps(mantissa), _mm256_cvtepi32_ps(exponent))
    }
}

#[inline(always)]
fn transpose8(r: [Half; 8]) -> [Half; 8] {
    intrinsics! {
        let mut t = r;
        for i in 0..4 {
            t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        let mut q = t;
        for i in 0..2 {
            q[4 * i] = _mm256_shuffle_ps::<0x44>(t[4 * i], t[4 * i + 2]);
            q[4 * i + 1] = _mm256_shuffle_ps::<0xEE>(t[4 * i], t[4 * i + 2]);
            q[4 * i + 2] = _mm256_shuffle_ps::<0x44>(t[4 * i + 1], t[4 * i + 3]);
            q[4 * i + 3] = _mm256_shuffle_ps::<0xEE>(t[4 * i + 1], t[4 * i + 3]);
        }
        for i in 0..4 {
            t[i] = _mm256_permute2f128_ps::<0x20>(q[i], q[i + 4]);
            t[i + 4] = _mm256_permute2f128_ps::<0x31>(q[i], q[i + 4]);
        }
        t
    }
}

/// The sums of eight rows of sixteen, by halving.
#[inline(always)]
fn sums8(r: [[Half; 2]; 8]) -> Half {
    intrinsics! {
        let mut eights = [_mm256_setzero_ps(); 8];
        for i in 0..8 {
            eights[i] = _mm256_add_ps(r[i][0], r[i][1]);
        }
        let mut fours = [_mm256_setzero_ps(); 4];
        for i in 0..4 {
            let low = _mm256_permute2f128_ps::<0x20>(eights[i], eights[i + 4]);
            let high = _mm256_permute2f128_ps::<0x31>(eights[i], eights[i + 4]);
            fours[i] = _mm256_add_ps(low, high);
        }
        let mut twos = [_mm256_setzero_ps(); 2];
        for i in 0..2 {
            let low = _mm256_unpacklo_ps(fours[i], fours[i + 2]);
            let high = _mm256_unpackhi_ps(fours[i], fours[i + 2]);
            twos[i] = _mm256_add_ps(low, high);
        }
        let low = _mm256_shuffle_ps::<0x44>(twos[0], twos[1]);
        let high = _mm256_shuffle_ps::<0xEE>(twos[0], twos[1]);
        let order = _mm256_setr_epi32(0, 2, 1, 3, 4, 6, 5, 7);
        _mm256_permutevar8x32_ps(_mm256_add_ps(low, high), order)
    }
}
