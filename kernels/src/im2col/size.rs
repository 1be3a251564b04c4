//! How large the tables of a convolution would be, before they are made.

use super::{Column, Region, Tap};
use crate::{Convolution, PaddingMode};

impl Convolution {
    /// Bytes of the tables of [`Convolution::forward`] at most, by a closed formula: a padding as large as the
    /// kernel cuts the matrix into as many regions as there are positions, each with taps of its own.
    #[must_use]
    pub fn forward_bytes(&self) -> u64 {
        let [rows, columns] = [0, 1].map(|axis| self.cuts(axis));
        let channels = (self.input().channels() / self.groups()) as u64;
        let product = |numbers: &[u64]| numbers.iter().fold(1u64, |p, &n| p.saturating_mul(n));
        let taps = product(&[channels, rows.taps, columns.taps, size_of::<Tap>() as u64]);
        let regions = product(&[rows.classes, columns.classes, size_of::<Region>() as u64]);
        let pixels = product(&[self.output().pixels() as u64, size_of::<Column>() as u64]);
        taps.saturating_add(regions).saturating_add(pixels)
    }

    /// Bounds on the classes of outputs along an axis that meet the same taps, and on the taps of all of them.
    pub(crate) fn cuts(&self, axis: usize) -> Cuts {
        let window = self.window();
        let [input, outputs, kernel, stride, padding, dilation] = [
            self.input().size()[axis],
            self.output().size()[axis],
            window.kernel[axis],
            window.stride[axis],
            window.padding[axis],
            window.dilation[axis],
        ]
        .map(|n| n as u64);
        // Outputs that miss a tap before the image, and those that miss one behind it.
        let before = padding.div_ceil(stride).min(outputs);
        let whole = (padding + input).saturating_sub((kernel - 1).saturating_mul(dilation));
        let behind = outputs - whole.div_ceil(stride).min(outputs);
        let mut classes = outputs.min(before + behind + 1);
        let mut met = kernel;
        if self.options().padding_mode == PaddingMode::Zeros {
            // The first and last tap of an output in the image only ever go down.
            classes = classes.min(2 * kernel + 1);
            met = kernel.min(input);
        }
        let taps = classes.saturating_mul(met).min(self.met(axis) as u64);
        Cuts { classes, taps }
    }
}

pub(crate) struct Cuts {
    pub classes: u64,
    pub taps: u64,
}

#[cfg(test)]
mod tests {
    use crate::{Conv2dOptions, Convolution, PaddingMode, Window};

    /// Never less than what is made, and for what people use not much more.
    #[test]
    fn the_formula_bounds_the_tables() {
        let mut compared = 0;
        for size in [[1, 7], [5, 5], [9, 4], [28, 28]] {
            for kernel in [1, 2, 3, 5, 7, 12] {
                for (stride, padding, dilation) in [
                    (1, 0, 1),
                    (1, kernel / 2, 1),
                    (1, kernel - 1, 1),
                    (2, 1, 1),
                    (3, 11, 2),
                    (1, 20, 3),
                ] {
                    let window = Window::new([kernel, kernel.min(3)])
                        .stride(stride)
                        .padding(padding)
                        .dilation(dilation);
                    let options = Conv2dOptions::from(window);
                    let shifted = options.padding([padding / 2; 2], [padding, 1]);
                    let mirrored = options.padding_mode(PaddingMode::Reflect);
                    for options in
                        [options, shifted, mirrored, shifted.groups(2), mirrored.groups(2)]
                    {
                        let Some(convolution) = Convolution::new(2, size, 4, options) else {
                            continue;
                        };
                        let made = convolution.forward();
                        let bytes = size_of_val(&*made.taps)
                            + size_of_val(&*made.columns)
                            + size_of_val(&*made.regions);
                        let bound = convolution.forward_bytes() as usize;
                        assert!(bytes <= bound, "{bytes} > {bound}: {convolution:?}");
                        if padding < kernel && dilation == 1 && kernel <= size[0].min(size[1]) {
                            assert!(bound <= 8 * bytes, "{bytes}, {bound}: {convolution:?}");
                        }
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 200, "{compared}");
        let usual = Convolution::new(64, [56, 56], 64, Window::new([3, 3]).padding(1)).unwrap();
        assert!(usual.forward_bytes() < 100_000, "{}", usual.forward_bytes());
    }
}
