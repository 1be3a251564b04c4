//! Linear layers and the product of activations with a matrix of parameters.

use super::{Operation, pieces};
use crate::Tensor;
use crate::tape::{Backward, Param, Part, Tape, Var};
use kernels::{Convolution, Epilogue, Operands, Start, Store};

impl Tape<'_> {
    /// `y = x · Wᵀ + b`, followed by a ReLU where `relu` is set: `x` is `[N][inputs]`, `weight`
    /// `[outputs][inputs]` and `bias` `[outputs]`, as in PyTorch.
    ///
    /// # Panics
    /// If `x` is not a batch of vectors or `weight` not a multiple of their length.
    pub fn linear(&mut self, x: Var, weight: Param, bias: Option<Param>, relu: bool) -> Var {
        let inputs = self.features(x);
        let convolution = Convolution::linear(inputs, weight.len / inputs);
        self.run_linear(x, weight, bias, relu, convolution, false)
    }

    /// `y = x · W`: `x` is `[N][inputs]`, `weight` `[inputs][outputs]`.
    ///
    /// # Panics
    /// As [`Tape::linear`].
    pub fn matmul(&mut self, x: Var, weight: Param) -> Var {
        let inputs = self.features(x);
        // A linear layer's data gradient is the product with its weights untransposed.
        let convolution = Convolution::linear(weight.len / inputs, inputs);
        self.run_linear(x, weight, None, false, convolution, true)
    }

    /// The length of the vectors of `x`.
    fn features(&self, x: Var) -> usize {
        let x = self.value(x);
        assert_eq!(x.size(), [1, 1], "a product takes vectors: flatten images first");
        x.channels()
    }

    fn run_linear(
        &mut self,
        x: Var,
        weight: Param,
        bias: Option<Param>,
        relu: bool,
        convolution: Convolution,
        transposed: bool,
    ) -> Var {
        assert_eq!(weight.len, convolution.weights(), "weights of a product");
        let index = self.workspace.plans.next();
        let mut plan = self.workspace.plans.take(index);
        plan.prepare((convolution, false, self.precision()), None);
        let outputs =
            if transposed { convolution.input() } else { convolution.output() }.channels();
        let (y, mut out) = self.output(self.value(x).images(), outputs, [1, 1]);
        let start = bias.map_or(Start::Zero, |b| Start::Bias(b.of(self.params)));
        let mut scratch = std::mem::take(&mut self.workspace.scratch);
        let epilogue = if relu { Epilogue::Relu } else { Epilogue::None };
        let (weights, x_values) = (weight.of(self.params), self.value(x).data());
        let operands = Operands { weights, x: x_values, start, epilogue };
        if transposed {
            plan.data_gradient(self.cores, operands, &mut scratch, out.data_mut());
        } else {
            plan.forward(self.cores, operands, &mut scratch, out.data_mut());
        }
        self.workspace.scratch = scratch;
        self.workspace.plans.put(index, plan);
        self.record(y, out, true, Linear { x, y, weight, bias, relu, plan: index, transposed })
    }
}

pub(crate) struct Linear {
    x: Var,
    y: Var,
    weight: Param,
    bias: Option<Param>,
    relu: bool,
    plan: usize,
    /// Whether the weights are `[inputs][outputs]`.
    transposed: bool,
}

impl Operation for Linear {
    fn name(&self) -> &'static str {
        if self.relu { "linear + ReLU" } else { "linear" }
    }

    fn output(&self) -> Var {
        self.y
    }

    fn reads_output(&self) -> bool {
        self.relu
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let cores = b.cores;
        if self.relu {
            pieces::relu_backward(cores, b.value(self.y).data(), dy.data_mut());
        }
        if let Some(bias) = self.bias {
            kernels::channel_sums(cores, dy.data(), dy.layout(), bias.of_mut(b.gradients));
        }
        b.lap(Part::Rest);
        let x = b.workspace.value(self.x);
        let [inputs, outputs] = [x.channels(), dy.channels()];
        let dw = self.weight.of_mut(b.gradients);
        if self.transposed {
            kernels::linear_weight_gradient(cores, [inputs, outputs], dy.data(), x.data(), dw);
        } else {
            kernels::linear_weight_gradient(cores, [outputs, inputs], x.data(), dy.data(), dw);
        }
        b.lap(Part::WeightGradient);
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let mut plan = b.workspace.plans.take(self.plan);
        let start = if store == Store::Accumulate { Start::Output } else { Start::Zero };
        let mut scratch = std::mem::take(&mut b.workspace.scratch);
        let (weights, epilogue) = (self.weight.of(b.params), Epilogue::None);
        let operands = Operands { weights, x: dy.data(), start, epilogue };
        if self.transposed {
            plan.forward(cores, operands, &mut scratch, dx.data_mut());
        } else {
            plan.data_gradient(cores, operands, &mut scratch, dx.data_mut());
        }
        b.workspace.scratch = scratch;
        b.workspace.plans.put(self.plan, plan);
        b.put(self.x, dx);
        b.lap(Part::DataGradient);
    }
}
