//! Convolution, alone and with ReLU and max-pool.

use crate::harness::*;
use kernels::{Conv2dOptions, Convolution, Isa, PaddingMode, Window, Winograd};
use proptest::prelude::*;
use reference::*;

fn convolutions() -> impl Strategy<Value = Conv> {
    let limits = WindowLimits { kernel: [5, 5], padding: 2, dilation: 2, size: 9 };
    let any = (limits.options(), images(), channels_in_groups(18)).prop_map(
        |((options, size), images, [groups, inputs, outputs])| {
            let options = options.groups(groups);
            Conv { images, inputs, outputs, size, options }
        },
    );
    let axes = |least: usize, most: usize| [least..=most, least..=most];
    let transformed = (axes(1, 5), axes(0, 2), axes(0, 2), 1..=18usize, axes(32, 36))
        .prop_map(|(size, before, after, images, [inputs, outputs])| {
            let options = Conv2dOptions::from(Window::new([3, 3])).padding(before, after);
            Conv { images, inputs, outputs, size, options }
        })
        .prop_filter("the window must fit", |conv| conv.options.output(conv.size).is_some());
    prop_oneof![3 => any, 1 => transformed]
}

/// Whether it is done by Winograd's method.
fn is_transformed(conv: &Conv) -> bool {
    let Conv { inputs, size, outputs, options, .. } = *conv;
    Winograd::applies(&Convolution::new(inputs, size, outputs, options).unwrap())
}

/// How often Winograd's method may round a term besides adding it to others: see the tests of its
/// kernels.
const ROUNDINGS: usize = 13;

/// The most that the terms of one channel may come to in an output whose operands are at most one:
/// along either axis, two of the values times four of the weights.
const OF_A_CHANNEL: usize = 8 * 8;

/// The same of one tile in the gradient of a weight: two of the values times three of the gradients.
const OF_A_TILE: usize = 6 * 6;

/// Sums of so many products by im2col, or of `count` that come to at most `size` each by Winograd's
/// method.
fn sums(
    conv: &Conv,
    value: Vec<f64>,
    (terms, sizes): (usize, Vec<f64>),
    (count, size): (usize, usize),
) -> Expected {
    if is_transformed(conv) {
        // One more for the bias.
        let sizes = vec![(count * size + 1) as f64; value.len()];
        Expected::sums(count + ROUNDINGS, value, sizes)
    } else {
        Expected::sums(terms, value, sizes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn conv2d_and_its_gradients(
        conv in convolutions(),
        numbers in numbers(),
        [bias, relu, shared] in any::<[bool; 3]>(),
        seed in any::<u64>(),
    ) {
        let lengths = [conv.weights(), conv.outputs];
        let case = Case::new(numbers, seed, &[conv.input()], &lengths).shared(shared);
        let [(x, w, b), (ax, aw, ab)] =
            [(case.x(0), case.p(0), case.p(1)), (case.abs_x(0), case.abs_p(0), case.abs_p(1))];
        let mut y = conv2d(&conv, &x, &w, bias.then_some(&b[..]));
        if relu {
            y = reference::relu(&y);
        }
        let size = conv2d(&conv, &ax, &aw, bias.then_some(&ab[..]));
        let y = sums(&conv, y, (conv.taps() + 1, size), (conv.inputs, OF_A_CHANNEL));
        case.on_every_path(
            |tape, x, p| tape.conv2d(x[0], p[0], bias.then_some(p[1]), conv.options, relu),
            |got| {
                case.check("y", &got.y, y.clone())?;
                let dy = through_relu(relu, got);
                let exact = conv2d_backward(&conv, &x, &w, &widen(&dy));
                let size = conv2d_backward(&conv, &ax, &aw, &magnitude(&dy));
                let outputs = conv.images * conv.output().pixels();
                // Twice along an axis where a pixel is mirrored.
                let mirrored = conv.options.padding_mode == PaddingMode::Reflect;
                let met = conv.outputs / conv.options.groups * conv.window().taps();
                let met = if mirrored { 9 * met } else { met };
                let dx = sums(&conv, exact.dx, (met, size.dx), (conv.outputs, OF_A_CHANNEL));
                case.check_dx(0, got, dx)?;
                // As many tiles as outputs, or less.
                let dw = sums(&conv, exact.dw, (outputs, size.dw), (outputs, OF_A_TILE));
                case.check_dp(0, got, dw)?;
                let db = if bias {
                    Expected::sums(outputs, exact.db, size.db)
                } else {
                    Expected::exactly(vec![0.0; conv.outputs])
                };
                case.check_dp(1, got, db)
            },
        )?;
    }

    /// Quarters make equal values in a window frequent: the first must get the gradient.
    #[test]
    fn conv2d_relu_max_pool2d_and_its_gradients(
        conv in convolutions(),
        [bias, shared] in any::<[bool; 2]>(),
        seed in any::<u64>(),
    ) {
        let full = conv.output();
        prop_assume!(full.size.iter().all(|&n| n >= 2));
        let pool = Window::new([2, 2]).stride(2);
        let lengths = [conv.weights(), conv.outputs];
        let case = Case::new(Numbers::Quarters, seed, &[conv.input()], &lengths).shared(shared);
        let (x, w, b) = (case.x(0), case.p(0), case.p(1));
        let before = conv2d(&conv, &x, &w, bias.then_some(&b[..]));
        let activated = relu(&before);
        let y = max_pool2d(&full, pool, &activated);
        case.on_every_path(
            |tape, x, p| tape.conv2d_relu_max_pool2d(x[0], p[0], bias.then_some(p[1]), conv.options),
            |got| {
                case.check("y", &got.y, Expected::exactly(y.clone()))?;
                let dy = max_pool2d_backward(&full, pool, &activated, &widen(&got.r));
                let dy = relu_backward(&before, &dy);
                let ConvGradients { dx, dw, mut db } = conv2d_backward(&conv, &x, &w, &dy);
                if !bias {
                    db.fill(0.0);
                }
                case.check_dx(0, got, Expected::exactly(dx))?;
                case.check_dp(0, got, Expected::exactly(dw))?;
                case.check_dp(1, got, Expected::exactly(db))
            },
        )?;
    }

    /// One pass gives what three give.
    #[test]
    fn fusion_changes_no_bit(
        conv in convolutions(),
        numbers in numbers(),
        [bias, shared] in any::<[bool; 2]>(),
        seed in any::<u64>(),
    ) {
        prop_assume!(conv.output().size.iter().all(|&n| n >= 2));
        let pool = Window::new([2, 2]).stride(2);
        let lengths = [conv.weights(), conv.outputs];
        let case = Case::new(numbers, seed, &[conv.input()], &lengths).shared(shared);
        for isa in Isa::available() {
            let apart = case.run(isa, &|tape, x, p| {
                let y = tape.conv2d(x[0], p[0], bias.then_some(p[1]), conv.options, false);
                let y = tape.relu(y);
                tape.max_pool2d(y, pool)
            });
            let activated = case.run(isa, &|tape, x, p| {
                let y = tape.conv2d(x[0], p[0], bias.then_some(p[1]), conv.options, true);
                tape.max_pool2d(y, pool)
            });
            let fused = case.run(isa, &|tape, x, p| {
                tape.conv2d_relu_max_pool2d(x[0], p[0], bias.then_some(p[1]), conv.options)
            });
            prop_assert!(apart == activated, "{}: ReLU", isa);
            prop_assert!(apart == fused, "{}: ReLU and max-pool", isa);
        }
    }
}
