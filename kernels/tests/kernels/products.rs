//! The three products and the transposition of weights against the reference in `f64`, on every
//! path, for random layers and those of the presets.
//!
//! Where values are small integers every sum is exact, and so must the kernels be; elsewhere the
//! allowance is K · ε · Σ|a·b|.

use crate::batches::sums::{BEGINS, Begin, Sums, begins};
use crate::batches::{Batch, Case, GARBAGE, Guarded, any_cases, cases, small_planes};
use crate::common::{assert_same_bits, operands, relu_if};
use kernels::{
    Convolution, Depthwise, DepthwiseTensors, Isa, Layout, Operands, PaddingMode, Start, Store,
    Window, depthwise, depthwise_gradients, implicit_gemm, linear_weight_gradient,
    transpose_weights, weight_gradient, weight_gradient_transposed,
};
use proptest::prelude::*;
use reference::{
    Conv, ConvGradients, conv2d, conv2d_backward, dot, dot_allowance, magnitude, norm, widen,
};

/// A layer with its operands, and its products by the reference.
struct Layer<'a> {
    case: &'a Case,
    x: Vec<f32>,
    weights: Vec<f32>,
    dy: Vec<f32>,
    forward: Sums,
    data_gradient: Sums,
    weight_gradient: Sums,
}

