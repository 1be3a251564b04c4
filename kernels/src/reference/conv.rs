//! Two-dimensional convolution (as networks mean it: the kernel is not flipped).

use super::Real;
use super::planes::{Planes, check_len, grid, seen};
use crate::Window;

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
    /// Kernel, stride, padding, dilation.
    pub window: Window,
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
        Planes { channels: self.outputs, ..self.input().through(&self.window) }
    }

    /// Taps of one output: `inputs · kernel[0] · kernel[1]`.
    pub fn taps(&self) -> usize {
        self.inputs * self.window.taps()
    }

    /// Values in the weights `[outputs][inputs][kernel[0]][kernel[1]]`.
    pub fn weights(&self) -> usize {
        self.outputs * self.taps()
    }

    /// The place of a weight.
    fn weight(&self, output: usize, input: usize, [ky, kx]: [usize; 2]) -> usize {
        let [rows, columns] = self.window.kernel;
        ((output * self.inputs + input) * rows + ky) * columns + kx
    }

    /// A convolution is a list of products `y[i] += w[j] · x[k]`. Visits every `(i, j, k)`: for each
    /// output, its taps in (input channel, ky, kx) order, without those in the padding.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let (input, output) = (self.input(), self.output());
        for image in 0..self.images {
            for o in 0..self.outputs {
                for at in grid(output.size) {
                    for c in 0..self.inputs {
                        for tap in grid(self.window.kernel) {
                            if let Some(from) = seen(&self.window, at, tap, self.size) {
                                visit(
                                    output.index(image, o, at),
                                    self.weight(o, c, tap),
                                    input.index(image, c, from),
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

/// `y[n][o][p] = bias[o] + Σ_{c,k} w[o][c][k] · x[n][c][p · stride + k · dilation − padding]`, with
/// zeros outside the input; the sum starts at the bias.
///
/// `x` is `[images][inputs][size]`, `w` `[outputs][inputs][kernel]`, `bias` `[outputs]` (zeros where
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
