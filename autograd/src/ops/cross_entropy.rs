//! Softmax and cross-entropy, the loss of a classifier.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};

impl Tape<'_> {
    /// The cross-entropy of `softmax(logits)` with the labels, summed over the images and divided by
    /// the whole batch, and the sums that a report wants.
    ///
    /// With smoothing ε the target is `(1 − ε) · onehot + ε / classes`, as in PyTorch.
    ///
    /// # Panics
    /// If there is not a label per image, or one is not a class.
    pub fn softmax_cross_entropy(
        &mut self,
        logits: Var,
        labels: &[u32],
        smoothing: f32,
    ) -> (Var, kernels::CrossEntropy) {
        let scale = if self.is_training() { 1.0 / self.batch() as f32 } else { 1.0 };
        let index = self.memory.buffers.next();
        let mut gradient = self.memory.buffers.take(index);
        let input = self.value(logits);
        gradient.resize(input.data().len());
        let wanted = self.needs_gradient(logits).then_some((&mut gradient[..], scale));
        let (from, layout) = (input.data(), input.layout());
        let sums = kernels::cross_entropy(self.isa, from, layout, labels, smoothing, wanted);
        self.memory.buffers.put(index, gradient);
        let (y, mut out) = self.output(1, 1, [1, 1]);
        out.data_mut()[0] = sums.loss as f32 * scale;
        let record = CrossEntropy { logits, y, gradient: index };
        (self.record(y, out, self.needs_gradient(logits), record), sums)
    }
}

pub(crate) struct CrossEntropy {
    logits: Var,
    y: Var,
    /// Computed with the loss: (softmax − target) / batch.
    gradient: usize,
}

impl Operation for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.logits) else { return };
        let gradient = b.memory.buffers.take(self.gradient);
        kernels::scale(b.isa, &gradient, dy.data()[0], dx.data_mut(), store);
        b.memory.buffers.put(self.gradient, gradient);
        b.put(self.logits, dx);
    }
}
