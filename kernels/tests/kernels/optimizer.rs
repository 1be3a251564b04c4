//! Optimiser steps against the reference.

use crate::common::{EPSILON, assert_same_bits, on_every_path};
use kernels::{
    Adagrad, Adam, AdamState, Isa, RmsProp, RmsPropState, Sgd, adagrad, adam, rms_prop, sgd,
};
use proptest::prelude::*;
use reference::{self, assert_close, uniform, widen};

const STEPS: u64 = 3;

const SGD: Sgd =
    Sgd { lr: 0.1, momentum: 0.5, nesterov: false, weight_decay: 0.0, gradient_scale: 1.0 };

const ADAM: Adam = Adam {
    lr: 0.1,
    betas: [0.9, 0.999],
    eps: 1e-8,
    weight_decay: 0.0,
    decoupled: false,
    gradient_scale: 1.0,
    step: 1,
};

const RMS_PROP: RmsProp = RmsProp {
    lr: 0.1,
    alpha: 0.99,
    eps: 1e-8,
    momentum: 0.5,
    centered: true,
    weight_decay: 0.0,
    gradient_scale: 1.0,
};

const ADAGRAD: Adagrad =
    Adagrad { lr: 0.1, lr_decay: 0.1, eps: 1e-10, weight_decay: 0.0, gradient_scale: 1.0, step: 1 };

/// Equal parts of a slice.
fn parts<T, const N: usize>(mut all: &mut [T]) -> [&mut [T]; N] {
    let len = all.len() / N;
    std::array::from_fn(|_| {
        let (part, rest) = std::mem::take(&mut all).split_at_mut(len);
        all = rest;
        part
    })
}

/// Some steps of a rule on every path and of its definition, with new gradients in each. Both see
/// parameters and then `kinds` of state, in parts of `len`, which start at `start`.
fn check(
    (len, kinds, start): (usize, usize, f32),
    seed: u64,
    kernel: impl Fn(Isa, u64, &mut [f32], &[f32]),
    definition: impl Fn(u64, &mut [f64], &[f64]),
) {
    let mut before = vec![start; (1 + kinds) * len];
    before[..len].copy_from_slice(&uniform::<f32>(len, seed));
    let gradients = |step| uniform::<f32>(len, seed + step);
    let mut exact = widen(&before);
    (1..=STEPS).for_each(|step| definition(step, &mut exact, &widen(&gradients(step))));
    // State that starts well above zero keeps rules from magnifying what rounding leaves of a gradient
    // that weight decay all but cancels.
    let largest = exact.iter().fold(1.0, |most, x| f64::max(most, x.abs()));
    on_every_path(
        before.len(),
        |isa, all| {
            all.copy_from_slice(&before);
            (1..=STEPS).for_each(|step| kernel(isa, step, all, &gradients(step)));
        },
        |path, all| assert_close(path, all, &exact, |_| 64.0 * EPSILON * largest),
    );
}

/// A length, a seed, and settings that all rules have: `lr`, `weight_decay` and `gradient_scale`.
fn common_settings() -> impl Strategy<Value = (usize, u64, [f64; 3])> {
    let decay = prop_oneof![Just(0.0), 0.0..0.5];
    let settings = (1e-3..0.5, decay, prop_oneof![Just(1.0), 0.1..1.0]);
    let lens = prop_oneof![0..70usize, Just(1000)];
    (lens, 0..1000u64, settings.prop_map(|(a, b, c)| [a, b, c]))
}

