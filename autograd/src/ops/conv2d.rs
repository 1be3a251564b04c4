//! Convolution, and convolution with ReLU and 2×2 max-pool in one pass.

use super::plan::{Operands, Plan};
use super::{BatchNorm, Epilogue, Operation};
use crate::Tensor;
use crate::profile::Part;
use crate::tape::{Backward, Param, Tape, Var};
use kernels::{Convolution, Layout, Start, Store, Window, Winograd};

impl Tape<'_> {
    /// `y = w ∗ x + b`, followed by a ReLU where `relu` is set: `x` is `[N][C][H][W]`, `weight`
    /// `[outputs][C][kh][kw]` and `bias` `[outputs]`, as in PyTorch (a cross-correlation).
    ///
    /// # Panics
    /// If the window does not fit, or `weight` is not a multiple of what one output needs.
    pub fn conv2d(
        &mut self,
        x: Var,
        weight: Param,
        bias: Option<Param>,
        window: Window,
        relu: bool,
    ) -> Var {
        let convolution = self.convolution(x, weight, window);
        let epilogue = if relu { Epilogue::Relu } else { Epilogue::None };
        self.run_conv2d(x, weight, bias, convolution, epilogue)
    }

    /// `max_pool2d(relu(conv2d(x)))` with a 2×2 window of stride 2: the same values and gradients bit
    /// for bit, in one pass where the convolution has no padding and is done by im2col.
    ///
    /// # Panics
    /// As [`Tape::conv2d`]; or if its output has less than two rows or columns.
    pub fn conv2d_relu_max_pool2d(
        &mut self,
        x: Var,
        weight: Param,
        bias: Option<Param>,
        window: Window,
    ) -> Var {
        let convolution = self.convolution(x, weight, window);
        if window.padding != [0, 0] || Winograd::applies(&convolution) {
            let y = self.conv2d(x, weight, bias, window, true);
            return self.max_pool2d(y, Window::new([2, 2]).stride(2));
        }
        assert!(convolution.output.size.iter().all(|&n| n >= 2), "nothing to pool");
        self.run_conv2d(x, weight, bias, convolution, Epilogue::ReluMaxPool)
    }

    /// `relu(batch_norm2d(conv2d(x)))`, the ReLU where `relu` is set, on a tape that does not record:
    /// the running statistics and the scale go into the weights.
    ///
    /// # Panics
    /// As [`Tape::conv2d`]; or if the tape records.
    pub fn conv2d_batch_norm2d(
        &mut self,
        x: Var,
        weight: Param,
        bias: Option<Param>,
        window: Window,
        norm: BatchNorm,
        relu: bool,
    ) -> Var {
        assert!(!self.is_training(), "batch statistics depend on the convolution's output");
        let convolution = self.convolution(x, weight, window);
        let index = self.memory.plans.next();
        let mut plan = self.memory.plans.take(index);
        plan.prepare(convolution, false);
        let Layout { channels, size, .. } = convolution.output;
        let (y, mut out) = self.output(self.value(x).images(), channels, size);
        let mut scratch = std::mem::take(&mut self.memory.scratch);
        let mut folded = std::mem::take(&mut self.memory.folded);
        folded.resize(weight.len + channels);
        let (weights, shift) = folded.split_at_mut(weight.len);
        weights.copy_from_slice(weight.of(self.params));
        match bias {
            Some(bias) => shift.copy_from_slice(bias.of(self.params)),
            None => shift.fill(0.0),
        }
        norm.fold(self.params, weights, shift);
        let operands = Operands { weights, x: self.value(x).data(), start: Start::Bias(shift) };
        plan.forward(self.isa, operands, relu, &mut scratch, out.data_mut());
        self.memory.folded = folded;
        self.memory.scratch = scratch;
        self.memory.plans.put(index, plan);
        self.finish(y, out, false, "convolution + batch norm")
    }

    fn convolution(&self, x: Var, weight: Param, window: Window) -> Convolution {
        let x = self.value(x);
        let outputs = weight.len / (x.channels() * window.taps());
        let convolution = Convolution::new(x.channels(), x.size(), outputs, window);
        let convolution = convolution.expect("the window fits into the input");
        assert_eq!(weight.len, convolution.weights(), "weights of a convolution");
        convolution
    }

    fn run_conv2d(
        &mut self,
        x: Var,
        weight: Param,
        bias: Option<Param>,
        convolution: Convolution,
        epilogue: Epilogue,
    ) -> Var {
        let (isa, params) = (self.isa, self.params);
        let index = self.memory.plans.next();
        let mut plan = self.memory.plans.take(index);
        plan.prepare(convolution, epilogue == Epilogue::ReluMaxPool);
        let images = self.value(x).images();
        let Layout { channels, mut size, .. } = convolution.output;
        if epilogue == Epilogue::ReluMaxPool {
            size = size.map(|n| n / 2);
        }
        let (y, mut out) = self.output(images, channels, size);
        let mut scratch = std::mem::take(&mut self.memory.scratch);
        let start = bias.map_or(Start::Zero, |b| Start::Bias(b.of(params)));
        let operands = Operands { weights: weight.of(params), x: self.value(x).data(), start };
        match epilogue {
            Epilogue::ReluMaxPool => plan.forward_pooled(isa, operands, &mut out),
            Epilogue::None => plan.forward(isa, operands, false, &mut scratch, out.data_mut()),
            Epilogue::Relu => plan.forward(isa, operands, true, &mut scratch, out.data_mut()),
        }
        self.memory.scratch = scratch;
        self.memory.plans.put(index, plan);
        self.record(y, out, true, Conv2d { x, y, weight, bias, plan: index, epilogue })
    }
}

