//! What the products promise to the bit: an image's outputs depend on that image alone, sums
//! are taken in the order that is documented. And what they refuse.

use crate::batches::{Batch, Case, GARBAGE, Guarded, any_cases, cases};
use crate::common::{assert_same_bits, operands, results_on_every_path};
use kernels::{
    Convolution, Depthwise, DepthwiseTensors, Epilogue, Isa, LANES, LINEAR_WEIGHT_GRADIENT_KC,
    Operands, Start, Store, Window, depthwise, depthwise_gradients, implicit_gemm,
    implicit_gemm_pooled, linear_weight_gradient, transpose_weights, weight_gradient,
    weight_gradient_transposed,
};
use proptest::prelude::*;
use reference::{Planes, im2col};
use std::panic::{AssertUnwindSafe, catch_unwind};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// The outputs of an image have the same bits in any lane of any block of any batch.
    #[test]
    fn images_do_not_see_each_other(
        case in any_cases(2),
        (chosen, slot) in (any::<prop::sample::Index>(), 0..LANES),
    ) {
        let one = chosen.index(case.batch.slots.len());
        let alone = Case { batch: Batch { blocks: 1, slots: vec![slot] }, ..case.clone() };
        let (x, dy) = (case.x(), case.dy());
        for isa in Isa::available() {
            let together = outputs(isa, &case, &x, &dy);
            let single = outputs(isa, &alone, &case.batch.image(&x, one), &case.batch.image(&dy, one));
            for ((what, together), (_, single)) in together.iter().zip(&single) {
                assert_same_bits(&format!("{isa}: {what}"), single, &case.batch.image(together, one));
            }
        }
    }

    /// Whatever finite values the lanes without an image hold.
    #[test]
    fn idle_lanes_do_not_change_weight_gradients(case in any_cases(3)) {
        let Case { layer, batch, .. } = &case;
        let dy = batch.lanes(&layer.output(), &case.dy(), 0.0);
        let im2col = layer.weight_gradient();
        let shape = [layer.output().channels(), layer.input().channels()];
        let linear = *layer == Convolution::linear(shape[1], shape[0]);
        for isa in Isa::available() {
            let gradient = |elsewhere| {
                let x = batch.lanes(&layer.input(), &case.x(), elsewhere);
                let mut dw = [case.weights(), case.weights(), case.weights()];
                weight_gradient(isa, &im2col, &x, &dy, &mut dw[0]);
                let im2col = layer.forward();
                if layer.groups() == 1 {
                    let mut scratch = vec![f32::NAN; im2col.transposed_gradient()];
                    weight_gradient_transposed(isa, &im2col, [&x, &dy], &mut scratch, &mut dw[1]);
                }
                if let Some(plan) = Depthwise::new(layer) {
                    let tensors = DepthwiseTensors { weights: &case.weights(), x: &x, dy: &dy };
                    depthwise_gradients(isa, &plan, tensors, &mut dw[1], None);
                }
                if linear {
                    linear_weight_gradient(isa, shape, &x, &dy, &mut dw[2]);
                }
                dw.concat()
            };
            let clean = gradient(0.0);
            for garbage in [GARBAGE, -GARBAGE, f32::MIN_POSITIVE / 3.0] {
                assert_same_bits(&format!("{isa}: {garbage:e}"), &gradient(garbage), &clean);
            }
        }
    }

    /// The forward product is that of the weights with the materialised im2col matrix, one chain
    /// per output from its start through the taps; padding adds nothing.
    #[test]
    fn implicit_gemm_is_the_product_with_im2col(case in cases(3)) {
        let Case { layer, batch, .. } = &case;
        let (weights, bias) = (case.weights(), case.bias());
        let columns = im2col(&case.reference().input(), &layer.window(), &case.x());
        let (taps, pixels) = (layer.taps(), layer.output().pixels());
        for isa in Isa::available() {
            let mut y = Guarded::poisoned(batch.layout(&layer.output()).len());
            let x = batch.lanes(&layer.input(), &case.x(), GARBAGE);
            implicit_gemm(isa, &layer.forward(), Operands { weights: &weights, x: &x, start: Start::Bias(&bias), epilogue: Epilogue::None }, &mut y);
            let mut expected = vec![];
            for columns in columns.chunks_exact(taps * pixels) {
                for (weights, bias) in weights.chunks_exact(taps).zip(&bias) {
                    for pixel in 0..pixels {
                        let column = (0..taps).map(|tap| columns[tap * pixels + pixel]);
                        expected.push(chain(isa, *bias, weights.iter().copied().zip(column)));
                    }
                }
            }
            assert_same_bits(&format!("{isa}"), &batch.images(&layer.output(), &y), &expected);
        }
    }

    /// The data gradient is one chain per pixel too: output channels in order, and for each the
    /// taps of the kernel in order.
    #[test]
    fn data_gradient_sums_in_order(case in cases(3)) {
        let layer = &case.layer;
        let (weights, dy) = (case.weights(), case.dy());
        let (input, output) = (case.reference().input(), case.reference().output());
        let [kh, kw] = layer.window().kernel;
        // The output along an axis that sees position `at` of the input through tap `k`.
        let seen_by = |axis: usize, k: usize, at: usize| {
            let mut outputs = 0..layer.output().size()[axis];
            outputs.find(|o| layer.window().source(axis, *o, k, layer.input().size()) == Some(at))
        };
        for isa in Isa::available() {
            let (_, dx) = outputs(isa, &case, &case.x(), &dy).swap_remove(1);
            let mut expected = vec![];
            for place in 0..input.len() {
                let Planes { channels, size: [rows, columns], .. } = input;
                let (plane, row, column) =
                    (place / input.pixels(), place / columns % rows, place % columns);
                let (image, channel) = (plane / channels, plane % channels);
                let meets = |k| Some((k, [seen_by(0, k / kw, row)?, seen_by(1, k % kw, column)?]));
                let met: Vec<(usize, [usize; 2])> = (0..kh * kw).filter_map(meets).collect();
                let products = (0..output.channels).flat_map(|o| {
                    let (weights, dy) = (&weights[(o * channels + channel) * kh * kw..], &dy);
                    met.iter().map(move |&(k, at)| (weights[k], dy[output.index(image, o, at)]))
                });
                expected.push(chain(isa, 0.0, products));
            }
            assert_same_bits(&format!("{isa}"), &dx, &expected);
        }
    }

    /// One chain over the images of each group of blocks, then added to what is there. The groups
    /// are the fewest of at most [`LINEAR_WEIGHT_GRADIENT_KC`] blocks, as equal as can be, the larger ones first.
    #[test]
    fn linear_weight_gradient_sums_group_by_group(
        (inputs, outputs, blocks) in (1..=70usize, 1..=40usize, 1..=3 * LINEAR_WEIGHT_GRADIENT_KC),
        (exact, seed) in any::<(bool, u64)>(),
    ) {
        let batch = Batch { blocks, slots: (0..blocks * LANES - seed as usize % LANES).collect() };
        let layer = Convolution::linear(inputs, outputs);
        let case = Case { layer, batch, exact, seed };
        let (x, dy, old) = (case.x(), case.dy(), case.weights());
        let results = results_on_every_path("linear weight gradient", |isa| {
            let mut dw = Guarded::new(&old);
            let x = case.batch.lanes(&layer.input(), &x, GARBAGE);
            let dy = case.batch.lanes(&layer.output(), &dy, 0.0);
            linear_weight_gradient(isa, [outputs, inputs], &x, &dy, &mut dw);
            dw.assert_guards("linear weight gradient");
            dw.to_vec()
        });
        let groups = blocks.div_ceil(LINEAR_WEIGHT_GRADIENT_KC);
        let (least, larger) = (blocks / groups, blocks % groups);
        for (isa, dw) in results {
            let (mut expected, mut first) = (old.clone(), 0);
            for group in 0..groups {
                let len = LANES * (least + usize::from(group < larger));
                for (place, expected) in expected.iter_mut().enumerate() {
                    let dy = dy.iter().skip(first * outputs + place / inputs).step_by(outputs);
                    let x = x.iter().skip(first * inputs + place % inputs).step_by(inputs);
                    *expected += chain(isa, 0.0, dy.copied().zip(x.copied()).take(len));
                }
                first += len;
            }
            assert_same_bits(&format!("{isa}"), &dw, &expected);
        }
    }
}

