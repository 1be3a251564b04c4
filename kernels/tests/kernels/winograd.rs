//! Winograd's convolution and its gradients against the reference in `f64`, on every path.
//!
//! Where values are small integers, all that is rounded is a multiple of a quarter below 2²², hence
//! exact, and so must the kernels be. Elsewhere see [`ROUNDINGS`].

use crate::batches::sums::{BEGINS, Begin, Sums, begins};
use crate::batches::{Batch, Case, GARBAGE, Guarded, batches, winograd_layer};
use crate::common::{operands, relu_if, results_on_every_path};
use crate::tiles::{WINOGRAD, magnitudes};
use kernels::{
    Convolution, Epilogue, Isa, Operands, Precision, Window, Winograd, implicit_gemm,
    transpose_weights, winograd, winograd_data_gradient, winograd_weight_gradient,
    winograd_weights,
};
use proptest::prelude::*;
use reference::{
    Conv, ConvGradients, assert_close, conv2d, conv2d_backward, magnitude, norm, uniform, widen,
};

/// How often ε/2 of a term is rounded off beside its additions to the others of its sum.
///
/// A weight is the sum of a, ±b and c, along one axis and along the other: 4. A value is the
/// difference of two, along both: 2. Their product may be rounded: 1. The output is the sum of three,
/// along both: 4, and is added to its start: 1. (In the weight gradient both factors take 2, and the
/// kernel is the sum of three along both.) Halving is exact, fused additions round once with their
/// product, and one more makes up for what is not of first order.
const ROUNDINGS: usize = 4 + 2 + 1 + 4 + 1 + 1;

/// By how many ε/2 more a term may be off whose factors are rounded to bfloat16: by 2⁻⁹ each, and a little for what is
/// not of first order.
const IN_BF16: usize = (1 << 16) + (1 << 10);

/// A layer with its operands, and its products by the reference.
struct Layer<'a> {
    case: &'a Case,
    plan: Winograd,
    x: Vec<f32>,
    weights: Vec<f32>,
    dy: Vec<f32>,
    forward: Sums,
    data_gradient: Sums,
    weight_gradient: Sums,
}

