//! From the gradient of a batch to new weights.

use crate::profile::{Chore, Chores, timed};
use crate::recipe::Recipe;
use autograd::Buffer;
use kernels::{Isa, Sgd};
use model::{Network, Role};

/// Floats of a piece of the update that a thread does: far above the cost of handing it over.
const PIECE: usize = 1 << 14;

/// What remains of a batch's statistics at each step, as PyTorch's momentum 0.1.
const STATISTICS_MOMENTUM: f32 = 0.1;

/// The optimiser and its state.
pub(crate) struct Optimizer {
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
    velocity: Buffer,
}

impl Optimizer {
    pub(crate) fn new(recipe: &Recipe, network: &Network) -> Optimizer {
        Optimizer {
            momentum: recipe.optimizer.momentum(),
            nesterov: recipe.optimizer.nesterov,
            weight_decay: recipe.optimizer.weight_decay(),
            velocity: Buffer::zeros(network.trained_len()),
        }
    }

    /// One step with learning rate `lr`. To be called inside [`crate::Workers::run`].
    pub(crate) fn step(
        &mut self,
        isa: Isa,
        network: &Network,
        lr: f64,
        weights: &mut [f32],
        gradients: &[f32],
        chores: Option<&Chores>,
    ) {
        let step = Sgd {
            lr,
            momentum: self.momentum,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay,
            gradient_scale: 1.0,
        };
        let (trained, statistics) = weights.split_at_mut(network.trained_len());
        let (of_trained, of_statistics) = gradients.split_at(network.trained_len());
        sgd(isa, &step, trained, of_trained, &mut self.velocity, chores);
        timed(chores, Chore::Optimiser, || update_statistics(network, statistics, of_statistics));
    }
}

/// Each float is updated on its own, so cutting the work changes no bit.
fn sgd(
    isa: Isa,
    step: &Sgd,
    weights: &mut [f32],
    gradients: &[f32],
    velocity: &mut [f32],
    chores: Option<&Chores>,
) {
    if weights.len() <= PIECE {
        return timed(chores, Chore::Optimiser, || {
            kernels::sgd(isa, step, weights, gradients, velocity);
        });
    }
    let middle = (weights.len() / 2).next_multiple_of(kernels::LANES);
    let (w, v) = (weights.split_at_mut(middle), velocity.split_at_mut(middle));
    let g = gradients.split_at(middle);
    let left = || sgd(isa, step, w.0, g.0, v.0, chores);
    rayon::join(left, || sgd(isa, step, w.1, g.1, v.1, chores));
}

/// The running statistics take one step towards those of the batch, which the shards have put where
/// gradients would be.
fn update_statistics(network: &Network, running: &mut [f32], batch: &[f32]) {
    for parameter in network.parameters().iter().filter(|p| !p.role.is_trained()) {
        let start = parameter.place.offset - network.trained_len();
        let range = start..start + parameter.place.len;
        for (running, batch) in running[range.clone()].iter_mut().zip(&batch[range]) {
            if parameter.role == Role::BatchesTracked {
                *running += 1.0;
            } else {
                *running = (1.0 - STATISTICS_MOMENTUM) * *running + STATISTICS_MOMENTUM * batch;
            }
        }
    }
}
