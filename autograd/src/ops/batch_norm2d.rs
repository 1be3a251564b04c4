//! Batch normalisation.

use super::{Operation, activation, two_parts};
use crate::Tensor;
use crate::tape::{Backward, Param, Tape, Var};
use kernels::{Activation, BatchNormGradients, Layout, PooledTensors, Statistics};

/// The parameters and statistics of a batch-norm layer, one value per channel each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// The scale γ; of no length where it is 1.
    pub weight: Param,
    /// The shift β; of no length where it is 0.
    pub bias: Param,
    /// The running mean, used in evaluation.
    pub mean: Param,
    /// The running unbiased variance, used in evaluation.
    pub variance: Param,
    /// The number of batches that the running statistics are of, a single value.
    pub batches: Param,
    /// Added to the variance.
    pub epsilon: f32,
    /// What its statistics count for where a network uses the batch norm again: (1 − momentum) to the power of how
    /// often it does so later. They are then added to the same places. 1 where it does not.
    pub share: f32,
}

impl Tape<'_> {
    /// `y = γ · (x − mean) / √(variance + ε) + β` per channel, followed by an activation if one is given, in
    /// one pass: the same values and gradients bit for bit.
    ///
    /// A tape that records takes mean and (biased) variance from the images it sees, that is per shard. Its
    /// backward adds this shard's share of the batch's mean and unbiased variance to the places of the running
    /// statistics in the gradient buffer, where the reduction over shards completes them, and its share of the
    /// batch to the place of the number of batches, which so becomes one (as many as a network uses the layer).
    /// None of these is a gradient: an optimiser moves them towards what was found, by rules of their own. Any
    /// other tape takes the running statistics.
    pub fn batch_norm2d(&mut self, x: Var, norm: BatchNorm, activation: Option<Activation>) -> Var {
        self.run_batch_norm(x, norm, activation, false)
    }

    /// `max_pool2d(relu(batch_norm2d(x)))` with a 2×2 window of stride 2: the same values and
    /// gradients bit for bit, in one pass.
    ///
    /// # Panics
    /// If `x` has less than two rows or columns.
    pub fn batch_norm2d_relu_max_pool2d(&mut self, x: Var, norm: BatchNorm) -> Var {
        assert!(self.value(x).size().iter().all(|&n| n >= 2), "nothing to pool");
        self.run_batch_norm(x, norm, Some(Activation::Relu), true)
    }

    /// With a 2×2 max-pool of stride 2 at its end where it is `pooled`.
    fn run_batch_norm(
        &mut self,
        x: Var,
        norm: BatchNorm,
        activation: Option<Activation>,
        pooled: bool,
    ) -> Var {
        let (cores, params) = (self.cores, self.params);
        let input = self.value(x);
        let (images, layout) = (input.images(), *input.layout());
        let size = if pooled { layout.size().map(|n| n / 2) } else { layout.size() };
        let (y, mut out) = self.output(images, layout.channels(), size);
        let (from, to) = (self.value(x).data(), out.data_mut());
        let op = norm.kernel(params, layout, images, activation);
        if !self.is_training() {
            let [mean, variance] = [norm.mean, norm.variance].map(|p| p.of(params));
            let statistics = Statistics { mean, variance };
            if pooled {
                kernels::batch_norm_pool_evaluate(cores, &op, from, statistics, to);
            } else {
                kernels::batch_norm_evaluate(cores, &op, from, statistics, to);
            }
            return self.finish(y, out, false, "batch norm");
        }
        let index = self.workspace.buffers.next();
        let mut statistics = self.workspace.buffers.take(index);
        statistics.resize(2 * layout.channels());
        let (mean, variance) = statistics.split_at_mut(layout.channels());
        let both = Statistics { mean, variance };
        let from = self.value(x).data();
        if pooled {
            kernels::batch_norm_pool(cores, &op, from, both, to);
        } else {
            kernels::batch_norm(cores, &op, from, both, to);
        }
        self.workspace.buffers.put(index, statistics);
        self.record(y, out, true, BatchNorm2d { x, y, norm, activation, pooled, statistics: index })
    }
}

