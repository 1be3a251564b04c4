//! In which precision the operands of products are, and for which layers that is left to choose.

use crate::Convolution;
use std::fmt;

/// The precision of the operands of products. Sums, and all that is not a product of a layer, are `f32` in either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bfloat16 (eight bits of precision, the exponents of `f32`) in layers that
    /// [suit it](Convolution::suits_bf16): twice as many multiply-adds to an instruction where the processor has
    /// `VDPBF16PS`, and the same bits where it has not.
    Bf16,
}

impl fmt::Display for Precision {
    /// `f32` or `bf16`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        })
    }
}

/// With fewer channels, of the input or the output, or fewer terms to a sum, packing costs more than the products save.
const LEAST_CHANNELS: usize = 16;
const LEAST_TERMS: usize = 64;

impl Convolution {
    /// Whether its products are done in bfloat16 where that is asked for: a function of the shape alone, as it is part
    /// of the result.
    ///
    /// Packing reads and writes each value of the input and the output a few times, while the products do
    /// K·K·C/2 steps for each: with sixteen channels or more on either side, and K·K·C of 64 or more (so 1×1 from 64
    /// channels on), that is worth it. Layers with groups, and those of a single pixel (linear layers, whose weights
    /// would cost as much to pack as to multiply), stay in `f32`.
    #[must_use]
    pub fn suits_bf16(&self) -> bool {
        let channels = self.input().channels().min(self.output().channels());
        let terms = channels * self.window().kernel.iter().product::<usize>();
        let is_worth_it = channels >= LEAST_CHANNELS && terms >= LEAST_TERMS;
        self.groups() == 1 && self.output().pixels() > 1 && is_worth_it
    }
}

#[cfg(test)]
mod tests {
    use crate::{Conv2dOptions, Convolution, Window};

    #[test]
    fn layers_with_enough_channels_suit() {
        let suits = |channels, size, outputs, options: Conv2dOptions| {
            Convolution::new(channels, [size; 2], outputs, options).unwrap().suits_bf16()
        };
        let window = Window::new([3, 3]).padding(1);
        assert!(suits(16, 14, 32, window.into()));
        assert!(suits(16, 14, 16, window.stride(2).into()));
        let pointwise = Window::new([1, 1]);
        assert!(suits(64, 14, 64, pointwise.into()) && !suits(32, 14, 64, pointwise.into()));
        assert!(!suits(1, 28, 64, window.into()) && !suits(64, 28, 3, window.into()));
        assert!(!suits(32, 14, 32, Conv2dOptions::from(window).groups(2)));
        assert!(!Convolution::linear(784, 128).suits_bf16());
    }
}
