//! What the backward pass of an operation works with.

use super::{Operands, Var, Workspace};
use crate::Tensor;
use crate::ops::pieces;
use kernels::{Cores, LANES, Layout, Store};

/// What the backward of an operation works with.
pub(crate) struct Backward<'a> {
    pub cores: Cores<'a>,
    pub params: &'a [f32],
    pub gradients: &'a mut [f32],
    pub workspace: &'a mut Workspace,
    pub batch: usize,
}

impl Backward<'_> {
    pub(crate) fn value(&self, var: Var) -> &Tensor {
        self.workspace.value(var)
    }

    /// The channels of a value, which may have been given away.
    pub(crate) fn channels(&self, var: Var) -> usize {
        self.workspace.nodes[var.0].shape.1
    }

    /// One of the operands of an operation that takes any number.
    pub(crate) fn operand(&self, operands: &Operands, i: usize) -> Var {
        self.workspace.operands[operands.0.clone()][i]
    }

    pub(crate) fn needs_gradient(&self, var: Var) -> bool {
        self.workspace.nodes[var.0].needs_gradient
    }

    /// The gradient of `x`, taken out to be written or added to, if it is wanted.
    pub(crate) fn gradient(&mut self, x: Var) -> Option<(Tensor, Store)> {
        self.needs_gradient(x).then(|| self.room(x))
    }

    /// Room for the gradient of `x`, wanted or not, taken out as by [`Backward::gradient`].
    pub(crate) fn room(&mut self, x: Var) -> (Tensor, Store) {
        let node = &mut self.workspace.nodes[x.0];
        let mut dx = std::mem::take(&mut node.gradient);
        let (images, channels, size) = node.shape;
        if dx.data().is_empty() {
            let len = Layout::new(images.div_ceil(LANES), channels, size).len();
            dx = self.workspace.free.take(len);
        }
        dx.reshape(images, channels, size);
        let store = if node.has_gradient { Store::Accumulate } else { Store::Overwrite };
        (dx, store)
    }

    /// Makes `dy` the gradient of `x`, of the same shape, or adds it to what is there.
    pub(crate) fn give(&mut self, x: Var, dy: &mut Tensor) {
        let node = &mut self.workspace.nodes[x.0];
        if node.has_gradient {
            pieces::add_assign(self.cores, node.gradient.data_mut(), dy.data());
        } else if node.needs_gradient {
            std::mem::swap(&mut node.gradient, dy);
            node.has_gradient = true;
        }
    }

    /// Puts a written gradient back; one that is not wanted is room for others.
    pub(crate) fn put(&mut self, x: Var, dx: Tensor) {
        let node = &mut self.workspace.nodes[x.0];
        if node.needs_gradient {
            node.gradient = dx;
            node.has_gradient = true;
        } else {
            self.workspace.free.put(dx);
        }
    }
}
