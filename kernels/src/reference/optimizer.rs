//! Stochastic gradient descent.

use super::Real;
use super::planes::check_len;

/// What [`sgd`] is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Step length.
    pub learning_rate: f64,
    /// What remains of the velocity at each step.
    pub momentum: f64,
    /// Whether to look one step of velocity ahead.
    pub nesterov: bool,
    /// The pull of the weights towards zero, as a gradient: an L2 penalty of half this.
    pub weight_decay: f64,
}

/// One step, element by element, with `g = gradient + weight_decay · w`:
/// ```text
/// v ← momentum · v + g
/// w ← w − learning_rate · (g + momentum · v   if nesterov, else   v)
/// ```
/// A velocity of zeros makes the first step's `v = g`, as in PyTorch.
pub fn sgd<T: Real>(options: &Sgd, w: &mut [T], velocity: &mut [T], gradient: &[T]) {
    check_len("velocity", velocity, w.len());
    check_len("gradient", gradient, w.len());
    let momentum = T::from_f64(options.momentum);
    for ((w, v), gradient) in w.iter_mut().zip(velocity).zip(gradient) {
        let g = *gradient + T::from_f64(options.weight_decay) * *w;
        *v = momentum * *v + g;
        let step = if options.nesterov { g + momentum * *v } else { *v };
        *w = *w - T::from_f64(options.learning_rate) * step;
    }
}
