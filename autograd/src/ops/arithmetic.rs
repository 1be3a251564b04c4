//! Products element by element, and sums over a whole batch.

use super::{Operation, pieces};
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};
use kernels::LANES;

impl Tape<'_> {
    /// `y = a · b`, element by element, of one shape.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn mul(&mut self, a: Var, b: Var) -> Var {
        let (y, mut out) = self.like(a, b);
        let (left, right) = (self.value(a).data(), self.value(b).data());
        let isa = self.isa();
        pieces::by_value(self.cores, out.data_mut(), 2, |place, y| {
            let (left, right) = (&left[place.clone()], &right[place]);
            kernels::mul(isa, left, right, y, kernels::Store::Overwrite);
        });
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
        let sum = kernels::sum(self.isa(), value.data(), value.layout(), value.images());
        let (y, mut out) = self.output(1, 1, [1, 1]);
        out.data_mut()[0] = (sum * f64::from(factor)) as f32;
        self.record(y, out, self.needs_gradient(x), Sum { x, y, factor })
    }

    /// Room for a value shaped as both operands.
    pub(super) fn like(&mut self, a: Var, b: Var) -> (Var, Tensor) {
        self.assert_alike(a, b);
        let left = self.value(a);
        let (images, channels, size) = (left.images(), left.channels(), left.size());
        self.output(images, channels, size)
    }

    pub(super) fn assert_alike(&self, a: Var, b: Var) {
        let (left, right) = (self.value(a), self.value(b));
        assert_eq!(left.layout(), right.layout(), "operands of one shape");
        assert_eq!(left.images(), right.images(), "operands of as many images");
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

    fn reads_output(&self) -> bool {
        false
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        for (x, other) in [(self.a, self.b), (self.b, self.a)] {
            if let Some((mut dx, store)) = b.gradient(x) {
                let (isa, dy, other) = (b.cores.isa(), dy.data(), b.value(other).data());
                pieces::by_value(b.cores, dx.data_mut(), 2, |place, dx| {
                    kernels::mul(isa, &dy[place.clone()], &other[place], dx, store);
                });
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