impl<'a> Layer<'a> {
    fn new(case: &'a Case) -> Layer<'a> {
        Layer::of(case, case.x(), case.weights(), case.dy())
    }

    fn of(case: &'a Case, x: Vec<f32>, weights: Vec<f32>, dy: Vec<f32>) -> Layer<'a> {
        let conv = case.reference();
        let values = products(&conv, &widen(&x), &widen(&weights), &widen(&dy));
        let magnitudes = (!case.exact)
            .then(|| products(&conv, &magnitude(&x), &magnitude(&weights), &magnitude(&dy)));
        let [y, dx, dw] = values;
        let [y_room, dx_room, dw_room] = match magnitudes {
            Some(magnitudes) => magnitudes.map(Some),
            None => [None, None, None],
        };
        // The start is a term too.
        let sums = |values, magnitudes, terms| Sums {
            values,
            magnitudes,
            roundings: terms as f64 + 1.0,
            in_bf16: false,
        };
        // The outputs that see a pixel of the input; twice along an axis where it is mirrored.
        let mirrored = conv.options.padding_mode == PaddingMode::Reflect;
        let met = conv.outputs / conv.options.groups * conv.window().taps();
        let met = if mirrored { 9 * met } else { met };
        let columns = conv.images * conv.output().pixels();
        Layer {
            case,
            x,
            weights,
            dy,
            forward: sums(y, y_room, conv.taps()),
            data_gradient: sums(dx, dx_room, met),
            weight_gradient: sums(dw, dw_room, columns),
        }
    }

    /// Every kernel of the layer.
    fn check(&self, start: Begin, activated: bool) {
        self.check_forward(start, activated);
        self.check_data_gradient(start, activated);
        self.check_weight_gradient();
        if let Some(plan) = Depthwise::new(&self.case.layer) {
            self.check_depthwise(&plan, start, activated);
        }
    }

    fn check_forward(&self, start: Begin, activated: bool) {
        let (im2col, weights) = (self.case.layer.forward(), Guarded::new(&self.weights));
        let x = self.case.batch.lanes(&self.case.layer.input(), &self.x, GARBAGE);
        let (target, how) = (im2col.target(), (start, activated));
        self.forward.check("forward", self.case, &target, how, |isa, start, y| {
            implicit_gemm(
                isa,
                &im2col,
                Operands { weights: &weights, x: &x, start, epilogue: relu_if(activated) },
                y,
            );
        });
    }

    fn check_data_gradient(&self, start: Begin, activated: bool) {
        let layer = &self.case.layer;
        let im2col = layer.data_gradient();
        let weights = backward_weights(Isa::detect(), layer, &self.weights);
        let dy = self.case.batch.lanes(&layer.output(), &self.dy, GARBAGE);
        let (target, how) = (im2col.target(), (start, activated));
        self.data_gradient.check("data gradient", self.case, &target, how, |isa, start, dx| {
            implicit_gemm(
                isa,
                &im2col,
                Operands { weights: &weights, x: &dy, start, epilogue: relu_if(activated) },
                dx,
            );
        });
    }

    /// The gradient is added to what is there: by [`weight_gradient`], by [`weight_gradient_transposed`], and by
    /// [`linear_weight_gradient`] for a linear layer.
    fn check_weight_gradient(&self) {
        let Case { layer, batch, .. } = self.case;
        let x = batch.lanes(&layer.input(), &self.x, GARBAGE);
        let dy = batch.lanes(&layer.output(), &self.dy, 0.0);
        let im2col = layer.weight_gradient();
        self.weight_gradient.check_added("weight_gradient", self.case, |isa, dw| {
            weight_gradient(isa, &im2col, &x, &dy, dw);
        });
        if layer.groups() > 1 {
            return;
        }
        let im2col = layer.forward();
        self.weight_gradient.check_added("transposed", self.case, |isa, dw| {
            let mut scratch = Guarded::poisoned(im2col.transposed_gradient());
            weight_gradient_transposed(isa, &im2col, [&x, &dy], &mut scratch, dw);
            scratch.assert_guards("scratch");
        });
        if *layer == Convolution::linear(layer.input().channels(), layer.output().channels()) {
            let shape = [layer.output().channels(), layer.input().channels()];
            self.weight_gradient.check_added("linear weight gradient", self.case, |isa, dw| {
                linear_weight_gradient(isa, shape, &x, &dy, dw);
            });
        }
    }
}

impl Layer<'_> {
    /// The kernels of depthwise convolutions.
    fn check_depthwise(&self, plan: &Depthwise, begin: Begin, activated: bool) {
        let Case { layer, batch, .. } = self.case;
        let (x, weights) = (batch.lanes(&layer.input(), &self.x, GARBAGE), &self.weights[..]);
        let target = layer.output();
        self.forward.check("depthwise", self.case, &target, (begin, activated), |isa, start, y| {
            let epilogue = relu_if(activated);
            depthwise(isa, plan, Operands { weights, x: &x, start, epilogue }, y);
        });
        let dy = batch.lanes(&layer.output(), &self.dy, 0.0);
        let tensors = DepthwiseTensors { weights, x: &x, dy: &dy };
        for dx_begin in [Begin::Zero, Begin::Output] {
            let how = (dx_begin, false);
            let target = layer.input();
            self.data_gradient.check("depthwise dx", self.case, &target, how, |isa, start, dx| {
                let added = matches!(start, Start::Output);
                let store = if added { Store::Accumulate } else { Store::Overwrite };
                let mut dw = Guarded::new(&vec![0.0; weights.len()]);
                depthwise_gradients(isa, plan, tensors, &mut dw, Some((dx, store)));
                dw.assert_guards("depthwise dw");
            });
        }
        self.weight_gradient.check_added("depthwise dw", self.case, |isa, dw| {
            depthwise_gradients(isa, plan, tensors, dw, None);
        });
    }
}

/// y, dx and dw.
fn products(conv: &Conv, x: &[f64], w: &[f64], dy: &[f64]) -> [Vec<f64>; 3] {
    let ConvGradients { dx, dw, .. } = conv2d_backward(conv, x, w, dy);
    [conv2d(conv, x, w, None), dx, dw]
}

/// The weights as the data gradient wants them.
fn backward_weights(isa: Isa, layer: &Convolution, weights: &[f32]) -> Guarded {
    if layer.window().taps() == 1 {
        return Guarded::new(weights);
    }
    let mut transposed = Guarded::poisoned(layer.weights());
    transpose_weights(isa, layer, weights, &mut transposed);
    transposed.assert_guards("transposed weights");
    transposed
}

fn poisoned(batch: &Batch, block: &Layout) -> Guarded {
    Guarded::poisoned(batch.layout(block).len())
}

/// What is planted in a tensor: in two of five nothing worse than a zero.
fn planted() -> impl Strategy<Value = f32> {
    prop::sample::select(&[0.0, 0.0, f32::NAN, f32::INFINITY, -f32::INFINITY][..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn random_layers(case in any_cases(3), begin in begins(), activated in any::<bool>()) {
        Layer::new(&case).check(begin, activated);
    }

    /// NaN and infinity reach what they reach in the reference, and nothing else: no kernel
    /// multiplies a value with a padding, or with a lane that is not its own.
    #[test]
    fn what_is_not_finite_goes_where_it_should(
        case in any_cases(3),
        (begin, activated) in (begins(), any::<bool>()),
        planted in [planted(), planted(), planted()],
        places in any::<[prop::sample::Index; 3]>(),
    ) {
        let case = Case { exact: true, ..case };
        let mut tensors = [case.x(), case.weights(), case.dy()];
        for ((tensor, value), place) in tensors.iter_mut().zip(planted).zip(places) {
            let place = place.index(tensor.len());
            tensor[place] = value;
        }
        let [x, weights, dy] = tensors;
        Layer::of(&case, x, weights, dy).check(begin, activated);
    }

    /// ⟨conv(x), dy⟩ = ⟨x, data gradient(dy)⟩ = ⟨w, weight gradient(x, dy)⟩.
    #[test]
    fn the_three_products_are_adjoint(case in any_cases(3)) {
        let case = Case { exact: false, ..case };
        let Case { layer, batch, .. } = &case;
        let (x, weights, dy) = (case.x(), case.weights(), case.dy());
        let x_lanes = batch.lanes(&layer.input(), &x, GARBAGE);
        let dy_lanes = batch.lanes(&layer.output(), &dy, 0.0);
        let conv = case.reference();
        let magnitudes = conv2d(&conv, &magnitude(&x), &magnitude(&weights), None);
        let products = dot(&magnitudes, &magnitude(&dy));
        for isa in Isa::available() {
            let mut y = poisoned(batch, &layer.output());
            implicit_gemm(isa, &layer.forward(), operands(&weights, &x_lanes), &mut y);
            let mut dx = poisoned(batch, &layer.input());
            let transposed = backward_weights(isa, layer, &weights);
            let im2col = layer.data_gradient();
            implicit_gemm(isa, &im2col, operands(&transposed, &dy_lanes), &mut dx);
            let mut dw = Guarded::new(&vec![0.0; weights.len()]);
            weight_gradient(isa, &layer.weight_gradient(), &x_lanes, &dy_lanes, &mut dw);

            let forward = dot(&widen(&batch.images(&layer.output(), &y)), &widen(&dy));
            let data = dot(&widen(&x), &widen(&batch.images(&layer.input(), &dx)));
            let weight = dot(&widen(&weights), &widen(&dw));
            let taps = conv.window().taps();
            let columns = conv.images * conv.output().pixels();
            for (what, adjoint, terms) in
                [("dx", data, conv.outputs * taps), ("dw", weight, columns)]
            {
                let allowance = dot_allowance(conv.inputs * taps + terms, products, 1.0);
                prop_assert!(
                    (forward - adjoint).abs() <= allowance,
                    "{isa}: ⟨y, dy⟩ = {forward}, by {what} {adjoint}; allowed {allowance:e}"
                );
            }
        }
    }

    #[test]
    fn transposed_weights_are_rows_of_inputs(case in cases(3)) {
        let (layer, weights) = (&case.layer, case.weights());
        let (inputs, outputs) = (layer.input().channels(), layer.output().channels());
        let taps = layer.window().taps();
        let mut expected = vec![0.0; layer.weights()];
        for o in 0..outputs {
            for i in 0..inputs {
                for t in 0..taps {
                    expected[(i * outputs + o) * taps + t] = weights[(o * inputs + i) * taps + t];
                }
            }
        }
        for isa in Isa::available() {
            let mut transposed = Guarded::poisoned(expected.len());
            transpose_weights(isa, layer, &Guarded::new(&weights), &mut transposed);
            transposed.assert_guards("transposed weights");
            assert_same_bits("transposed weights", &transposed, &expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn layers_of_small_planes(case in small_planes(), begin in begins(), activated in any::<bool>()) {
        Layer::new(&case).check(begin, activated);
    }
}

/// Every height of a tile of rows with every width of a tile of columns, and what is left over.
#[test]
fn every_size_of_tile() {
    for channels in 1..=40 {
        for blocks in 1..=8 {
            // A block of a linear layer is a column; two images are enough for its reference.
            let batch = Batch { blocks, slots: vec![3, blocks * 16 - 1] };
            for layer in [Convolution::linear(2, channels), Convolution::linear(channels, 3)] {
                let case = Case { layer, batch: batch.clone(), exact: true, seed: blocks as u64 };
                Layer::new(&case).check(BEGINS[blocks % 3], false);
            }
        }
    }
}

/// The layers of the networks (those of `vgg` with fewer channels), with every start and epilogue.
#[test]
fn layers_of_the_presets() {
    let padded = |kernel, padding| Window::new([kernel, kernel]).padding(padding);
    let strided = padded(3, 1).stride(2);
    let shortcut = Window::new([1, 1]).stride(2);
    let convolutions = [
        ("lenet", 1, 28, 6, padded(5, 0)),
        ("lenet", 6, 12, 16, padded(5, 0)),
        ("cnn-bn", 1, 28, 16, padded(5, 2)),
        ("cnn-bn", 16, 14, 32, padded(5, 2)),
        ("vgg", 1, 28, 64, padded(3, 1)),
        ("vgg", 20, 28, 18, padded(3, 1)),
        ("vgg", 24, 14, 40, padded(3, 1)),
        ("vgg", 40, 7, 48, padded(3, 1)),
        ("resnet", 1, 28, 16, padded(3, 1)),
        ("resnet", 16, 28, 16, padded(3, 1)),
        ("resnet", 16, 28, 32, strided),
        ("resnet", 16, 28, 32, shortcut),
        ("resnet", 32, 14, 32, padded(3, 1)),
        ("resnet", 32, 14, 64, strided),
        ("resnet", 32, 14, 64, shortcut),
        ("resnet", 64, 7, 64, padded(3, 1)),
        ("resnet", 64, 7, 128, strided),
        ("resnet", 64, 7, 128, shortcut),
        ("resnet", 128, 4, 128, padded(3, 1)),
    ];
    let layers = convolutions.map(|(preset, channels, size, outputs, window)| {
        (preset, Convolution::new(channels, [size, size], outputs, window).unwrap())
    });
    let linear = [("lenet", 256, 120), ("lenet", 120, 84), ("lenet", 84, 10), ("cnn-bn", 1568, 10)];
    let linear = linear.map(|(preset, i, o)| (preset, Convolution::linear(i, o)));
    for (preset, layer) in layers.into_iter().chain(linear) {
        for exact in [false, true] {
            println!("{preset}: {layer:?}, exact: {exact}");
            let images = (1_500_000 / layer.multiply_adds()).clamp(1, 18);
            let batch = Batch { blocks: 2, slots: (0..images).collect() };
            let case = Case { layer, batch, exact, seed: 1 };
            let layer = Layer::new(&case);
            for begin in BEGINS {
                layer.check_forward(begin, begin == Begin::Bias);
                layer.check_data_gradient(begin, begin == Begin::Zero);
            }
            layer.check_weight_gradient();
        }
    }
}

/// The allowance is no blank cheque: it is far below the sums themselves.
#[test]
fn the_allowance_is_small() {
    let layer = Convolution::new(16, [7, 7], 24, Window::new([3, 3]).padding(1)).unwrap();
    let batch = Batch { blocks: 1, slots: vec![0, 5] };
    let case = Case { layer, batch, exact: false, seed: 1 };
    let layer = Layer::new(&case);
    for sums in [&layer.forward, &layer.data_gradient, &layer.weight_gradient] {
        assert!(norm(&sums.allowances()) < 1e-3 * norm(&sums.values));
    }
}
