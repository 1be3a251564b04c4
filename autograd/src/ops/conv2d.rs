//! Convolution, and convolution with ReLU and 2×2 max-pool in one pass.

use super::Operation;
use crate::profile::Part;
use crate::tape::{Backward, Param, Tape, Var};
use crate::{Buffer, Tensor};
use kernels::{Convolution, Patches, Start, Store, Window};

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
    /// for bit, in one pass where the convolution has no padding.
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
        if window.padding != [0, 0] {
            let y = self.conv2d(x, weight, bias, window, true);
            return self.max_pool2d(y, Window::new([2, 2]).stride(2));
        }
        let convolution = self.convolution(x, weight, window);
        assert!(convolution.output.size.iter().all(|&n| n >= 2), "nothing to pool");
        self.run_conv2d(x, weight, bias, convolution, Epilogue::ReluMaxPool)
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
        let target = plan.forward.target();
        let (y, mut out) = self.output(images, target.channels, target.size);
        let start = bias.map_or(Start::Zero, |b| Start::Bias(b.of(params)));
        let (w, input) = (weight.of(params), self.value(x).data());
        if epilogue == Epilogue::ReluMaxPool {
            plan.masks.resize(out.layout().blocks * target.channels * target.pixels(), [0; 4]);
            let (y, masks) = (out.data_mut(), &mut plan.masks);
            kernels::contract_pooled(isa, &plan.forward, w, input, start, y, masks);
        } else {
            let relu = epilogue == Epilogue::Relu;
            kernels::contract(isa, &plan.forward, w, input, start, relu, out.data_mut());
        }
        self.memory.plans.put(index, plan);
        self.record(y, out, true, Conv2d { x, y, weight, bias, plan: index, epilogue })
    }
}

/// What follows the convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Epilogue {
    None,
    Relu,
    ReluMaxPool,
}

/// The offset tables of a convolution, made once for a shape, and what its backward needs room for.
#[derive(Default)]
pub(crate) struct Plan {
    key: Option<(Convolution, bool)>,
    pub(super) forward: Patches,
    /// Made by the first backward, as evaluation needs none.
    data: Option<Patches>,
    weight: Option<Patches>,
    transposed: Buffer,
    /// Which input of a pooling window won, by image.
    masks: Vec<[u16; 4]>,
    /// The gradient before pooling.
    unpooled: Tensor,
}

impl Plan {
    pub(super) fn prepare(&mut self, convolution: Convolution, pooled: bool) {
        if self.key == Some((convolution, pooled)) {
            return;
        }
        let forward =
            if pooled { convolution.forward_pooled() } else { Some(convolution.forward()) };
        *self = Plan {
            key: Some((convolution, pooled)),
            forward: forward.expect("only convolutions without padding are pooled"),
            ..Plan::default()
        };
    }

    pub(super) fn convolution(&self) -> Convolution {
        self.key.expect("a plan is prepared before use").0
    }

    pub(super) fn data_gradient(&mut self) -> &Patches {
        let convolution = self.convolution();
        self.data.get_or_insert_with(|| convolution.data_gradient())
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
        let (isa, convolution) = (b.isa, plan.convolution());
        b.lap(Part::Rest);
        let patches = plan.weight.get_or_insert_with(|| convolution.weight_gradient());
        let x = b.memory.value(self.x).data();
        kernels::correlate(isa, patches, x, dy.data(), self.weight.of_mut(b.gradients));
        b.lap(Part::WeightGradient);
        let Some((mut dx, store)) = b.gradient(self.x) else { return };
        let mut weights = self.weight.of(b.params);
        if convolution.window.taps() > 1 {
            plan.transposed.resize(convolution.transposed_weights());
            kernels::transpose_weights(isa, &convolution, weights, &mut plan.transposed);
        }
        let start = if store == Store::Accumulate { Start::Output } else { Start::Zero };
        let patches = plan.data.get_or_insert_with(|| convolution.data_gradient());
        if convolution.window.taps() > 1 {
            weights = &plan.transposed;
        }
        kernels::contract(isa, patches, weights, dy.data(), start, false, dx.data_mut());
        b.put(self.x, dx);
        b.lap(Part::DataGradient);
    }
}