/// `start + Σ a·b`, one product after the other, rounded as this path does.
fn chain(isa: Isa, start: f32, products: impl Iterator<Item = (f32, f32)>) -> f32 {
    let fused = isa.name() != "portable"
        || cfg!(any(target_feature = "fma", target_arch = "aarch64", target_feature = "neon"));
    products.fold(start, |sum, (a, b)| if fused { a.mul_add(b, sum) } else { a * b + sum })
}

/// What each product gives for images and output gradients, image by image.
fn outputs(isa: Isa, case: &Case, x: &[f32], dy: &[f32]) -> Vec<(&'static str, Vec<f32>)> {
    let Case { layer, batch, .. } = case;
    let (weights, bias) = (case.weights(), case.bias());
    let x = batch.lanes(&layer.input(), x, GARBAGE);
    let mut y = Guarded::poisoned(batch.layout(&layer.output()).len());
    implicit_gemm(
        isa,
        &layer.forward(),
        Operands { weights: &weights, x: &x, start: Start::Bias(&bias), epilogue: Epilogue::Relu },
        &mut y,
    );

    let mut backward = weights.clone();
    if layer.window().taps() > 1 {
        backward = vec![f32::NAN; layer.weights()];
        transpose_weights(isa, layer, &weights, &mut backward);
    }
    let dy = batch.lanes(&layer.output(), dy, 0.0);
    let mut dx = Guarded::poisoned(batch.layout(&layer.input()).len());
    implicit_gemm(isa, &layer.data_gradient(), operands(&backward, &dy), &mut dx);
    let mut outputs = vec![
        ("forward", batch.images(&layer.output(), &y)),
        ("data gradient", batch.images(&layer.input(), &dx)),
    ];

    if let Some(plan) = Depthwise::new(layer) {
        let mut y = Guarded::poisoned(batch.layout(&layer.output()).len());
        depthwise(
            isa,
            &plan,
            Operands {
                weights: &weights,
                x: &x,
                start: Start::Bias(&bias),
                epilogue: Epilogue::Relu,
            },
            &mut y,
        );
        let mut dx = Guarded::poisoned(batch.layout(&layer.input()).len());
        let (tensors, mut dw) =
            (DepthwiseTensors { weights: &weights, x: &x, dy: &dy }, weights.clone());
        depthwise_gradients(isa, &plan, tensors, &mut dw, Some((&mut dx, Store::Overwrite)));
        let of_kernel = [batch.images(&layer.output(), &y), batch.images(&layer.input(), &dx)];
        for ((what, values), of_kernel) in outputs.iter().zip(&of_kernel) {
            assert_same_bits(&format!("{isa}: depthwise, {what}"), of_kernel, values);
        }
    }

    if let Some(im2col) =
        layer.forward_pooled().filter(|_| layer.output().size().iter().all(|n| *n >= 2))
    {
        let target = batch.layout(&im2col.target());
        let mut y = Guarded::poisoned(target.len());
        let mut masks = vec![[0; 4]; target.blocks() * target.channels() * target.pixels()];
        implicit_gemm_pooled(isa, &im2col, &weights, &x, Some(&bias), &mut y, &mut masks);
        outputs.push(("pooled", batch.images(&im2col.target(), &y)));
    }
    outputs
}

