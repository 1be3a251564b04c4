//! Batch normalisation.

use super::{Epilogue, Operation};
use crate::Tensor;
use crate::tape::{Backward, Param, Tape, Var};
use kernels::Layout;

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
        let epilogue = if relu { Epilogue::Relu } else { Epilogue::None };
        self.run_batch_norm(x, norm, epilogue)
    }

    /// `max_pool2d(relu(batch_norm2d(x)))` with a 2×2 window of stride 2: the same values and
    /// gradients bit for bit, in one pass.
    ///
    /// # Panics
    /// If `x` has less than two rows or columns.
    pub fn batch_norm2d_relu_max_pool2d(&mut self, x: Var, norm: BatchNorm) -> Var {
        assert!(self.value(x).size().iter().all(|&n| n >= 2), "nothing to pool");
        self.run_batch_norm(x, norm, Epilogue::ReluMaxPool)
    }

    fn run_batch_norm(&mut self, x: Var, norm: BatchNorm, epilogue: Epilogue) -> Var {
        let (isa, params) = (self.isa, self.params);
        let input = self.value(x);
        let (images, layout) = (input.images(), *input.layout());
        let pooled = epilogue == Epilogue::ReluMaxPool;
        let size = if pooled { layout.size.map(|n| n / 2) } else { layout.size };
        let (y, mut out) = self.output(images, layout.channels, size);
        let (from, to) = (self.value(x).data(), out.data_mut());
        let op = norm.kernel(params, layout, images, epilogue);
        if !self.is_training() {
            let statistics = [norm.mean, norm.variance].map(|p| p.of(params));
            if pooled {
                kernels::batch_norm_pool_evaluate(isa, &op, from, statistics, to);
            } else {
                kernels::batch_norm_evaluate(isa, &op, from, statistics, to);
            }
            return self.finish(y, out, false, "batch norm");
        }
        let index = self.memory.buffers.next();
        let mut statistics = self.memory.buffers.take(index);
        statistics.resize(2 * layout.channels);
        let both = statistics.split_at_mut(layout.channels).into();
        let from = self.value(x).data();
        if pooled {
            kernels::batch_norm_pool(isa, &op, from, both, to);
        } else {
            kernels::batch_norm(isa, &op, from, both, to);
        }
        self.memory.buffers.put(index, statistics);
        self.record(y, out, true, BatchNorm2d { x, y, norm, epilogue, statistics: index })
    }
}

impl BatchNorm {
    /// Makes the weights `[channels][…]` and the bias of a layer those of the layer with this batch
    /// norm in evaluation: `w · γ / √(variance + ε)` and `β + (b − mean) · γ / √(variance + ε)`.
    pub(super) fn fold(&self, params: &[f32], weights: &mut [f32], bias: &mut [f32]) {
        let [gamma, beta, mean, variance] =
            [self.weight, self.bias, self.mean, self.variance].map(|p| p.of(params));
        let row = weights.len() / bias.len();
        for (c, (weights, bias)) in weights.chunks_exact_mut(row).zip(bias).enumerate() {
            let slope = gamma[c] / (variance[c] + self.epsilon).sqrt();
            weights.iter_mut().for_each(|w| *w *= slope);
            *bias = beta[c] + (*bias - mean[c]) * slope;
        }
    }

    /// The kernel's description of the layer.
    fn kernel<'a>(
        &self,
        params: &'a [f32],
        layout: Layout,
        images: usize,
        epilogue: Epilogue,
    ) -> kernels::BatchNorm<'a> {
        let relu = epilogue != Epilogue::None;
        let [gamma, beta] = [self.weight, self.bias].map(|p| p.of(params));
        kernels::BatchNorm { layout, images, gamma, beta, epsilon: self.epsilon, relu }
    }
}

pub(crate) struct BatchNorm2d {
    x: Var,
    y: Var,
    norm: BatchNorm,
    epilogue: Epilogue,
    /// Mean, then biased variance, of each channel.
    statistics: usize,
}

impl Operation for BatchNorm2d {
    fn name(&self) -> &'static str {
        match self.epilogue {
            Epilogue::None => "batch norm",
            Epilogue::Relu => "batch norm + ReLU",
            Epilogue::ReluMaxPool => "batch norm + ReLU + max-pool",
        }
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let statistics = b.memory.buffers.take(self.statistics);
        let (mean, variance) = statistics.split_at(statistics.len() / 2);
        // The input of a network is not normalised by a layer of it often: no special case.
        let (mut dx, store) = b.room(self.x);
        self.add_statistics(b, &dx, mean, variance);
        let op = self.norm.kernel(b.params, *dx.layout(), dx.images(), self.epilogue);
        let [x, y] = [self.x, self.y].map(|var| b.memory.nodes[var.0].value.data());
        let sums = two_parts(b.gradients, self.norm.weight, self.norm.bias);
        let (of, to) = ([mean, variance], dx.data_mut());
        if self.epilogue == Epilogue::ReluMaxPool {
            let room = b.memory.scratch.at_least(op.pool_scratch());
            let tensors = [x, y, dy.data()];
            kernels::batch_norm_pool_backward(b.isa, &op, tensors, of, sums, room, to, store);
        } else {
            kernels::batch_norm_backward(b.isa, &op, [x, dy.data()], of, sums, to, store);
        }
        b.put(self.x, dx);
        b.memory.buffers.put(self.statistics, statistics);
    }
}

impl BatchNorm2d {
    /// Adds this shard's share of the statistics of the batch, images being its weight.
    fn add_statistics(&self, b: &mut Backward<'_>, x: &Tensor, mean: &[f32], variance: &[f32]) {
        let share = x.images() as f32 / b.batch as f32;
        let count = x.images() * x.layout().pixels();
        let unbiased = share * (count as f32 / (count.max(2) - 1) as f32);
        let sums = [(self.norm.mean, mean, share), (self.norm.variance, variance, unbiased)];
        for (param, values, weight) in sums {
            for (sum, value) in param.of_mut(b.gradients).iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
    }
}

/// Two parts of a buffer that do not overlap, the first before the second.
fn two_parts(buffer: &mut [f32], first: Param, second: Param) -> [&mut [f32]; 2] {
    assert!(first.offset + first.len <= second.offset, "weight and bias in this order");
    let (before, after) = buffer.split_at_mut(second.offset);
    [first.of_mut(before), &mut after[..second.len]]
}
