//! Linear layers and matrix products.

use crate::harness::*;
use proptest::prelude::*;
use reference::*;

fn shapes() -> impl Strategy<Value = Linear> {
    (prop_oneof![images(), 60..=70usize], 1..=70usize, 1..=40usize)
        .prop_map(|(images, inputs, outputs)| Linear { images, inputs, outputs })
}

/// `[rows][columns]` to `[columns][rows]`.
fn transposed(x: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..x.len()).map(|i| x[i % rows * columns + i / rows]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn linear_and_its_gradients(
        shape in shapes(),
        numbers in numbers(),
        [bias, relu, shared] in any::<[bool; 3]>(),
        seed in any::<u64>(),
    ) {
        let x = features(shape.images, shape.inputs);
        let lengths = [shape.inputs * shape.outputs, shape.outputs];
        let case = Case::new(numbers, seed, &[x], &lengths).shared(shared);
        let [(x, w, b), (ax, aw, ab)] =
            [(case.x(0), case.p(0), case.p(1)), (case.abs_x(0), case.abs_p(0), case.abs_p(1))];
        let mut y = linear(&shape, &x, &w, bias.then_some(&b[..]));
        if relu {
            y = reference::relu(&y);
        }
        let size = linear(&shape, &ax, &aw, bias.then_some(&ab[..]));
        let y = Expected::sums(shape.inputs + 1, y, size);
        case.on_every_path(
            |tape, x, p| tape.linear(x[0], p[0], bias.then_some(p[1]), relu),
            |got| {
                case.check("y", &got.y, y.clone())?;
                let dy = through_relu(relu, got);
                let exact = linear_backward(&shape, &x, &w, &widen(&dy));
                let size = linear_backward(&shape, &ax, &aw, &magnitude(&dy));
                case.check_dx(0, got, Expected::sums(shape.outputs, exact.dx, size.dx))?;
                case.check_dp(0, got, Expected::sums(shape.images, exact.dw, size.dw))?;
                let db = if bias {
                    Expected::sums(shape.images, exact.db, size.db)
                } else {
                    Expected::exactly(vec![0.0; shape.outputs])
                };
                case.check_dp(1, got, db)
            },
        )?;
    }

    /// `x · W` is the linear layer of Wᵀ.
    #[test]
    fn matmul_and_its_gradients(
        shape in shapes(),
        numbers in numbers(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let Linear { images, inputs, outputs } = shape;
        let x = features(images, inputs);
        let case = Case::new(numbers, seed, &[x], &[inputs * outputs]).shared(shared);
        let (x, ax) = (case.x(0), case.abs_x(0));
        let [w, aw] = [case.p(0), case.abs_p(0)].map(|w| transposed(&w, inputs, outputs));
        let (y, size) = (linear(&shape, &x, &w, None), linear(&shape, &ax, &aw, None));
        let y = Expected::sums(inputs, y, size);
        case.on_every_path(|tape, x, p| tape.matmul(x[0], p[0]), |got| {
            case.check("y", &got.y, y.clone())?;
            let exact = linear_backward(&shape, &x, &w, &widen(&got.r));
            let size = linear_backward(&shape, &ax, &aw, &magnitude(&got.r));
            case.check_dx(0, got, Expected::sums(outputs, exact.dx, size.dx))?;
            let [dw, size] = [exact.dw, size.dw].map(|dw| transposed(&dw, outputs, inputs));
            case.check_dp(0, got, Expected::sums(images, dw, size))
        })?;
    }
}