proptest! {
    #[test]
    fn sgd_is_its_definition(
        (len, seed, [lr, weight_decay, gradient_scale]) in common_settings(),
        momentum in prop_oneof![Just(0.0), 0.0..0.99],
        nesterov: bool,
    ) {
        let step = Sgd { lr, momentum, nesterov, weight_decay, gradient_scale };
        check(
            (len, 1, 0.5),
            seed,
            |isa, _, all, g| {
                let [p, velocity] = parts(all);
                sgd(isa, &step, p, g, velocity);
            },
            |_, all, g| {
                let [p, velocity] = parts(all);
                reference::sgd(&step, p, velocity, g);
            },
        );
    }

    #[test]
    fn adam_is_its_definition(
        (len, seed, [lr, weight_decay, gradient_scale]) in common_settings(),
        beta1 in prop_oneof![Just(0.0), 0.0..0.99],
        beta2 in 0.5..0.9999,
        eps in 1e-9..1e-3,
        decoupled: bool,
    ) {
        let betas = [beta1, beta2];
        let at = |step| Adam { lr, betas, eps, weight_decay, decoupled, gradient_scale, step };
        check(
            (len, 2, 0.5),
            seed,
            |isa, step, all, g| {
                let [p, mean, square] = parts(all);
                adam(isa, &at(step), p, g, AdamState { exp_avg: mean, exp_avg_sq: square });
            },
            |step, all, g| {
                let [p, mean, square] = parts(all);
                reference::adam(&at(step), p, mean, square, g);
            },
        );
    }

    #[test]
    fn rms_prop_is_its_definition(
        (len, seed, [lr, weight_decay, gradient_scale]) in common_settings(),
        alpha in 0.8..0.999,
        eps in 1e-9..1e-3,
        momentum in prop_oneof![Just(0.0), 0.01..0.99],
        centered: bool,
    ) {
        let step = RmsProp { lr, alpha, eps, momentum, centered, weight_decay, gradient_scale };
        check(
            (len, 3, 0.5),
            seed,
            |isa, _, all, g| {
                let [p, square, mean, velocity] = parts(all);
                // What is not used must be empty, and stays as it is in the definition.
                let mean = if centered { mean } else { &mut [] };
                let velocity = if momentum > 0.0 { velocity } else { &mut [] };
                rms_prop(isa, &step, p, g, RmsPropState { square_avg: square, grad_avg: mean, momentum_buffer: velocity });
            },
            |_, all, g| {
                let [p, square, mean, velocity] = parts(all);
                reference::rms_prop(&step, p, square, mean, velocity, g);
            },
        );
    }

    #[test]
    fn adagrad_is_its_definition(
        (len, seed, [lr, weight_decay, gradient_scale]) in common_settings(),
        lr_decay in 0.0..0.5,
        eps in 1e-10..1e-3,
        start in 0.1..1.0f32,
    ) {
        let at = |step| Adagrad { lr, lr_decay, eps, weight_decay, gradient_scale, step };
        check(
            (len, 1, start),
            seed,
            |isa, step, all, g| {
                let [p, sum] = parts(all);
                adagrad(isa, &at(step), p, g, sum);
            },
            |step, all, g| {
                let [p, sum] = parts(all);
                reference::adagrad(&at(step), p, sum, g);
            },
        );
    }
}

/// Every rule with all its state in one slice, after the parameters.
type Rule = fn(Isa, &mut [f32], &[f32]);

const RULES: [(&str, usize, Rule); 4] = [
    ("sgd", 1, |isa, all, g| {
        let [p, velocity] = parts(all);
        sgd(isa, &SGD, p, g, velocity);
    }),
    ("adam", 2, |isa, all, g| {
        let [p, mean, square] = parts(all);
        adam(isa, &ADAM, p, g, AdamState { exp_avg: mean, exp_avg_sq: square });
    }),
    ("rms_prop", 3, |isa, all, g| {
        let [p, square, mean, velocity] = parts(all);
        rms_prop(
            isa,
            &RMS_PROP,
            p,
            g,
            RmsPropState { square_avg: square, grad_avg: mean, momentum_buffer: velocity },
        );
    }),
    ("adagrad", 1, |isa, all, g| {
        let [p, sum] = parts(all);
        adagrad(isa, &ADAGRAD, p, g, sum);
    }),
];

/// A NaN anywhere makes its own parameter NaN, and no other.
#[test]
fn nan_stays_where_it_is() {
    const LEN: usize = 37;
    for (name, kinds, rule) in RULES {
        for isa in Isa::available() {
            for at in [0, 15, 16, 31, 32, 36] {
                for kind in 0..=kinds {
                    let mut all = vec![0.5; (1 + kinds) * LEN];
                    all[kind * LEN + at] = f32::NAN;
                    rule(isa, &mut all, &[0.25; LEN]);
                    let what = format!("{name}, {isa}: part {kind}, element {at}");
                    assert!((0..LEN).all(|i| all[i].is_nan() == (i == at)), "{what}");
                }
                let mut all = vec![0.5; (1 + kinds) * LEN];
                let mut gradients = [0.25; LEN];
                gradients[at] = f32::NAN;
                rule(isa, &mut all, &gradients);
                for (i, x) in all.iter().enumerate() {
                    assert_eq!(x.is_nan(), i % LEN == at, "{name}, {isa}: {i} of {at}");
                }
            }
        }
    }
}

