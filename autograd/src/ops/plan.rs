//! The three products of a convolution, each by the method that suits its shape.

use super::bf16::Bf16;
use crate::{Buffer, Generation, Tensor};
use kernels::{
    Convolution, Cores, Depthwise, DepthwiseTensors, Im2col, Operands, Precision, Store, Winograd,
};

/// What a convolution keeps from step to step: the tables and transforms that its shape decides, and
/// room for what its backward needs.
#[derive(Default)]
pub(crate) struct Plan {
    key: Option<(Convolution, bool, Precision)>,
    /// The offset tables of its im2col matrix; not made where it is done by transforms.
    tables: Tables,
    /// The transforms, with those of the weights.
    winograd: Option<(Winograd, Derived)>,
    /// Which weights the next product has.
    weights: Option<Generation>,
    /// The plan of a depthwise convolution.
    depthwise: Option<Depthwise>,
    /// The products in bfloat16.
    bf16: Option<Bf16>,
    /// Which input of a pooling window won, by image.
    pub(super) masks: Vec<[u16; 4]>,
    /// The gradient before pooling.
    pub(super) unpooled: Tensor,
}

/// The offset tables; those of the backward are made by the first, as evaluation needs none.
#[derive(Default)]
struct Tables {
    forward: Im2col,
    data: Option<Im2col>,
    weight: Option<Im2col>,
    transposed: Derived,
}

/// Weights in another form, kept until there are others.
#[derive(Default)]
pub(super) struct Derived {
    values: Buffer,
    of: Option<Generation>,
}

impl Derived {
    /// So many floats that `make` writes, of these weights, where that is known.
    pub(super) fn refreshed(
        &mut self,
        len: usize,
        weights: Option<Generation>,
        make: impl FnOnce(&mut [f32]),
    ) -> &[f32] {
        if weights.is_none() || self.of != weights {
            self.values.resize(len);
            make(&mut self.values);
            self.of = weights;
        }
        &self.values
    }
}

impl Plan {
    /// For a convolution with these weights; what was made of the same before is kept.
    pub(super) fn prepare(
        &mut self,
        (convolution, pooled, precision): (Convolution, bool, Precision),
        weights: Option<Generation>,
    ) {
        self.weights = weights;
        let key = Some((convolution, pooled, precision));
        if self.key == key {
            return;
        }
        *self = Plan { key, weights, ..Plan::default() };
        let in_bf16 = precision == Precision::Bf16 && convolution.suits_bf16();
        assert!(!in_bf16 || !pooled, "products in bfloat16 are not pooled in the same pass");
        let precision = if in_bf16 { Precision::Bf16 } else { Precision::F32 };
        if let Some(winograd) = Winograd::with_precision(&convolution, precision) {
            self.winograd = Some((winograd, Derived::default()));
            return;
        }
        if in_bf16 {
            self.bf16 = Some(Bf16::new(convolution));
            return;
        }
        self.depthwise = Depthwise::new(&convolution);
        if self.depthwise.is_some() {
            return;
        }
        let forward =
            if pooled { convolution.forward_pooled() } else { Some(convolution.forward()) };
        let forward = forward.expect("only convolutions without padding and groups are pooled");
        self.tables.forward = forward;
    }

    /// Bytes of what it keeps of images.
    pub(crate) fn image_bytes(&self) -> usize {
        size_of_val(&self.masks[..]) + size_of_val(self.unpooled.data())
    }

    pub(super) fn convolution(&self) -> Convolution {
        self.key.expect("a plan is prepared before use").0
    }

