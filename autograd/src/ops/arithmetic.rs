//! Sums and products, element by element and over a whole batch.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};
use kernels::LANES;

impl Tape<'_> {
    /// `y = a + b`, of one shape.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        self.run_add(a, b, false)
    }

    /// `y = max(a + b, 0)`, of one shape: the end of a residual block.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add_relu(&mut self, a: Var, b: Var) -> Var {
        self.run_add(a, b, true)
    }

    fn run_add(&mut self, a: Var, b: Var, relu: bool) -> Var {
        let (y, mut out) = self.like(a, b);
        let (left, right) = (self.value(a).data(), self.value(b).data());
        kernels::add(self.isa, left, right, relu, out.data_mut());
        let needs = self.needs_gradient(a) || self.needs_gradient(b);
        self.record(y, out, needs, Add { a, b, y, relu })
    }

    /// `y = a · b`, element by element, of one shape.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn mul(&mut self, a: Var, b: Var) -> Var {
        let (y, mut out) = self.like(a, b);
        let (left, right) = (self.value(a).data(), self.value(b).data());
        kernels::mul(self.isa, left, right, out.data_mut(), kernels::Store::Overwrite);
        let needs = self.needs_gradient(a) || self.needs_gradient(b);
        self.record(y, out, needs, Mul { a, b, y })
    }

    /// The sum of all values of all images, a single number.
    pub fn sum(&mut self, x: Var) -> Var {
        self.total(x, 1.0)
    }

    /// The mean of all values of all images, a single number.
    pub fn mean(&mut self, x: Var) -> Var {
        let value = self.value(x);
        let count = value.images() * value.channels() * value.layout().pixels();
        self.total(x, 1.0 / count.max(1) as f32)
    }

    fn total(&mut self, x: Var, factor: f32) -> Var {
        let value = self.value(x);
        let sum = kernels::sum(self.isa, value.data(), value.layout(), value.images());
        let (y, mut out) = self.output(1, 1, [1, 1]);
        out.data_mut()[0] = (sum * f64::from(factor)) as f32;
        self.record(y, out, self.needs_gradient(x), Sum { x, y, factor })
    }

    /// Room for a value shaped as both operands.
    fn like(&mut self, a: Var, b: Var) -> (Var, Tensor) {
        let (left, right) = (self.value(a), self.value(b));
        assert_eq!(left.layout(), right.layout(), "operands of one shape");
        assert_eq!(left.images(), right.images(), "operands of as many images");
        let (images, channels, size) = (left.images(), left.channels(), left.size());
        self.output(images, channels, size)
    }
}

pub(crate) struct Add {
    a: Var,
    b: Var,
    y: Var,
    relu: bool,
}

impl Operation for Add {
    fn name(&self) -> &'static str {
        if self.relu { "addition + ReLU" } else { "addition" }
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        if self.relu {
            kernels::gate(b.isa, b.value(self.y).data(), dy.data_mut());
        }
        if let Some((mut da, store)) = b.gradient(self.a) {
            kernels::scale(b.isa, dy.data(), 1.0, da.data_mut(), store);
            b.put(self.a, da);
        }
        b.give(self.b, dy);
    }
}

pub(crate) struct Mul {
    a: Var,
    b: Var,
    y: Var,
}

impl Operation for Mul {
    fn name(&self) -> &'static str {
        "product"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        for (x, other) in [(self.a, self.b), (self.b, self.a)] {
            if let Some((mut dx, store)) = b.gradient(x) {
                kernels::mul(b.isa, dy.data(), b.value(other).data(), dx.data_mut(), store);
                b.put(x, dx);
            }
        }
    }
}

pub(crate) struct Sum {
    x: Var,
    y: Var,
    factor: f32,
}

impl Operation for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let g = dy.data()[0] * self.factor;
        let images = dx.images();
        let block = dx.layout().block_len().max(1);
        for (i, values) in dx.data_mut().chunks_exact_mut(block).enumerate() {
            // Lanes without an image get no gradient.
            let lanes = images.saturating_sub(i * LANES).min(LANES);
            for vector in values.chunks_exact_mut(LANES) {
                for (lane, value) in vector.iter_mut().enumerate() {
                    let add = if lane < lanes { g } else { 0.0 };
                    *value = if store == kernels::Store::Accumulate { *value + add } else { add };
                }
            }
        }
        b.put(self.x, dx);
    }
}
