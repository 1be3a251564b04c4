//! The limit that kernels are measured against.

use crate::isa::{dispatch, dispatch_bf16};
use crate::simd::{Arithmetic, Simd};
use crate::{Isa, LANES};
use std::hint::black_box;

/// Fused multiply-adds and nothing else: `steps` of them in each of several independent chains, as
/// many as a kernel's tile has accumulators, so that every multiplier is busy in every cycle.
/// Returns the floating-point operations done, two for each multiply-add; whoever calls it holds
/// the watch.
///
/// The best of many timings of it is the *FMA peak* of one core, of which benches report a share.
pub fn fma_chains(isa: Isa, steps: usize) -> usize {
    dispatch!(isa, s => s.vectorize(#[inline(always)] || chains(s, steps)))
}

/// The same of steps in bfloat16, of two multiply-adds each: the best of many timings is the *bf16 peak*.
pub fn bf16_chains(isa: Isa, steps: usize) -> usize {
    dispatch_bf16!(isa, (s, a) => a.vectorize(s, #[inline(always)] || pair_chains((s, a), steps)))
}

/// Twenty-four chains hide a latency of four cycles on two units, with room for slower machines.
const MOST_CHAINS: usize = 24;

#[inline(always)]
fn chains<S: Simd>(s: S, steps: usize) -> usize {
    // x ← x/2 + 1/2 stays at 1: neither overflow nor subnormals, which could take longer.
    let half = s.splat(black_box(0.5));
    let mut x = [s.splat(1.0); MOST_CHAINS];
    for _ in 0..steps {
        for chain in &mut x[..S::ACCUMULATORS] {
            *chain = s.mul_add(*chain, half, half);
        }
    }
    let mut total = s.zero();
    for chain in &x[..S::ACCUMULATORS] {
        total = s.add(total, *chain);
    }
    black_box(s.sum(total));
    2 * LANES * S::ACCUMULATORS * steps
}

#[inline(always)]
fn pair_chains<S: Simd, A: Arithmetic<S>>((s, a): (S, A), steps: usize) -> usize {
    // x ← x + ½ − ½.
    let pair = a.pack(s, s.splat(black_box(0.5)), s.splat(black_box(-0.5)));
    let ones = a.pack(s, s.splat(black_box(1.0)), s.splat(black_box(1.0)));
    let mut x = [s.splat(1.0); MOST_CHAINS];
    for _ in 0..steps {
        for chain in &mut x[..S::ACCUMULATORS] {
            *chain = a.step(s, pair, ones, *chain);
        }
    }
    let mut total = s.zero();
    for chain in &x[..S::ACCUMULATORS] {
        total = s.add(total, *chain);
    }
    black_box(s.sum(total));
    4 * LANES * S::ACCUMULATORS * steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted() {
        for isa in Isa::available() {
            assert!(fma_chains(isa, 0) == 0);
            assert!(fma_chains(isa, 10).is_multiple_of(2 * LANES * 10));
            assert_eq!(bf16_chains(isa, 10), 2 * fma_chains(isa, 10));
        }
    }
}
