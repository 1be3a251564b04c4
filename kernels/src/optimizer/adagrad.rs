//! Adagrad.

use super::pass;
use crate::isa::{Isa, dispatch};
use crate::simd::Simd;

/// Adagrad (J. Duchi, E. Hazan and Y. Singer, "Adaptive Subgradient Methods for Online Learning and
/// Stochastic Optimization", 2011), as PyTorch defines it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// The learning rate.
    pub lr: f64,
    /// How fast the learning rate falls: it is divided by `1 + (step − 1) · lr_decay`.
    pub lr_decay: f64,
    /// Added to the root of the sum of squares.
    pub eps: f64,
    /// The factor of the parameter itself that is added to its gradient.
    pub weight_decay: f64,
    /// The factor that gradients are multiplied by first.
    pub gradient_scale: f64,
    /// The number of this step, from 1.
    pub step: u64,
}

/// One step: with `g = gradient_scale · gradient + weight_decay · p`,
/// ```text
/// sum = sum + g²
/// p = p − (lr / (1 + (step − 1) · lr_decay)) · g / (√sum + eps)
/// ```
/// The sum starts with what PyTorch calls `initial_accumulator_value`. It never decays, so nothing
/// of it is set to 0. NaN stays NaN.
///
/// # Panics
/// If the lengths differ or the step is 0.
pub fn adagrad(isa: Isa, step: &Adagrad, params: &mut [f32], gradients: &[f32], sum: &mut [f32]) {
    let lengths = [gradients.len(), sum.len()];
    assert_eq!(lengths, [params.len(); 2], "lengths of gradients and sum, and of params");
    assert!(step.step > 0, "steps are counted from 1");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let c = Constants::new(s, step);
        pass(s, params, gradients, [sum], #[inline(always)] |p, g, [sum]| c.update(s, p, g, sum))
    }));
}

struct Constants<S: Simd> {
    minus_lr: S::Vector,
    eps: S::Vector,
    weight_decay: S::Vector,
    gradient_scale: S::Vector,
}

impl<S: Simd> Constants<S> {
    #[inline(always)]
    fn new(s: S, step: &Adagrad) -> Constants<S> {
        let lr = step.lr / (1.0 + (step.step - 1) as f64 * step.lr_decay);
        Constants {
            minus_lr: s.splat(-lr as f32),
            eps: s.splat(step.eps as f32),
            weight_decay: s.splat(step.weight_decay as f32),
            gradient_scale: s.splat(step.gradient_scale as f32),
        }
    }

    #[inline(always)]
    fn update(&self, s: S, p: S::Vector, g: S::Vector, sum: &mut S::Vector) -> S::Vector {
        let g = s.mul_add(self.weight_decay, p, s.mul(self.gradient_scale, g));
        *sum = s.mul_add(g, g, *sum);
        s.add(p, s.div(s.mul(self.minus_lr, g), s.add(s.sqrt(*sum), self.eps)))
    }
}
