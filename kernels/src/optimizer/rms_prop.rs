//! RMSprop.

use super::{TINY, TINY_SQUARE, flush, pass};
use crate::isa::{Isa, dispatch};
use crate::pointwise::Lerp;
use crate::simd::Simd;

/// RMSprop (T. Tieleman and G. Hinton, lecture 6.5 of "Neural Networks for Machine Learning", 2012),
/// as PyTorch defines it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// The learning rate.
    pub lr: f64,
    /// The decay rate of the mean square.
    pub alpha: f64,
    /// Added to the root.
    pub eps: f64,
    /// The decay rate of the velocity; 0 for none.
    pub momentum: f64,
    /// Whether gradients are divided by their deviation, not by the root of their mean square.
    pub centered: bool,
    /// The factor of the parameter itself that is added to its gradient.
    pub weight_decay: f64,
    /// The factor that gradients are multiplied by first.
    pub gradient_scale: f64,
}

/// The state of [`rms_prop`], under PyTorch's names.
#[derive(Debug)]
pub struct RmsPropState<'a> {
    /// The mean of the squares of the gradients.
    pub square_avg: &'a mut [f32],
    /// The mean gradient; empty unless `centered`.
    pub grad_avg: &'a mut [f32],
    /// The velocity; empty without momentum.
    pub momentum_buffer: &'a mut [f32],
}

/// One step: with `g = gradient_scale · gradient + weight_decay · p`,
/// ```text
/// square_avg = α · square_avg + (1 − α) · g²
/// centered:        grad_avg = grad_avg + (1 − α) · (g − grad_avg)
/// divisor    = √(square_avg − (centered ? grad_avg² : 0)) + eps
/// momentum > 0:    momentum_buffer = momentum · momentum_buffer + g / divisor
/// p = p − lr · (momentum > 0 ? momentum_buffer : g / divisor)
/// ```
/// `grad_avg` has values only if `centered`, `momentum_buffer` only if `momentum > 0`; else they are
/// empty. Both become 0 below 1e-30 in magnitude, `square_avg` where it would be subnormal: all decay
/// for as long as gradients are zero. A variance that rounding has made negative counts as 0, where
/// PyTorch's root is NaN. NaN stays NaN.
///
/// # Panics
/// If the lengths differ, or a slice that is not used is not empty.
pub fn rms_prop(
    isa: Isa,
    step: &RmsProp,
    params: &mut [f32],
    gradients: &[f32],
    RmsPropState { square_avg, grad_avg, momentum_buffer }: RmsPropState<'_>,
) {
    let len = params.len();
    let moving = step.momentum > 0.0;
    assert_eq!([gradients.len(), square_avg.len()], [len; 2], "lengths of gradients and squares");
    assert_eq!(grad_avg.len(), if step.centered { len } else { 0 }, "length of grad_avg");
    assert_eq!(momentum_buffer.len(), if moving { len } else { 0 }, "length of momentum_buffer");
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let c = Constants::new(s, step);
        match (step.centered, moving) {
            (false, false) => {
                let state = [square_avg];
                pass(s, params, gradients, state, #[inline(always)] |p, g, [square]| {
                    c.update(s, p, g, square, None, None)
                })
            }
            (false, true) => {
                let state = [square_avg, momentum_buffer];
                pass(s, params, gradients, state, #[inline(always)] |p, g, [square, v]| {
                    c.update(s, p, g, square, None, Some(v))
                })
            }
            (true, false) => {
                let state = [square_avg, grad_avg];
                pass(s, params, gradients, state, #[inline(always)] |p, g, [square, mean]| {
                    c.update(s, p, g, square, Some(mean), None)
                })
            }
            (true, true) => {
                let state = [square_avg, grad_avg, momentum_buffer];
                pass(s, params, gradients, state, #[inline(always)] |p, g, [square, mean, v]| {
                    c.update(s, p, g, square, Some(mean), Some(v))
                })
            }
        }
    }));
}

struct Constants<S: Simd> {
    minus_lr: S::Vector,
    alpha: S::Vector,
    rest: S::Vector,
    towards_gradient: Lerp<S>,
    eps: S::Vector,
    momentum: S::Vector,
    weight_decay: S::Vector,
    gradient_scale: S::Vector,
    tiny: S::Vector,
    tiny_square: S::Vector,
}

impl<S: Simd> Constants<S> {
    #[inline(always)]
    fn new(s: S, step: &RmsProp) -> Constants<S> {
        Constants {
            minus_lr: s.splat(-step.lr as f32),
            alpha: s.splat(step.alpha as f32),
            rest: s.splat((1.0 - step.alpha) as f32),
            towards_gradient: Lerp::new(s, 1.0 - step.alpha),
            eps: s.splat(step.eps as f32),
            momentum: s.splat(step.momentum as f32),
            weight_decay: s.splat(step.weight_decay as f32),
            gradient_scale: s.splat(step.gradient_scale as f32),
            tiny: s.splat(TINY),
            tiny_square: s.splat(TINY_SQUARE),
        }
    }

    #[inline(always)]
    fn update(
        &self,
        s: S,
        p: S::Vector,
        g: S::Vector,
        square: &mut S::Vector,
        mean: Option<&mut S::Vector>,
        velocity: Option<&mut S::Vector>,
    ) -> S::Vector {
        let g = s.mul_add(self.weight_decay, p, s.mul(self.gradient_scale, g));
        let sum = s.mul_add(s.mul(self.rest, g), g, s.mul(self.alpha, *square));
        *square = flush(s, self.tiny_square, sum);
        let mut variance = *square;
        if let Some(mean) = mean {
            *mean = flush(s, self.tiny, self.towards_gradient.between(s, *mean, g));
            variance = s.mul_add(s.sub(s.zero(), *mean), *mean, *square);
            variance = s.max(s.zero(), variance);
        }
        let divisor = s.add(s.sqrt(variance), self.eps);
        match velocity {
            None => s.add(p, s.div(s.mul(self.minus_lr, g), divisor)),
            Some(velocity) => {
                let sum = s.mul_add(self.momentum, *velocity, s.div(g, divisor));
                *velocity = flush(s, self.tiny, sum);
                s.mul_add(self.minus_lr, *velocity, p)
            }
        }
    }
}
