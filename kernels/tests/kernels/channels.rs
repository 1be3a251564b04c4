//! Sixteen channels to a vector: every output has the bits that it has with sixteen images to a vector.

use crate::batches::{Case, Guarded, any_cases, cases, winograd_layer};
use crate::common::{assert_same_bits, relu_if};
use kernels::{
    Activation, BatchNorm, ChannelConvolution, ChannelOperands, ChannelWinograd, Convolution,
    Epilogue, Isa, LANES, Layout, Operands, Part, Precision, Start, Statistics, Window, Winograd,
    batch_norm_evaluate, channel_affine, channel_layout, flatten_channels, implicit_gemm,
    implicit_gemm_pooled, load_channels, load_float_channels, load_images, pack_panels,
    relu_max_pool_channels, rows_of_channels, winograd, winograd_weights,
};
use proptest::prelude::*;
use reference::{
    Conv, Planes, assert_close, conv2d, dot_allowance, from_lanes, magnitude, to_lanes, uniform,
    widen,
};

/// Row-major images with sixteen channels to a vector; what belongs to no value is NaN.
pub fn to_channels(x: &[f32], planes: &Planes) -> Guarded {
    let layout = channel_layout(planes.images, planes.channels, planes.size);
    let mut to = Guarded::poisoned(layout.len());
    for (place, from) in places(planes) {
        to[place] = x[from];
    }
    to
}

/// The inverse of [`to_channels`].
pub fn from_channels(x: &[f32], planes: &Planes) -> Vec<f32> {
    let mut to = vec![0.0; planes.len()];
    for (place, from) in places(planes) {
        to[from] = x[place];
    }
    to
}

/// Every value: its place with channels in lanes, and in row-major images.
fn places(planes: &Planes) -> impl Iterator<Item = (usize, usize)> {
    let Planes { images, channels, size } = *planes;
    let layout = channel_layout(images, channels, size);
    let pixels = size[0] * size[1];
    (0..images * channels * pixels).map(move |i| {
        let (image, channel, pixel) = (i / pixels / channels, i / pixels % channels, i % pixels);
        let vector = layout.offset(image, [pixel / size[1], pixel % size[1]]);
        (channel / LANES * layout.block_len() + vector + channel % LANES, i)
    })
}

/// A bias in whole panels.
pub fn in_panels(bias: &[f32]) -> Vec<f32> {
    let mut panels = bias.to_vec();
    panels.resize(bias.len().next_multiple_of(LANES), 0.0);
    panels
}

/// Values among which some are not finite, or zeros of either sign.
fn special(values: &mut [f32], seed: u64) {
    let specials = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, f32::MIN_POSITIVE / 4.0];
    for (i, special) in specials.into_iter().enumerate() {
        let len = values.len();
        values[(seed as usize).wrapping_mul(i * i + 7) % len] = special;
    }
}

/// The outputs of im2col with sixteen images to a vector.
fn by_images(
    isa: Isa,
    conv: &Conv,
    layer: &Convolution,
    [weights, x, bias]: [&[f32]; 3],
    activated: bool,
) -> Vec<f32> {
    let blocks = conv.images.div_ceil(LANES);
    let lanes = to_lanes(x, conv.images, &layer.input().with_blocks(blocks));
    let layout = layer.output().with_blocks(blocks);
    let mut y = vec![f32::NAN; layout.len()];
    let (start, epilogue) = (Start::Bias(bias), relu_if(activated));
    if let Some(plan) = Winograd::new(layer) {
        let mut transformed = vec![f32::NAN; plan.weights()];
        winograd_weights(isa, &plan, weights, &mut transformed);
        let mut scratch = vec![f32::NAN; plan.scratch()];
        let operands = Operands { weights: &transformed, x: &lanes, start, epilogue };
        winograd(isa, &plan, operands, &mut scratch, &mut y);
    } else {
        implicit_gemm(
            isa,
            &layer.forward(),
            Operands { weights, x: &lanes, start, epilogue },
            &mut y,
        );
    }
    from_lanes(&y, conv.images, &layout)
}

