//! Activation functions.

use super::{Operation, pieces};
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};
use kernels::Activation;

impl Tape<'_> {
    /// `y = f(x)`, element by element.
    pub fn activate(&mut self, x: Var, f: Activation) -> Var {
        let input = self.value(x);
        let (images, channels, size) = (input.images(), input.channels(), input.size());
        let (y, mut out) = self.output(images, channels, size);
        let (isa, x_values) = (self.isa(), self.value(x).data());
        pieces::by_value(self.cores, out.data_mut(), 1, |place, y| {
            kernels::activate(isa, f, &x_values[place], y);
        });
        self.record(y, out, self.needs_gradient(x), Activate { x, y, f })
    }

    /// `y = max(x, 0)`; NaN stays NaN, and the gradient at 0 is 0.
    pub fn relu(&mut self, x: Var) -> Var {
        self.activate(x, Activation::Relu)
    }
}

/// A batch norm with an activation in its pass, in the words of a network's summary.
pub(super) fn after_batch_norm(f: Activation) -> &'static str {
    names(f)[1]
}

/// What an activation is called, alone and after a batch norm.
fn names(f: Activation) -> [&'static str; 2] {
    macro_rules! names {
        ($name:literal) => {
            [$name, concat!("batch norm + ", $name)]
        };
    }
    match f {
        Activation::Relu => names!("ReLU"),
        Activation::LeakyRelu(_) => names!("leaky ReLU"),
        Activation::Relu6 => names!("ReLU6"),
        Activation::HardSigmoid => names!("hard sigmoid"),
        Activation::HardSwish => names!("hard swish"),
        Activation::Sigmoid => names!("sigmoid"),
        Activation::Tanh => names!("tanh"),
        Activation::Silu => names!("SiLU"),
        Activation::Gelu => names!("GELU"),
        Activation::GeluTanh => names!("GELU by tanh"),
        Activation::Elu(_) => names!("ELU"),
        Activation::Softplus(_) => names!("softplus"),
    }
}

pub(crate) struct Activate {
    x: Var,
    y: Var,
    f: Activation,
}

impl Operation for Activate {
    fn name(&self) -> &'static str {
        names(self.f)[0]
    }

    fn output(&self) -> Var {
        self.y
    }

    fn reads_output(&self) -> bool {
        false
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let x = b.value(self.x).data();
        let (isa, dy) = (b.cores.isa(), dy.data());
        pieces::by_value(b.cores, dx.data_mut(), 2, |place, dx| {
            let [x, dy] = [x, dy].map(|t| &t[place.clone()]);
            kernels::activate_backward(isa, self.f, x, dy, dx, store);
        });
        b.put(self.x, dx);
    }
}
