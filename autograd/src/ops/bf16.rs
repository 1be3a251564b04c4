//! The three products of a convolution in bfloat16: operands are packed, images into scratch room, then multiplied.

use super::Scratch;
use super::plan::Derived;
use crate::Generation;
use kernels::{Convolution, Cores, Im2col, LANES, Operands};

/// The tables of a convolution; those of the backward are made by the first, as evaluation needs none.
pub(super) struct Bf16 {
    convolution: Convolution,
    forward: Im2col,
    data: Option<Im2col>,
    weight: Option<Im2col>,
    /// Weights as the output and the data gradient meet them.
    packed: [Derived; 2],
}

impl Bf16 {
    pub fn new(convolution: Convolution) -> Bf16 {
        let forward = convolution.forward_bf16();
        Bf16 { convolution, forward, data: None, weight: None, packed: Default::default() }
    }

    /// `y = epilogue(start + w ∗ x)`.
    pub fn forward(
        &mut self,
        cores: Cores<'_>,
        operands: Operands<'_>,
        weights: Option<Generation>,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        let blocks = operands.x.len() / self.convolution.input().len();
        let input = self.convolution.input().with_blocks(blocks);
        let x = scratch.at_least(input.pairs().len());
        kernels::pack_pairs(cores, input, operands.x, x);
        let weights = self.packed[0].refreshed(self.forward.weights(), weights, |to| {
            kernels::pack_weights(cores, &self.convolution, operands.weights, to);
        });
        kernels::implicit_gemm(cores, &self.forward, Operands { weights, x, ..operands }, y);
    }

    /// `y = epilogue(start + wᵀ · x)`.
    pub fn data_gradient(
        &mut self,
        cores: Cores<'_>,
        operands: Operands<'_>,
        weights: Option<Generation>,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        let convolution = self.convolution;
        let im2col = self.data.get_or_insert_with(|| convolution.data_gradient_bf16());
        let blocks = operands.x.len() / convolution.output().len();
        let output = convolution.output().with_blocks(blocks);
        let x = scratch.at_least(output.pairs().len());
        kernels::pack_pairs(cores, output, operands.x, x);
        let weights = self.packed[1].refreshed(im2col.weights(), weights, |to| {
            kernels::pack_weights_transposed(cores, &convolution, operands.weights, to);
        });
        kernels::implicit_gemm(cores, im2col, Operands { weights, x, ..operands }, y);
    }

    /// `dw += dy · xᵀ`.
    pub fn weight_gradient(
        &mut self,
        cores: Cores<'_>,
        [x, dy]: [&[f32]; 2],
        scratch: &mut Scratch,
        dw: &mut [f32],
    ) {
        let convolution = self.convolution;
        let im2col = self.weight.get_or_insert_with(|| convolution.weight_gradient_bf16());
        let packed = (x.len() / 2).next_multiple_of(LANES);
        let room = scratch.at_least(packed + im2col.transposed_gradient());
        let (to, room) = room.split_at_mut(packed);
        let to = &mut to[..x.len() / 2];
        kernels::pack_neighbours(cores, x, to);
        kernels::weight_gradient_transposed(cores, im2col, [to, dy], room, dw);
    }
}
