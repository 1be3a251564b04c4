//! Sums of values.

use super::{Operation, pieces};
use crate::Tensor;
use crate::tape::{Backward, Operands, Tape, Var};
use kernels::{Activation, Epilogue};

impl Tape<'_> {
    /// `y = a + b`, of one shape.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        self.add_all(&[a, b], false)
    }

    /// `y = max(a + b, 0)`, of one shape: the end of a residual block.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add_relu(&mut self, a: Var, b: Var) -> Var {
        self.add_all(&[a, b], true)
    }

    /// `y = ((x₀ + x₁) + x₂) + …`, of one shape, followed by a ReLU where `relu` is set.
    ///
    /// # Panics
    /// If the shapes differ, or there are fewer than two.
    pub fn add_all(&mut self, x: &[Var], relu: bool) -> Var {
        let [a, b, rest @ ..] = x else { panic!("a sum of {} values", x.len()) };
        let (y, mut out) = self.like(*a, *b);
        rest.iter().for_each(|c| self.assert_alike(*a, *c));
        let of = |x: &Var| self.value(*x).data();
        let (left, right, isa) = (of(a), of(b), self.isa());
        let last = if relu { Epilogue::Relu } else { Epilogue::None };
        pieces::by_value(self.cores, out.data_mut(), x.len(), |place, y| {
            let epilogue = |rest: &[Var]| if rest.is_empty() { last } else { Epilogue::None };
            kernels::add(isa, &left[place.clone()], &right[place.clone()], epilogue(rest), y);
            for (i, c) in rest.iter().enumerate() {
                kernels::add_to(isa, y, &of(c)[place.clone()], epilogue(&rest[i + 1..]));
            }
        });
        let needs = x.iter().any(|x| self.needs_gradient(*x));
        let x = self.operands(x);
        self.record(y, out, needs, Add { x, y, relu })
    }

    /// `y = f(y + x)` in the room of `y`, of one shape, with an activation or none, on a tape that does not record.
    ///
    /// # Panics
    /// If the shapes differ, or the tape records.
    pub fn add_to(&mut self, y: Var, x: Var, activation: Option<Activation>) {
        assert!(!self.is_training(), "a gradient needs what was added to");
        self.assert_alike(y, x);
        let mut sum = self.take_value(y);
        let (isa, other) = (self.isa(), self.value(x).data());
        let (epilogue, rest) = Epilogue::of(activation);
        pieces::by_value(self.cores, sum.data_mut(), 1, |place, y| {
            kernels::add_to(isa, y, &other[place], epilogue);
            rest.into_iter().for_each(|f| kernels::activate_in_place(isa, f, y));
        });
        self.finish(y, sum, false, "addition");
    }
}

pub(crate) struct Add {
    x: Operands,
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

    fn reads_output(&self) -> bool {
        self.relu
    }

    /// Each gets the gradient of the sum, the last the tensor itself.
    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        if self.relu {
            pieces::relu_backward(b.cores, b.value(self.y).data(), dy.data_mut());
        }
        for i in 0..self.x.len() - 1 {
            let x = b.operand(&self.x, i);
            if let Some((mut dx, store)) = b.gradient(x) {
                let (isa, dy) = (b.cores.isa(), dy.data());
                pieces::by_value(b.cores, dx.data_mut(), 1, |place, dx| {
                    kernels::scale(isa, &dy[place], 1.0, dx, store);
                });
                b.put(x, dx);
            }
        }
        let last = b.operand(&self.x, self.x.len() - 1);
        b.give(last, dy);
    }
}
