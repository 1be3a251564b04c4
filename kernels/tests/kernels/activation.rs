//! Activation functions and their gradients.

use crate::common::{EPSILON, assert_same_bits, on_every_path, on_every_path_stored};
use kernels::{Activation, Isa, Store, activate, activate_backward, activate_in_place};
use reference::{self, assert_close, uniform, widen};

/// Corners, then many values of ordinary size, then of every size.
fn inputs() -> Vec<f32> {
    let mut x = vec![0.0, 1e-45, f32::MIN_POSITIVE, 1e10, 1e20, f32::MAX, f32::NAN];
    x.extend((0..200_000).map(|i| i as f32 * 1e-4));
    x.extend((0..0x7f80_0000u32).step_by(99_991).map(f32::from_bits));
    x.iter().flat_map(|x| [*x, -x]).collect()
}

/// `error` is what `f(x)` may be off by, relative to `x`; gradients may be off by thrice that,
/// relative to `dy`.
fn check(
    f: Activation,
    forward: impl Fn(&[f64]) -> Vec<f64>,
    backward: impl Fn(&[f64], &[f64]) -> Vec<f64>,
    error: f64,
) {
    let least = 2f64.powi(-149);
    let allowance = |x: f32| if x.is_nan() { 0.0 } else { f64::from(x.abs()) };
    let x = inputs();
    let dy: Vec<f32> = uniform(x.len(), 1);
    let exact = forward(&widen(&x));
    on_every_path(
        x.len(),
        |isa, y| activate(isa, f, &x, y),
        |path, y| assert_close(path, y, &exact, |i| error * allowance(x[i]) + least),
    );
    let exact = backward(&widen(&x), &widen(&dy));
    on_every_path(
        x.len(),
        |isa, dx| activate_backward(isa, f, &x, &dy, dx, Store::Overwrite),
        |path, dx| assert_close(path, dx, &exact, |i| 3.0 * error * allowance(dy[i]) + least),
    );
    for isa in Isa::available() {
        let (mut apart, mut in_place) = (vec![f32::NAN; x.len()], x.clone());
        activate(isa, f, &x, &mut apart);
        activate_in_place(isa, f, &mut in_place);
        assert_same_bits("in place", &in_place, &apart);
    }
    // Accumulation takes no NaN for its comparison.
    let x: Vec<f32> = x.into_iter().filter(|x| x.abs() < 1e6).collect();
    on_every_path_stored(
        x.len(),
        |isa, dx, store| activate_backward(isa, f, &x, &dy[..x.len()], dx, store),
        |_, _| (),
    );
}

#[test]
fn relu() {
    check(Activation::Relu, reference::relu, reference::relu_backward, 0.0);
}

#[test]
fn leaky_relu() {
    let slope = 0.01f32;
    check(
        Activation::LeakyRelu(slope),
        |x| reference::leaky_relu(x, f64::from(slope)),
        |x, dy| reference::leaky_relu_backward(x, f64::from(slope), dy),
        EPSILON,
    );
}

#[test]
fn gelu() {
    check(Activation::Gelu, reference::gelu, reference::gelu_backward, 1.2e-7);
}

/// The lower tail keeps its relative accuracy, which `1 + erf` would not.
#[test]
fn gelu_of_large_negative_numbers() {
    let x: Vec<f32> = (0..1200).map(|i| -(i as f32) / 100.0).collect();
    let tail = |x: f64| x * 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
    let exact: Vec<f64> = widen(&x).into_iter().map(tail).collect();
    // The exponent x²/2 is rounded, up to 2⁻²⁴ of itself.
    let allowance = |i: usize| exact[i].abs() * EPSILON * (8.0 + f64::from(x[i] * x[i]) / 2.0);
    on_every_path(
        x.len(),
        |isa, y| activate(isa, Activation::Gelu, &x, y),
        |path, y| assert_close(path, y, &exact, |i| allowance(i) + 1e-44),
    );
}

#[test]
fn every_activation_lets_nan_through() {
    for f in [Activation::Relu, Activation::LeakyRelu(0.1), Activation::Gelu] {
        for place in 0..40 {
            let mut x = [0.5; 40];
            x[place] = f32::NAN;
            on_every_path(
                x.len(),
                |isa, y| activate(isa, f, &x, y),
                |path, y| assert!((0..40).all(|i| y[i].is_nan() == (i == place)), "{path}"),
            );
        }
    }
}

#[test]
fn gate_closes_where_the_output_is_not_positive() {
    let y = [1.0, 0.0, -0.0, -1.0, 1e-45, f32::NAN, f32::INFINITY];
    for isa in Isa::available() {
        let mut dy = [2.0, 2.0, 2.0, f32::NAN, 2.0, 2.0, 2.0];
        kernels::relu_backward(isa, &y, &mut dy);
        assert_eq!(dy, [2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 2.0], "{isa}");
    }
}
