//! Values and parameters that are used twice: their gradients add up.

use crate::harness::*;
use kernels::Window;
use proptest::prelude::*;
use reference::*;

proptest! {
    #[test]
    fn a_value_times_or_plus_itself(planes in planes(), numbers in numbers(), seed in any::<u64>()) {
        let case = Case::new(numbers, seed, &[planes], &[]);
        let x = case.x(0);
        case.on_every_path(|tape, x, _| tape.mul(x[0], x[0]), |got| {
            case.check("x²", &got.y, Expected::sums(1, mul(&x, &x), mul(&x, &x)))?;
            let dx: Vec<f64> = mul(&widen(&got.r), &x).iter().map(|g| 2.0 * g).collect();
            let size = dx.iter().map(|g| g.abs()).collect();
            case.check_dx(0, got, Expected::sums(2, dx, size))
        })?;
        case.on_every_path(|tape, x, _| tape.add(x[0], x[0]), |got| {
            case.check("2x", &got.y, Expected::exactly(add(&x, &x)))?;
            case.check_dx(0, got, Expected::exactly(add(&widen(&got.r), &widen(&got.r))))
        })?;
    }

    /// `relu(conv(x)) + x`, where the convolution keeps the shape, as in a residual block.
    #[test]
    fn a_residual_connection(
        (images, channels, size) in (images(), 1..=5usize, [1..=6usize, 1..=6usize]),
        first in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let window = Window::new([3, 3]).padding(1);
        let conv = Conv { images, inputs: channels, outputs: channels, size, options: window.into() };
        let case = Case::new(Numbers::Quarters, seed, &[conv.input()], &[conv.weights()]);
        let (x, w) = (case.x(0), case.p(0));
        let before = conv2d(&conv, &x, &w, None);
        let y = add(&relu(&before), &x);
        case.on_every_path(
            |tape, x, p| {
                let body = tape.conv2d(x[0], p[0], None, window, true);
                if first { tape.add(x[0], body) } else { tape.add(body, x[0]) }
            },
            |got| {
                case.check("y", &got.y, Expected::exactly(y.clone()))?;
                let dy = widen(&got.r);
                let body = conv2d_backward(&conv, &x, &w, &relu_backward(&before, &dy));
                case.check_dx(0, got, Expected::exactly(add(&body.dx, &dy)))?;
                case.check_dp(0, got, Expected::exactly(body.dw))
            },
        )?;
    }

    /// Every operation adds to the gradient of an input that another operation has reached before.
    #[test]
    fn all_operations_at_once(images in images(), seed in any::<u64>()) {
        let planes = Planes { images, channels: 3, size: [4, 5] };
        let pool = Window::new([3, 3]).padding(1);
        let case = Case::new(Numbers::Quarters, seed, &[planes], &[]);
        let x = case.x(0);
        let pooled = max_pool2d(&planes, pool, &x);
        let y = add(&add(&pooled, &relu(&x)), &mul(&x, &x));
        case.on_every_path(
            |tape, x, _| {
                let [a, b, c] =
                    [tape.max_pool2d(x[0], pool), tape.relu(x[0]), tape.mul(x[0], x[0])];
                let sum = tape.add(a, b);
                tape.add(sum, c)
            },
            |got| {
                case.check("y", &got.y, Expected::exactly(y.clone()))?;
                let dy = widen(&got.r);
                let dx = max_pool2d_backward(&planes, pool, &x, &dy);
                let dx = add(&dx, &relu_backward(&x, &dy));
                let (left, right) = mul_backward(&x, &x, &dy);
                case.check_dx(0, got, Expected::exactly(add(&dx, &add(&left, &right))))
            },
        )?;
    }

    /// Weights that two layers share get the gradients of both.
    #[test]
    fn shared_weights(images in images(), width in 1..=20usize, seed in any::<u64>()) {
        let shape = Linear { images, inputs: width, outputs: width };
        let lengths = [width * width, width];
        let case = Case::new(Numbers::Quarters, seed, &[features(images, width)], &lengths);
        let (x, w, b) = (case.x(0), case.p(0), case.p(1));
        let middle = linear(&shape, &x, &w, Some(&b));
        let y = linear(&shape, &middle, &w, Some(&b));
        case.on_every_path(
            |tape, x, p| {
                let middle = tape.linear(x[0], p[0], Some(p[1]), false);
                tape.linear(middle, p[0], Some(p[1]), false)
            },
            |got| {
                case.check("y", &got.y, Expected::exactly(y.clone()))?;
                let second = linear_backward(&shape, &middle, &w, &widen(&got.r));
                let first = linear_backward(&shape, &x, &w, &second.dx);
                case.check_dx(0, got, Expected::exactly(first.dx))?;
                case.check_dp(0, got, Expected::exactly(add(&first.dw, &second.dw)))?;
                case.check_dp(1, got, Expected::exactly(add(&first.db, &second.db)))
            },
        )?;
    }
}
