//! Norms of each image by itself: group, instance and layer norm.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Param, Tape, Var};
use kernels::{ImageNormGradients, Layout, NormSets};

/// A norm of each image by itself: what is normalised together, and its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageNorm {
    /// Which values of an image have a mean and a variance of their own.
    pub sets: NormSets,
    /// The scale γ, of each channel or of each channel and pixel; of no length where it is 1.
    pub weight: Param,
    /// The shift β, of each channel or of each channel and pixel; of no length where it is 0.
    pub bias: Param,
    /// Added to the variance.
    pub epsilon: f32,
}

impl ImageNorm {
    fn kernel<'a>(
        &self,
        params: &'a [f32],
        layout: Layout,
        images: usize,
    ) -> kernels::ImageNorm<'a> {
        let [gamma, beta] = [self.weight, self.bias].map(|p| p.of(params));
        let (sets, epsilon) = (self.sets, self.epsilon);
        kernels::ImageNorm { layout, images, sets, gamma, beta, epsilon }
    }
}

impl Tape<'_> {
    /// `y = γ · (x − mean) / √(variance + ε) + β`, with the mean and the biased variance of each set of values of an
    /// image.
    ///
    /// # Panics
    /// If the groups do not divide the channels, or the parameters are not as many as channels, or channels × pixels.
    pub fn image_norm(&mut self, x: Var, norm: ImageNorm) -> Var {
        let (cores, params) = (self.cores, self.params);
        let input = self.value(x);
        let (images, channels, size) = (input.images(), input.channels(), input.size());
        let op = norm.kernel(params, *input.layout(), images);
        let (y, mut out) = self.output(images, channels, size);
        let index = self.workspace.buffers.next();
        let mut statistics = self.workspace.buffers.take(index);
        statistics.resize(op.statistics());
        kernels::image_norm(cores, &op, self.value(x).data(), &mut statistics, out.data_mut());
        self.workspace.buffers.put(index, statistics);
        let needs = self.needs_gradient(x) || norm.weight.len + norm.bias.len > 0;
        self.record(y, out, needs, Norm { x, y, norm, statistics: index })
    }
}

pub(crate) struct Norm {
    x: Var,
    y: Var,
    norm: ImageNorm,
    /// Mean and inverse deviation of each set.
    statistics: usize,
}

impl Operation for Norm {
    fn name(&self) -> &'static str {
        match self.norm.sets {
            NormSets::Groups(1) | NormSets::Pixels => "layer norm",
            NormSets::Groups(_) => "group norm",
        }
    }

    fn output(&self) -> Var {
        self.y
    }

    fn reads_output(&self) -> bool {
        false
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let statistics = b.workspace.buffers.take(self.statistics);
        let mut dx = b.gradient(self.x);
        let op = self.norm.kernel(b.params, *dy.layout(), dy.images());
        let inputs = [b.workspace.nodes[self.x.0].value.data(), dy.data()];
        let [gamma, beta] = super::two_parts(b.gradients, self.norm.weight, self.norm.bias);
        let x = dx.as_mut().map(|(dx, store)| (dx.data_mut(), *store));
        let to = ImageNormGradients { gamma, beta, x };
        kernels::image_norm_backward(b.cores, &op, inputs, &statistics, to);
        b.workspace.buffers.put(self.statistics, statistics);
        if let Some((dx, _)) = dx {
            b.put(self.x, dx);
        }
    }
}
