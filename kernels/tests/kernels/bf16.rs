//! The three products in bfloat16 against the reference in `f64` with operands rounded in the same way, on every path:
//! with the instruction for it, and without.

use crate::batches::sums::{Begin, Sums, begins};
use crate::batches::{Batch, Case, GARBAGE, Guarded, any_cases};
use crate::common::{assert_same_bits, relu_if, results_on};
use kernels::{
    Convolution, Epilogue, Isa, LANES, Operands, Start, Window, implicit_gemm, pack_neighbours,
    pack_pairs, pack_weights, pack_weights_transposed, round_to_bf16, weight_gradient_transposed,
};
use proptest::prelude::*;
use reference::{
    ConvGradients, assert_close, bfloat16, conv2d, conv2d_backward, magnitude, uniform, widen,
};

fn rounded(values: Vec<f32>) -> Vec<f32> {
    values.into_iter().map(bfloat16).collect()
}

/// A layer with its operands, and its products by the reference.
struct Layer<'a> {
    case: &'a Case,
    /// As they are, before they are rounded.
    x: Vec<f32>,
    weights: Vec<f32>,
    dy: Vec<f32>,
    forward: Sums,
    data_gradient: Sums,
    weight_gradient: Sums,
}

impl<'a> Layer<'a> {
    fn new(case: &'a Case) -> Layer<'a> {
        let conv = case.reference();
        let (x, weights, dy) = (case.x(), case.weights(), case.dy());
        let [rx, rw, rdy] = [&x, &weights, &dy].map(|values| rounded(values.clone()));
        let y = conv2d(&conv, &widen(&rx), &widen(&rw), None);
        let ConvGradients { dx, dw, .. } =
            conv2d_backward(&conv, &widen(&rx), &widen(&rw), &widen(&rdy));
        let [ax, aw, ady] = [&rx, &rw, &rdy].map(|values| magnitude(values));
        let of_gradients = conv2d_backward(&conv, &ax, &aw, &ady);
        let sums = |values, terms: usize, magnitudes| Sums {
            values,
            magnitudes: (!case.exact).then_some(magnitudes),
            roundings: terms as f64 + 1.0,
            in_bf16: true,
        };
        // Twice along an axis where it is mirrored.
        let met = 9 * conv.outputs * conv.window().taps();
        let columns = conv.images * conv.output().pixels();
        Layer {
            case,
            forward: sums(y, conv.taps(), conv2d(&conv, &ax, &aw, None)),
            data_gradient: sums(dx, met, of_gradients.dx),
            weight_gradient: sums(dw, columns, of_gradients.dw),
            x,
            weights,
            dy,
        }
    }

    fn check(&self, begin: Begin, activated: bool) {
        self.check_forward(begin, activated);
        self.check_data_gradient(begin);
        self.check_weight_gradient();
    }

    fn check_forward(&self, begin: Begin, activated: bool) {
        let Case { layer, batch, .. } = self.case;
        let (im2col, input) = (layer.forward_bf16(), batch.layout(&layer.input()));
        let x = batch.lanes(&layer.input(), &self.x, GARBAGE);
        let how = (begin, activated);
        self.forward.check("bf16 forward", self.case, &layer.output(), how, |isa, start, y| {
            let mut pairs = Guarded::poisoned(input.pairs().len());
            pack_pairs(isa, input, &x, &mut pairs);
            pairs.assert_unused("pairs of channels", &input.pairs());
            let mut weights = Guarded::poisoned(im2col.weights());
            pack_weights(isa, layer, &Guarded::new(&self.weights), &mut weights);
            weights.assert_guards("packed weights");
            let epilogue = relu_if(activated);
            let operands = Operands { weights: &weights, x: &pairs, start, epilogue };
            implicit_gemm(isa, &im2col, operands, y);
        });
    }

    fn check_data_gradient(&self, begin: Begin) {
        let Case { layer, batch, .. } = self.case;
        let (im2col, output) = (layer.data_gradient_bf16(), batch.layout(&layer.output()));
        let dy = batch.lanes(&layer.output(), &self.dy, GARBAGE);
        let how = (begin, false);
        self.data_gradient.check("bf16 dx", self.case, &layer.input(), how, |isa, start, dx| {
            let mut pairs = Guarded::poisoned(output.pairs().len());
            pack_pairs(isa, output, &dy, &mut pairs);
            let mut weights = Guarded::poisoned(im2col.weights());
            pack_weights_transposed(isa, layer, &Guarded::new(&self.weights), &mut weights);
            weights.assert_guards("packed weights");
            let epilogue = Epilogue::None;
            let operands = Operands { weights: &weights, x: &pairs, start, epilogue };
            implicit_gemm(isa, &im2col, operands, dx);
        });
    }

    fn check_weight_gradient(&self) {
        let Case { layer, batch, .. } = self.case;
        let im2col = layer.weight_gradient_bf16();
        let x = batch.lanes(&layer.input(), &self.x, GARBAGE);
        let dy = batch.lanes(&layer.output(), &self.dy, 0.0);
        self.weight_gradient.check_added("bf16 dw", self.case, |isa, dw| {
            let mut pairs = Guarded::poisoned(x.len() / 2);
            pack_neighbours(isa, &x, &mut pairs);
            pairs.assert_guards("pairs of images");
            let mut scratch = Guarded::poisoned(im2col.transposed_gradient());
            weight_gradient_transposed(isa, &im2col, [&pairs, &dy], &mut scratch, dw);
            scratch.assert_guards("scratch");
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn random_layers(case in any_cases(3), begin in begins(), activated in any::<bool>()) {
        prop_assume!(case.layer.groups() == 1);
        Layer::new(&case).check(begin, activated);
    }

    /// Any bits, and what lies near a tie or an edge.
    #[test]
    fn packing_rounds_as_the_definition_does(
        mut x in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 1..200),
        edges in prop::collection::vec((any::<u16>(), prop::sample::select(&[0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff][..])), 40),
    ) {
        x.extend(edges.into_iter().map(|(upper, lower)| f32::from_bits(u32::from(upper) << 16 | lower)));
        x.resize(x.len().next_multiple_of(LANES), -1.5);
        results_on(Isa::available_bf16(), "packed", |isa| {
            let mut packed = Guarded::poisoned(x.len() / 2);
            pack_neighbours(isa, &Guarded::new(&x), &mut packed);
            packed.assert_guards("packed");
            let halves = packed.iter().flat_map(|pair| [pair.to_bits() << 16, pair.to_bits() & 0xffff_0000]);
            let got: Vec<f32> = halves.map(f32::from_bits).collect();
            assert_same_bits("rounded", &got, &rounded(x.clone()));
            assert_same_bits("one by one", &x.iter().map(|x| round_to_bf16(*x)).collect::<Vec<_>>(), &got);
            got
        });
    }
}

/// `start + w · x`, as a layer of one output computes it for each of sixteen images that are the same.
fn dot(isa: Isa, weights: &[f32], x: &[f32], start: f32) -> f32 {
    let layer = Convolution::linear(x.len(), 1);
    let (im2col, input) = (layer.forward_bf16(), layer.input());
    let x: Vec<f32> = x.iter().flat_map(|x| [*x; LANES]).collect();
    let (mut pairs, mut packed) = (vec![0.0; input.pairs().len()], vec![0.0; im2col.weights()]);
    pack_pairs(isa, input, &x, &mut pairs);
    pack_weights(isa, &layer, weights, &mut packed);
    let mut y = [start; LANES];
    let epilogue = Epilogue::None;
    let operands = Operands { weights: &packed, x: &pairs, start: Start::Output, epilogue };
    implicit_gemm(isa, &im2col, operands, &mut y);
    assert_same_bits("images", &y, &[y[0]; LANES]);
    y[0]
}

/// What the instruction would take for zero never occurs: subnormal starts are zero on every path, and the smallest
/// operands make products and differences that are normal.
#[test]
fn at_the_edges_of_the_numbers() {
    let (least, tiny) = (2f32.powi(-50), f32::from_bits(1));
    let next = f32::from_bits(f32::MIN_POSITIVE.to_bits() + 1);
    let largest_subnormal = f32::from_bits(f32::MIN_POSITIVE.to_bits() - 1);
    // One step of a bfloat16 above 2⁻⁵⁰.
    let above = least * (1.0 + 1.0 / 128.0);
    for isa in Isa::available_bf16() {
        let same = |what: &str, got: f32, expected: f32| {
            assert_eq!(got.to_bits(), expected.to_bits(), "{isa}: {what}: {got:e}, {expected:e}");
        };
        for start in [tiny, -tiny, largest_subnormal, -largest_subnormal] {
            same("a subnormal start", dot(isa, &[0.0], &[1.0], start), 0.0);
            same("and a product", dot(isa, &[1.0], &[least], start), least);
        }
        for start in [f32::MIN_POSITIVE, -f32::MIN_POSITIVE, next] {
            same("a normal start", dot(isa, &[0.0, 0.0], &[1.0, 1.0], start), start);
            // It is lost beside the least product.
            same("and the least product", dot(isa, &[least], &[least], start), least * least);
        }
        same("flushed", dot(isa, &[least / 2.0, 1e-20], &[1.0, 1.0], 0.0), 0.0);
        same("cancelled", dot(isa, &[least, -least], &[least, least], 0.0), 0.0);
        let difference = above * above - above * least;
        assert!(difference.is_normal());
        same("a difference", dot(isa, &[above, -above], &[above, least], 0.0), difference);
        // The least that is left over of numbers near 2⁻¹⁰¹, where a step is 2⁻¹²⁴.
        let start = f32::from_bits(least.to_bits()) * least * -0.5;
        let start = f32::from_bits(start.to_bits() + 1);
        let left = dot(isa, &[least], &[least], start);
        assert!(left.is_normal(), "{left:e}");
        same("left over", left, least * least + start);
        for (what, w, x) in [("NaN", f32::NAN, 1.0), ("0 · ∞", 0.0, f32::INFINITY)] {
            assert!(dot(isa, &[1.0, w], &[1.0, x], 0.0).is_nan(), "{isa}: {what}");
        }
        same("∞", dot(isa, &[1.0, f32::MAX], &[1.0, 1.0], 0.0), f32::INFINITY);
    }
}

/// The odd element of a pair is added first, and each addition is rounded.
#[test]
fn the_odd_element_first() {
    for isa in Isa::available_bf16().into_iter().filter(|isa| isa.name() != "portable") {
        // 2²⁴ + 1 is rounded to 2²⁴, −2²⁴ + 1 is exact.
        let large = 16_777_216.0;
        assert_eq!(dot(isa, &[-large, 1.0], &[1.0, 1.0], large), 0.0, "{isa}");
        assert_eq!(dot(isa, &[1.0, -large], &[1.0, 1.0], large), 1.0, "{isa}");
    }
}

/// Layers as networks have them: the allowance is far below what bfloat16 itself rounds off.
#[test]
fn layers_of_the_presets() {
    let padded = |kernel, padding| Window::new([kernel, kernel]).padding(padding);
    let layers = [
        (16, 14, 32, padded(5, 2)),
        (16, 14, 16, padded(3, 1)),
        (16, 14, 32, padded(3, 1).stride(2)),
        (16, 14, 32, Window::new([1, 1]).stride(2)),
        (33, 7, 65, padded(3, 1)),
        (64, 4, 64, padded(3, 1)),
    ];
    for (seed, (inputs, size, outputs, window)) in layers.into_iter().enumerate() {
        let layer = Convolution::new(inputs, [size; 2], outputs, window).unwrap();
        for exact in [false, true] {
            let batch = Batch { blocks: 2, slots: vec![0, 3, 17] };
            let case = Case { layer, batch, exact, seed: seed as u64 };
            let layer = Layer::new(&case);
            layer.check(Begin::Bias, true);
            layer.check(Begin::Output, false);
        }
    }
}

/// What the rounding of operands costs, relative to the norm: about 2⁻⁹, and nothing else comes close.
#[test]
fn the_error_is_that_of_the_operands() {
    let n = 4096;
    let (x, w): (Vec<f32>, Vec<f32>) = (uniform(n, 1), uniform(n, 2));
    let exact: f64 = x.iter().zip(&w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
    let [rx, rw] = [x.clone(), w.clone()].map(rounded);
    let of_rounded: f64 = rx.iter().zip(&rw).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
    for isa in Isa::available_bf16() {
        let got = dot(isa, &w, &x, 0.0);
        assert_close("sum", &[got], &[of_rounded], |_| 1e-5 * (n as f64).sqrt());
        assert!((f64::from(got) - exact).abs() < (n as f64).sqrt() / 256.0, "{got} {exact}");
    }
}
