//! Batch normalisation.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Param, Tape, Var};
use kernels::Store;

/// The parameters and statistics of a batch-norm layer, one value per channel each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// The scale γ.
    pub weight: Param,
    /// The shift β.
    pub bias: Param,
    /// The running mean, used in evaluation.
    pub mean: Param,
    /// The running unbiased variance, used in evaluation.
    pub variance: Param,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Tape<'_> {
    /// `y = γ · (x − mean) / √(variance + ε) + β` per channel, followed by a ReLU where `relu` is set.
    ///
    /// A tape that records takes mean and (biased) variance from the images it sees, that is per
    /// shard. Its backward adds this shard's share of the batch's mean and unbiased variance to the
    /// places of the running statistics in the gradient buffer, where the reduction over shards
    /// completes them. Any other tape takes the running statistics.
    pub fn batch_norm2d(&mut self, x: Var, norm: BatchNorm, relu: bool) -> Var {
        let (isa, params) = (self.isa, self.params);
        let input = self.value(x);
        let (images, channels, size) = (input.images(), input.channels(), input.size());
        let (y, mut out) = self.output(images, channels, size);
        let [weight, bias] = [norm.weight, norm.bias].map(|p| p.of(params));
        let layer = kernels::BatchNorm { weight, bias, epsilon: norm.epsilon, relu };
        let (from, layout) = (self.value(x).data(), *out.layout());
        if !self.is_training() {
            let [mean, variance] = [norm.mean, norm.variance].map(|p| p.of(params));
            layer.evaluate(isa, from, &layout, mean, variance, out.data_mut());
            return self.finish(y, out, false);
        }
        let index = self.memory.buffers.next();
        let mut statistics = self.memory.buffers.take(index);
        statistics.resize(2 * channels);
        let (mean, variance) = statistics.split_at_mut(channels);
        let from = self.value(x).data();
        layer.forward(isa, from, &layout, images, mean, variance, out.data_mut());
        self.memory.buffers.put(index, statistics);
        self.record(y, out, true, BatchNorm2d { x, y, norm, relu, statistics: index })
    }
}

pub(crate) struct BatchNorm2d {
    x: Var,
    y: Var,
    norm: BatchNorm,
    relu: bool,
    /// Mean, then biased variance, of each channel.
    statistics: usize,
}

impl Operation for BatchNorm2d {
    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let statistics = b.memory.buffers.take(self.statistics);
        let (mean, variance) = statistics.split_at(statistics.len() / 2);
        let (images, layout) = (dy.images(), *dy.layout());
        self.add_statistics(b, mean, variance, images, layout.pixels());
        let [weight, bias] = [self.norm.weight, self.norm.bias].map(|p| p.of(b.params));
        let epsilon = self.norm.epsilon;
        let layer = kernels::BatchNorm { weight, bias, epsilon, relu: self.relu };
        let mut taken = b.gradient(self.x);
        let dx = match &mut taken {
            Some((dx, store)) => Some((dx.data_mut(), *store)),
            None => None,
        };
        let x = b.memory.value(self.x).data();
        let sums = kernels::Statistics { mean, variance, images };
        let (dw, db) = two(b.gradients, self.norm.weight, self.norm.bias);
        layer.backward(b.isa, x, &layout, sums, dy.data(), dw, db, dx);
        if let Some((dx, _)) = taken {
            b.put(self.x, dx);
        }
        b.memory.buffers.put(self.statistics, statistics);
    }
}