impl<'a> Layer<'a> {
    fn new(case: &'a Case) -> Layer<'a> {
        Layer::in_precision(case, Precision::F32)
    }

    fn in_precision(case: &'a Case, precision: Precision) -> Layer<'a> {
        let in_bf16 = precision == Precision::Bf16;
        let conv = case.reference();
        let (x, weights, dy) = (case.x(), case.weights(), case.dy());
        let y = conv2d(&conv, &widen(&x), &widen(&weights), None);
        let ConvGradients { dx, dw, .. } =
            conv2d_backward(&conv, &widen(&x), &widen(&weights), &widen(&dy));
        let [ax, aw, ady] = [&x, &weights, &dy].map(|values| magnitude(values));
        let sums = |values, terms, magnitudes: &dyn Fn() -> Vec<f64>| Sums {
            values,
            magnitudes: (!case.exact).then(magnitudes),
            roundings: (terms + ROUNDINGS + if in_bf16 { IN_BF16 } else { 0 }) as f64 / 2.0,
            in_bf16,
        };
        let tiles = conv.images * crate::tiles::tiles(conv.output().size).count();
        Layer {
            case,
            plan: Winograd::with_precision(&case.layer, precision)
                .expect("a layer for this method"),
            forward: sums(y, conv.inputs, &|| magnitudes().forward(&conv, &aw, &ax)),
            data_gradient: sums(dx, conv.outputs, &|| magnitudes().data_gradient(&conv, &aw, &ady)),
            weight_gradient: sums(dw, tiles, &|| magnitudes().weight_gradient(&conv, &ax, &ady)),
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
        let x = batch.lanes(&layer.input(), &self.x, GARBAGE);
        let how = (begin, activated);
        self.forward.check("forward", self.case, &layer.output(), how, |isa, start, y| {
            let (weights, mut scratch) = (self.transformed(isa), self.scratch());
            winograd(
                isa,
                &self.plan,
                Operands { weights: &weights, x: &x, start, epilogue: relu_if(activated) },
                &mut scratch,
                y,
            );
            scratch.assert_guards("scratch");
        });
    }

    fn check_data_gradient(&self, begin: Begin) {
        let Case { layer, batch, .. } = self.case;
        let dy = batch.lanes(&layer.output(), &self.dy, GARBAGE);
        let how = (begin, false);
        self.data_gradient.check(
            "data gradient",
            self.case,
            &layer.input(),
            how,
            |isa, start, dx| {
                let (weights, mut scratch) = (self.transformed(isa), self.scratch());
                winograd_data_gradient(
                    isa,
                    &self.plan,
                    Operands { weights: &weights, x: &dy, start, epilogue: Epilogue::None },
                    &mut scratch,
                    dx,
                );
                scratch.assert_guards("scratch");
            },
        );
    }

    /// The gradient is added to what is there.
    fn check_weight_gradient(&self) {
        let Case { layer, batch, .. } = self.case;
        let x = batch.lanes(&layer.input(), &self.x, GARBAGE);
        let dy = batch.lanes(&layer.output(), &self.dy, 0.0);
        self.weight_gradient.check_added("weight gradient", self.case, |isa, dw| {
            let mut scratch = self.scratch();
            winograd_weight_gradient(isa, &self.plan, &x, &dy, &mut scratch, dw);
            scratch.assert_guards("scratch");
        });
    }

    fn transformed(&self, isa: Isa) -> Guarded {
        let mut transformed = Guarded::poisoned(self.plan.weights());
        winograd_weights(isa, &self.plan, &Guarded::new(&self.weights), &mut transformed);
        transformed.assert_guards("transformed weights");
        transformed
    }

    fn scratch(&self) -> Guarded {
        Guarded::poisoned(self.plan.scratch())
    }
}

/// Multiply-adds that the reference is asked for in one case.
const WORK: usize = 1_500_000;

/// Layers and batches of one to three blocks.
fn cases() -> impl Strategy<Value = Case> {
    let channels = || prop::sample::select(&[32, 33, 36, 47, 64][..]);
    let layers = ([channels(), channels()], [1..=14usize, 1..=14usize], [0..=2usize, 0..=2usize]);
    layers
        .prop_filter_map("no such layer, or too much work", |(channels, size, padding)| {
            winograd_layer(channels, size, padding).filter(|layer| layer.multiply_adds() <= WORK)
        })
        .prop_flat_map(|layer| (Just(layer), batches(layer, WORK, 3), any::<bool>(), any::<u64>()))
        .prop_map(|(layer, batch, exact, seed)| Case { layer, batch, exact, seed })
}

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn random_layers(case in cases(), begin in begins(), [activated, bf16] in any::<[bool; 2]>()) {
        Layer::in_precision(&case, PRECISIONS[usize::from(bf16)]).check(begin, activated);
    }
}

/// Planes of less than a tile, of whole tiles and not, of several strips, and one wider than any
/// strip; with every padding.
#[test]
fn every_kind_of_plane() {
    let sizes = [[2, 2], [3, 7], [4, 4], [5, 5], [7, 7], [14, 14], [28, 28], [3, 70], [70, 3]];
    let channels = [[32, 33], [37, 32], [33, 48]];
    let paddings = [[0, 0], [1, 1], [2, 2], [0, 2], [2, 1]];
    for (at, size) in sizes.into_iter().enumerate() {
        for (n, padding) in paddings.into_iter().enumerate() {
            let Some(layer) = winograd_layer(channels[(at + n) % 3], size, padding) else {
                continue;
            };
            // An image of either block, as far as the reference has time.
            let mut slots = vec![(5 * at + n) % 16, 16 + n];
            slots.drain(..usize::from(layer.multiply_adds() > WORK));
            let batch = Batch { blocks: 2, slots };
            let case = Case { layer, batch, exact: n % 2 == at % 2, seed: n as u64 };
            println!("{layer:?}, exact: {}", case.exact);
            for precision in PRECISIONS {
                let layer = Layer::in_precision(&case, precision);
                layer.check(BEGINS[(at + n) % 3], n % 2 == 1);
            }
        }
    }
}

/// Those that this method is for, all values exact.
#[test]
fn layers_of_the_presets() {
    let layers = [
        ("vgg", [64, 64], 28, 1),
        ("vgg", [64, 128], 14, 1),
        ("vgg", [128, 256], 7, 1),
        ("vgg", [256, 256], 7, 1),
        ("resnet", [32, 32], 14, 3),
        ("resnet", [64, 64], 7, 4),
        ("resnet", [128, 128], 4, 5),
    ];
    for (preset, channels, size, images) in layers {
        println!("{preset}: {channels:?} channels, {size}×{size}");
        let layer = winograd_layer(channels, [size, size], [1, 1]).unwrap();
        let batch = Batch { blocks: 2, slots: (0..images).map(|i| 5 * i % 32).collect() };
        let case = Case { layer, batch, exact: true, seed: 1 };
        for precision in PRECISIONS {
            Layer::in_precision(&case, precision).check(Begin::Zero, false);
        }
    }
}

#[test]
fn transformed_weights_are_sixteen_matrices() {
    for (channels, exact) in [([32, 33], true), ([37, 32], false), ([64, 47], false)] {
        let layer = winograd_layer(channels, [4, 4], [1, 1]).unwrap();
        let plan = Winograd::new(&layer).unwrap();
        let case = Case { layer, batch: Batch { blocks: 1, slots: vec![0] }, exact, seed: 3 };
        let weights = case.weights();
        // From a matrix per kernel to a kernel per matrix.
        let elements = |kernels: Vec<[[f64; 4]; 4]>| -> Vec<f64> {
            (0..16).flat_map(|e| kernels.iter().map(move |kernel| kernel[e / 4][e % 4])).collect()
        };
        let expected = elements(WINOGRAD.weights(&widen(&weights)));
        let sizes = elements(magnitudes().weights(&magnitude(&weights)));
        let allowed = |i: usize| if exact { 0.0 } else { 2.0 * f64::from(f32::EPSILON) * sizes[i] };
        let results = results_on_every_path("transformed weights", |isa| {
            let mut to = Guarded::poisoned(plan.weights());
            winograd_weights(isa, &plan, &Guarded::new(&weights), &mut to);
            to.assert_guards("transformed weights");
            to.to_vec()
        });
        for (isa, got) in results {
            assert_close(&format!("{isa}, {channels:?}"), &got, &expected, allowed);
        }
    }
}

/// What the allowances are made of is a convolution, and its magnitudes are larger than it.
#[test]
fn the_algebra_is_that_of_convolutions() {
    for (size, padding) in [([1, 1], [1, 1]), ([2, 5], [2, 0]), ([7, 6], [1, 2]), ([3, 3], [0, 1])]
    {
        let window = Window { padding, ..Window::new([3, 3]) };
        let conv = Conv { images: 2, inputs: 3, outputs: 4, size, options: window.into() };
        let output = conv.output().len();
        let lengths = [conv.input().len(), conv.weights(), output];
        let [x, w, dy] = [0, 1, 2].map(|i| uniform::<f64>(lengths[i], i as u64));
        let products = |algebra: crate::tiles::Algebra, [x, w, dy]: [&[f64]; 3]| {
            let gradient = algebra.weight_gradient(&conv, x, dy);
            [algebra.forward(&conv, w, x), algebra.data_gradient(&conv, w, dy), gradient].concat()
        };
        let got = products(WINOGRAD, [&x, &w, &dy]);
        let ConvGradients { dx, dw, .. } = conv2d_backward(&conv, &x, &w, &dy);
        let expected = [conv2d(&conv, &x, &w, None), dx, dw].concat();
        let absolute = [&x, &w, &dy].map(|v| v.iter().map(|v| v.abs()).collect::<Vec<_>>());
        let sizes = products(magnitudes(), [&absolute[0], &absolute[1], &absolute[2]]);
        for ((got, expected), size) in got.iter().zip(&expected).zip(sizes) {
            assert!((got - expected).abs() < 1e-13 && expected.abs() <= size + 1e-13);
        }
    }
}

/// The allowance is no blank cheque: it is far below the sums themselves.
#[test]
fn the_allowance_is_small() {
    let layer = winograd_layer([32, 48], [7, 7], [1, 1]).unwrap();
    let batch = Batch { blocks: 1, slots: vec![0, 5] };
    let case = Case { layer, batch, exact: false, seed: 1 };
    let layer = Layer::new(&case);
    for sums in [&layer.forward, &layer.data_gradient, &layer.weight_gradient] {
        assert!(norm(&sums.allowances()) < 1e-3 * norm(&sums.values));
    }
}

/// The error is no more than twice that of im2col, of which it takes the place.
#[test]
fn accuracy_is_that_of_im2col() {
    let layer = winograd_layer([64, 64], [14, 14], [1, 1]).unwrap();
    let batch = Batch { blocks: 1, slots: vec![0, 9] };
    let case = Case { layer, batch, exact: false, seed: 1 };
    let Layer { plan, x, weights, dy, forward, data_gradient, weight_gradient, .. } =
        &Layer::new(&case);
    let batch = &case.batch;
    let [x, dy] = [(&layer.input(), x), (&layer.output(), dy)].map(|(l, v)| batch.lanes(l, v, 0.0));
    let error = |got: &[f32], sums: &Sums| {
        let errors = got.iter().zip(&sums.values).map(|(got, exact)| f64::from(*got) - exact);
        norm(&errors.collect::<Vec<_>>())
    };
    for isa in Isa::available() {
        let mut transformed = vec![0.0; plan.weights()];
        winograd_weights(isa, plan, weights, &mut transformed);
        let mut transposed = vec![0.0; layer.weights()];
        transpose_weights(isa, &layer, weights, &mut transposed);
        let mut scratch = vec![0.0; plan.scratch()];
        let scratch = &mut scratch[..];
        let [mut y, mut dx, mut dw] = [layer.output().len(), layer.input().len(), weights.len()]
            .map(|len| [vec![0.0; len], vec![0.0; len]]);
        winograd(isa, plan, operands(&transformed, &x), scratch, &mut y[0]);
        implicit_gemm(isa, &layer.forward(), operands(weights, &x), &mut y[1]);
        winograd_data_gradient(isa, plan, operands(&transformed, &dy), scratch, &mut dx[0]);
        implicit_gemm(isa, &layer.data_gradient(), operands(&transposed, &dy), &mut dx[1]);
        winograd_weight_gradient(isa, plan, &x, &dy, scratch, &mut dw[0]);
        kernels::weight_gradient(isa, &layer.weight_gradient(), &x, &dy, &mut dw[1]);
        let y = y.map(|y| error(&batch.images(&layer.output(), &y), forward));
        let dx = dx.map(|dx| error(&batch.images(&layer.input(), &dx), data_gradient));
        let dw = dw.map(|dw| error(&dw, weight_gradient));
        for (what, [winograd, im2col]) in [("y", y), ("dx", dx), ("dw", dw)] {
            println!("{isa}, {what}: {winograd:.2e} beside {im2col:.2e}: {:.2}", winograd / im2col);
            assert!(winograd <= 2.0 * im2col, "{isa}, {what}: {winograd:e} beside {im2col:e}");
        }
    }
}

/// 3×3, dense, with at least 32 channels on both sides, and with fewer multiplications than im2col.
#[test]
fn what_it_applies_to() {
    let of = |inputs, outputs, window| Convolution::new(inputs, [9, 9], outputs, window).unwrap();
    let window = Window::new([3, 3]);
    for padding in 0..=2 {
        assert!(Winograd::applies(&of(32, 32, window.padding(padding))), "padding {padding}");
    }
    let others = [
        of(31, 32, window),
        of(32, 31, window),
        of(64, 64, window.stride(2)),
        of(64, 64, window.dilation(2)),
        of(64, 64, window.padding(3)),
        of(64, 64, Window::new([1, 1])),
        of(64, 64, Window::new([3, 1])),
        of(64, 64, Window::new([5, 5]).padding(2)),
    ];
    for layer in others {
        assert!(!Winograd::applies(&layer) && Winograd::new(&layer).is_none(), "{layer:?}");
    }
    let sized = |size, padding| {
        Winograd::applies(&Convolution::new(64, size, 64, window.padding(padding)).unwrap())
    };
    // Multiplications for a pair of channels, Winograd's and those of im2col: 16 and 1, 16 and 16, 64 and 49, 32 and 28;
    // without padding 16 and 9.
    for (size, padding) in [([1, 1], 1), ([2, 2], 1), ([3, 3], 1), ([2, 3], 1), ([3, 3], 0)] {
        assert!(!sized(size, padding), "{size:?}, padding {padding}");
    }
    // 64 and 100, 144 and 169, 32 and 40; without padding 16 and 36.
    for (size, padding) in [([4, 4], 1), ([5, 5], 1), ([2, 4], 1), ([4, 4], 0)] {
        assert!(sized(size, padding), "{size:?}, padding {padding}");
    }
}
