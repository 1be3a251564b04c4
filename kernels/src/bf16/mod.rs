//! Products of bfloat16: sums in `f32` of products of operands that are rounded when they are packed.
//!
//! A bfloat16 is the upper half of an `f32`: its exponents, and eight bits of precision. Operands lie in pairs, two
//! numbers that follow each other in a sum to a lane of 32 bits, so that a step of a chain adds both products,
//!
//! ```text
//! step(a, b, c) = fma(a₀, b₀, fma(a₁, b₁, c))            the odd element first, rounded twice
//! ```
//!
//! which is what the instruction `VDPBF16PS` computes, but for subnormal numbers: it takes them for zeros, as operands
//! and as results. Other processors do the same by two fused multiply-adds of the halves. **No subnormal number is ever
//! met**, so both give the same bits:
//!
//! 1. What is below 2⁻⁵⁰ in magnitude is zero when it has been rounded ([`round_to_bf16`]), so an operand is zero or a
//!    multiple of 2⁻⁵⁷ (eight bits from 2⁻⁵⁰ down), and not below 2⁻⁵⁰.
//! 2. A product is zero, or a multiple of 2⁻¹¹⁴ and not below 2⁻¹⁰⁰. It has 16 bits, so it is exact.
//! 3. A chain starts at zero or at a number that is not subnormal: starts are flushed too.
//! 4. Let c be zero or normal and p a product. If p is zero, c + p is c. Else, if |c| < 2⁻¹⁰¹, |c + p| > 2⁻¹⁰¹. Else c is
//!    a multiple of 2⁻¹²⁴ (24 bits from 2⁻¹⁰¹ down), and so is c + p: it is zero or not below 2⁻¹²⁴. In each case the sum,
//!    before and after it is rounded, is zero or normal (2⁻¹²⁶ and above); by induction, every sum of a chain is.
//!
//! Nothing is scaled: the exponents are those of `f32`, and 2⁻⁵⁰ is far below what decides a weight.

mod pack;

pub use pack::{pack_neighbours, pack_pairs, pack_weights, pack_weights_transposed};

use crate::simd::bf16_bits;
use crate::{Convolution, Im2col, Layout};

/// What becomes of an operand of a product in bfloat16: the nearest bfloat16, ties to even, where what is then below
/// 2⁻⁵⁰ in magnitude is +0. Numbers beyond the largest bfloat16 by half a step or more are infinite; NaN stays NaN.
#[must_use]
pub fn round_to_bf16(x: f32) -> f32 {
    f32::from_bits(u32::from(bf16_bits(x)) << 16)
}

impl Convolution {
    /// [`Convolution::forward`] in bfloat16: `x` of the operands is as [`pack_pairs`] lays it out, the weights as
    /// [`pack_weights`] does. The taps of a sum are in the order of (pair of input channels, ky, kx), of a pair the odd
    /// channel first.
    ///
    /// # Panics
    /// If it has groups.
    #[must_use]
    pub fn forward_bf16(&self) -> Im2col {
        self.between_pairs(true).forward().in_bf16()
    }

    /// [`Convolution::data_gradient`] in bfloat16: `x` of the operands is dY as [`pack_pairs`] lays it out, the weights
    /// as [`pack_weights_transposed`] does. The order is that of [`Convolution::forward_bf16`], with pairs of outputs.
    ///
    /// # Panics
    /// If it has groups.
    #[must_use]
    pub fn data_gradient_bf16(&self) -> Im2col {
        self.between_pairs(false).data_gradient().in_bf16()
    }

    /// The same convolution with pairs for the channels of its input, or of its output.
    fn between_pairs(&self, of_input: bool) -> Convolution {
        assert_eq!(self.groups(), 1, "groups of a convolution in bfloat16");
        let [inputs, outputs] = [self.input(), self.output()].map(|layout| layout.channels());
        let (inputs, outputs) = match of_input {
            true => (inputs.div_ceil(2), outputs),
            false => (inputs, outputs.div_ceil(2)),
        };
        let paired = Convolution::new(inputs, self.input().size(), outputs, self.options());
        paired.expect("the window fits, as it did")
    }
}

impl Layout {
    /// The layout of pairs of these channels: half as many, the last with a zero where their number is odd.
    #[must_use]
    pub fn pairs(self) -> Layout {
        Layout::new(self.blocks(), self.channels().div_ceil(2), self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(x: f32) -> u32 {
        round_to_bf16(x).to_bits()
    }

    #[test]
    fn rounds_to_nearest_even() {
        for x in [0.0, 1.0, -1.5, 3.140625, f32::INFINITY, -f32::INFINITY] {
            assert_eq!(bits(x), x.to_bits(), "{x} is a bfloat16");
        }
        // Halfway between neighbours: to the one whose last bit is zero.
        assert_eq!(bits(f32::from_bits(0x3f80_8000)), 0x3f80_0000);
        assert_eq!(bits(f32::from_bits(0x3f81_8000)), 0x3f82_0000);
        assert_eq!(bits(f32::from_bits(0x3f80_8001)), 0x3f81_0000);
        assert_eq!(bits(f32::from_bits(0xbf81_7fff)), 0xbf81_0000);
        // The largest finite number that stays finite, and its neighbour.
        assert_eq!(bits(f32::from_bits(0x7f7f_7fff)), 0x7f7f_0000);
        assert_eq!(round_to_bf16(f32::from_bits(0x7f7f_8000)), f32::INFINITY);
        assert_eq!(round_to_bf16(f32::MIN), -f32::INFINITY);
        // Of a NaN with any payload.
        for nan in [0x7f80_0001, 0x7fff_ffff, 0xffff_ffff, 0xff80_8000] {
            assert!(round_to_bf16(f32::from_bits(nan)).is_nan());
        }
    }

    #[test]
    fn what_is_small_is_flushed() {
        let least = 2f32.powi(-50);
        assert_eq!(round_to_bf16(least), least);
        assert_eq!(round_to_bf16(-least), -least);
        // Rounded first: half a step below is 2⁻⁵⁰.
        let half_below = f32::from_bits((least.to_bits() - 0x1_0000) | 0x8000);
        assert_eq!(round_to_bf16(half_below), least);
        let below = f32::from_bits(half_below.to_bits() - 1);
        for x in [below, -below, 1e-30, f32::MIN_POSITIVE, 1e-45, -0.0] {
            assert_eq!(bits(x), 0, "{x:e}");
        }
    }

    /// Rounding is monotonic, odd, and never further than half a step.
    #[test]
    fn every_pattern_of_the_upper_half() {
        for upper in 0x2680..0x7f7f_u32 {
            for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(upper << 16 | lower);
                let step = f64::from(f32::from_bits((upper + 1) << 16))
                    - f64::from(f32::from_bits(upper << 16));
                let error = f64::from(round_to_bf16(x)) - f64::from(x);
                assert!(error.abs() <= step / 2.0, "{x:e}");
                assert_eq!(round_to_bf16(-x), -round_to_bf16(x));
            }
        }
    }
}
