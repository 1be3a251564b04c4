//! The exponential moving average of the weights.

use super::pieces::each_piece;
use crate::profile::{Chore, Chores, timed};
use crate::workers::Workers;
use autograd::Buffer;
use model::{Network, Role};

/// The exponential moving average of weights and running statistics, laid out as they are. The numbers
/// of batches that batch norms have seen are counts, and copied.
pub(crate) struct Ema {
    decay: f64,
    weights: Buffer,
    /// Where the counts lie.
    counts: Vec<usize>,
}

impl Ema {
    /// The average with this decay before the first step, all zero: [`Ema::restore`] gives it the
    /// initial weights.
    pub(crate) fn new(decay: f64, network: &Network) -> Ema {
        let parameters = network.parameters().iter();
        let counts = parameters
            .filter(|p| p.role == Role::BatchesTracked)
            .flat_map(|p| p.place.offset..p.place.offset + p.place.len)
            .collect();
        Ema { decay, weights: Buffer::zeros(network.len()), counts }
    }

    /// The average as it is now.
    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Makes it these values. Returns whether they are as many as there are weights.
    pub(crate) fn restore(&mut self, weights: &[f32]) -> bool {
        let fits = weights.len() == self.weights.len();
        if fits {
            self.weights.copy_from_slice(weights);
        }
        fits
    }

    /// Moves towards the weights after `steps` steps: it keeps d = min(decay, (1 + steps) / (10 + steps))
    /// of itself, so that the initial weights are soon forgotten, and takes 1 − d of them. (The rise of
    /// the decay is that of TensorFlow's `ExponentialMovingAverage`.) Fastest inside
    /// [`Workers::run`].
    pub(crate) fn update(
        &mut self,
        workers: &Workers,
        weights: &[f32],
        steps: u64,
        chores: Option<&Chores>,
    ) {
        let steps = steps as f64;
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        let lerp = |(ema, weights): (&mut [f32], &[f32])| {
            timed(chores, Chore::Optimiser, || {
                kernels::lerp(workers.isa(), ema, weights, 1.0 - decay)
            });
        };
        each_piece(workers, (&mut self.weights[..], weights), &lerp);
        for &count in &self.counts {
            self.weights[count] = weights[count];
        }
    }
}
