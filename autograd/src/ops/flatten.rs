//! Images to feature vectors.

use super::{Operation, pieces};
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
        let (isa, from, layout) = (self.isa(), input.data(), *input.layout());
        pieces::flat(self.cores, layout, out.data_mut(), |planes, y| {
            kernels::flatten(isa, planes.of(0, from), &planes.layout[0], y);
        });
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

    fn reads_output(&self) -> bool {
        false
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let layout = *dx.layout();
        let (isa, dy, pixels) = (b.cores.isa(), dy.data(), layout.pixels() * kernels::LANES);
        pieces::by_plane(b.cores, [layout; 2], dx.data_mut(), |planes, dx| {
            let count = planes.layout[1].channels();
            let dy = &dy[planes.first * pixels..][..count * pixels];
            kernels::unflatten(isa, dy, &planes.layout[1], dx, store);
        });
        b.put(self.x, dx);
    }
}
