//! ReLU, leaky ReLU, GELU.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};
use kernels::Activation;

impl Tape<'_> {
    /// `y = f(x)`, element by element.
    pub fn activate(&mut self, x: Var, f: Activation) -> Var {
        let input = self.value(x);
        let (images, channels, size) = (input.images(), input.channels(), input.size());
        let (y, mut out) = self.output(images, channels, size);
        kernels::activate(self.isa, f, self.value(x).data(), out.data_mut());
        self.record(y, out, self.needs_gradient(x), Activate { x, y, f })
    }

    /// `y = max(x, 0)`; NaN stays NaN, and the gradient at 0 is 0.
    pub fn relu(&mut self, x: Var) -> Var {
        self.activate(x, Activation::Relu)
    }
}

pub(crate) struct Activate {
    x: Var,
    y: Var,
    f: Activation,
}

impl Operation for Activate {
    fn name(&self) -> &'static str {
        match self.f {
            Activation::Relu => "ReLU",
            Activation::LeakyRelu(_) => "leaky ReLU",
            Activation::Gelu => "GELU",
        }
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let x = b.value(self.x).data();
        kernels::activate_backward(b.isa, self.f, x, dy.data(), dx.data_mut(), store);
        b.put(self.x, dx);
    }
}
