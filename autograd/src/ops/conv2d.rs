//! Convolution, and convolution with ReLU and 2×2 max-pool in one pass.

use super::plan::Plan;
use super::{BatchNorm, Epilogue, Operation, pieces};
use crate::Tensor;
use crate::tape::{Backward, Param, Part, Tape, Var};
use kernels::{
    Activation, Conv2dOptions, Convolution, DepthwiseTensors, Operands, Precision, Start, Store,
    Window, Winograd,
};

impl Tape<'_> {
    /// `y = w ∗ x + b`, followed by a ReLU where `relu` is set: `x` is `[N][C][H][W]`, `weight`
    /// `[outputs][C / groups][kh][kw]` and `bias` `[outputs]`, as in PyTorch (a cross-correlation). A [`Window`] alone
    /// is one group, padded with zeros.
    ///
    /// # Panics
    /// If the window does not fit, the channels cannot be cut into the groups, or `weight` is not a multiple of what
    /// one output needs.
    pub fn conv2d(
        &mut self,
        x: Var,
        weight: Param,
        bias: Option<Param>,
        options: impl Into<Conv2dOptions>,
        relu: bool,
    ) -> Var {
        let convolution = self.convolution(x, weight, options.into());
        let epilogue = if relu { Epilogue::Relu } else { Epilogue::None };
        self.run_conv2d(x, weight, bias, convolution, epilogue)
    }

    /// `max_pool2d(relu(conv2d(x)))` with a 2×2 window of stride 2: the same values and gradients bit
    /// for bit, in one pass where the convolution has neither padding nor groups and is done by im2col in `f32`.
    ///
    /// # Panics
    /// As [`Tape::conv2d`]; or if its output has less than two rows or columns.
    pub fn conv2d_relu_max_pool2d(
        &mut self,
        x: Var,
        weight: Param,
        bias: Option<Param>,
        options: impl Into<Conv2dOptions>,
    ) -> Var {
        let options = options.into();
        let convolution = self.convolution(x, weight, options);
        let in_bf16 = self.precision() == Precision::Bf16 && convolution.suits_bf16();
        let in_parts = in_bf16 || Winograd::applies(&convolution);
        if options.is_padded() || options.groups > 1 || in_parts {
            let full = self.conv2d(x, weight, bias, options, true);
            let y = self.max_pool2d(full, Window::new([2, 2]).stride(2));
            self.done(full);
            return y;
        }
        assert!(convolution.output().size().iter().all(|&n| n >= 2), "nothing to pool");
        self.run_conv2d(x, weight, bias, convolution, Epilogue::ReluMaxPool)
    }

    /// `f(batch_norm2d(conv2d(x)))`, with an activation or none, on a tape that does not record: the running statistics
    /// and the scale go into the weights, and the activation is computed in the room of its input.
    ///
    /// # Panics
    /// As [`Tape::conv2d`]; or if the tape records.
    pub fn conv2d_batch_norm2d(
        &mut self,
        x: Var,
        weight: Param,
        bias: Option<Param>,
        options: impl Into<Conv2dOptions>,
        norm: BatchNorm,
        activation: Option<Activation>,
    ) -> Var {
        assert!(!self.is_training(), "batch statistics depend on the convolution's output");
        let convolution = self.convolution(x, weight, options.into());
        let index = self.workspace.plans.next();
        let mut plan = self.workspace.plans.take(index);
        plan.prepare((convolution, false, self.precision()), None);
        let (channels, size) = (convolution.output().channels(), convolution.output().size());
        let (y, mut out) = self.output(self.value(x).images(), channels, size);
        let mut scratch = std::mem::take(&mut self.workspace.scratch);
        let mut folded = std::mem::take(&mut self.workspace.folded);
        folded.resize(weight.len + channels);
        let (weights, shift) = folded.split_at_mut(weight.len);
        weights.copy_from_slice(weight.of(self.params));
        match bias {
            Some(bias) => shift.copy_from_slice(bias.of(self.params)),
            None => shift.fill(0.0),
        }
        norm.fold(self.params, weights, shift);
        let (epilogue, rest) = kernels::Epilogue::of(activation);
        let (x, start) = (self.value(x).data(), Start::Bias(shift));
        let operands = Operands { weights, x, start, epilogue };
        plan.forward(self.cores, operands, &mut scratch, out.data_mut());
        pieces::activate_in_place(self.cores, rest, out.data_mut());
        self.workspace.folded = folded;
        self.workspace.scratch = scratch;
        self.workspace.plans.put(index, plan);
        self.finish(y, out, false, "convolution + batch norm")
    }

    fn convolution(&self, x: Var, weight: Param, options: Conv2dOptions) -> Convolution {
        let x = self.value(x);
        let outputs = weight.len / (x.channels() / options.groups * options.window.taps());
        let convolution = Convolution::new(x.channels(), x.size(), outputs, options);
        let convolution =
            convolution.expect("the window fits into the input, and the groups into the channels");
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
        let (cores, params) = (self.cores, self.params);
        let index = self.workspace.plans.next();
        let mut plan = self.workspace.plans.take(index);
        let is_pooled = epilogue == Epilogue::ReluMaxPool;
        plan.prepare((convolution, is_pooled, self.precision()), self.generation());
        let images = self.value(x).images();
        let (channels, mut size) = (convolution.output().channels(), convolution.output().size());
        if epilogue == Epilogue::ReluMaxPool {
            size = size.map(|n| n / 2);
        }
        let (y, mut out) = self.output(images, channels, size);
        let mut scratch = std::mem::take(&mut self.workspace.scratch);
        let (weights, bias_values) = (weight.of(params), bias.map(|bias| bias.of(params)));
        let input = self.value(x).data();
        if epilogue == Epilogue::ReluMaxPool {
            plan.forward_pooled(cores, [weights, input], bias_values, &mut out);
        } else {
            let start = bias_values.map_or(Start::Zero, Start::Bias);
            let operands = Operands { weights, x: input, start, epilogue: epilogue.kernel() };
            plan.forward(cores, operands, &mut scratch, out.data_mut());
        }
        self.workspace.scratch = scratch;
        self.workspace.plans.put(index, plan);
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

    fn reads_output(&self) -> bool {
        self.epilogue == Epilogue::Relu
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let mut plan = b.workspace.plans.take(self.plan);
        let convolution = plan.convolution();
        let mut unpooled = std::mem::take(&mut plan.unpooled);
        if self.epilogue == Epilogue::Relu {
            pieces::relu_backward(b.cores, b.value(self.y).data(), dy.data_mut());
        }
        let db = self.bias.map(|bias| bias.of_mut(b.gradients));
        let dy = match self.epilogue {
            Epilogue::None | Epilogue::Relu => {
                if let Some(db) = db {
                    kernels::channel_sums(b.cores, dy.data(), dy.layout(), db);
                }
                dy
            }
            Epilogue::ReluMaxPool => {
                let full = convolution.output();
                unpooled.reshape(dy.images(), full.channels(), full.size());
                let layout = *unpooled.layout();
                let (masks, to) = (&plan.masks, unpooled.data_mut());
                kernels::unpool(b.cores, masks, dy.data(), dy.layout(), &layout, to, db);
                &mut unpooled
            }
        };
        self.differentiate(b, &mut plan, dy);
        plan.unpooled = unpooled;
        b.workspace.plans.put(self.plan, plan);
    }
}

