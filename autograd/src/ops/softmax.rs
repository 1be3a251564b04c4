//! Softmax and its logarithm, over the channels of each pixel.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};

impl Tape<'_> {
    /// `y_i = exp(x_i) / Σ_j exp(x_j)` over the channels of each pixel, or the features of a vector.
    pub fn softmax(&mut self, x: Var) -> Var {
        self.run_softmax(x, false)
    }

    /// `y_i = x_i − ln Σ_j exp(x_j)` over the channels of each pixel, or the features of a vector.
    pub fn log_softmax(&mut self, x: Var) -> Var {
        self.run_softmax(x, true)
    }

    fn run_softmax(&mut self, x: Var, log: bool) -> Var {
        let cores = self.cores;
        let input = self.value(x);
        let (images, channels, size) = (input.images(), input.channels(), input.size());
        let (y, mut out) = self.output(images, channels, size);
        let (input, to) = (self.value(x), out.data_mut());
        if log {
            kernels::log_softmax(cores, input.data(), input.layout(), to);
        } else {
            kernels::softmax(cores, input.data(), input.layout(), to);
        }
        self.record(y, out, self.needs_gradient(x), Softmax { x, y, log })
    }
}

pub(crate) struct Softmax {
    x: Var,
    y: Var,
    log: bool,
}

impl Operation for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log-softmax" } else { "softmax" }
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let (y, layout, dy) = (b.value(self.y).data(), *dy.layout(), dy.data());
        if self.log {
            kernels::log_softmax_backward(b.cores, y, dy, &layout, dx.data_mut(), store);
        } else {
            kernels::softmax_backward(b.cores, y, dy, &layout, dx.data_mut(), store);
        }
        b.put(self.x, dx);
    }
}
