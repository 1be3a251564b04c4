//! The rules by which parameters follow gradients, as `torch.optim` defines them, element by element.
//!
//! In each, `g = gradient_scale · gradient + weight_decay · w`, unless said otherwise.

use crate::Real;
use crate::planes::check_len;
use kernels::{Adagrad, Adam, RmsProp, Sgd};

/// One step of stochastic gradient descent:
/// ```text
/// v ← momentum · v + g
/// w ← w − lr · (g + momentum · v   if nesterov, else   v)
/// ```
/// A velocity of zeros makes the first step's `v = g`, as in PyTorch.
pub fn sgd<T: Real>(options: &Sgd, w: &mut [T], velocity: &mut [T], gradient: &[T]) {
    check_len("velocity", velocity, w.len());
    check_len("gradient", gradient, w.len());
    let momentum = T::from_f64(options.momentum);
    for ((w, v), gradient) in w.iter_mut().zip(velocity).zip(gradient) {
        let g = decayed(*gradient, options.gradient_scale, *w, options.weight_decay);
        *v = momentum * *v + g;
        let step = if options.nesterov { g + momentum * *v } else { *v };
        *w = *w - T::from_f64(options.lr) * step;
    }
}

/// One step of Adam, or of AdamW (`decoupled`), where `g` is without decay and `w` shrinks first, by
/// `lr · weight_decay` of itself:
/// ```text
/// exp_avg    ← β₁ · exp_avg + (1 − β₁) · g
/// exp_avg_sq ← β₂ · exp_avg_sq + (1 − β₂) · g²
/// w ← w − lr · (exp_avg / (1 − β₁ˢᵗᵉᵖ)) / (√(exp_avg_sq / (1 − β₂ˢᵗᵉᵖ)) + eps)
/// ```
pub fn adam<T: Real>(
    options: &Adam,
    w: &mut [T],
    exp_avg: &mut [T],
    exp_avg_sq: &mut [T],
    gradient: &[T],
) {
    check_len("exp_avg", exp_avg, w.len());
    check_len("exp_avg_sq", exp_avg_sq, w.len());
    check_len("gradient", gradient, w.len());
    let [beta1, beta2] = options.betas;
    let correction = |beta| T::from_f64(1.0 - libm::pow(beta, options.step as f64));
    let (in_gradient, at_once) =
        if options.decoupled { (0.0, options.weight_decay) } else { (options.weight_decay, 0.0) };
    for (i, w) in w.iter_mut().enumerate() {
        *w = *w * T::from_f64(1.0 - options.lr * at_once);
        let g = decayed(gradient[i], options.gradient_scale, *w, in_gradient);
        exp_avg[i] = mean(beta1, exp_avg[i], g);
        exp_avg_sq[i] = mean(beta2, exp_avg_sq[i], g * g);
        let root = (exp_avg_sq[i] / correction(beta2)).sqrt() + T::from_f64(options.eps);
        *w = *w - T::from_f64(options.lr) * (exp_avg[i] / correction(beta1)) / root;
    }
}

/// One step of RMSprop:
/// ```text
/// square_avg ← α · square_avg + (1 − α) · g²
/// grad_avg   ← α · grad_avg + (1 − α) · g
/// step = g / (√(square_avg − grad_avg²   if centered, else   square_avg) + eps)
/// momentum_buffer ← momentum · momentum_buffer + step
/// w ← w − lr · (momentum_buffer   if momentum > 0, else   step)
/// ```
/// `grad_avg` changes only if `centered`, `momentum_buffer` only if `momentum > 0`.
pub fn rms_prop<T: Real>(
    options: &RmsProp,
    w: &mut [T],
    square_avg: &mut [T],
    grad_avg: &mut [T],
    momentum_buffer: &mut [T],
    gradient: &[T],
) {
    check_len("square_avg", square_avg, w.len());
    check_len("grad_avg", grad_avg, w.len());
    check_len("momentum_buffer", momentum_buffer, w.len());
    check_len("gradient", gradient, w.len());
    for (i, w) in w.iter_mut().enumerate() {
        let g = decayed(gradient[i], options.gradient_scale, *w, options.weight_decay);
        square_avg[i] = mean(options.alpha, square_avg[i], g * g);
        let mut variance = square_avg[i];
        if options.centered {
            grad_avg[i] = mean(options.alpha, grad_avg[i], g);
            variance = variance - grad_avg[i] * grad_avg[i];
        }
        let mut step = g / (variance.sqrt() + T::from_f64(options.eps));
        if options.momentum > 0.0 {
            momentum_buffer[i] = T::from_f64(options.momentum) * momentum_buffer[i] + step;
            step = momentum_buffer[i];
        }
        *w = *w - T::from_f64(options.lr) * step;
    }
}

/// One step of Adagrad:
/// ```text
/// sum ← sum + g²
/// w ← w − lr / (1 + (step − 1) · lr_decay) · g / (√sum + eps)
/// ```
pub fn adagrad<T: Real>(options: &Adagrad, w: &mut [T], sum: &mut [T], gradient: &[T]) {
    check_len("sum", sum, w.len());
    check_len("gradient", gradient, w.len());
    let lr = options.lr / (1.0 + (options.step as f64 - 1.0) * options.lr_decay);
    for ((w, sum), gradient) in w.iter_mut().zip(sum).zip(gradient) {
        let g = decayed(*gradient, options.gradient_scale, *w, options.weight_decay);
        *sum += g * g;
        *w = *w - T::from_f64(lr) * g / (sum.sqrt() + T::from_f64(options.eps));
    }
}

/// `scale · gradient + decay · w`.
fn decayed<T: Real>(gradient: T, scale: f64, w: T, decay: f64) -> T {
    T::from_f64(scale) * gradient + T::from_f64(decay) * w
}

/// `kept · old + (1 − kept) · new`.
fn mean<T: Real>(kept: f64, old: T, new: T) -> T {
    T::from_f64(kept) * old + T::from_f64(1.0 - kept) * new
}
