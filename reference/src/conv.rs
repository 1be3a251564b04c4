//! Two-dimensional convolution (as networks mean it: the kernel is not flipped).

use crate::Real;
use crate::planes::{Planes, check_len, grid};
use kernels::{Conv2dOptions, PaddingMode, Window};

/// The shape of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Images in the batch.
    pub images: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Rows and columns of an input plane.
    pub size: [usize; 2],
    /// Kernel, stride, dilation, padding and what it holds, groups of channels.
    pub options: Conv2dOptions,
}

impl Conv {
    /// The shape of `x`.
    pub fn input(&self) -> Planes {
        Planes { images: self.images, channels: self.inputs, size: self.size }
    }

    /// The shape of `y`.
    ///
    /// # Panics
    /// If the window does not fit the input.
    pub fn output(&self) -> Planes {
        let size = self.options.output(self.size);
        let size = size.unwrap_or_else(|| panic!("{self:?}: the window does not fit"));
        Planes { channels: self.outputs, size, ..self.input() }
    }

    /// The window.
    pub fn window(&self) -> Window {
        self.options.window
    }

    /// Taps of one output: `inputs / groups · kernel[0] · kernel[1]`.
    pub fn taps(&self) -> usize {
        self.inputs / self.options.groups * self.window().taps()
    }

    /// Values in the weights `[outputs][inputs / groups][kernel[0]][kernel[1]]`.
    pub fn weights(&self) -> usize {
        self.outputs * self.taps()
    }

    /// The place of a weight; `input` counts the channels of the output's group.
    fn weight(&self, output: usize, input: usize, [ky, kx]: [usize; 2]) -> usize {
        let [rows, columns] = self.window().kernel;
        ((output * (self.inputs / self.options.groups) + input) * rows + ky) * columns + kx
    }

    /// The input position along an axis that tap `k` of output `o` sees; `None` in padding of zeros.
    fn seen(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        let Window { stride, padding, dilation, .. } = self.window();
        let at = (o * stride[axis] + k * dilation[axis]) as isize - padding[axis] as isize;
        let last = self.size[axis] as isize - 1;
        let at = match self.options.padding_mode {
            PaddingMode::Reflect if at < 0 => -at,
            PaddingMode::Reflect if at > last => 2 * last - at,
            _ => at,
        };
        (0..=last).contains(&at).then_some(at as usize)
    }

    /// A convolution is a list of products `y[i] += w[j] · x[k]`. Visits every `(i, j, k)`: for each
    /// output, its taps in (input channel of its group, ky, kx) order, without those in padding of zeros.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let (input, output) = (self.input(), self.output());
        let [inputs, outputs] = [self.inputs, self.outputs].map(|n| n / self.options.groups);
        for image in 0..self.images {
            for o in 0..self.outputs {
                for at in grid(output.size) {
                    for c in 0..inputs {
                        for tap in grid(self.window().kernel) {
                            let [y, x] = [0, 1].map(|axis| self.seen(axis, at[axis], tap[axis]));
                            if let (Some(y), Some(x)) = (y, x) {
                                visit(
                                    output.index(image, o, at),
                                    self.weight(o, c, tap),
                                    input.index(image, o / outputs * inputs + c, [y, x]),
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The gradients of [`conv2d`].
#[derive(Clone, Debug, PartialEq)]
pub struct ConvGradients<T> {
    /// Of the input, shaped as `x`.
    pub dx: Vec<T>,
    /// Of the weights, shaped as `w`.
    pub dw: Vec<T>,
    /// Of the bias, `[outputs]`.
    pub db: Vec<T>,
}

/// `y[n][o][p] = bias[o] + Σ_{c,k} w[o][c][k] · x[n][c][p · stride + k · dilation − padding]` over the
/// channels c of the group of o, with zeros outside the input, or its mirror; the sum starts at the bias.
///
/// `x` is `[images][inputs][size]`, `w` `[outputs][inputs / groups][kernel]`, `bias` `[outputs]` (zeros where
/// there is none), `y` `[images][outputs][output size]`.
pub fn conv2d<T: Real>(conv: &Conv, x: &[T], w: &[T], bias: Option<&[T]>) -> Vec<T> {
    conv.input().check("x", x);
    check_len("w", w, conv.weights());
    let output = conv.output();
    let mut y = vec![T::ZERO; output.len()];
    if let Some(bias) = bias {
        check_len("bias", bias, conv.outputs);
        for (i, y) in y.iter_mut().enumerate() {
            *y = bias[i / output.pixels() % conv.outputs];
        }
    }
    conv.products(|i, j, k| y[i] += w[j] * x[k]);
    y
}

/// The products of [`conv2d`] read the other way: each `y[i] += w[j] · x[k]` gives
/// `dw[j] += dy[i] · x[k]` and `dx[k] += dy[i] · w[j]`; `db[o]` is the sum of `dy` over images and
/// pixels.
pub fn conv2d_backward<T: Real>(conv: &Conv, x: &[T], w: &[T], dy: &[T]) -> ConvGradients<T> {
    conv.input().check("x", x);
    check_len("w", w, conv.weights());
    let output = conv.output();
    output.check("dy", dy);
    let mut dx = vec![T::ZERO; x.len()];
    let mut dw = vec![T::ZERO; w.len()];
    let mut db = vec![T::ZERO; conv.outputs];
    conv.products(|i, j, k| {
        dw[j] += dy[i] * x[k];
        dx[k] += dy[i] * w[j];
    });
    for (i, dy) in dy.iter().enumerate() {
        db[i / output.pixels() % conv.outputs] += *dy;
    }
    ConvGradients { dx, dw, db }
}