#[test]
fn first_moments_that_are_tiny_become_zero() {
    for isa in Isa::available() {
        // At a rate of one half, in the body and in the tail of a slice.
        let start = |state: &mut [f32]| {
            state[..4].copy_from_slice(&[1.9e-30, -1.9e-30, 2.1e-30, -2.1e-30]);
            state[18] = 1e-40;
        };
        let expected = |what: &str, state: &[f32]| {
            assert_eq!(state[..4], [0.0, 0.0, 1.05e-30, -1.05e-30], "{what}, {isa}");
            assert!(state[4..].iter().all(|x| *x == 0.0), "{what}, {isa}");
        };
        let (mut p, mut state, mut square) = ([1.0; 20], [0.0; 20], [0.0; 20]);
        start(&mut state);
        sgd(isa, &SGD, &mut p, &[0.0; 20], &mut state);
        expected("velocity", &state);

        start(&mut state);
        let step = Adam { betas: [0.5, 0.999], ..ADAM };
        adam(
            isa,
            &step,
            &mut p,
            &[0.0; 20],
            AdamState { exp_avg: &mut state, exp_avg_sq: &mut square },
        );
        expected("exp_avg", &state);

        start(&mut state);
        let step = RmsProp { centered: false, ..RMS_PROP };
        rms_prop(
            isa,
            &step,
            &mut p,
            &[0.0; 20],
            RmsPropState {
                square_avg: &mut square,
                grad_avg: &mut [],
                momentum_buffer: &mut state,
            },
        );
        expected("momentum_buffer", &state);

        start(&mut state);
        let step = RmsProp { alpha: 0.5, momentum: 0.0, ..RMS_PROP };
        rms_prop(
            isa,
            &step,
            &mut p,
            &[0.0; 20],
            RmsPropState {
                square_avg: &mut square,
                grad_avg: &mut state,
                momentum_buffer: &mut [],
            },
        );
        expected("grad_avg", &state);
        assert_eq!(p, [1.0; 20], "{isa}");
    }
}

/// Squares are small where gradients are not: only what would be subnormal is given up.
#[test]
fn second_moments_stay_until_they_are_subnormal() {
    for isa in Isa::available() {
        let start = [1.9 * f32::MIN_POSITIVE, 2.1 * f32::MIN_POSITIVE, 1e-34, 1e-40];
        let expected = [0.0, 1.05 * f32::MIN_POSITIVE, 0.5e-34, 0.0];
        let (mut p, mut square) = ([1.0; 4], start);
        let step = Adam { betas: [0.9, 0.5], ..ADAM };
        adam(
            isa,
            &step,
            &mut p,
            &[0.0; 4],
            AdamState { exp_avg: &mut [0.0; 4], exp_avg_sq: &mut square },
        );
        assert_eq!(square, expected, "{isa}");
        square = start;
        let step = RmsProp { alpha: 0.5, centered: false, momentum: 0.0, ..RMS_PROP };
        rms_prop(
            isa,
            &step,
            &mut p,
            &[0.0; 4],
            RmsPropState { square_avg: &mut square, grad_avg: &mut [], momentum_buffer: &mut [] },
        );
        assert_eq!((square, p), (expected, [1.0; 4]), "{isa}");
        // A sum does not decay.
        let mut sum = [1e-40];
        adagrad(isa, &ADAGRAD, &mut p[..1], &[0.0], &mut sum);
        assert_eq!(sum, [1e-40], "{isa}");
    }
}

/// Gradients whose squares are far below 1e-30 still count where `eps` lets them.
#[test]
fn small_gradients_have_full_steps() {
    for isa in Isa::available() {
        let (mut p, mut mean, mut square) = ([0.0], [0.0], [0.0]);
        let step = Adam { eps: 1e-25, lr: 1e-3, ..ADAM };
        adam(
            isa,
            &step,
            &mut p,
            &[1e-16],
            AdamState { exp_avg: &mut mean, exp_avg_sq: &mut square },
        );
        assert!((p[0] + 1e-3).abs() < 1e-8, "{isa}: {p:?}");
    }
}

/// 1 − 1 + a little, minus rounding: PyTorch's root of it is NaN.
#[test]
fn a_variance_is_never_negative() {
    for isa in Isa::available() {
        let (mut p, mut square, mut mean) = ([0.0; 17], [1.0 - 1e-6; 17], [1.0; 17]);
        let step = RmsProp { lr: 1e-3, alpha: 0.999, eps: 0.5, momentum: 0.0, ..RMS_PROP };
        rms_prop(
            isa,
            &step,
            &mut p,
            &[1.0; 17],
            RmsPropState { square_avg: &mut square, grad_avg: &mut mean, momentum_buffer: &mut [] },
        );
        assert_eq!(p, [-1e-3 / 0.5; 17], "{isa}");
    }
}

/// A rate of zero keeps nothing, whatever was there.
#[test]
fn a_mean_without_memory_is_the_gradient() {
    let gradients: Vec<f32> = uniform(37, 1);
    for isa in Isa::available() {
        let (mut p, mut mean, mut square) = ([0.0; 37], [1e20; 37], [0.0; 37]);
        let step = Adam { betas: [0.0, 0.999], ..ADAM };
        adam(
            isa,
            &step,
            &mut p,
            &gradients,
            AdamState { exp_avg: &mut mean, exp_avg_sq: &mut square },
        );
        assert_same_bits(isa.name(), &mean, &gradients);
    }
}

#[test]
#[should_panic(expected = "steps are counted from 1")]
fn there_is_no_step_zero() {
    let step = Adam { step: 0, ..ADAM };
    adam(
        Isa::detect(),
        &step,
        &mut [0.0],
        &[0.0],
        AdamState { exp_avg: &mut [0.0], exp_avg_sq: &mut [0.0] },
    );
}
