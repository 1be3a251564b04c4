//! `exp` and `ln` against `f64`, over all of `f32`.

use crate::common::on_every_path;
use kernels::Isa;

/// Values that deserve a look, with a few neighbours on each side.
const LANDMARKS: [f32; 16] = [
    0.0,
    f32::MIN_POSITIVE,
    1e-45,
    0.5,
    std::f32::consts::FRAC_1_SQRT_2,
    1.0,
    std::f32::consts::SQRT_2,
    0.346_573_6, // ln 2 / 2
    std::f32::consts::LN_2,
    87.336_55, // −ln MIN_POSITIVE
    88.0,
    88.722_84,  // ln MAX
    103.278_93, // −ln of the least subnormal
    103.972_08, // −ln of half of it
    f32::MAX,
    f32::INFINITY,
];

/// Every 499th bit pattern (16,800 per binade, both signs) and the neighbourhood of the landmarks.
pub fn samples() -> Vec<f32> {
    let mut bits: Vec<u32> = (0..=u32::MAX).step_by(499).collect();
    for landmark in LANDMARKS.map(f32::to_bits) {
        for neighbour in landmark.saturating_sub(50)..=landmark + 50 {
            bits.extend([neighbour, neighbour | 1 << 31]);
        }
    }
    bits.into_iter().map(f32::from_bits).collect()
}

/// How far `got` is from `exact`, in units of the last place of an `f32` as large as `exact`. An
/// overflow counts as 2¹²⁸.
pub fn ulps(got: f32, exact: f64) -> f64 {
    let least = 2f64.powi(-149);
    let binade = exact.abs().log2().floor().clamp(-126.0, 127.0) as i32;
    let limit = 2f64.powi(128);
    let got = f64::from(got).clamp(-limit, limit);
    (got - exact.clamp(-limit, limit)).abs() / 2f64.powi(binade - 23).max(least)
}

/// Checks a function on every path against `exact`, to 2 ulp; returns nothing, panics with the worst.
fn check(f: fn(Isa, &[f32], &mut [f32]), exact: fn(f64) -> f64) {
    let x = samples();
    let expected: Vec<f64> = x.iter().map(|x| exact(f64::from(*x))).collect();
    on_every_path(
        x.len(),
        |isa, y| f(isa, &x, y),
        |path, y| {
            let (mut worst, mut at) = (0.0, 0.0);
            for ((x, y), exact) in x.iter().zip(y).zip(&expected) {
                if exact.is_nan() || exact.is_infinite() && x.is_infinite() || *x == 0.0 {
                    let same = f64::from(*y) == *exact || y.is_nan() && exact.is_nan();
                    assert!(same, "{path}: {x:e} gives {y:e}, expected {exact:e}");
                } else if ulps(*y, *exact) > worst {
                    (worst, at) = (ulps(*y, *exact), *x);
                }
            }
            println!("{path}: {worst:.3} ulp at {at:e}");
            assert!(worst <= 2.0, "{path}: {worst} ulp at {at:e}");
        },
    );
}

#[test]
fn exp_is_within_two_ulp() {
    check(kernels::exp, libm::exp);
}

#[test]
fn ln_is_within_two_ulp() {
    check(kernels::ln, libm::log);
}

#[test]
fn any_length() {
    for len in 0..40 {
        let x = vec![1.0; len];
        on_every_path(
            len,
            |isa, y| kernels::exp(isa, &x, y),
            |path, y| {
                assert!(y.iter().all(|y| *y == std::f32::consts::E), "{path}: {y:?}");
            },
        );
    }
}
