//! Operations on single values, and sums.

use crate::harness::*;
use kernels::Activation;
use proptest::prelude::*;
use reference::*;

proptest! {
    #[test]
    fn relu_and_its_gradients(
        planes in planes(),
        numbers in numbers(),
        slope in prop::sample::select(vec![0.25f32, 0.01]),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(numbers, seed, &[planes], &[]).shared(shared);
        let x = case.x(0);
        case.on_every_path(|tape, x, _| tape.relu(x[0]), |got| {
            case.check("y", &got.y, Expected::exactly(relu(&x)))?;
            case.check_dx(0, got, Expected::exactly(relu_backward(&x, &widen(&got.r))))
        })?;

        let case = Case::new(Numbers::Any, seed, &[planes], &[]).shared(shared);
        let (x, exact) = (case.x(0), f64::from(slope));
        let leaky = Activation::LeakyRelu(slope);
        case.on_every_path(|tape, x, _| tape.activate(x[0], leaky), |got| {
            case.check("y", &got.y, Expected::sums(1, leaky_relu(&x, exact), case.abs_x(0)))?;
            let dx = leaky_relu_backward(&x, exact, &widen(&got.r));
            case.check_dx(0, got, Expected::sums(1, dx, magnitude(&got.r)))
        })?;
    }

    /// The error of Φ is below 2e-7, less than 2ε; that of x · φ(x), with the exponent's, as much.
    #[test]
    fn gelu_and_its_gradients(
        planes in planes(),
        width in 0.5..6.0f32,
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(Numbers::Any, seed, &[planes], &[])
            .with_input(0, |x| width * x)
            .shared(shared);
        let x = case.x(0);
        case.on_every_path(|tape, x, _| tape.activate(x[0], Activation::Gelu), |got| {
            case.check("y", &got.y, Expected::sums(4, gelu(&x), case.abs_x(0)))?;
            let dx = gelu_backward(&x, &widen(&got.r));
            case.check_dx(0, got, Expected::sums(8, dx, magnitude(&got.r)))
        })?;
    }

    /// Slopes are within four roundings, and values within one of theirs or of the smaller: 2 ulp.
    #[test]
    fn activations_and_their_gradients(
        planes in planes(),
        width in 0.5..9.0f32,
        factor in prop::sample::select(vec![0.5f32, 1.0, 1.7]),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(Numbers::Any, seed, &[planes], &[])
            .with_input(0, |x| width * x)
            .shared(shared);
        let x = case.x(0);
        for f in other_activations(factor) {
            let y = activation(f, &x);
            let size = y.iter().map(|y| y.abs()).collect();
            let y = Expected::sums(2, y, size);
            case.on_every_path(|tape, x, _| tape.activate(x[0], f), |got| {
                case.check(&format!("{f:?}"), &got.y, y.clone())?;
                let dx = activation_backward(f, &x, &widen(&got.r));
                let size = got.r.iter().map(|r| 2.0 * f64::from(r.abs())).collect();
                case.check_dx(0, got, Expected::sums(4, dx, size))
            })?;
        }
    }

    #[test]
    fn prelu_and_its_gradients(
        planes in planes(),
        [one, shared] in any::<[bool; 2]>(),
        numbers in numbers(),
        seed in any::<u64>(),
    ) {
        let slopes = if one { 1 } else { planes.channels };
        let case = Case::new(numbers, seed, &[planes], &[slopes]).shared(shared);
        let (x, slopes) = (case.x(0), case.p(0));
        let y = Expected::sums(1, prelu(&planes, &x, &slopes), case.abs_x(0));
        case.on_every_path(|tape, x, p| tape.prelu(x[0], p[0]), |got| {
            case.check("y", &got.y, y.clone())?;
            let (dx, dslopes) = prelu_backward(&planes, &x, &slopes, &widen(&got.r));
            let minus: Vec<f64> = case.abs_x(0).iter().map(|x| -x).collect();
            let (_, size) = prelu_backward(&planes, &minus, &slopes, &magnitude(&got.r));
            let size = size.iter().map(|size| size.abs()).collect();
            case.check_dx(0, got, Expected::sums(1, dx, magnitude(&got.r)))?;
            case.check_dp(0, got, Expected::sums(planes.len(), dslopes, size))
        })?;
    }

    /// Exponents are rounded, and sums of exponentials; quotients and logarithms of them once more.
    #[test]
    fn softmax_and_its_gradients(planes in planes(), shared in any::<bool>(), seed in any::<u64>()) {
        let case = Case::new(Numbers::Any, seed, &[planes], &[])
            .with_input(0, |x| 8.0 * x)
            .shared(shared);
        // The definition has classes side by side: one row for each pixel.
        let (channels, pixels) = (planes.channels, planes.pixels());
        let rows = |values: &[f64]| -> Vec<f64> {
            let place = |i: usize| {
                let (class, row) = (i % channels, i / channels);
                (row / pixels * channels + class) * pixels + row % pixels
            };
            (0..values.len()).map(|i| values[place(i)]).collect()
        };
        let back = |values: Vec<f64>| -> Vec<f64> {
            let place = |i: usize| {
                let (pixel, plane) = (i % pixels, i / pixels);
                (plane / channels * pixels + pixel) * channels + plane % channels
            };
            (0..values.len()).map(|i| values[place(i)]).collect()
        };
        let terms = 16 + 2 * channels;
        let ones = |n: usize| vec![1.0; n];
        let x = rows(&case.x(0));
        let y = softmax(&x, channels);
        case.on_every_path(|tape, x, _| tape.softmax(x[0]), |got| {
            case.check("softmax", &got.y, Expected::sums(terms, back(y.clone()), back(y.clone())))?;
            let dx = back(softmax_backward(&y, channels, &rows(&widen(&got.r))));
            case.check_dx(0, got, Expected::sums(2 * terms, dx, back(y.clone())))
        })?;
        let y = log_softmax(&x, channels);
        let size: Vec<f64> = y.iter().map(|y| 1.0 - y).collect();
        case.on_every_path(|tape, x, _| tape.log_softmax(x[0]), |got| {
            case.check("log-softmax", &got.y, Expected::sums(terms, back(y.clone()), back(size.clone())))?;
            let dx = back(log_softmax_backward(&y, channels, &rows(&widen(&got.r))));
            case.check_dx(0, got, Expected::sums(2 * terms * channels, dx, ones(planes.len())))
        })?;
    }

    #[test]
    fn add_and_mul_and_their_gradients(
        planes in planes(),
        numbers in numbers(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(numbers, seed, &[planes; 2], &[]).shared(shared);
        let (a, b) = (case.x(0), case.x(1));
        let sum = Expected::sums(1, add(&a, &b), add(&case.abs_x(0), &case.abs_x(1)));
        case.on_every_path(|tape, x, _| tape.add(x[0], x[1]), |got| {
            case.check("a + b", &got.y, sum.clone())?;
            let (da, db) = add_backward(&widen(&got.r));
            case.check_dx(0, got, Expected::exactly(da))?;
            case.check_dx(1, got, Expected::exactly(db))
        })?;
        let product = Expected::sums(1, mul(&a, &b), mul(&case.abs_x(0), &case.abs_x(1)));
        case.on_every_path(|tape, x, _| tape.mul(x[0], x[1]), |got| {
            case.check("a · b", &got.y, product.clone())?;
            let (da, db) = mul_backward(&a, &b, &widen(&got.r));
            let (size_a, size_b) = mul_backward(&case.abs_x(0), &case.abs_x(1), &magnitude(&got.r));
            case.check_dx(0, got, Expected::sums(1, da, size_a))?;
            case.check_dx(1, got, Expected::sums(1, db, size_b))
        })?;
    }

    #[test]
    fn flatten_and_its_gradients(
        planes in planes(),
        numbers in numbers(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(numbers, seed, &[planes], &[]).shared(shared);
        case.on_every_path(|tape, x, _| tape.flatten(x[0]), |got| {
            case.check("y", &got.y, Expected::exactly(case.x(0)))?;
            case.check_dx(0, got, Expected::exactly(widen(&got.r)))
        })?;
    }

    #[test]
    fn sum_and_mean_and_their_gradients(
        planes in planes(),
        numbers in numbers(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let len = planes.len();
        let case = Case::new(numbers, seed, &[planes], &[]).shared(shared);
        let total = Expected::sums(len, vec![sum(&case.x(0))], vec![sum(&case.abs_x(0))]);
        case.on_every_path(|tape, x, _| tape.sum(x[0]), |got| {
            case.check("sum", &got.y, total.clone())?;
            let dx = sum_backward(len, f64::from(got.r[0]));
            case.check_dx(0, got, Expected::exactly(dx))
        })?;

        let case = Case::new(Numbers::Any, seed, &[planes], &[]).shared(shared);
        let average = Expected::sums(len + 2, vec![mean(&case.x(0))], vec![mean(&case.abs_x(0))]);
        case.on_every_path(|tape, x, _| tape.mean(x[0]), |got| {
            case.check("mean", &got.y, average.clone())?;
            let [dx, size] = [got.r[0], got.r[0].abs()].map(|r| mean_backward(len, f64::from(r)));
            case.check_dx(0, got, Expected::sums(2, dx, size))
        })?;
    }

    /// A sum gives no gradient to lanes without an image, which the weights of the layer before it
    /// would take for images.
    #[test]
    fn sum_of_a_layer(
        (images, width) in (images(), 1..=20usize),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let shape = Linear { images, inputs: width, outputs: width };
        let lengths = [width * width, width];
        let case = Case::new(Numbers::Quarters, seed, &[features(images, width)], &lengths);
        let (x, w, b) = (case.x(0), case.p(0), case.p(1));
        let y = linear(&shape, &x, &w, Some(&b));
        let factor = if shared { 2.0 } else { 1.0 };
        let total = factor * sum(&y);
        case.on_every_path(
            |tape, x, p| {
                let y = tape.linear(x[0], p[0], Some(p[1]), false);
                let z = if shared { tape.add(y, y) } else { y };
                tape.sum(z)
            },
            |got| {
                case.check("sum", &got.y, Expected::exactly(vec![total]))?;
                let dy = sum_backward(images * width, factor * f64::from(got.r[0]));
                let LinearGradients { dx, dw, db } = linear_backward(&shape, &x, &w, &dy);
                case.check_dx(0, got, Expected::exactly(dx))?;
                case.check_dp(0, got, Expected::exactly(dw))?;
                case.check_dp(1, got, Expected::exactly(db))
            },
        )?;
    }
}