pub(crate) struct Conv2d {
    x: Var,
    y: Var,
    weight: Param,
    bias: Option<Param>,
    plan: usize,
    epilogue: Epilogue,
}

impl Operation for Conv2d {
    fn name(&self) -> &'static str {
        match self.epilogue {
            Epilogue::None => "convolution",
            Epilogue::Relu => "convolution + ReLU",
            Epilogue::ReluMaxPool => "convolution + ReLU + max-pool",
        }
    }

    fn output(&self) -> Var {
        self.y
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let mut plan = b.memory.plans.take(self.plan);
        let convolution = plan.convolution();
        let mut unpooled = std::mem::take(&mut plan.unpooled);
        if self.epilogue == Epilogue::Relu {
            kernels::gate(b.isa, b.value(self.y).data(), dy.data_mut());
        }
        let db = self.bias.map(|bias| bias.of_mut(b.gradients));
        let dy = match self.epilogue {
            Epilogue::None | Epilogue::Relu => {
                if let Some(db) = db {
                    kernels::channel_sums(b.isa, dy.data(), dy.layout(), db);
                }
                dy
            }
            Epilogue::ReluMaxPool => {
                let full = convolution.output;
                unpooled.reshape(dy.images(), full.channels, full.size);
                let layout = *unpooled.layout();
                let (masks, to) = (&plan.masks, unpooled.data_mut());
                kernels::unpool(b.isa, masks, dy.data(), dy.layout(), &layout, to, db);
                &mut unpooled
            }
        };
        self.differentiate(b, &mut plan, dy);
        plan.unpooled = unpooled;
        b.memory.plans.put(self.plan, plan);
    }
}

impl Conv2d {
    /// The gradients of weights and input from that of the plain convolution's output.
    fn differentiate(&self, b: &mut Backward<'_>, plan: &mut Plan, dy: &Tensor) {
        b.lap(Part::Rest);
        let mut scratch = std::mem::take(&mut b.memory.scratch);
        let x = b.memory.value(self.x).data();
        let dw = self.weight.of_mut(b.gradients);
        plan.weight_gradient(b.isa, [x, dy.data()], &mut scratch, dw);
        b.lap(Part::WeightGradient);
        if let Some((mut dx, store)) = b.gradient(self.x) {
            let start = if store == Store::Accumulate { Start::Output } else { Start::Zero };
            let operands = Operands { weights: self.weight.of(b.params), x: dy.data(), start };
            plan.data_gradient(b.isa, operands, &mut scratch, dx.data_mut());
            b.put(self.x, dx);
            b.lap(Part::DataGradient);
        }
        b.memory.scratch = scratch;
    }
}
