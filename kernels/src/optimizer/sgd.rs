//! Stochastic gradient descent with momentum.

use super::{TINY, flush, pass};
use crate::isa::{Isa, dispatch};
use crate::simd::Simd;

/// Stochastic gradient descent with momentum, as PyTorch defines it (dampening 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// The learning rate.
    pub lr: f64,
    /// What remains of the velocity at each step.
    pub momentum: f64,
    /// Whether to look one step of velocity ahead.
    pub nesterov: bool,
    /// The factor of the parameter itself that is added to its gradient.
    pub weight_decay: f64,
    /// The factor that gradients are multiplied by first.
    pub gradient_scale: f64,
}

/// One step: with `g = gradient_scale · gradient + weight_decay · p`,
/// ```text
/// v = momentum · v + g
/// p = p − lr · (nesterov ? g + momentum · v : v)
/// ```
/// A velocity smaller than 1e-30 in magnitude becomes 0, so that one that only decays does not
/// become subnormal. NaN stays NaN.
///
/// # Panics
/// If the lengths differ.
pub fn sgd(isa: Isa, step: &Sgd, params: &mut [f32], gradients: &[f32], velocity: &mut [f32]) {
    let lengths = [gradients.len(), velocity.len()];
    assert_eq!(lengths, [params.len(); 2], "lengths of gradients and velocity, and of params");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let c = Constants::new(s, step);
        pass(s, params, gradients, [velocity], #[inline(always)] |p, g, [v]| c.update(s, p, g, v))
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
            minus_lr: s.splat(-step.lr as f32),
            momentum: s.splat(step.momentum as f32),
            nesterov: step.nesterov,
            weight_decay: s.splat(step.weight_decay as f32),
            gradient_scale: s.splat(step.gradient_scale as f32),
            tiny: s.splat(TINY),
        }
    }

    #[inline(always)]
    fn update(&self, s: S, p: S::Vector, g: S::Vector, v: &mut S::Vector) -> S::Vector {
        let g = s.mul_add(self.weight_decay, p, s.mul(self.gradient_scale, g));
        *v = flush(s, self.tiny, s.mul_add(self.momentum, *v, g));
        let direction = if self.nesterov { s.mul_add(self.momentum, *v, g) } else { *v };
        s.mul_add(self.minus_lr, direction, p)
    }
}
