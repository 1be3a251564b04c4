//! Central differences prove the backward of every reference operation, over random shapes, windows
//! and values. The scalar is always a random linear functional `⟨r, op(inputs)⟩` of the output, whose
//! gradient is what the operation's backward makes of `r`.

use crate::harness::other_activations;
use autograd::check_gradients;
use kernels::{NormSets, Pool};
use proptest::prelude::*;
use reference::*;

/// Between any two inputs of an operation with kinks: thousands of times the checker's step.
const GAP: f64 = 0.1;

/// Cuts `x` into parts as long as those of `like`.
fn cut<'a>(mut x: &'a [f64], like: &[Vec<f64>]) -> Vec<&'a [f64]> {
    let part = |part: &Vec<f64>| {
        let (head, tail) = x.split_at(part.len());
        x = tail;
        head
    };
    like.iter().map(part).collect()
}

/// Checks that `backward(inputs, r)` are the gradients of `⟨r, forward(inputs)⟩`, one per input.
fn prove(
    inputs: &[Vec<f64>],
    seed: u64,
    forward: impl Fn(&[&[f64]]) -> Vec<f64>,
    backward: impl Fn(&[&[f64]], &[f64]) -> Vec<Vec<f64>>,
) -> Result<(), TestCaseError> {
    let x = inputs.concat();
    let len = forward(&cut(&x, inputs)).len();
    let r: Vec<f64> = uniform(len, seed ^ 0x5eed);
    let functional = |x: &[f64]| {
        let y = forward(&cut(x, inputs));
        y.iter().zip(&r).map(|(y, r)| y * r).sum()
    };
    let gradients = backward(&cut(&x, inputs), &r);
    for (gradient, input) in gradients.iter().zip(inputs) {
        prop_assert_eq!(gradient.len(), input.len());
    }
    Ok(check_gradients(functional, &x, &gradients.concat())?)
}

const WINDOWS: WindowLimits = WindowLimits { kernel: [3, 3], padding: 2, dilation: 2, size: 6 };

fn convolutions() -> impl Strategy<Value = Conv> {
    (WINDOWS.options(), 1..=2usize, channels_in_groups(3)).prop_map(
        |((options, size), images, [groups, inputs, outputs])| {
            let options = options.groups(groups);
            Conv { images, inputs, outputs, size, options }
        },
    )
}

fn planes() -> impl Strategy<Value = Planes> {
    let planes = |(images, channels, size)| Planes { images, channels, size };
    (1..=3usize, 1..=3usize, [1..=4usize, 1..=4usize]).prop_map(planes)
}

fn pools() -> impl Strategy<Value = (Planes, Pool)> {
    let pool = |((pool, size), images, channels)| (Planes { images, channels, size }, pool);
    (WINDOWS.pools(), 1..=2usize, 1..=2usize).prop_map(pool)
}

/// Planes, the sets of a norm of theirs, and how many parameters it has.
fn norms() -> impl Strategy<Value = (Planes, NormSets, usize)> {
    let sets = prop_oneof![
        (1..=3usize, 1..=3usize)
            .prop_map(|(groups, each)| (groups * each, NormSets::Groups(groups))),
        (2..=6usize).prop_map(|channels| (channels, NormSets::Pixels)),
    ];
    (1..=3usize, sets, [1..=4usize, 1..=4usize], 0..3usize).prop_map(
        |(images, (channels, sets), size, each)| {
            let planes = Planes { images, channels, size };
            (planes, sets, [0, channels, channels * planes.pixels()][each])
        },
    )
}

/// Rows of classes, a label for each row.
fn labelled() -> impl Strategy<Value = (usize, Vec<usize>)> {
    (1..=6usize).prop_flat_map(|classes| (Just(classes), prop::collection::vec(0..classes, 1..=4)))
}

