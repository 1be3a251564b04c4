//! The linear (fully connected) layer.

use crate::Real;
use crate::planes::check_len;

/// The shape of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Images in the batch.
    pub images: usize,
    /// Input features.
    pub inputs: usize,
    /// Output features.
    pub outputs: usize,
}

impl Linear {
    /// A linear layer is a list of products `y[i] += w[j] · x[k]`. Visits every `(i, j, k)`.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        for image in 0..self.images {
            for o in 0..self.outputs {
                for i in 0..self.inputs {
                    visit(image * self.outputs + o, o * self.inputs + i, image * self.inputs + i);
                }
            }
        }
    }
}

/// The gradients of [`linear`].
#[derive(Clone, Debug, PartialEq)]
pub struct LinearGradients<T> {
    /// Of the input, `[images][inputs]`.
    pub dx: Vec<T>,
    /// Of the weights, `[outputs][inputs]`.
    pub dw: Vec<T>,
    /// Of the bias, `[outputs]`.
    pub db: Vec<T>,
}

/// `y[n][o] = bias[o] + Σ_i w[o][i] · x[n][i]`; the sum starts at the bias.
///
/// `x` is `[images][inputs]`, `w` `[outputs][inputs]`, `bias` `[outputs]` (zeros where there is
/// none), `y` `[images][outputs]`.
pub fn linear<T: Real>(shape: &Linear, x: &[T], w: &[T], bias: Option<&[T]>) -> Vec<T> {
    check_len("x", x, shape.images * shape.inputs);
    check_len("w", w, shape.outputs * shape.inputs);
    let mut y = vec![T::ZERO; shape.images * shape.outputs];
    if let Some(bias) = bias {
        check_len("bias", bias, shape.outputs);
        for (i, y) in y.iter_mut().enumerate() {
            *y = bias[i % shape.outputs];
        }
    }
    shape.products(|i, j, k| y[i] += w[j] * x[k]);
    y
}

/// `dx[n][i] = Σ_o dy[n][o] · w[o][i]`, `dw[o][i] = Σ_n dy[n][o] · x[n][i]`, `db[o] = Σ_n dy[n][o]`.
pub fn linear_backward<T: Real>(shape: &Linear, x: &[T], w: &[T], dy: &[T]) -> LinearGradients<T> {
    check_len("x", x, shape.images * shape.inputs);
    check_len("w", w, shape.outputs * shape.inputs);
    check_len("dy", dy, shape.images * shape.outputs);
    let mut dx = vec![T::ZERO; x.len()];
    let mut dw = vec![T::ZERO; w.len()];
    let mut db = vec![T::ZERO; shape.outputs];
    shape.products(|i, j, k| {
        dx[k] += dy[i] * w[j];
        dw[j] += dy[i] * x[k];
    });
    for (i, dy) in dy.iter().enumerate() {
        db[i % shape.outputs] += *dy;
    }
    LinearGradients { dx, dw, db }
}
