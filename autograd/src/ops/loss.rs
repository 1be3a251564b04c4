//! The loss of a classifier.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};
use kernels::{Loss, LossKind, LossSums, Targets};

impl Tape<'_> {
    /// The losses of the images, summed and divided by a number: that of the images of the whole batch, or the
    /// sum of their weights. And the sums that a report wants, which are not divided.
    ///
    /// # Panics
    /// As [`kernels::loss`], or if the outputs have no target for each image.
    pub fn loss(
        &mut self,
        outputs: Var,
        targets: Targets<'_>,
        loss: &Loss<'_>,
        divisor: f32,
    ) -> (Var, LossSums) {
        let scale = 1.0 / divisor;
        let index = self.workspace.buffers.next();
        let mut gradient = self.workspace.buffers.take(index);
        let input = self.value(outputs);
        gradient.resize(input.data().len());
        let wanted = self.needs_gradient(outputs).then_some((&mut gradient[..], scale));
        let (from, layout) = (input.data(), input.layout());
        let sums = kernels::loss(self.isa(), from, layout, targets, loss, wanted);
        self.workspace.buffers.put(index, gradient);
        let (y, mut out) = self.output(1, 1, [1, 1]);
        out.data_mut()[0] = sums.loss as f32 * scale;
        let record = LossOf { outputs, y, gradient: index, kind: loss.kind };
        (self.record(y, out, self.needs_gradient(outputs), record), sums)
    }

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
    ) -> (Var, LossSums) {
        let batch = if self.is_training() { self.batch() as f32 } else { 1.0 };
        let loss = Loss { smoothing, ..Loss::CROSS_ENTROPY };
        self.loss(logits, Targets::Labels(labels), &loss, batch)
    }
}

pub(crate) struct LossOf {
    outputs: Var,
    y: Var,
    /// Computed with the loss: its derivatives by the outputs.
    gradient: usize,
    kind: LossKind,
}

impl Operation for LossOf {
    fn name(&self) -> &'static str {
        match self.kind {
            LossKind::CrossEntropy => "cross-entropy",
            LossKind::Nll => "likelihood",
            LossKind::Bce => "binary cross-entropy",
        }
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.outputs) else { return };
        let gradient = b.workspace.buffers.take(self.gradient);
        kernels::scale(b.cores.isa(), &gradient, dy.data()[0], dx.data_mut(), store);
        b.workspace.buffers.put(self.gradient, gradient);
        b.put(self.outputs, dx);
    }
}
