//! Activations against `f64`, over all of `f32`.

use crate::common::{EPSILON, on_every_path, on_every_path_stored};
use crate::math::{samples, ulps};
use kernels::{Activation, Store, activate, activate_backward};
use reference::{activation, activation_backward, uniform, widen};

/// Those that are promised to 2 ulp; ReLU6 is exact.
pub const ALL: [Activation; 14] = [
    Activation::Relu6,
    Activation::HardSigmoid,
    Activation::HardSwish,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Silu,
    Activation::GeluTanh,
    Activation::Elu(1.0),
    Activation::Elu(0.3),
    Activation::Elu(-1.5),
    Activation::Softplus(1.0),
    Activation::Softplus(0.5),
    Activation::Softplus(1.7),
    Activation::Softplus(30.0),
];

/// The samples of `exp` and `ln`, and many of ordinary size.
fn inputs() -> Vec<f32> {
    let ordinary = (0..200_000).flat_map(|i| [i as f32 * 1e-4, i as f32 * -1e-4]);
    samples().into_iter().chain(ordinary).collect()
}

/// The value of an activation at an infinity is its limit.
#[test]
fn within_two_ulp() {
    let x = inputs();
    let wide = widen(&x);
    for f in ALL {
        let exact = activation(f, &wide);
        on_every_path(
            x.len(),
            |isa, y| activate(isa, f, &x, y),
            |path, y| {
                let (mut worst, mut at) = (0.0, 0.0);
                for ((x, y), exact) in x.iter().zip(y).zip(&exact) {
                    if exact.is_nan() || exact.is_infinite() || *exact == 0.0 {
                        let same = f64::from(*y) == *exact || y.is_nan() && exact.is_nan();
                        assert!(same, "{f:?}, {path}: {x:e} gives {y:e}, expected {exact:e}");
                        continue;
                    }
                    let distance = ulps(*y, *exact);
                    if distance > worst || distance.is_nan() {
                        (worst, at) = (distance, *x);
                    }
                }
                println!("{f:?}, {path}: {worst:.3} ulp at {at:e}");
                let most = if f == Activation::Relu6 { 0.0 } else { 2.0 };
                assert!(worst <= most, "{f:?}, {path}: {worst} ulp at {at:e}");
            },
        );
    }
}

/// Slopes are as exact as the largest of them: four roundings.
#[test]
fn gradients() {
    let x = inputs();
    let (wide, dy) = (widen(&x), uniform::<f32>(x.len(), 1));
    let wide_dy = widen(&dy);
    for f in ALL {
        let exact = activation_backward(f, &wide, &wide_dy);
        let largest = match f {
            Activation::Elu(alpha) => f64::from(alpha).abs().max(1.0),
            _ => 1.0,
        };
        let least = 2f64.powi(-149);
        on_every_path(
            x.len(),
            |isa, dx| activate_backward(isa, f, &x, &dy, dx, Store::Overwrite),
            |path, dx| {
                let mut worst: f64 = 0.0;
                for i in (0..x.len()).filter(|i| !x[*i].is_nan()) {
                    let error = (f64::from(dx[i]) - exact[i]).abs();
                    let unit = EPSILON * largest * f64::from(dy[i]).abs() + least;
                    assert!(error <= 4.0 * unit, "{f:?}, {path}: {:e}, {:e}", x[i], dx[i]);
                    worst = worst.max(error / unit);
                }
                println!("{f:?}, {path}: {worst:.3}");
                let nan = (0..x.len()).filter(|i| x[*i].is_nan());
                // ReLU6 passes what comes.
                let passes = f == Activation::Relu6;
                assert!({ nan }.all(|i| if passes { dx[i] == dy[i] } else { dx[i].is_nan() }));
            },
        );
    }
}

#[test]
fn gradients_are_stored_or_added() {
    for f in ALL {
        let (x, dy) = (uniform::<f32>(1003, 1), uniform::<f32>(1003, 2));
        let x: Vec<f32> = x.iter().map(|x| 8.0 * x).collect();
        on_every_path_stored(
            x.len(),
            |isa, dx, store| activate_backward(isa, f, &x, &dy, dx, store),
            |_, dx| assert!(dx.iter().any(|dx| *dx != 0.0)),
        );
    }
}

#[test]
fn nan_comes_out_alone() {
    for f in ALL {
        for place in 0..40 {
            let mut x = [0.5; 40];
            x[place] = f32::NAN;
            on_every_path(
                x.len(),
                |isa, y| activate(isa, f, &x, y),
                |path, y| assert!((0..40).all(|i| y[i].is_nan() == (i == place)), "{f:?}, {path}"),
            );
        }
    }
}