/// The outputs of im2col with sixteen channels to a vector, in parts for so many workers.
fn by_channels(
    isa: Isa,
    conv: &Conv,
    layer: &Convolution,
    [weights, x, bias]: [&[f32]; 3],
    (activated, workers): (bool, usize),
) -> Vec<f32> {
    let plan = ChannelConvolution::new(layer);
    let mut packed = Guarded::poisoned(plan.weights());
    pack_panels(weights, conv.outputs, &mut packed);
    let (x, bias) = (to_channels(x, &conv.input()), in_panels(bias));
    let operands = ChannelOperands {
        images: conv.images,
        weights: &packed,
        x: &x,
        bias: Some(&bias),
        epilogue: relu_if(activated),
    };
    in_parts(isa, &plan, &operands, &conv.output(), workers)
}

/// The outputs of a product, computed in parts for so many workers, between guards.
pub fn in_parts(
    isa: Isa,
    plan: &ChannelConvolution,
    operands: &ChannelOperands,
    output: &Planes,
    workers: usize,
) -> Vec<f32> {
    let mut y = to_channels(&vec![f32::NAN; output.len()], output);
    let (images, lines) = (operands.images, plan.lines(operands.images));
    let count = Part::count(plan.panels(), lines, workers);
    for i in 0..count {
        let part = Part::new(plan.panels(), lines, count, i);
        let mut piece = Guarded::new(&y[plan.place(images, &part)]);
        plan.run(isa, operands, &part, &mut piece);
        piece.assert_guards("a part");
        y[plan.place(images, &part)].copy_from_slice(&piece);
    }
    from_channels(&y, output)
}

/// The outputs of Winograd's method with sixteen channels to a vector, in parts for so many workers.
pub fn by_winograd(
    (isa, precision): (Isa, Precision),
    conv: &Conv,
    layer: &Convolution,
    [weights, x, bias]: [&[f32]; 3],
    (activated, workers): (bool, usize),
) -> Vec<f32> {
    let plan = ChannelWinograd::with_precision(layer, precision);
    let plan = plan.expect("a layer for Winograd's method");
    let mut packed = Guarded::poisoned(plan.weights());
    plan.pack(isa, weights, &mut packed);
    let x = to_channels(x, &conv.input());
    let mut y = to_channels(&vec![f32::NAN; conv.output().len()], &conv.output());
    let images = conv.images;
    let y_panel = y.len() / plan.panels();
    let bias = in_panels(bias);
    for strip in plan.strips(images) {
        let mut v = Guarded::poisoned(strip.panel() * plan.input_panels());
        let x = x.chunks_exact(x.len() / plan.input_panels());
        for (panel, (x, v)) in x.zip(v.chunks_exact_mut(strip.panel())).enumerate() {
            plan.transform(isa, &strip, panel, x, v);
        }
        v.assert_guards("transformed input");
        let operands = ChannelOperands {
            images,
            weights: &packed,
            x: &v,
            bias: Some(&bias),
            epilogue: relu_if(activated),
        };
        let count = Part::count(plan.panels(), 1, workers);
        for i in 0..count {
            let panels = Part::new(plan.panels(), 1, count, i).panels;
            let mut m = Guarded::poisoned(plan.scratch(&strip, panels.len()));
            let place = panels.start * y_panel..panels.end * y_panel;
            let mut piece = Guarded::new(&y[place.clone()]);
            plan.product(isa, &strip, &operands, panels, &mut m, &mut piece);
            piece.assert_guards("panels");
            m.assert_guards("scratch");
            y[place].copy_from_slice(&piece);
        }
    }
    from_channels(&y, &conv.output())
}

