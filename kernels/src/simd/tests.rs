//! Every operation on every path against its scalar definition.

use super::Simd;
use crate::isa::{Isa, dispatch};

/// Sixteen numbers of mixed sign and size, different for each `seed`.
fn numbers(seed: u32) -> [f32; 16] {
    std::array::from_fn(|i| {
        let hash = (seed * 31 + i as u32 + 1).wrapping_mul(2_654_435_761);
        (hash as f32 / u32::MAX as f32 - 0.5) * 10.0
    })
}

fn check<S: Simd>(s: S, expected: [f32; 16], v: S::Vector) {
    let mut got = [f32::NAN; 16];
    s.store(&mut got, v);
    assert_eq!(got.map(f32::to_bits), expected.map(f32::to_bits), "{got:?} {expected:?}");
}

fn lanes(f: impl Fn(usize) -> f32) -> [f32; 16] {
    std::array::from_fn(f)
}

#[inline(always)]
fn arithmetic<S: Simd>(s: S) {
    let (a, b) = (numbers(1), numbers(2));
    let (va, vb) = (s.load(&a), s.load(&b));
    check(s, lanes(|i| a[i] + b[i]), s.add(va, vb));
    check(s, lanes(|i| a[i] - b[i]), s.sub(va, vb));
    check(s, lanes(|i| a[i] * b[i]), s.mul(va, vb));
    check(s, lanes(|i| a[i] / b[i]), s.div(va, vb));
    check(s, lanes(|i| (a[i] * a[i]).sqrt()), s.sqrt(s.mul(va, va)));
    // The sign of a zero is not promised.
    check(s, lanes(|i| a[i].round_ties_even() + 0.0), s.add(s.round(va), s.zero()));
    check(s, lanes(|i| if a[i] > b[i] { a[i] } else { b[i] }), s.max(va, vb));
    check(
        s,
        lanes(|i| a[i] * 2f32.powi(i as i32 - 8)),
        s.scale(va, s.load(&lanes(|i| i as f32 - 8.0))),
    );
    let bytes = std::array::from_fn(|i| (i * 17) as u8);
    check(s, lanes(|i| (i * 17) as f32), s.load_u8(&bytes));
    check(s, lanes(|i| if i < 5 { a[i] } else { 0.0 }), s.load_partial(&a[..5]));
    let mut stored = b;
    s.store_partial(&mut stored[..5], va);
    assert_eq!(stored, lanes(|i| if i < 5 { a[i] } else { b[i] }));
    let positive = lanes(|i| a[i].abs() + 1e-20);
    let (mantissa, exponent) = s.split(s.load(&positive));
    check(s, positive, s.scale(mantissa, exponent));
    check(s, lanes(|i| positive[i].log2().floor()), exponent);
}

#[inline(always)]
fn masks<S: Simd>(s: S) {
    let (a, mut b) = (numbers(3), numbers(4));
    b[2] = f32::NAN;
    b[5] = a[5];
    let (va, vb) = (s.load(&a), s.load(&b));
    let bits = |f: &dyn Fn(usize) -> bool| (0..16).fold(0u16, |m, i| m | u16::from(f(i)) << i);
    assert_eq!(s.bits(s.gt(va, vb)), bits(&|i| a[i] > b[i]));
    assert_eq!(s.bits(s.eq(va, vb)), bits(&|i| i == 5));
    assert_eq!(s.bits(s.unordered(va, vb)), bits(&|i| i == 2));
    assert_eq!(s.bits(s.unordered(vb, va)), bits(&|i| i == 2));
    // Where either is NaN, the second operand comes through.
    let mut max = [0.0; 16];
    s.store(&mut max, s.max(va, vb));
    assert!(max[2].is_nan());
    s.store(&mut max, s.max(vb, va));
    assert_eq!(max[2], a[2]);
    for pattern in [0, 1, 0x8000, 0xa5f0, 0xffff] {
        assert_eq!(s.bits(s.mask(pattern)), pattern);
        let chosen = lanes(|i| if pattern >> i & 1 == 1 { a[i] } else { 0.0 });
        check(s, chosen, s.keep(s.mask(pattern), va));
    }
}

#[inline(always)]
fn shuffles<S: Simd>(s: S) {
    let rows: [[f32; 16]; 16] = std::array::from_fn(|i| numbers(i as u32));
    let vectors: [S::Vector; 16] = std::array::from_fn(|i| s.load(&rows[i]));
    let columns = s.transpose(vectors);
    for j in 0..16 {
        check(s, lanes(|i| rows[i][j]), columns[j]);
    }
    check(s, lanes(|i| s.sum(vectors[i])), s.sums(vectors));
    let r = rows[3];
    let fours = |i: usize| (r[i] + r[i + 8]) + (r[i + 4] + r[i + 12]);
    assert_eq!(s.sum(vectors[3]), (fours(0) + fours(2)) + (fours(1) + fours(3)));
}

#[test]
fn every_operation_on_every_path() {
    for isa in Isa::available() {
        dispatch!(isa, s => s.vectorize(#[inline(always)] || {
            arithmetic(s);
            masks(s);
            shuffles(s);
        }));
    }
}

#[test]
fn scaling_rounds_once_into_the_subnormals() {
    for isa in Isa::available() {
        dispatch!(isa, s => s.vectorize(#[inline(always)] || {
            let x = lanes(|i| 1.0 + i as f32 * 0.061);
            let exact = lanes(|i| (f64::from(x[i]) * 2f64.powi(-140)) as f32);
            check(s, exact, s.scale(s.load(&x), s.splat(-140.0)));
        }));
    }
}

/// `VDPBF16PS` and the rounding of the processor that runs this are what two multiply-adds and integers make of them.
#[test]
fn the_instruction_is_its_replacement() {
    #[cfg(target_arch = "x86_64")]
    if let (Some(s), Some(own)) = (super::Avx512::detect(), super::Avx512Bf16::detect()) {
        for seed in 0..20_000 {
            assert_eq!(own.differs(s, seed), None, "steps, seed {seed}");
            assert_eq!(own.rounds_differently(s, seed), None, "rounding, seed {seed}");
        }
        assert!(super::Avx512Bf16::agreeing(s).is_some());
    }
}

#[test]
fn small_numbers_are_flushed() {
    for isa in Isa::available() {
        dispatch!(isa, s => s.vectorize(#[inline(always)] || {
            let x = [1.0, -1.0, 0.5, -0.5, 0.25, f32::INFINITY, -f32::INFINITY, 1e-40, 0.0];
            let mut flushed = [0.0; 16];
            s.store(&mut flushed, s.flush(s.load_partial(&x), 0.5));
            assert_eq!(&flushed[..9], &[1.0, -1.0, 0.5, -0.5, 0.0, x[5], x[6], 0.0, 0.0]);
            s.store(&mut flushed, s.flush(s.splat(f32::NAN), 0.5));
            assert!(flushed.iter().all(|x| x.is_nan()));
        }));
    }
}
