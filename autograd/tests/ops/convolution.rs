//! Convolution, alone and with ReLU and max-pool.

use crate::harness::*;
use kernels::reference::*;
use kernels::{Isa, Window};
use proptest::prelude::*;

fn convolutions() -> impl Strategy<Value = Conv> {
    (windows(), images(), 1..=18usize, 1..=18usize).prop_map(
        |((window, size), images, inputs, outputs)| Conv { images, inputs, outputs, size, window },
    )
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
            y = kernels::reference::relu(&y);
        }
        let y = Expected::sums(conv.taps() + 1, y, conv2d(&conv, &ax, &aw, bias.then_some(&ab[..])));
        case.on_every_path(
            |tape, x, p| tape.conv2d(x[0], p[0], bias.then_some(p[1]), conv.window, relu),
            |got| {
                case.check("y", &got.y, y.clone())?;
                let dy = through_relu(relu, got);
                let exact = conv2d_backward(&conv, &x, &w, &widen(&dy));
                let size = conv2d_backward(&conv, &ax, &aw, &magnitude(&dy));
                let outputs = conv.images * conv.output().pixels();
                let met = conv.outputs * conv.window.taps();
                case.check_dx(0, got, Expected::sums(met, exact.dx, size.dx))?;
                case.check_dp(0, got, Expected::sums(outputs, exact.dw, size.dw))?;
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
        let y = max_pool2d(&full, &pool, &activated);
        case.on_every_path(
            |tape, x, p| tape.conv2d_relu_max_pool2d(x[0], p[0], bias.then_some(p[1]), conv.window),
            |got| {
                case.check("y", &got.y, Expected::exactly(y.clone()))?;
                let dy = max_pool2d_backward(&full, &pool, &activated, &widen(&got.r));
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
                let y = tape.conv2d(x[0], p[0], bias.then_some(p[1]), conv.window, false);
                let y = tape.relu(y);
                tape.max_pool2d(y, pool)
            });
            let activated = case.run(isa, &|tape, x, p| {
                let y = tape.conv2d(x[0], p[0], bias.then_some(p[1]), conv.window, true);
                tape.max_pool2d(y, pool)
            });
            let fused = case.run(isa, &|tape, x, p| {
                tape.conv2d_relu_max_pool2d(x[0], p[0], bias.then_some(p[1]), conv.window)
            });
            prop_assert!(apart == activated, "{}: ReLU", isa);
            prop_assert!(apart == fused, "{}: ReLU and max-pool", isa);
        }
    }
}
