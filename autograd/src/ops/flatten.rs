//! Images to feature vectors.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};

impl Tape<'_> {
    /// `[N][C][H][W]` to `[N][C · H · W]`; vectors are returned as they are.
    pub fn flatten(&mut self, x: Var) -> Var {
        let input = self.value(x);
        if input.size() == [1, 1] {
            return x;
        }
        let (images, features) = (input.images(), input.channels() * input.layout().pixels());
        let (y, mut out) = self.output(images, features, [1, 1]);
        let input = self.value(x);
        kernels::flatten(self.isa, input.data(), input.layout(), out.data_mut());
        self.record(y, out, self.needs_gradient(x), Flatten { x, y })
    }
}

pub(crate) struct Flatten {
    x: Var,
    y: Var,
}

impl Operation for Flatten {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let layout = *dx.layout();
        kernels::unflatten(b.isa, dy.data(), &layout, dx.data_mut(), store);
        b.put(self.x, dx);
    }
}