    /// `y = epilogue(start + w ∗ x)`.
    pub(super) fn forward(
        &mut self,
        cores: Cores<'_>,
        operands: Operands<'_>,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        if let Some(plan) = &mut self.bf16 {
            plan.forward(cores, operands, self.weights, scratch, y);
        } else if let Some((plan, transformed)) = &mut self.winograd {
            let weights = transformed.refreshed(plan.weights(), self.weights, |to| {
                kernels::winograd_weights(cores, plan, operands.weights, to);
            });
            let operands = Operands { weights, ..operands };
            let room = scratch.at_least(plan.scratch_of(cores.most()));
            kernels::winograd(cores, plan, operands, room, y);
        } else if let Some(plan) = &self.depthwise {
            kernels::depthwise(cores, plan, operands, y);
        } else {
            kernels::implicit_gemm(cores, &self.tables.forward, operands, y);
        }
    }

    /// `y = max-pool(ReLU(bias + w ∗ x))`, 2×2, which keeps who won.
    pub(super) fn forward_pooled(
        &mut self,
        cores: Cores<'_>,
        [weights, x]: [&[f32]; 2],
        bias: Option<&[f32]>,
        y: &mut Tensor,
    ) {
        let layout = y.layout();
        self.masks.resize(layout.blocks() * layout.channels() * layout.pixels(), [0; 4]);
        let (y, masks) = (y.data_mut(), &mut self.masks);
        kernels::implicit_gemm_pooled(cores, &self.tables.forward, weights, x, bias, y, masks);
    }

    /// Whether it is depthwise: then both gradients are computed in one pass.
    pub(super) fn is_depthwise(&self) -> bool {
        self.depthwise.is_some()
    }

    /// Both gradients of a depthwise convolution: `dw += dy · xᵀ`, and `dx` where it is wanted.
    ///
    /// # Panics
    /// If it is not one.
    pub(super) fn depthwise_gradients(
        &self,
        cores: Cores<'_>,
        tensors: DepthwiseTensors<'_>,
        dw: &mut [f32],
        dx: Option<(&mut [f32], Store)>,
    ) {
        let plan = self.depthwise.as_ref().expect("a depthwise convolution");
        kernels::depthwise_gradients(cores, plan, tensors, dw, dx);
    }

    /// `dw += dy · xᵀ`.
    pub(super) fn weight_gradient(
        &mut self,
        cores: Cores<'_>,
        [x, dy]: [&[f32]; 2],
        scratch: &mut Scratch,
        dw: &mut [f32],
    ) {
        let convolution = self.convolution();
        if let Some(plan) = &mut self.bf16 {
            return plan.weight_gradient(cores, [x, dy], scratch, dw);
        }
        if let Some((plan, _)) = &self.winograd {
            let room = scratch.at_least(plan.scratch_of(cores.most()));
            return kernels::winograd_weight_gradient(cores, plan, x, dy, room, dw);
        }
        let weight = &mut self.tables.weight;
        if convolution.suits_transposed_gradient() {
            let im2col = weight.get_or_insert_with(|| convolution.forward());
            let room = scratch.at_least(im2col.transposed_gradient());
            kernels::weight_gradient_transposed(cores, im2col, [x, dy], room, dw);
        } else {
            let im2col = weight.get_or_insert_with(|| convolution.weight_gradient());
            kernels::weight_gradient(cores, im2col, x, dy, dw);
        }
    }

    /// `y = epilogue(start + wᵀ · x)`. With Winograd's method, the weights must be those of the last
    /// [`Plan::forward`].
    pub(super) fn data_gradient(
        &mut self,
        cores: Cores<'_>,
        operands: Operands<'_>,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        let convolution = self.convolution();
        if let Some(plan) = &mut self.bf16 {
            return plan.data_gradient(cores, operands, self.weights, scratch, y);
        }
        if let Some((plan, transformed)) = &self.winograd {
            let operands = Operands { weights: &transformed.values, ..operands };
            let room = scratch.at_least(plan.scratch_of(cores.most()));
            return kernels::winograd_data_gradient(cores, plan, operands, room, y);
        }
        let Tables { data, transposed, .. } = &mut self.tables;
        let im2col = data.get_or_insert_with(|| convolution.data_gradient());
        let weights = if convolution.window().taps() > 1 {
            transposed.refreshed(convolution.weights(), self.weights, |to| {
                kernels::transpose_weights(cores, &convolution, operands.weights, to);
            })
        } else {
            operands.weights
        };
        kernels::implicit_gemm(cores, im2col, Operands { weights, ..operands }, y);
    }
}

/// Room that one product uses after the other, so that it stays in the caches.
#[derive(Default)]
pub(crate) struct Scratch(Buffer);

impl Scratch {
    pub(super) fn at_least(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() < len {
            self.0.resize(len);
        }
        &mut self.0[..len]
    }
}