proptest! {
    #[test]
    fn conv2d_gradients(conv in convolutions(), seed in any::<u64>()) {
        let inputs = [
            uniform(conv.input().len(), seed),
            uniform(conv.weights(), seed ^ 1),
            uniform(conv.outputs, seed ^ 2),
        ];
        let forward = |i: &[&[f64]]| conv2d(&conv, i[0], i[1], Some(i[2]));
        prove(&inputs, seed, forward, |i, dy| {
            let ConvGradients { dx, dw, db } = conv2d_backward(&conv, i[0], i[1], dy);
            vec![dx, dw, db]
        })?;
    }

    #[test]
    fn linear_gradients(
        (images, inputs, outputs) in (1..=4usize, 1..=6usize, 1..=6usize),
        seed in any::<u64>(),
    ) {
        let shape = Linear { images, inputs, outputs };
        let inputs = [
            uniform(images * inputs, seed),
            uniform(outputs * inputs, seed ^ 1),
            uniform(outputs, seed ^ 2),
        ];
        let forward = |i: &[&[f64]]| linear(&shape, i[0], i[1], Some(i[2]));
        prove(&inputs, seed, forward, |i, dy| {
            let LinearGradients { dx, dw, db } = linear_backward(&shape, i[0], i[1], dy);
            vec![dx, dw, db]
        })?;
    }

    #[test]
    fn im2col_gradients(
        (window, size) in WINDOWS.windows(),
        (images, channels) in (1..=2usize, 1..=2usize),
        seed in any::<u64>(),
    ) {
        let planes = Planes { images, channels, size };
        let inputs = [uniform(planes.len(), seed)];
        let forward = |i: &[&[f64]]| im2col(&planes, &window, i[0]);
        prove(&inputs, seed, forward, |_, dy| vec![col2im(&planes, &window, dy)])?;
    }

    #[test]
    fn max_pool2d_gradients((planes, pool) in pools(), seed in any::<u64>()) {
        let inputs = [separated(planes.len(), GAP, seed)];
        // A window with nothing inside the plane gives −∞, whose differences are no numbers.
        let finite = |y: f64| if y.is_finite() { y } else { 0.0 };
        let forward = |i: &[&[f64]]| {
            max_pool2d(&planes, pool, i[0]).into_iter().map(finite).collect()
        };
        prove(&inputs, seed, forward, |i, dy| {
            vec![max_pool2d_backward(&planes, pool, i[0], dy)]
        })?;
    }

    #[test]
    fn avg_pool2d_gradients((planes, pool) in pools(), seed in any::<u64>()) {
        let inputs = [uniform(planes.len(), seed)];
        let forward = |i: &[&[f64]]| avg_pool2d(&planes, pool, i[0]);
        prove(&inputs, seed, forward, |_, dy| vec![avg_pool2d_backward(&planes, pool, dy)])?;
    }

    #[test]
    fn global_avg_pool2d_gradients(planes in planes(), seed in any::<u64>()) {
        let inputs = [uniform(planes.len(), seed)];
        let forward = |i: &[&[f64]]| global_avg_pool2d(&planes, i[0]);
        prove(&inputs, seed, forward, |_, dy| vec![global_avg_pool2d_backward(&planes, dy)])?;
    }

    #[test]
    fn batch_norm2d_gradients(
        planes in planes(),
        epsilon in prop::sample::select(vec![1e-5, 1e-3, 0.5]),
        seed in any::<u64>(),
    ) {
        // Values apart keep the variance, and with it the third derivative, of order one.
        let inputs = [
            separated(planes.len(), 4.0 * GAP, seed),
            uniform(planes.channels, seed ^ 1),
            uniform(planes.channels, seed ^ 2),
        ];
        let forward = |i: &[&[f64]]| batch_norm2d(&planes, i[0], i[1], i[2], epsilon).y;
        prove(&inputs, seed, forward, |i, dy| {
            let gradients = batch_norm2d_backward(&planes, i[0], i[1], epsilon, dy);
            vec![gradients.dx, gradients.dgamma, gradients.dbeta]
        })?;
    }

    #[test]
    fn relu_gradients(len in 1..=30usize, slope in 0.0..0.5, seed in any::<u64>()) {
        let inputs = [separated(len, GAP, seed)];
        prove(&inputs, seed, |i| relu(i[0]), |i, dy| vec![relu_backward(i[0], dy)])?;
        prove(&inputs, seed, |i| leaky_relu(i[0], slope), |i, dy| {
            vec![leaky_relu_backward(i[0], slope, dy)]
        })?;
    }

    #[test]
    fn gelu_gradients(len in 1..=30usize, seed in any::<u64>()) {
        let inputs = [separated(len, 0.3, seed)];
        prove(&inputs, seed, |i| gelu(i[0]), |i, dy| vec![gelu_backward(i[0], dy)])?;
    }

    /// The inputs are away from the kinks at 0, ±3 and 6.
    #[test]
    fn activation_gradients(
        len in 1..=60usize,
        factor in prop::sample::select(vec![0.5f32, 1.0, 1.7]),
        seed in any::<u64>(),
    ) {
        let inputs = [separated(len, 0.3, seed)];
        for f in other_activations(factor) {
            prove(&inputs, seed, |i| activation(f, i[0]), |i, dy| {
                vec![activation_backward(f, i[0], dy)]
            })?;
        }
    }

    #[test]
    fn prelu_gradients(planes in planes(), shared in any::<bool>(), seed in any::<u64>()) {
        let slopes = if shared { 1 } else { planes.channels };
        let inputs = [separated(planes.len(), GAP, seed), uniform(slopes, seed ^ 1)];
        prove(&inputs, seed, |i| prelu(&planes, i[0], i[1]), |i, dy| {
            let (dx, dslopes) = prelu_backward(&planes, i[0], i[1], dy);
            vec![dx, dslopes]
        })?;
    }

    #[test]
    fn image_norm_gradients(
        (planes, sets, parameters) in norms(),
        epsilon in prop::sample::select(vec![1e-5, 1e-3, 0.5]),
        seed in any::<u64>(),
    ) {
        // Values apart keep variances, and with them third derivatives, of order one.
        let x = separated(planes.len(), 4.0 * GAP, seed);
        let inputs = [x, uniform(parameters, seed ^ 1), uniform(parameters, seed ^ 2)];
        let forward = |i: &[&[f64]]| image_norm(&planes, sets, i[0], (i[1], i[2]), epsilon);
        prove(&inputs, seed, forward, |i, dy| {
            let ImageNormGradients { dx, dgamma, dbeta } =
                image_norm_backward(&planes, sets, i[0], (i[1], i[2]), epsilon, dy);
            vec![dx, dgamma, dbeta]
        })?;
    }

    #[test]
    fn pointwise_gradients(len in 1..=20usize, seed in any::<u64>()) {
        let pair = [uniform(len, seed), uniform(len, seed ^ 1)];
        let both = |(da, db)| vec![da, db];
        prove(&pair, seed, |i| add(i[0], i[1]), |_, dy| both(add_backward(dy)))?;
        prove(&pair, seed, |i| mul(i[0], i[1]), |i, dy| both(mul_backward(i[0], i[1], dy)))?;
        let one = &pair[..1];
        prove(one, seed, |i| vec![sum(i[0])], |_, dy| vec![sum_backward(len, dy[0])])?;
        prove(one, seed, |i| vec![mean(i[0])], |_, dy| vec![mean_backward(len, dy[0])])?;
    }

    #[test]
    fn dropout_gradients(
        keep in prop::collection::vec(any::<bool>(), 1..=30),
        rate in 0.0..0.9,
        seed in any::<u64>(),
    ) {
        let inputs = [uniform(keep.len(), seed)];
        let forward = |i: &[&[f64]]| dropout(i[0], &keep, rate);
        prove(&inputs, seed, forward, |_, dy| vec![dropout_backward(&keep, rate, dy)])?;
    }

    #[test]
    fn softmax_gradients((classes, labels) in labelled(), scale in 0.1..5.0, seed in any::<u64>()) {
        let logits: Vec<f64> = uniform(classes * labels.len(), seed);
        let inputs = [logits.iter().map(|x| scale * x).collect()];
        prove(&inputs, seed, |i| softmax(i[0], classes), |i, dy| {
            vec![softmax_backward(&softmax(i[0], classes), classes, dy)]
        })?;
        prove(&inputs, seed, |i| log_softmax(i[0], classes), |i, dy| {
            vec![log_softmax_backward(&log_softmax(i[0], classes), classes, dy)]
        })?;
    }

    #[test]
    fn classifier_loss_gradients(
        of in prop::sample::select(vec![Outputs::Logits, Outputs::LogProbabilities, Outputs::Answers]),
        (images, outputs) in (1..=4usize, 1..=6usize),
        smoothing in prop::sample::select(vec![0.0, 0.1, 0.7]),
        scale in 0.1..5.0,
        seed in any::<u64>(),
    ) {
        let part = |x: &f64| (x + 1.0) / 2.0;
        let mut loss = ClassifierLoss { of, outputs, smoothing, weights: vec![] };
        let classes = loss.classes();
        loss.weights = uniform(classes, seed ^ 1).iter().map(part).collect();
        let targets: Vec<f64> = uniform(images * classes, seed ^ 2).iter().map(part).collect();
        let x: Vec<f64> = uniform(images * outputs, seed).iter().map(|x: &f64| scale * x).collect();
        let gradient = loss.gradient(&x, &targets);
        check_gradients(|x: &[f64]| loss.sum(x, &targets), &x, &gradient)?;
    }

    #[test]
    fn softmax_cross_entropy_gradients(
        (classes, labels) in labelled(),
        smoothing in prop::sample::select(vec![0.0, 0.1, 0.7]),
        scale in 0.1..5.0,
        seed in any::<u64>(),
    ) {
        let logits: Vec<f64> = uniform(classes * labels.len(), seed);
        let logits: Vec<f64> = logits.iter().map(|x| scale * x).collect();
        let loss = |x: &[f64]| softmax_cross_entropy(x, &labels, classes, smoothing);
        let gradient = softmax_cross_entropy_backward(&logits, &labels, classes, smoothing);
        check_gradients(loss, &logits, &gradient)?;
    }
}
