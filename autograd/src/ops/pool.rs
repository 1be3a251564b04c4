//! Max-pool, average pool, global average pool.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};
use kernels::Window;

impl Tape<'_> {
    /// The maximum of each window; padding is left out, the first of equals gets the gradient, NaN
    /// wins.
    ///
    /// # Panics
    /// If the window does not fit.
    pub fn max_pool2d(&mut self, x: Var, window: Window) -> Var {
        let (y, mut out) = self.pooled(x, window);
        let input = self.value(x);
        kernels::max_pool(self.isa, input.data(), input.layout(), &window, out.data_mut());
        self.record(y, out, self.needs_gradient(x), MaxPool2d { x, y, window })
    }

    /// The mean of each window; padding counts as zeros.
    ///
    /// # Panics
    /// If the window does not fit.
    pub fn avg_pool2d(&mut self, x: Var, window: Window) -> Var {
        let (y, mut out) = self.pooled(x, window);
        let input = self.value(x);
        kernels::avg_pool(self.isa, input.data(), input.layout(), &window, out.data_mut());
        self.record(y, out, self.needs_gradient(x), AvgPool2d { x, y, window })
    }

    /// The mean of each plane: `[N][C][H][W]` to `[N][C]`.
    pub fn global_avg_pool2d(&mut self, x: Var) -> Var {
        let (images, channels) = (self.value(x).images(), self.value(x).channels());
        let (y, mut out) = self.output(images, channels, [1, 1]);
        let input = self.value(x);
        kernels::global_avg_pool(self.isa, input.data(), input.layout(), out.data_mut());
        self.record(y, out, self.needs_gradient(x), GlobalAvgPool2d { x, y })
    }

    fn pooled(&mut self, x: Var, window: Window) -> (Var, Tensor) {
        let input = self.value(x);
        let size = window.output(input.size()).expect("the window fits into the input");
        let (images, channels) = (input.images(), input.channels());
        self.output(images, channels, size)
    }
}

pub(crate) struct MaxPool2d {
    x: Var,
    y: Var,
    window: Window,
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
        let (layout, window) = (*dx.layout(), &self.window);
        let xy = [self.x, self.y].map(|v| b.value(v).data());
        kernels::max_pool_backward(b.isa, xy, dy.data(), &layout, window, dx.data_mut(), store);
        b.put(self.x, dx);
    }
}

pub(crate) struct AvgPool2d {
    x: Var,
    y: Var,
    window: Window,
}

impl Operation for AvgPool2d {
    fn name(&self) -> &'static str {
        "average pool"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let (layout, window) = (*dx.layout(), &self.window);
        kernels::avg_pool_backward(b.isa, dy.data(), &layout, window, dx.data_mut(), store);
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

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let layout = *dx.layout();
        kernels::global_avg_pool_backward(b.isa, dy.data(), &layout, dx.data_mut(), store);
        b.put(self.x, dx);
    }
}
