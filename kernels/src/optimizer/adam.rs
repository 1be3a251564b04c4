//! Adam and AdamW.

use super::{TINY, TINY_SQUARE, flush, pass};
use crate::isa::{Isa, dispatch};
use crate::pointwise::Lerp;
use crate::simd::Simd;

/// Adam (D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", 2015) and AdamW
/// (I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", 2019), as PyTorch defines
/// them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// The learning rate.
    pub lr: f64,
    /// The decay rates of the mean gradient and of the mean square.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub eps: f64,
    /// The pull of parameters towards zero.
    pub weight_decay: f64,
    /// AdamW: the pull acts on the parameter at once, and is no part of its gradient.
    pub decoupled: bool,
    /// The factor that gradients are multiplied by first.
    pub gradient_scale: f64,
    /// The number of this step, from 1.
    pub step: u64,
}

/// The state of [`adam`], under PyTorch's names.
#[derive(Debug)]
pub struct AdamState<'a> {
    /// The mean gradient.
    pub exp_avg: &'a mut [f32],
    /// The mean of the squares of the gradients.
    pub exp_avg_sq: &'a mut [f32],
}

/// One step: with `g = gradient_scale · gradient`, and then
/// ```text
/// decoupled:  p = p − lr · weight_decay · p         else:  g = g + weight_decay · p
///
/// exp_avg    = exp_avg + (1 − β₁) · (g − exp_avg)
/// exp_avg_sq = β₂ · exp_avg_sq + (1 − β₂) · g²
/// p = p − (lr / (1 − β₁ˢᵗᵉᵖ)) · exp_avg / (√exp_avg_sq / √(1 − β₂ˢᵗᵉᵖ) + eps)
/// ```
/// `exp_avg` becomes 0 below 1e-30 in magnitude, `exp_avg_sq` where it would be subnormal: both decay
/// for as long as gradients are zero. NaN stays NaN.
///
/// # Panics
/// If the lengths differ or the step is 0.
pub fn adam(
    isa: Isa,
    step: &Adam,
    params: &mut [f32],
    gradients: &[f32],
    AdamState { exp_avg, exp_avg_sq }: AdamState<'_>,
) {
    let lengths = [gradients.len(), exp_avg.len(), exp_avg_sq.len()];
    assert_eq!(lengths, [params.len(); 3], "lengths of gradients and averages, and of params");
    assert!(step.step > 0, "steps are counted from 1");
    let corrections = step.betas.map(|beta| 1.0 - libm::pow(beta, step.step as f64));
    dispatch!(isa, s => s.vectorize(#[inline(always)] || {
        let c = Constants::new(s, step, corrections);
        let state = [exp_avg, exp_avg_sq];
        pass(s, params, gradients, state, #[inline(always)] |p, g, state| c.update(s, p, g, state))
    }));
}

struct Constants<S: Simd> {
    minus_step: S::Vector,
    towards_gradient: Lerp<S>,
    beta2: S::Vector,
    rest2: S::Vector,
    /// `1 / √(1 − β₂ˢᵗᵉᵖ)`: a product in the place of a quotient, with as many roundings.
    root_correction: S::Vector,
    eps: S::Vector,
    weight_decay: S::Vector,
    /// Of the decoupled decay. `1 − lr · weight_decay`, which PyTorch multiplies by, would keep no
    /// more of a small decay than the last bits of a number near 1.
    minus_decay: S::Vector,
    decoupled: bool,
    gradient_scale: S::Vector,
    tiny: S::Vector,
    tiny_square: S::Vector,
}

impl<S: Simd> Constants<S> {
    #[inline(always)]
    fn new(s: S, step: &Adam, corrections: [f64; 2]) -> Constants<S> {
        let [beta1, beta2] = step.betas;
        Constants {
            minus_step: s.splat((-step.lr / corrections[0]) as f32),
            towards_gradient: Lerp::new(s, 1.0 - beta1),
            beta2: s.splat(beta2 as f32),
            rest2: s.splat((1.0 - beta2) as f32),
            root_correction: s.splat((1.0 / corrections[1].sqrt()) as f32),
            eps: s.splat(step.eps as f32),
            weight_decay: s.splat(step.weight_decay as f32),
            minus_decay: s.splat((-step.lr * step.weight_decay) as f32),
            decoupled: step.decoupled,
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
        [mean, square]: &mut [S::Vector; 2],
    ) -> S::Vector {
        let g = s.mul(self.gradient_scale, g);
        let (p, g) = if self.decoupled {
            (s.mul_add(self.minus_decay, p, p), g)
        } else {
            (p, s.mul_add(self.weight_decay, p, g))
        };
        *mean = flush(s, self.tiny, self.towards_gradient.between(s, *mean, g));
        let sum = s.mul_add(s.mul(self.rest2, g), g, s.mul(self.beta2, *square));
        *square = flush(s, self.tiny_square, sum);
        let divisor = s.mul_add(s.sqrt(*square), self.root_correction, self.eps);
        s.add(p, s.div(s.mul(self.minus_step, *mean), divisor))
    }
}
