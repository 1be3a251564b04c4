//! The three products of a convolution, each by the method that suits its shape.

use crate::{Buffer, Tensor};
use kernels::{Convolution, Isa, Layout, Patches, Start, Winograd};

/// What a convolution keeps from step to step: the tables and transforms that its shape decides, and
/// room for what its backward needs.
#[derive(Default)]
pub(crate) struct Plan {
    key: Option<(Convolution, bool)>,
    /// The offset tables of its im2col matrix; not made where it is done by transforms.
    im2col: Im2col,
    /// The transforms, with room for those of the weights.
    winograd: Option<(Winograd, Buffer)>,
    /// Which input of a pooling window won, by image.
    pub(super) masks: Vec<[u16; 4]>,
    /// The gradient before pooling.
    pub(super) unpooled: Tensor,
}

/// The offset tables; those of the backward are made by the first, as evaluation needs none.
#[derive(Default)]
struct Im2col {
    forward: Patches,
    data: Option<Patches>,
    weight: Option<Patches>,
    transposed: Buffer,
}

/// The operands of a product with weights: `start + w ∗ x`, or `start + wᵀ · x`.
pub(super) struct Operands<'a> {
    pub weights: &'a [f32],
    pub x: &'a [f32],
    pub start: Start<'a>,
}

impl Plan {
    pub(super) fn prepare(&mut self, convolution: Convolution, pooled: bool) {
        if self.key == Some((convolution, pooled)) {
            return;
        }
        *self = Plan { key: Some((convolution, pooled)), ..Plan::default() };
        if let Some(winograd) = Winograd::new(&convolution) {
            let weights = Buffer::zeros(winograd.weights());
            self.winograd = Some((winograd, weights));
            return;
        }
        let forward =
            if pooled { convolution.forward_pooled() } else { Some(convolution.forward()) };
        self.im2col.forward = forward.expect("only convolutions without padding are pooled");
    }

    pub(super) fn convolution(&self) -> Convolution {
        self.key.expect("a plan is prepared before use").0
    }

    /// `y = start + w ∗ x`, followed by a ReLU where `relu` is set.
    pub(super) fn forward(
        &mut self,
        isa: Isa,
        Operands { weights, x, start }: Operands<'_>,
        relu: bool,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        if let Some((plan, transformed)) = &mut self.winograd {
            kernels::winograd_weights(isa, plan, weights, transformed);
            let room = scratch.at_least(plan.scratch());
            kernels::winograd(isa, plan, transformed, x, start, relu, room, y);
        } else {
            kernels::contract(isa, &self.im2col.forward, weights, x, start, relu, y);
        }
    }

    /// [`Plan::forward`] with ReLU and 2×2 max-pool, which keeps who won.
    pub(super) fn forward_pooled(
        &mut self,
        isa: Isa,
        Operands { weights, x, start }: Operands<'_>,
        y: &mut Tensor,
    ) {
        let Layout { blocks, channels, .. } = *y.layout();
        self.masks.resize(blocks * channels * y.layout().pixels(), [0; 4]);
        let (y, masks) = (y.data_mut(), &mut self.masks);
        kernels::contract_pooled(isa, &self.im2col.forward, weights, x, start, y, masks);
    }

    /// `dw += dy · xᵀ`.
    pub(super) fn weight_gradient(
        &mut self,
        isa: Isa,
        [x, dy]: [&[f32]; 2],
        scratch: &mut Scratch,
        dw: &mut [f32],
    ) {
        let convolution = self.convolution();
        if let Some((plan, _)) = &self.winograd {
            let room = scratch.at_least(plan.scratch());
            return kernels::winograd_weight_gradient(isa, plan, x, dy, room, dw);
        }
        let weight = &mut self.im2col.weight;
        if convolution.suits_outer() {
            let patches = weight.get_or_insert_with(|| convolution.forward());
            let room = scratch.at_least(patches.transposed_gradient());
            kernels::outer_patches(isa, patches, [x, dy], room, dw);
        } else {
            let patches = weight.get_or_insert_with(|| convolution.weight_gradient());
            kernels::correlate(isa, patches, x, dy, dw);
        }
    }

    /// `y = start + wᵀ · x`. With Winograd's method, the weights must be those of the last
    /// [`Plan::forward`].
    pub(super) fn data_gradient(
        &mut self,
        isa: Isa,
        Operands { weights, x, start }: Operands<'_>,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        let convolution = self.convolution();
        if let Some((plan, transformed)) = &self.winograd {
            let room = scratch.at_least(plan.scratch());
            return kernels::winograd_data_gradient(isa, plan, transformed, x, start, room, y);
        }
        let Im2col { data, transposed, .. } = &mut self.im2col;
        let patches = data.get_or_insert_with(|| convolution.data_gradient());
        let weights = if convolution.window.taps() > 1 {
            transposed.resize(convolution.transposed_weights());
            kernels::transpose_weights(isa, &convolution, weights, transposed);
            transposed
        } else {
            weights
        };
        kernels::contract(isa, patches, weights, x, start, false, y);
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
