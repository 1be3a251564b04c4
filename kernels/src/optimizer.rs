//! Optimiser steps, each one pass over parameters, gradients and state.

use crate::LANES;
use crate::isa::{Isa, dispatch};
use crate::simd::Simd;

/// Stochastic gradient descent with momentum, as PyTorch defines it (dampening 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Step length.
    pub lr: f32,
    /// What remains of the velocity at each step.
    pub momentum: f32,
    /// Whether to look one step of velocity ahead.
    pub nesterov: bool,
    /// The factor of the parameter itself that is added to its gradient.
    pub weight_decay: f32,
    /// What gradients are multiplied by first.
    pub gradient_scale: f32,
}

/// One step: with `g = gradient_scale · gradient + weight_decay · p`,
/// ```text
/// v = momentum · v + g
/// p = p − lr · (nesterov ? g + momentum · v : v)
/// ```
/// A velocity smaller than 1e-30 in magnitude becomes 0: one that only decays (its gradients are
/// zero) would become subnormal and stay so, and arithmetic with subnormals is many times slower,
/// while what it moves a parameter by is far below the parameter's last bit. NaN stays NaN.
///
/// Slices may have any length. Start with velocities of 0.
///
/// # Panics
/// If the lengths differ.
pub fn sgd(isa: Isa, step: &Sgd, params: &mut [f32], gradients: &[f32], velocity: &mut [f32]) {
    let lengths = [gradients.len(), velocity.len()];
    assert_eq!(lengths, [params.len(); 2], "lengths of gradients and velocity, and of params");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let constants = Constants::new(s, step);
        let (params, params_tail) = params.as_chunks_mut::<LANES>();
        let (gradients, gradients_tail) = gradients.as_chunks::<LANES>();
        let (velocity, velocity_tail) = velocity.as_chunks_mut::<LANES>();
        for ((p, g), v) in params.iter_mut().zip(gradients).zip(velocity) {
            let (new_p, new_v) = update(s, &constants, s.load(p), s.load(g), s.load(v));
            s.store(p, new_p);
            s.store(v, new_v);
        }
        let (p, v) = (s.load_partial(params_tail), s.load_partial(velocity_tail));
        let (p, v) = update(s, &constants, p, s.load_partial(gradients_tail), v);
        s.store_partial(params_tail, p);
        s.store_partial(velocity_tail, v);
    }));
}

struct Constants<S: Simd> {
    minus_lr: S::Vector,
    momentum: S::Vector,
    nesterov: bool,
    weight_decay: S::Vector,
    gradient_scale: S::Vector,
    tiny: S::Vector,
}

impl<S: Simd> Constants<S> {
    #[inline(always)]
    fn new(s: S, step: &Sgd) -> Constants<S> {
        Constants {
            minus_lr: s.splat(-step.lr),
            momentum: s.splat(step.momentum),
            nesterov: step.nesterov,
            weight_decay: s.splat(step.weight_decay),
            gradient_scale: s.splat(step.gradient_scale),
            tiny: s.splat(1e-30),
        }
    }
}

#[inline(always)]
fn update<S: Simd>(
    s: S,
    c: &Constants<S>,
    p: S::Vector,
    g: S::Vector,
    v: S::Vector,
) -> (S::Vector, S::Vector) {
    let g = s.mul_add(c.weight_decay, p, s.mul(c.gradient_scale, g));
    let v = s.mul_add(c.momentum, v, g);
    let magnitude = s.max(s.sub(s.zero(), v), v);
    let v = s.select(s.gt(c.tiny, magnitude), s.zero(), v);
    let direction = if c.nesterov { s.mul_add(c.momentum, v, g) } else { v };
    (s.mul_add(c.minus_lr, direction, p), v)
}