impl Conv2d {
    /// The gradients of weights and input from that of the plain convolution's output.
    fn differentiate(&self, b: &mut Backward<'_>, plan: &mut Plan, dy: &Tensor) {
        b.lap(Part::Rest);
        if plan.is_depthwise() {
            self.differentiate_depthwise(b, plan, dy);
            // Both in one pass, which the gradient of the weights decides.
            return b.lap(Part::WeightGradient);
        }
        let mut scratch = std::mem::take(&mut b.workspace.scratch);
        let x = b.workspace.value(self.x).data();
        let dw = self.weight.of_mut(b.gradients);
        plan.weight_gradient(b.cores, [x, dy.data()], &mut scratch, dw);
        b.lap(Part::WeightGradient);
        if let Some((mut dx, store)) = b.gradient(self.x) {
            let start = if store == Store::Accumulate { Start::Output } else { Start::Zero };
            let (weights, epilogue) = (self.weight.of(b.params), kernels::Epilogue::None);
            let operands = Operands { weights, x: dy.data(), start, epilogue };
            plan.data_gradient(b.cores, operands, &mut scratch, dx.data_mut());
            b.put(self.x, dx);
            b.lap(Part::DataGradient);
        }
        b.workspace.scratch = scratch;
    }

    /// The same of a depthwise convolution.
    fn differentiate_depthwise(&self, b: &mut Backward<'_>, plan: &Plan, dy: &Tensor) {
        let mut dx = b.gradient(self.x);
        let to = dx.as_mut().map(|(dx, store)| (dx.data_mut(), *store));
        let (weights, x) = (self.weight.of(b.params), b.workspace.value(self.x).data());
        let tensors = DepthwiseTensors { weights, x, dy: dy.data() };
        plan.depthwise_gradients(b.cores, tensors, self.weight.of_mut(b.gradients), to);
        if let Some((dx, _)) = dx {
            b.put(self.x, dx);
        }
    }
}