impl BatchNorm {
    /// Makes the weights `[channels][…]` and the bias of a layer those of the layer with this batch
    /// norm in evaluation: `w · γ / √(variance + ε)` and `β + (b − mean) · γ / √(variance + ε)`.
    pub fn fold(&self, params: &[f32], weights: &mut [f32], bias: &mut [f32]) {
        let [gamma, beta, mean, variance] =
            [self.weight, self.bias, self.mean, self.variance].map(|p| p.of(params));
        let row = weights.len() / bias.len();
        for (c, (weights, bias)) in weights.chunks_exact_mut(row).zip(bias).enumerate() {
            let (gamma, beta) = (gamma.get(c).unwrap_or(&1.0), beta.get(c).unwrap_or(&0.0));
            let slope = gamma / (variance[c] + self.epsilon).sqrt();
            weights.iter_mut().for_each(|w| *w *= slope);
            *bias = beta + (*bias - mean[c]) * slope;
        }
    }

    /// The kernel's description of the layer.
    fn kernel<'a>(
        &self,
        params: &'a [f32],
        layout: Layout,
        images: usize,
        activation: Option<Activation>,
    ) -> kernels::BatchNorm<'a> {
        let [gamma, beta] = [self.weight, self.bias].map(|p| p.of(params));
        kernels::BatchNorm { layout, images, gamma, beta, epsilon: self.epsilon, activation }
    }
}

pub(crate) struct BatchNorm2d {
    x: Var,
    y: Var,
    norm: BatchNorm,
    activation: Option<Activation>,
    /// Whether a ReLU and a max-pool follow.
    pooled: bool,
    /// Mean, then biased variance, of each channel.
    statistics: usize,
}

impl Operation for BatchNorm2d {
    fn name(&self) -> &'static str {
        match self.activation {
            None => "batch norm",
            Some(_) if self.pooled => "batch norm + ReLU + max-pool",
            Some(f) => activation::after_batch_norm(f),
        }
    }

    fn output(&self) -> Var {
        self.y
    }

    fn reads_output(&self) -> bool {
        self.pooled
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let statistics = b.workspace.buffers.take(self.statistics);
        let (mean, variance) = statistics.split_at(statistics.len() / 2);
        // The input of a network is not normalised by a layer of it often: no special case.
        let (mut dx, store) = b.room(self.x);
        self.add_statistics(b, &dx, mean, variance);
        let op = self.norm.kernel(b.params, *dx.layout(), dx.images(), self.activation);
        let [x, y] = [self.x, self.y].map(|var| b.workspace.nodes[var.0].value.data());
        let [gamma, beta] = two_parts(b.gradients, self.norm.weight, self.norm.bias);
        let found = Statistics { mean, variance };
        let gradients = BatchNormGradients { gamma, beta, x: dx.data_mut(), store };
        let floats = if self.pooled { op.pool_scratch() } else { op.scratch() };
        let room = b.workspace.scratch.at_least(floats * b.cores.most());
        if self.pooled {
            let tensors = PooledTensors { x, y, dy: dy.data() };
            kernels::batch_norm_pool_backward(b.cores, &op, tensors, found, gradients, room);
        } else {
            kernels::batch_norm_backward(b.cores, &op, [x, dy.data()], found, gradients, room);
        }
        b.put(self.x, dx);
        b.workspace.buffers.put(self.statistics, statistics);
    }
}

impl BatchNorm2d {
    /// Adds this shard's share of the statistics of the batch, images being its weight. With its share
    /// of the batch, a loop that descends all this by mistake makes the number of batches negative, which
    /// evaluation can tell.
    fn add_statistics(&self, b: &mut Backward<'_>, x: &Tensor, mean: &[f32], variance: &[f32]) {
        let share = x.images() as f32 / b.batch as f32;
        let count = x.images() * x.layout().pixels();
        let unbiased = share * (count as f32 / (count.max(2) - 1) as f32);
        let of_use = self.norm.share;
        let sums = [
            (self.norm.mean, mean, of_use * share),
            (self.norm.variance, variance, of_use * unbiased),
        ];
        for (param, values, weight) in sums {
            for (sum, value) in param.of_mut(b.gradients).iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
        self.norm.batches.of_mut(b.gradients).iter_mut().for_each(|sum| *sum += share);
    }
}
