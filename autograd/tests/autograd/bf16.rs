//! Convolutions in bfloat16 on a tape: their values and gradients are those of operands rounded in the same way, and
//! nothing else changes.

use autograd::{Buffer, Param, Precision, Tape, Tensor, Var, Workspace};
use kernels::{Convolution, Isa, Window, Winograd};
use reference::{
    Conv, bfloat16, conv2d, conv2d_backward, norm, relu, relu_backward, uniform, widen,
};

fn conv(inputs: usize, outputs: usize, size: usize, window: Window) -> Conv {
    Conv { images: 19, inputs, outputs, size: [size; 2], options: window.into() }
}

fn layer(conv: &Conv) -> Convolution {
    Convolution::new(conv.inputs, conv.size, conv.outputs, conv.options).unwrap()
}

/// The operands of a layer: images, weights and bias in one buffer, and r.
struct Problem {
    conv: Conv,
    x: Vec<f32>,
    params: Buffer,
    r: Vec<f32>,
}

impl Problem {
    fn new(conv: Conv) -> Problem {
        let numbers: Vec<f32> = uniform(conv.weights() + conv.outputs, 2);
        let mut params = Buffer::zeros(numbers.len());
        params.copy_from_slice(&numbers);
        Problem {
            x: uniform(conv.input().len(), 1),
            params,
            r: uniform(conv.output().len(), 3),
            conv,
        }
    }

    fn weight(&self) -> Param {
        Param { offset: 0, len: self.conv.weights() }
    }

    fn bias(&self) -> Param {
        Param { offset: self.conv.weights(), len: self.conv.outputs }
    }

    /// y, dx, and the gradients of the parameters, of f = Σ r · y.
    fn run(
        &self,
        isa: Isa,
        workspace: &mut Workspace,
        precision: Precision,
        operation: impl Fn(&mut Tape<'_>, Var) -> Var,
    ) -> [Vec<f32>; 3] {
        let mut tape = Tape::training(isa, workspace, &self.params, self.conv.images);
        tape.set_precision(precision);
        let input = self.conv.input();
        let x =
            tape.variable(&Tensor::from_rows(&self.x, input.images, input.channels, input.size));
        let y = operation(&mut tape, x);
        let (images, channels, size) =
            (tape.value(y).images(), tape.value(y).channels(), tape.value(y).size());
        let r = &self.r[..images * channels * size[0] * size[1]];
        let r = Tensor::from_rows(r, images, channels, size);
        let r = tape.input(images, channels, size, |to| to.data_mut().copy_from_slice(r.data()));
        let product = tape.mul(y, r);
        let f = tape.sum(product);
        let mut gradients = Buffer::zeros(self.params.len());
        tape.backward(f, &mut gradients);
        let dx = tape.gradient(x).expect("f depends on x").to_rows();
        [tape.value(y).to_rows(), dx, gradients.to_vec()]
    }

    fn conv2d(&self, isa: Isa, precision: Precision, activated: bool) -> [Vec<f32>; 3] {
        self.run(isa, &mut Workspace::default(), precision, |tape, x| {
            tape.conv2d(x, self.weight(), Some(self.bias()), self.conv.options, activated)
        })
    }
}

fn error(got: &[f32], expected: &[f64]) -> f64 {
    let errors = got.iter().zip(expected).map(|(got, expected)| f64::from(*got) - expected);
    norm(&errors.collect::<Vec<_>>()) / norm(expected)
}

fn rounded(values: &[f64]) -> Vec<f64> {
    values.iter().map(|x| f64::from(bfloat16(*x as f32))).collect()
}

#[test]
fn values_and_gradients_are_those_of_rounded_operands() {
    let padded = |kernel: usize| Window::new([kernel; 2]).padding(kernel / 2);
    for (inputs, outputs, size, window) in [
        (16, 24, 6, padded(3)),
        (31, 17, 5, padded(3).stride(2)),
        (16, 32, 7, padded(5)),
        (67, 64, 4, padded(1)),
    ] {
        let problem = Problem::new(conv(inputs, outputs, size, window));
        let conv = &problem.conv;
        assert!(layer(conv).suits_bf16() && !Winograd::applies(&layer(conv)));
        let (params, r) = (widen(&problem.params), widen(&problem.r));
        let (w, b) = params.split_at(conv.weights());
        let (x, w) = (rounded(&widen(&problem.x)), rounded(w));
        let full = conv2d(conv, &x, &w, Some(b));
        for activated in [false, true] {
            let (y, dy) = match activated {
                true => (relu(&full), relu_backward(&full, &r)),
                false => (full.clone(), r.clone()),
            };
            let exact = conv2d_backward(conv, &x, &w, &rounded(&dy));
            // The bias is no product: its gradient is the sum of what is not rounded.
            let db = conv2d_backward(conv, &x, &w, &dy).db;
            let expected = [y, exact.dx, exact.dw, db];
            let mut before: Option<[Vec<f32>; 3]> = None;
            for isa in Isa::available_bf16() {
                let got = problem.conv2d(isa, Precision::Bf16, activated);
                let (dw, db) = got[2].split_at(conv.weights());
                for (i, got) in [&got[0], &got[1], dw, db].into_iter().enumerate() {
                    let error = error(got, &expected[i]);
                    assert!(error < 1e-6, "{isa}, {conv:?}, {i}: {error:e}");
                }
                if isa.name() != "portable" {
                    assert!(before.as_ref().is_none_or(|before| *before == got), "{isa}");
                    before = Some(got);
                }
            }
        }
    }
}

/// A layer that does not suit is as it is in `f32`; one that does is not.
#[test]
fn only_layers_that_suit_are_rounded() {
    let window = Window::new([3, 3]).padding(1);
    for (inputs, outputs) in [(1, 16), (16, 8), (16, 16), (32, 32)] {
        let problem = Problem::new(conv(inputs, outputs, 4, window));
        let isa = Isa::detect();
        let [f32, bf16] =
            [Precision::F32, Precision::Bf16].map(|how| problem.conv2d(isa, how, false));
        assert_eq!(f32 != bf16, layer(&problem.conv).suits_bf16(), "{inputs}, {outputs}");
        for (f32, bf16) in f32.iter().zip(&bf16) {
            assert!(error(bf16, &widen(f32)) < 1e-2, "{inputs}, {outputs}");
        }
    }
}

/// Fused layers are the layers apart, and what a workspace held before makes no difference.
#[test]
fn neither_fusion_nor_other_steps_change_a_bit() {
    for (channels, window) in [(16, Window::new([3, 3])), (32, Window::new([3, 3]).padding(1))] {
        let problem = Problem::new(conv(channels, 32, 8, window));
        let pool = Window::new([2, 2]).stride(2);
        let (weight, bias, options) = (problem.weight(), problem.bias(), problem.conv.options);
        let fused = |tape: &mut Tape<'_>, x: Var| {
            tape.conv2d_relu_max_pool2d(x, weight, Some(bias), options)
        };
        let apart = |tape: &mut Tape<'_>, x: Var| {
            let y = tape.conv2d(x, weight, Some(bias), options, false);
            let y = tape.relu(y);
            tape.max_pool2d(y, pool)
        };
        for isa in Isa::available_bf16() {
            let expected = problem.run(isa, &mut Workspace::default(), Precision::Bf16, apart);
            let mut workspace = Workspace::default();
            for precision in [Precision::F32, Precision::Bf16, Precision::Bf16, Precision::F32] {
                let got = problem.run(isa, &mut workspace, precision, fused);
                assert_eq!(got == expected, precision == Precision::Bf16, "{isa}, {channels}");
            }
        }
    }
}
