//! Winograd's method with elements in bfloat16: what is rounded, and what that costs.

use crate::batches::{Batch, Case, winograd_layer};
use crate::common::{operands, results_on};
use crate::tiles::IN_BF16;
use kernels::{
    Convolution, Isa, Precision, Winograd, implicit_gemm, pack_neighbours, pack_pairs,
    pack_weights, pack_weights_transposed, weight_gradient_transposed, winograd,
    winograd_data_gradient, winograd_weight_gradient, winograd_weights,
};
use reference::{conv2d, conv2d_backward, norm, widen};

/// A layer and a batch: y, dx and dw.
struct Problem {
    case: Case,
    x: Vec<f32>,
    weights: Vec<f32>,
    dy: Vec<f32>,
}

impl Problem {
    fn new(channels: [usize; 2], size: usize) -> Problem {
        let layer = winograd_layer(channels, [size; 2], [1, 1]).unwrap();
        let batch = Batch { blocks: 1, slots: vec![0, 9] };
        let case = Case { layer, batch, exact: false, seed: size as u64 };
        let (x, weights, dy) = (case.x(), case.weights(), case.dy());
        Problem { case, x, weights, dy }
    }

    fn layer(&self) -> Convolution {
        self.case.layer
    }

    /// x and dy in lanes.
    fn lanes(&self) -> [Vec<f32>; 2] {
        let (layer, batch) = (self.layer(), &self.case.batch);
        [(layer.input(), &self.x), (layer.output(), &self.dy)]
            .map(|(layout, values)| batch.lanes(&layout, values, 0.0).to_vec())
    }

    fn images(&self, [y, dx, dw]: [Vec<f32>; 3]) -> [Vec<f32>; 3] {
        let (layer, batch) = (self.layer(), &self.case.batch);
        [batch.images(&layer.output(), &y), batch.images(&layer.input(), &dx), dw]
    }

    fn by_winograd(&self, isa: Isa) -> [Vec<f32>; 3] {
        let plan = Winograd::with_precision(&self.layer(), Precision::Bf16).unwrap();
        let (mut weights, mut room) =
            (vec![f32::NAN; plan.weights()], vec![f32::NAN; plan.scratch()]);
        winograd_weights(isa, &plan, &self.weights, &mut weights);
        let ([x, dy], [mut y, mut dx, mut dw]) = (self.lanes(), self.rooms());
        winograd(isa, &plan, operands(&weights, &x), &mut room, &mut y);
        winograd_data_gradient(isa, &plan, operands(&weights, &dy), &mut room, &mut dx);
        winograd_weight_gradient(isa, &plan, &x, &dy, &mut room, &mut dw);
        self.images([y, dx, dw])
    }

    fn by_im2col(&self, isa: Isa) -> [Vec<f32>; 3] {
        let layer = self.layer();
        let ([x, dy], [mut y, mut dx, mut dw]) = (self.lanes(), self.rooms());
        let im2col = layer.forward_bf16();
        let (mut pairs, mut weights) =
            (vec![0.0; layer.input().pairs().len()], vec![0.0; im2col.weights()]);
        pack_pairs(isa, layer.input(), &x, &mut pairs);
        pack_weights(isa, &layer, &self.weights, &mut weights);
        implicit_gemm(isa, &im2col, operands(&weights, &pairs), &mut y);
        let im2col = layer.data_gradient_bf16();
        let (mut pairs, mut weights) =
            (vec![0.0; layer.output().pairs().len()], vec![0.0; im2col.weights()]);
        pack_pairs(isa, layer.output(), &dy, &mut pairs);
        pack_weights_transposed(isa, &layer, &self.weights, &mut weights);
        implicit_gemm(isa, &im2col, operands(&weights, &pairs), &mut dx);
        let im2col = layer.weight_gradient_bf16();
        let (mut pairs, mut room) =
            (vec![0.0; x.len() / 2], vec![0.0; im2col.transposed_gradient()]);
        pack_neighbours(isa, &x, &mut pairs);
        weight_gradient_transposed(isa, &im2col, [&pairs, &dy], &mut room, &mut dw);
        self.images([y, dx, dw])
    }

    /// Room for y, dx and dw.
    fn rooms(&self) -> [Vec<f32>; 3] {
        let layer = self.layer();
        [layer.output().len(), layer.input().len(), layer.weights()].map(|len| vec![0.0; len])
    }
}

const WHAT: [&str; 3] = ["y", "dx", "dw"];

/// The relative error, of all together.
fn error(got: &[f32], expected: &[f64]) -> f64 {
    let errors = got.iter().zip(expected).map(|(got, expected)| f64::from(*got) - expected);
    norm(&errors.collect::<Vec<_>>()) / norm(expected)
}

/// By the algebra in `f64` with elements rounded. Two or three of the 40,000 elements lie so near a tie that sums in
/// `f32` and `f64` are rounded to different sides, each of which is an error of up to 2⁻⁸ of one term: a bound on all
/// together, a tenth of what the rounding itself costs.
#[test]
fn elements_are_rounded_when_they_are_written() {
    for (channels, size) in [([32, 33], 7), ([37, 64], 4), ([64, 32], 14)] {
        let problem = Problem::new(channels, size);
        let conv = problem.case.reference();
        let [x, w, dy] = [&problem.x, &problem.weights, &problem.dy].map(|v| widen(v));
        let expected = [
            IN_BF16.forward(&conv, &w, &x),
            IN_BF16.data_gradient(&conv, &w, &dy),
            IN_BF16.weight_gradient(&conv, &x, &dy),
        ];
        let results =
            results_on(Isa::available_bf16(), "y, dx, dw", |isa| problem.by_winograd(isa).concat());
        for (isa, got) in results {
            let mut rest = &got[..];
            for (what, expected) in WHAT.iter().zip(&expected) {
                let (own, after) = rest.split_at(expected.len());
                rest = after;
                let error = error(own, expected);
                assert!(error < 3e-4, "{isa}, {channels:?}, {what}: {error:e}");
            }
        }
    }
}

/// How far both methods are from the exact product of operands that are not rounded: a few thousandths, Winograd's
/// about twice as far as im2col.
#[test]
fn the_error_beside_that_of_im2col() {
    for (channels, size) in [([32, 32], 14), ([64, 64], 7), ([128, 128], 4)] {
        let problem = Problem::new(channels, size);
        let conv = problem.case.reference();
        let [x, w, dy] = [&problem.x, &problem.weights, &problem.dy].map(|v| widen(v));
        let gradients = conv2d_backward(&conv, &x, &w, &dy);
        let exact = [conv2d(&conv, &x, &w, None), gradients.dx, gradients.dw];
        let isa = Isa::detect();
        let (transformed, direct) = (problem.by_winograd(isa), problem.by_im2col(isa));
        for i in 0..3 {
            let [own, direct] = [&transformed[i], &direct[i]].map(|got| error(got, &exact[i]));
            println!("{channels:?}, {size}: {}: {own:.2e} beside {direct:.2e}", WHAT[i]);
            assert!(own < 3.0 * direct && direct < 4e-3, "{}: {own:e}, {direct:e}", WHAT[i]);
        }
    }
}
