//! Optimiser steps against the reference.

mod common;

use common::{EPSILON, on_every_path};
use kernels::reference::{self, assert_close, uniform, widen};
use kernels::{Isa, Sgd, sgd};

const PLAIN: Sgd =
    Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0, gradient_scale: 1.0 };

fn check(step: &Sgd, len: usize) {
    let (p, g): (Vec<f32>, Vec<f32>) = (uniform(len, 1), uniform(len, 2));
    let steps = 5;
    let (mut exact, mut velocity) = (widen(&p), vec![0.0; len]);
    let wide_g: Vec<f64> =
        g.iter().map(|g| f64::from(*g) * f64::from(step.gradient_scale)).collect();
    let options = reference::Sgd {
        learning_rate: step.lr.into(),
        momentum: step.momentum.into(),
        nesterov: step.nesterov,
        weight_decay: step.weight_decay.into(),
    };
    for _ in 0..steps {
        reference::sgd(&options, &mut exact, &mut velocity, &wide_g);
    }
    exact.extend(&velocity);
    on_every_path(
        2 * len,
        |isa, all| {
            let (params, velocity) = all.split_at_mut(len);
            params.copy_from_slice(&p);
            velocity.fill(0.0);
            for _ in 0..steps {
                sgd(isa, step, params, &g, velocity);
            }
        },
        // Velocities stay below 5 and 2; six roundings a step.
        |path, all| assert_close(path, all, &exact, |_| (6 * steps) as f64 * EPSILON * 5.0),
    );
}

#[test]
fn sgd_is_that_of_pytorch() {
    for len in (0..40).chain([1000]) {
        check(&PLAIN, len);
        check(&Sgd { momentum: 0.9, ..PLAIN }, len);
        check(&Sgd { momentum: 0.9, nesterov: true, ..PLAIN }, len);
        check(&Sgd { weight_decay: 0.5, gradient_scale: 0.25, ..PLAIN }, len);
        check(
            &Sgd {
                momentum: 0.9,
                nesterov: true,
                weight_decay: 0.5,
                gradient_scale: 0.25,
                lr: 0.3,
            },
            len,
        );
    }
}

#[test]
fn tiny_velocities_become_zero_and_nan_stays() {
    let step = Sgd { momentum: 0.5, ..PLAIN };
    for isa in Isa::available() {
        let mut params = [1.0; 20];
        let mut velocity = [0.0; 20];
        velocity[..5].copy_from_slice(&[1.9e-30, -1.9e-30, 2.1e-30, -2.1e-30, f32::NAN]);
        velocity[18..].copy_from_slice(&[1e-40, f32::NAN]);
        sgd(isa, &step, &mut params, &[0.0; 20], &mut velocity);
        assert_eq!(velocity[..4], [0.0, 0.0, 1.05e-30, -1.05e-30], "{isa}");
        assert_eq!((velocity[18], params[18]), (0.0, 1.0));
        for i in [4, 19] {
            assert!(velocity[i].is_nan() && params[i].is_nan(), "{isa}");
        }
        // And a NaN gradient is not lost either.
        let mut velocity = [0.0; 20];
        let mut gradients = [0.0; 20];
        gradients[17] = f32::NAN;
        sgd(isa, &step, &mut [1.0; 20], &gradients, &mut velocity);
        assert!((0..20).all(|i| velocity[i].is_nan() == (i == 17)), "{isa}");
    }
}