/// The definition, in `f64`, and how far from it sums may be.
fn check_oracle(what: &str, conv: &Conv, [weights, x, bias]: [&[f32]; 3], y: &[f32]) {
    let exact = |f: fn(&[f32]) -> Vec<f64>| conv2d(conv, &f(x), &f(weights), Some(&f(bias)));
    let sums = exact(magnitude);
    let terms = 20 * (conv.taps() + 1);
    assert_close(what, y, &exact(widen), |i| dot_allowance(terms, sums[i], 1.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn products_have_the_bits_of_a_batch(
        case in any_cases(6),
        (activated, not_finite) in any::<(bool, bool)>(),
        workers in 1..=5usize,
    ) {
        let Case { layer, .. } = &case;
        if Winograd::applies(layer) {
            return Ok(());
        }
        let conv = case.reference();
        let (mut weights, mut x, bias) = (case.weights(), case.x(), case.bias());
        if not_finite {
            special(&mut x, case.seed);
            special(&mut weights, case.seed / 3);
        }
        let operands = [&weights[..], &x, &bias];
        for isa in Isa::available() {
            let y = by_channels(isa, &conv, layer, operands, (activated, workers));
            let expected = by_images(isa, &conv, layer, operands, activated);
            assert_same_bits(&format!("{isa}"), &y, &expected);
            if !activated && !not_finite {
                check_oracle(isa.name(), &conv, operands, &y);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn winograd_has_the_bits_of_a_batch(
        channels in [32..=70usize, 32..=70],
        (images, size) in (1..=5usize, [1..=11usize, 1..=11]),
        padding in [0..=2usize, 0..=2],
        (activated, not_finite) in any::<(bool, bool)>(),
        (workers, seed) in (1..=5usize, any::<u64>()),
    ) {
        let Some(layer) = winograd_layer(channels, size, padding) else { return Ok(()) };
        let ([inputs, outputs], options) = (channels, layer.options());
        let conv = Conv { images, inputs, outputs, size, options };
        let [mut weights, mut x, bias] = [conv.weights(), conv.input().len(), outputs].map(|len| {
            uniform::<f32>(len, seed.wrapping_add(len as u64))
        });
        if not_finite {
            special(&mut x, seed);
            special(&mut weights, seed / 3);
        }
        let operands = [&weights[..], &x, &bias];
        for isa in Isa::available() {
            let y = by_winograd((isa, Precision::F32), &conv, &layer, operands, (activated, workers));
            let expected = by_images(isa, &conv, &layer, operands, activated);
            assert_same_bits(&format!("{isa}"), &y, &expected);
            if !activated && !not_finite {
                check_oracle(isa.name(), &conv, operands, &y);
            }
        }
    }
}

/// Strips of a large plane, and a plane of several images, are the whole.
#[test]
fn strips_of_large_planes() {
    for (images, size, channels) in [(1, [45, 37], [48, 32]), (3, [30, 30], [64, 33])] {
        let window = Window::new([3, 3]).padding(1);
        let [inputs, outputs] = channels;
        let layer = Convolution::new(inputs, size, outputs, window).unwrap();
        let conv = Conv { images, inputs, outputs, size, options: window.into() };
        assert!(ChannelWinograd::new(&layer).unwrap().strips(images).count() > 1);
        let (weights, x) = (uniform::<f32>(conv.weights(), 1), uniform(conv.input().len(), 2));
        let operands = [&weights[..], &x, &uniform::<f32>(outputs, 3)];
        for isa in Isa::available() {
            let y = by_winograd((isa, Precision::F32), &conv, &layer, operands, (true, 2));
            assert_same_bits(isa.name(), &y, &by_images(isa, &conv, &layer, operands, true));
        }
    }
}

/// Both ends of a network, flattening, and the pool that follows a ReLU.
#[test]
fn what_surrounds_the_products() {
    for (images, channels, size) in
        [(1, 1, [5, 6]), (3, 3, [4, 4]), (2, 20, [3, 7]), (5, 40, [1, 1])]
    {
        let planes = Planes { images, channels, size };
        let layout = channel_layout(images, channels, size);
        let bytes: Vec<u8> = (0..planes.len()).map(|i| (i * i / 5 + 3 * i) as u8).collect();
        let of_image: Vec<&[u8]> = bytes.chunks_exact(planes.len() / images).collect();
        let (scale, shift) = (uniform::<f32>(channels, 4), uniform::<f32>(channels, 5));
        for isa in Isa::available() {
            let mut lanes = Guarded::poisoned(channel_layout(images, channels, size).len());
            for (image, bytes) in of_image.iter().enumerate() {
                load_channels(isa, bytes, &layout, image, [&scale, &shift], &mut lanes);
            }
            lanes.assert_guards("loaded images");
            let mut of_floats = Guarded::poisoned(lanes.len());
            for (image, bytes) in of_image.iter().enumerate() {
                let floats: Vec<_> = bytes.iter().map(|&b| f32::from(b).to_le_bytes()).collect();
                let scaling = [&scale[..], &shift];
                load_float_channels(isa, &floats, &layout, image, scaling, &mut of_floats);
            }
            let to_images = |lanes: &[f32]| from_channels(lanes, &planes);
            assert_same_bits("images of floats", &to_images(&of_floats), &to_images(&lanes));
            let block = Layout::new(1, channels, size);
            let mut expected = vec![f32::NAN; block.len()];
            load_images(isa, &of_image, &block, &scale, &shift, &mut expected);
            let x = from_lanes(&expected, images, &block);
            assert_same_bits("loaded images", &from_channels(&lanes, &planes), &x);

            let features = Planes { channels: channels * planes.pixels(), size: [1, 1], ..planes };
            let mut flat = to_channels(&vec![0.0; features.len()], &features);
            flatten_channels(&lanes, &layout, channels, &mut flat);
            flat.assert_guards("features");
            let mut rows = Guarded::poisoned(features.len());
            rows_of_channels(&flat, images, features.channels, &mut rows);
            rows.assert_guards("rows");
            assert_same_bits("features", &rows, &x);
        }
    }
}

proptest! {
    /// A convolution, then ReLU and pool: as in one pass, with zeros of either sign and NaN.
    #[test]
    fn relu_and_pool_have_the_bits_of_one_pass(
        case in cases(0),
        not_finite in any::<bool>(),
    ) {
        let Case { layer, .. } = &case;
        let size = layer.output().size();
        if size.iter().any(|n| *n < 2) || Winograd::applies(layer) {
            return Ok(());
        }
        let conv = case.reference();
        let (mut weights, x, bias) = (case.weights(), case.x(), case.bias());
        // Sums of zeros are zeros of either sign.
        weights.iter_mut().for_each(|w| *w = if *w > 0.0 { *w } else { -0.0 });
        if not_finite {
            special(&mut weights, case.seed);
        }
        let pooled = Planes { size: size.map(|n| n / 2), ..conv.output() };
        let blocks = conv.images.div_ceil(LANES);
        let lanes = to_lanes(&x, conv.images, &layer.input().with_blocks(blocks));
        let layout = layer.output().with_blocks(blocks).with_size(pooled.size);
        for isa in Isa::available() {
            let mut expected = vec![f32::NAN; layout.len()];
            let mut masks = vec![[0; 4]; layout.blocks() * layout.channels() * layout.pixels()];
            let im2col = layer.forward_pooled().expect("no padding");
            implicit_gemm_pooled(isa, &im2col, &weights, &lanes, Some(&bias), &mut expected, &mut masks);
            let y = by_channels(isa, &conv, layer, [&weights, &x, &bias], (false, 1));
            let y = to_channels(&y, &conv.output());
            let mut to = Guarded::poisoned(channel_layout(conv.images, conv.outputs, pooled.size).len());
            relu_max_pool_channels(isa, &y, &channel_layout(conv.images, conv.outputs, size), &mut to);
            to.assert_guards("pooled");
            let expected = from_lanes(&expected, conv.images, &layout);
            assert_same_bits(isa.name(), &from_channels(&to, &pooled), &expected);
        }
    }
}

/// Batch norm in evaluation, value by value.
#[test]
fn affine_has_the_bits_of_batch_norm() {
    let (images, channels, size) = (3, 21, [3, 5]);
    let planes = Planes { images, channels, size };
    let layout = channel_layout(images, channels, size);
    let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|seed| uniform::<f32>(channels, seed));
    let variance: Vec<f32> = variance.iter().map(|v| v.abs()).collect();
    let x = uniform::<f32>(planes.len(), 5);
    for isa in Isa::available() {
        for activation in [None, Some(Activation::Relu), Some(Activation::Relu6)] {
            let (epilogue, _) = Epilogue::of(activation);
            let batch = Layout::new(1, channels, size);
            let op = BatchNorm {
                layout: batch,
                images,
                gamma: &gamma,
                beta: &beta,
                epsilon: 1e-5,
                activation,
            };
            let statistics = Statistics { mean: &mean[..], variance: &variance[..] };
            let mut expected = vec![f32::NAN; batch.len()];
            batch_norm_evaluate(isa, &op, &to_lanes(&x, images, &batch), statistics, &mut expected);
            let slope = gamma.iter().zip(&variance).map(|(g, v)| g * (1.0 / (v + 1e-5).sqrt()));
            let slope: Vec<f32> = slope.collect();
            let norm = [&mean, &slope, &beta].map(|values| in_panels(values));
            let mut y = to_channels(&x, &planes);
            channel_affine(isa, &layout, norm.each_ref().map(|v| &v[..]), epilogue, &mut y);
            y.assert_guards("normalised");
            let expected = from_lanes(&expected, images, &batch);
            assert_same_bits(isa.name(), &from_channels(&y, &planes), &expected);
        }
    }
}
