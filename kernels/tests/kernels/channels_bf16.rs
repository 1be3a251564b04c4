//! Products in bfloat16 with sixteen channels to a vector: the bits that they have with sixteen images to a vector, on
//! every path the same.

use crate::batches::{Case, Guarded, any_cases, winograd_layer};
use crate::channels::{by_winograd, in_panels, in_parts, to_channels};
use crate::common::{assert_same_bits, relu_if};
use kernels::{
    ChannelConvolution, ChannelOperands, Convolution, Isa, LANES, Operands, Precision, Start,
    Winograd, channel_layout, implicit_gemm, pack_channel_pairs, pack_pairs, pack_panels,
    pack_weights, round_to_bf16, winograd, winograd_weights,
};
use proptest::prelude::*;
use reference::{Conv, assert_close, conv2d, dot_allowance, from_lanes, to_lanes, uniform};

/// Weights as both forms take them: pairs of inputs.
fn pairs(isa: Isa, layer: &Convolution, weights: &[f32]) -> Vec<f32> {
    let mut pairs = vec![f32::NAN; layer.forward_bf16().weights()];
    pack_weights(isa, layer, weights, &mut pairs);
    pairs
}

fn by_images(
    isa: Isa,
    conv: &Conv,
    layer: &Convolution,
    [weights, x, bias]: [&[f32]; 3],
    activated: bool,
) -> Vec<f32> {
    let blocks = conv.images.div_ceil(LANES);
    let (input, output) = (layer.input().with_blocks(blocks), layer.output().with_blocks(blocks));
    let lanes = to_lanes(x, conv.images, &input);
    let mut packed = vec![f32::NAN; input.pairs().len()];
    pack_pairs(isa, input, &lanes, &mut packed);
    let weights = pairs(isa, layer, weights);
    let (start, epilogue) = (Start::Bias(bias), relu_if(activated));
    let operands = Operands { weights: &weights, x: &packed, start, epilogue };
    let mut y = vec![f32::NAN; output.len()];
    implicit_gemm(isa, &layer.forward_bf16(), operands, &mut y);
    from_lanes(&y, conv.images, &output)
}

/// In parts for so many workers; lanes that belong to no channel are NaN.
fn by_channels(
    isa: Isa,
    conv: &Conv,
    layer: &Convolution,
    [weights, x, bias]: [&[f32]; 3],
    (activated, workers): (bool, usize),
) -> Vec<f32> {
    let plan = ChannelConvolution::with_precision(layer, Precision::Bf16);
    let mut panels = Guarded::poisoned(plan.weights());
    pack_panels(&pairs(isa, layer, weights), conv.outputs, &mut panels);
    let (images, channels) = (conv.images, conv.inputs);
    let x = to_channels(x, &conv.input());
    let layout = channel_layout(images, channels, conv.size);
    let mut packed = Guarded::poisoned(layout.len() / 2);
    pack_channel_pairs(isa, &layout, channels, &x, &mut packed);
    packed.assert_guards("pairs");
    let (bias, epilogue) = (in_panels(bias), relu_if(activated));
    let operands =
        ChannelOperands { images, weights: &panels, x: &packed, bias: Some(&bias), epilogue };
    in_parts(isa, &plan, &operands, &conv.output(), workers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn products_have_the_bits_of_a_batch(
        case in any_cases(6),
        activated in any::<bool>(),
        // Of x and the bias: half of them are flushed to zero, often both.
        scales in [prop_oneof![-60..=-51i32, -50..=3], prop_oneof![-140..=-127i32, -126..=0]],
        workers in 1..=5usize,
    ) {
        let Case { layer, .. } = &case;
        if layer.groups() > 1 {
            return Ok(());
        }
        let conv = case.reference();
        let (weights, mut x, mut bias) = (case.weights(), case.x(), case.bias());
        for (values, scale) in [(&mut x, scales[0]), (&mut bias, scales[1])] {
            values.iter_mut().for_each(|value| *value *= 2f32.powi(scale));
        }
        let operands = [&weights[..], &x, &bias];
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::available_bf16() {
            let y = by_channels(isa, &conv, layer, operands, (activated, workers));
            let expected = by_images(isa, &conv, layer, operands, activated);
            assert_same_bits(isa.name(), &y, &expected);
            if isa.name() != "portable" {
                assert_same_bits(isa.name(), &y, first.get_or_insert_with(|| y.clone()));
            }
            if activated {
                continue;
            }
            let exact = |values: &[f32], f: fn(f64) -> f64| -> Vec<f64> {
                values.iter().map(|value| f(f64::from(round_to_bf16(*value)))).collect()
            };
            let of = |f: fn(f64) -> f64| {
                // A chain starts at zero where its bias is subnormal.
                let started = |value: f32| if value.is_subnormal() { 0.0 } else { value };
                let bias: Vec<f64> =
                    bias.iter().map(|value| f(f64::from(started(*value)))).collect();
                conv2d(&conv, &exact(&x, f), &exact(&weights, f), Some(&bias))
            };
            let sums = of(f64::abs);
            let terms = 20 * (conv.taps() + 1);
            assert_close(isa.name(), &y, &of(|value| value), |i| {
                dot_allowance(terms, sums[i], 1.0)
            });
        }
    }
}

/// Winograd's method with sixteen images to a vector.
fn winograd_by_images(
    isa: Isa,
    conv: &Conv,
    layer: &Convolution,
    [weights, x, bias]: [&[f32]; 3],
    activated: bool,
) -> Vec<f32> {
    let blocks = conv.images.div_ceil(LANES);
    let lanes = to_lanes(x, conv.images, &layer.input().with_blocks(blocks));
    let layout = layer.output().with_blocks(blocks);
    let plan = Winograd::with_precision(layer, Precision::Bf16).unwrap();
    let mut transformed = vec![f32::NAN; plan.weights()];
    winograd_weights(isa, &plan, weights, &mut transformed);
    let mut scratch = vec![f32::NAN; plan.scratch()];
    let (start, epilogue) = (Start::Bias(bias), relu_if(activated));
    let operands = Operands { weights: &transformed, x: &lanes, start, epilogue };
    let mut y = vec![f32::NAN; layout.len()];
    winograd(isa, &plan, operands, &mut scratch, &mut y);
    from_lanes(&y, conv.images, &layout)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn winograd_has_the_bits_of_a_batch(
        channels in [32..=70usize, 32..=70],
        (images, size) in (1..=5usize, [1..=11usize, 1..=11]),
        padding in [0..=2usize, 0..=2],
        activated in any::<bool>(),
        (workers, seed) in (1..=5usize, any::<u64>()),
    ) {
        let Some(layer) = winograd_layer(channels, size, padding) else { return Ok(()) };
        let ([inputs, outputs], options) = (channels, layer.options());
        let conv = Conv { images, inputs, outputs, size, options };
        let [weights, x, bias] = [conv.weights(), conv.input().len(), outputs].map(|len| {
            uniform::<f32>(len, seed.wrapping_add(len as u64))
        });
        let operands = [&weights[..], &x, &bias];
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::available_bf16() {
            let path = (isa, Precision::Bf16);
            let y = by_winograd(path, &conv, &layer, operands, (activated, workers));
            let expected = winograd_by_images(isa, &conv, &layer, operands, activated);
            assert_same_bits(isa.name(), &y, &expected);
            if isa.name() != "portable" {
                assert_same_bits(isa.name(), &y, first.get_or_insert_with(|| y.clone()));
            }
        }
    }
}
