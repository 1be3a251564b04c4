//! PReLU.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Param, Tape, Var};

impl Tape<'_> {
    /// `y = x` where `x > 0`, else the slope times `x`: `slopes` is one for all channels, or one for each.
    ///
    /// # Panics
    /// If there are neither one nor as many slopes as channels.
    pub fn prelu(&mut self, x: Var, slopes: Param) -> Var {
        let (cores, params) = (self.cores, self.params);
        let input = self.value(x);
        let (images, channels, size) = (input.images(), input.channels(), input.size());
        let (y, mut out) = self.output(images, channels, size);
        let input = self.value(x);
        kernels::prelu(cores, input.data(), input.layout(), slopes.of(params), out.data_mut());
        self.record(y, out, true, Prelu { x, y, slopes })
    }
}

pub(crate) struct Prelu {
    x: Var,
    y: Var,
    slopes: Param,
}

impl Operation for Prelu {
    fn name(&self) -> &'static str {
        "PReLU"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn reads_output(&self) -> bool {
        false
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let mut dx = b.gradient(self.x);
        let layout = *dy.layout();
        let inputs = [b.workspace.nodes[self.x.0].value.data(), dy.data()];
        let dslopes = self.slopes.of_mut(b.gradients);
        let room = b.workspace.scratch.at_least(layout.channels());
        let to = dx.as_mut().map(|(dx, store)| (dx.data_mut(), *store));
        let slopes = self.slopes.of(b.params);
        kernels::prelu_backward(b.cores, inputs, &layout, slopes, (dslopes, room), to);
        if let Some((dx, _)) = dx {
            b.put(self.x, dx);
        }
    }
}
