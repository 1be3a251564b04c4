//! Max-pool, average pool, global average pool.

use super::{Operation, pieces};
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};
use kernels::Pool;

impl Tape<'_> {
    /// The maximum of each window of a [`Pool`], of a [`Window`](kernels::Window) say; padding is left out, the first of equals gets the gradient, NaN
    /// wins.
    ///
    /// # Panics
    /// If the pool does not fit.
    pub fn max_pool2d(&mut self, x: Var, pool: impl Into<Pool>) -> Var {
        let pool = pool.into();
        let (y, mut out) = self.pooled(x, pool);
        let input = self.value(x);
        let (isa, from, layouts) = (self.isa(), input.data(), [*input.layout(), *out.layout()]);
        pieces::by_plane(self.cores, layouts, out.data_mut(), |planes, y| {
            kernels::max_pool(isa, planes.of(0, from), &planes.layout[0], pool, y);
        });
        self.record(y, out, self.needs_gradient(x), MaxPool2d { x, y, pool })
    }

    /// The mean of each window of a [`Pool`]; of a [`Window`](kernels::Window), padding counts as zeros.
    ///
    /// # Panics
    /// If the pool does not fit.
    pub fn avg_pool2d(&mut self, x: Var, pool: impl Into<Pool>) -> Var {
        let pool = pool.into();
        let (y, mut out) = self.pooled(x, pool);
        let input = self.value(x);
        let (isa, from, layouts) = (self.isa(), input.data(), [*input.layout(), *out.layout()]);
        pieces::by_plane(self.cores, layouts, out.data_mut(), |planes, y| {
            kernels::avg_pool(isa, planes.of(0, from), &planes.layout[0], pool, y);
        });
        self.record(y, out, self.needs_gradient(x), AvgPool2d { x, y, pool })
    }

    /// The mean of each plane: `[N][C][H][W]` to `[N][C]`.
    pub fn global_avg_pool2d(&mut self, x: Var) -> Var {
        let (images, channels) = (self.value(x).images(), self.value(x).channels());
        let (y, mut out) = self.output(images, channels, [1, 1]);
        let input = self.value(x);
        let (isa, from, layouts) = (self.isa(), input.data(), [*input.layout(), *out.layout()]);
        pieces::by_plane(self.cores, layouts, out.data_mut(), |planes, y| {
            kernels::global_avg_pool(isa, planes.of(0, from), &planes.layout[0], y);
        });
        self.record(y, out, self.needs_gradient(x), GlobalAvgPool2d { x, y })
    }

    fn pooled(&mut self, x: Var, pool: Pool) -> (Var, Tensor) {
        let input = self.value(x);
        let size = pool.output(input.size()).expect("the pool fits the input");
        let (images, channels) = (input.images(), input.channels());
        self.output(images, channels, size)
    }
}

pub(crate) struct MaxPool2d {
    x: Var,
    y: Var,
    pool: Pool,
}

impl Operation for MaxPool2d {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let (layout, pool) = (*dx.layout(), self.pool);
        let [x, y] = [self.x, self.y].map(|v| b.value(v).data());
        let (isa, layouts, dy) = (b.cores.isa(), [*dy.layout(), layout], dy.data());
        pieces::by_plane(b.cores, layouts, dx.data_mut(), |planes, dx| {
            let (xy, dy) = ([planes.of(1, x), planes.of(0, y)], planes.of(0, dy));
            kernels::max_pool_backward(isa, xy, dy, &planes.layout[1], pool, dx, store);
        });
        b.put(self.x, dx);
    }
}

pub(crate) struct AvgPool2d {
    x: Var,
    y: Var,
    pool: Pool,
}

impl Operation for AvgPool2d {
    fn name(&self) -> &'static str {
        "average pool"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn reads_output(&self) -> bool {
        false
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let (layout, pool) = (*dx.layout(), self.pool);
        let (isa, layouts, dy) = (b.cores.isa(), [*dy.layout(), layout], dy.data());
        pieces::by_plane(b.cores, layouts, dx.data_mut(), |planes, dx| {
            let (dy, layout) = (planes.of(0, dy), &planes.layout[1]);
            kernels::avg_pool_backward(isa, dy, layout, pool, dx, store);
        });
        b.put(self.x, dx);
    }
}

pub(crate) struct GlobalAvgPool2d {
    x: Var,
    y: Var,
}

impl Operation for GlobalAvgPool2d {
    fn name(&self) -> &'static str {
        "global average pool"
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
        let (isa, layouts, dy) = (b.cores.isa(), [*dy.layout(), layout], dy.data());
        pieces::by_plane(b.cores, layouts, dx.data_mut(), |planes, dx| {
            let (dy, layout) = (planes.of(0, dy), &planes.layout[1]);
            kernels::global_avg_pool_backward(isa, dy, layout, dx, store);
        });
        b.put(self.x, dx);
    }
}