/// Wrong lengths are refused with a message that says which.
#[test]
fn lengths_are_checked() {
    let layer = Convolution::new(3, [6, 6], 5, Window::new([3, 3])).unwrap();
    let [x, y, w] = [layer.input().len(), layer.output().len(), layer.weights()];
    let pooled = layer.forward_pooled().unwrap();
    let (p, masks) = (pooled.target().len(), pooled.target().channels() * pooled.target().pixels());
    let isa = Isa::detect();
    let zeros = |len: usize| vec![0.0; len];
    let forward = |w, x, start: Start, y| {
        implicit_gemm(
            isa,
            &layer.forward(),
            Operands { weights: &zeros(w), x: &zeros(x), start, epilogue: Epilogue::None },
            &mut zeros(y),
        )
    };
    let reduced = |w, bias: Option<&[f32]>, y, masks| {
        let (w, x) = (zeros(w), zeros(x));
        implicit_gemm_pooled(isa, &pooled, &w, &x, bias, &mut zeros(y), &mut vec![[0; 4]; masks])
    };
    let weight = |x, dy, dw| {
        weight_gradient(isa, &layer.weight_gradient(), &zeros(x), &zeros(dy), &mut zeros(dw))
    };
    let tables = layer.forward();
    let room = tables.transposed_gradient();
    let by_rank_k = |x, dy, room, dw| {
        let (x, dy) = (zeros(x), zeros(dy));
        weight_gradient_transposed(isa, &tables, [&x, &dy], &mut zeros(room), &mut zeros(dw))
    };
    let linear =
        |x, dy, dw| linear_weight_gradient(isa, [4, 3], &zeros(x), &zeros(dy), &mut zeros(dw));
    let transpose = |w, to| transpose_weights(isa, &layer, &zeros(w), &mut zeros(to));

    type Call<'a> = (&'static str, &'a dyn Fn());
    let refused: &[Call] = &[
        ("weights of an implicit GEMM", &|| forward(w - 1, x, Start::Zero, y)),
        ("weights of an implicit GEMM", &|| forward(w + 1, x, Start::Zero, y)),
        ("input of an implicit GEMM", &|| forward(w, x + 16, Start::Zero, y)),
        ("bias of an implicit GEMM", &|| forward(w, x, Start::Bias(&[0.0; 4]), y)),
        ("output of an implicit GEMM", &|| forward(w, x, Start::Zero, y - 16)),
        ("output of an implicit GEMM", &|| forward(w, 2 * x, Start::Output, y)),
        ("weights of an implicit GEMM", &|| reduced(w + 1, None, p, masks)),
        ("bias of an implicit GEMM", &|| reduced(w, Some(&[0.0; 6]), p, masks)),
        ("output of a pooled implicit GEMM", &|| reduced(w, None, y, masks)),
        ("masks of a pooled implicit GEMM", &|| reduced(w, None, p, masks + 1)),
        ("im2col of a pooled implicit GEMM", &|| {
            let (w, x) = (zeros(w), zeros(x));
            let (mut y, mut masks) = (zeros(y), vec![[0; 4]; 5 * 16]);
            implicit_gemm_pooled(isa, &layer.forward(), &w, &x, None, &mut y, &mut masks)
        }),
        ("input of a weight gradient", &|| weight(x - 1, y, w)),
        ("output gradient of a weight gradient", &|| weight(2 * x, y, w)),
        ("weight gradient", &|| weight(x, y, w + 1)),
        ("input of a weight gradient", &|| by_rank_k(x - 1, y, room, w)),
        ("output gradient of a weight gradient", &|| by_rank_k(x, 2 * y, room, w)),
        ("scratch of a weight gradient", &|| by_rank_k(x, y, room + 16, w)),
        ("weight gradient", &|| by_rank_k(x, y, room, w + 1)),
        ("weights of a linear weight gradient", &|| linear(48, 64, 11)),
        ("input of a linear weight gradient", &|| linear(47, 64, 12)),
        ("output gradient of a linear weight gradient", &|| linear(96, 64, 12)),
        ("weights to transpose", &|| transpose(w + 1, w)),
        ("transposed weights", &|| transpose(w, w + 1)),
    ];
    for (message, call) in refused {
        let panic = catch_unwind(AssertUnwindSafe(call)).expect_err(message);
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| said.to_string()));
        assert!(said.as_ref().is_some_and(|said| said.contains(message)), "{message}: {said:?}");
    }
    // The right lengths are not.
    forward(w, x, Start::Zero, y);
    forward(w, 3 * x, Start::Bias(&[0.0; 5]), 3 * y);
    reduced(w, None, p, masks);
    weight(x, y, w);
    by_rank_k(2 * x, 2 * y, room, w);
    linear(96, 128, 12);
    transpose(w, w);
    // A batch without blocks is a batch.
    forward(w, 0, Start::Zero, 0);
    weight(0, 0, w);
    by_rank_k(0, 0, room, w);
    linear(0, 0, 12);
}
