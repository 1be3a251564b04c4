//! Any processor: a vector is two [`wide::f32x8`], which are SSE2, NEON, WebAssembly SIMD or plain
//! scalars, as the target has them.

use super::Simd;
use super::bf16::bf16_bits;
use crate::LANES;
use wide::{f32x8, i32x8, u32x8};

/// What every processor of the target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

type Pair = [f32x8; 2];

#[inline(always)]
fn each(f: impl Fn(usize) -> f32x8) -> Pair {
    [f(0), f(1)]
}

impl Simd for Portable {
    type Vector = Pair;
    type Mask = Pair;

    // Three vectors are 12 of the 16 registers of SSE2.
    const ACCUMULATORS: usize = 3;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        [f32x8::splat(x); 2]
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Pair {
        bytemuck::cast(*from)
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES], v: Pair) {
        *to = bytemuck::cast(v);
    }
    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> Pair {
        bytemuck::cast(from.map(f32::from))
    }

    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        each(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn sqrt(self, a: Pair) -> Pair {
        each(|i| a[i].sqrt())
    }
    #[inline(always)]
    fn mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        each(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn product_error(self, a: Pair, b: Pair, product: Pair) -> Pair {
        // Dekker's: the halves of the digits of each, whose products are exact (Veltkamp's splitting).
        let halves = |x: f32x8| {
            let large = x * f32x8::splat(4097.0);
            let high = large - (large - x);
            [high, x - high]
        };
        each(|i| {
            let ([a, a_low], [b, b_low]) = (halves(a[i]), halves(b[i]));
            ((a * b - product[i]) + a * b_low + a_low * b) + a_low * b_low
        })
    }
    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        // `f32x8::max` prefers the number where one is NaN, which would hide it.
        self.select(self.gt(a, b), a, b)
    }
    #[inline(always)]
    fn round(self, a: Pair) -> Pair {
        each(|i| a[i].round_ties_even())
    }
    #[inline(always)]
    fn scale(self, x: Pair, n: Pair) -> Pair {
        // Two factors, the first product exact, so that the result is rounded once.
        let power = |n: i32x8| -> f32x8 { bytemuck::cast((n + i32x8::splat(127)) << 23) };
        each(|i| {
            let n = n[i].round_int();
            let half = n >> 1;
            x[i] * power(half) * power(n - half)
        })
    }
    #[inline(always)]
    fn split(self, x: Pair) -> (Pair, Pair) {
        let bits: [i32x8; 2] = bytemuck::cast(x);
        let mantissa = bits.map(|b| (b & i32x8::splat(0x7f_ffff)) | i32x8::splat(0x3f80_0000));
        let exponent = bits.map(|b| f32x8::from_i32x8((b >> 23) - i32x8::splat(127)));
        (bytemuck::cast(mantissa), exponent)
    }

    #[inline(always)]
    fn pack_pairs(self, low: Pair, high: Pair) -> Pair {
        let [low, high]: [[f32; LANES]; 2] = [low, high].map(bytemuck::cast);
        let pair = |i: usize| u32::from(bf16_bits(low[i])) | u32::from(bf16_bits(high[i])) << 16;
        bytemuck::cast::<[u32; LANES], _>(std::array::from_fn(pair))
    }
    #[inline(always)]
    fn pack_neighbours(self, first: Pair, second: Pair) -> Pair {
        let numbers: [f32; 2 * LANES] = bytemuck::cast([first, second]);
        let pair = |i: usize| {
            u32::from(bf16_bits(numbers[2 * i])) | u32::from(bf16_bits(numbers[2 * i + 1])) << 16
        };
        bytemuck::cast::<[u32; LANES], _>(std::array::from_fn(pair))
    }
    #[inline(always)]
    fn unpack_pairs(self, pairs: Pair) -> [Pair; 2] {
        let bits: [u32x8; 2] = bytemuck::cast(pairs);
        let upper = u32x8::splat(0xffff_0000);
        [bits.map(|b| b << 16), bits.map(|b| b & upper)].map(bytemuck::cast)
    }

    #[inline(always)]
    fn gt(self, a: Pair, b: Pair) -> Pair {
        each(|i| a[i].simd_gt(b[i]))
    }
    #[inline(always)]
    fn eq(self, a: Pair, b: Pair) -> Pair {
        each(|i| a[i].simd_eq(b[i]))
    }
    #[inline(always)]
    fn unordered(self, a: Pair, b: Pair) -> Pair {
        each(|i| a[i].is_nan() | b[i].is_nan())
    }
    #[inline(always)]
    fn select(self, mask: Pair, yes: Pair, no: Pair) -> Pair {
        each(|i| mask[i].bitselect(yes[i], no[i]))
    }
    #[inline(always)]
    fn bits(self, mask: Pair) -> u16 {
        (mask[0].to_bitmask() | mask[1].to_bitmask() << 8) as u16
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> Pair {
        let lane = |i: usize| if bits >> i & 1 == 1 { u32::MAX } else { 0 };
        bytemuck::cast::<[u32; LANES], _>(std::array::from_fn(lane))
    }

    #[inline(always)]
    fn transpose(self, rows: [Pair; LANES]) -> [Pair; LANES] {
        let from: [[f32; LANES]; LANES] = bytemuck::cast(rows);
        let mut to = [[0.0; LANES]; LANES];
        for i in 0..LANES {
            for j in 0..LANES {
                to[j][i] = from[i][j];
            }
        }
        bytemuck::cast(to)
    }
    #[inline(always)]
    fn sums(self, rows: [Pair; LANES]) -> Pair {
        bytemuck::cast(rows.map(|row| self.sum(row)))
    }
}
